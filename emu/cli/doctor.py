"""``emu doctor``: versions, an engine self-test and a mirror self-test.  Model only."""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor: what was looked at, whether it is well, what was seen."""

    what: str
    well: bool
    seen: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run every check; exit status 1 if one fails."""
    findings = [check() for check in _CHECKS]
    if options.json:
        json.dump([asdict(finding) for finding in findings], sys.stdout, indent=2)
        print()
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.well else 'FAIL'}  {finding.what:9}  {finding.seen}")
    return 0 if all(finding.well for finding in findings) else 1


def _python() -> Finding:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    return Finding("python", sys.version_info >= (3, 11), version)


def _library(name: str, distribution: str) -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return Finding(name, True, version(distribution))
    except PackageNotFoundError:
        return Finding(name, False, f"{distribution} is not installed")


def _host() -> Finding:
    supported = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
    return Finding("host", supported, f"{platform.system()} {platform.release()} {platform.machine()}")


def _stops() -> Finding:
    """How the engine is stopped between two instructions, and whether the library is the one it is taken for."""
    from emu.engine.stops import known_build, proved, whole_file_is

    build = known_build()
    if build is None:
        return Finding("stops", True, "exact, by counting instructions: this build of the library is not known")
    if not whole_file_is(build):
        return Finding("stops", False, f"the library has the build id of {build.what}, and another sha256")
    if not proved(build):
        return Finding("stops", False, f"by counting instructions: {build.what} fails the self-test")
    return Finding("stops", True, f"exact, at the start of a block: {build.what}, sha256 and self-test")


def _engine() -> Finding:
    """Run a bundled program on the engine and compare its exit status with the manifest's."""
    from emu.machine import Machine
    from guest import guest

    hello = guest("hello")
    with Machine(stdout=bytearray()) as machine:
        machine.execve(str(hello.path), ["hello"], {})
        status = machine.run()
    return Finding("engine", status == hello.expect.exit, f"hello exits {status}, {hello.expect.exit} expected")


def _mirror() -> Finding:
    """Let a stack grow, comparing the vm_map with the Unicorn mappings after every trap."""
    from emu.machine import Machine
    from guest import guest

    grow = guest("grow")
    with Machine(stdout=bytearray(), paranoid=True) as machine:
        machine.execve(str(grow.path), ["grow"], {})
        status = machine.run()
        machine.verify()
    text = f"grow exits {status}, map and mappings agree after every trap"
    return Finding("mirror", status == grow.expect.exit, text)


_CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _host,
    lambda: _library("unicorn", "unicorn"),
    lambda: _library("capstone", "capstone"),
    lambda: _library("elftools", "pyelftools"),
    _stops,
    _engine,
    _mirror,
)
