"""Bundled guest programs: sources, prebuilt ELF files, listings, and what each must do.

    >>> from guest import guest
    >>> guest("hello").on("freebsd-12.1").expect.exit
    0

Model only: the programs stand on no FreeBSD source; manifest.toml explains its own keys.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HERE", "Expect", "Guest", "guest", "guests"]

HERE = Path(str(files("guest")))
CLASSIC = frozenset({"freebsd-9.3", "freebsd-10.1", "freebsd-11.0", "dragonfly"})


@dataclass(frozen=True, slots=True)
class Expect:
    """How a guest must end: an exit status, or a signal with its code and address rule."""

    exit: int | None = None
    signal: str | None = None
    code: str | None = None
    addr: int | str | None = None


@dataclass(frozen=True, slots=True)
class Guest:
    """One bundled program and its manifest row."""

    name: str
    path: Path
    source: Path
    abi: str
    kind: str
    build: str
    """freebsd, linux, stripped or pie."""
    teaches: str
    expect: Expect
    growths: int | None
    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    limits: Mapping[str, int]
    cause: str
    strict_alignment: bool
    """Whether the machine must check the alignment of SSE operands, which costs."""
    differs: Mapping[str, Mapping[str, Any]]

    @property
    def stripped(self) -> bool:
        """Whether it has no symbols and no line numbers."""
        return self.build == "stripped"

    def on(self, release: str) -> Guest:
        """This guest with what the manifest says about *release* put in place.

        A Linux build is told the same by every release: its signals are Linux's.
        """
        if self.abi == "linux":
            return self
        family = "classic" if release in CLASSIC else "modern"
        row: dict[str, Any] = {}
        for where in (family, release):
            row.update(self.differs.get(where, {}))
        return replace(self, **_fields(row))


@cache
def _table() -> dict[str, Guest]:
    rows = tomllib.loads((HERE / "manifest.toml").read_text(encoding="utf-8"))
    made = (_make(name, row, build) for name, row in rows.items() for build in _builds(row))
    return {guest.name: guest for guest in made}


def guests() -> list[Guest]:
    """Every bundled program, in manifest order."""
    return list(_table().values())


def guest(name: str) -> Guest:
    """The bundled program called *name*; KeyError when there is none."""
    return _table()[name]


def _builds(row: Mapping[str, Any]) -> list[str]:
    return list(row.get("builds", ["freebsd"]))


def _make(name: str, row: Mapping[str, Any], build: str) -> Guest:
    """One build of one manifest row; the FreeBSD build with symbols has the plain name."""
    full = name if build == "freebsd" else f"{name}-{build}"
    kind = str(row.get("kind", "check"))
    path = HERE / "bin" / full
    fields: dict[str, Any] = {"growths": None, "argv": (str(path),), "env": MappingProxyType({})}
    fields |= {"stdin": b"", "limits": MappingProxyType({}), "cause": ""}
    fields["strict_alignment"] = False
    fields |= _fields(row)
    if build == "linux":
        fields |= _fields(row.get("on", {}).get("linux", {}))
    return Guest(
        name=full,
        path=path,
        source=HERE / ("crash" if kind == "crash" else "src") / f"{name}.c",
        abi="linux" if build == "linux" else "freebsd",
        kind=kind,
        build=build,
        differs=MappingProxyType(row.get("on", {})),
        **fields,
    )


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a manifest row that releases may override, as Guest fields."""
    fields: dict[str, Any] = {}
    for key, value in row.items():
        match key:
            case "expect":
                fields[key] = Expect(**value)
            case "argv":
                fields[key] = tuple(value)
            case "env" | "limits":
                fields[key] = MappingProxyType(dict(value))
            case "stdin":
                fields[key] = value.encode()
            case "teaches" | "growths" | "cause" | "strict_alignment":
                fields[key] = value
            case _:  # kind, builds and on choose the rows; they are no fields
                pass
    return fields
