"""What the suites that run whole programs share: one program, natively and under the machine."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "COLOUR": "blue"}
STACK = 8 << 20
OURS = (b"emu: killed", b"emu: not modelled")
"""How the lines begin that `emu run` adds to the error stream of a program."""


@dataclass(frozen=True)
class Ran:
    """How a program ended; a signal is 128 plus its number, as a shell says it."""

    status: int
    out: bytes
    err: bytes


def native(argv: Sequence[str], cwd: Path, stdin: bytes = b"", env: Mapping[str, str] = ENVIRONMENT) -> Ran:
    """Run *argv* on the host, with the stack limit the machine starts with."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
        resource.setrlimit(resource.RLIMIT_STACK, (STACK, hard))

    done = subprocess.run(
        argv, cwd=cwd, input=stdin, env=dict(env), capture_output=True, timeout=60, check=False, preexec_fn=limits
    )
    return Ran(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout, done.stderr)


def emulated(
    argv: Sequence[str],
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] = ENVIRONMENT,
    options: Sequence[str] = (),
) -> Ran:
    """Run *argv* with ``emu run``."""
    command = [sys.executable, "-m", "emu", "run", "--cwd", str(cwd), "--clear-env", *options]
    command += [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
    paths = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    command += ["--", *argv]
    done = subprocess.run(command, input=stdin, env=paths, capture_output=True, timeout=240, check=False)
    said = b"".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith(OURS))
    return Ran(done.returncode, done.stdout, said)


@pytest.fixture(scope="session")
def run_native() -> Callable[..., Ran]:
    """The function that runs a program on the host."""
    return native


@pytest.fixture(scope="session")
def run_emulated() -> Callable[..., Ran]:
    """The function that runs a program under the machine."""
    return emulated


@pytest.fixture
def same_as_native(tmp_path: Path) -> Callable[..., Ran]:
    """A function that runs a program both ways, each in its own copy of a directory, and compares."""

    def compare(
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        env: Mapping[str, str] = ENVIRONMENT,
        files: Mapping[str, bytes] | None = None,
        options: Sequence[str] = (),
    ) -> Ran:
        ran = []
        # The directory has the same name both times: programs print it.
        for number, run in enumerate((native, emulated)):
            cwd = tmp_path / "cwd"
            cwd.mkdir()
            for name, content in (files or {}).items():
                path = cwd / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            for path in [*cwd.rglob("*"), cwd]:
                os.utime(path, (1_000_000_000, 1_000_000_000))
            more = {"options": options} if run is emulated else {}
            ran.append(run(argv, cwd, stdin, env, **more))
            cwd.rename(tmp_path / f"done-{number}-{len(list(tmp_path.iterdir()))}")
        expected, actual = ran
        assert (actual.status, actual.out) == (expected.status, expected.out), actual.err.decode(errors="replace")
        assert actual.err == expected.err
        return actual

    return compare
