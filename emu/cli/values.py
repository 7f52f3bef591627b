"""Values that people type: sizes, limits, environment entries.  Model only."""

from __future__ import annotations

import re

from kernel_model.errors import UsageError

_SUFFIX = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(0x[0-9a-f]+|[0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes in *text*: ``8M``, ``0x2000``, ``512K``; UsageError for anything else or beyond 2**63 - 1."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size (try 8M, 512K or 0x2000)")
    size = int(match[1], 0 if match[1][:2].lower() == "0x" else 10) * _SUFFIX[match[2].upper()]
    if size >= 1 << 63:
        raise UsageError(f"{text!r} is more than 2**63 - 1 bytes")
    return size


def parse_address(text: str) -> int:
    """An address in *text*; UsageError for anything else."""
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is no address (try 0x7fffffffe000)") from None


def parse_limits(texts: list[str]) -> dict[str, int]:
    """``["stack=8M,vmem=1G", "nofile=64"]`` to a name-to-value dictionary; ``unlimited`` is RLIM_INFINITY."""
    from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_NAMES

    known = set(RLIMIT_NAMES.values())
    limits: dict[str, int] = {}
    for pair in (pair for text in texts for pair in text.split(",") if pair):
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            raise UsageError(f"--limit {pair!r}: expected NAME=VALUE with NAME one of {', '.join(sorted(known))}")
        limits[name] = RLIM_INFINITY if value in ("unlimited", "infinity") else parse_size(value)
    return limits


def parse_environment(texts: list[str]) -> dict[str, str]:
    """``["A=1", "B=2"]`` to a dictionary; UsageError for an entry without a name."""
    environment: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--env {text!r}: expected NAME=VALUE")
        environment[name] = value
    return environment
