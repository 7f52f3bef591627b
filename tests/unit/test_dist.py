"""Source archive and wheel hold what the checkout holds: nothing is forgotten, nothing is packed by chance."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("emu/", "kernel_model/", "guest/")
MADE = ("PKG-INFO", "setup.cfg", "growstack.egg-info/")
"""What setuptools adds to a source archive."""
BACKEND = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkout() -> set[str]:
    """The files of the checkout: those in git, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no git checkout, or git is not installed")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def setuptools(tmp_path_factory) -> str:
    """A PYTHONPATH with the setuptools that pyproject.toml asks for."""
    try:
        if int(importlib.metadata.version("setuptools").partition(".")[0]) >= 77:
            return ""
    except importlib.metadata.PackageNotFoundError:
        pass
    target = tmp_path_factory.mktemp("setuptools")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), "setuptools>=77"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip("setuptools 77 or newer is neither installed nor to be had by pip")
    return str(target)


def _build(what: str, tree: Path, out: Path, path: str) -> Path:
    command = [sys.executable, "-c", BACKEND, what, str(out)]
    done = subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def sdist(checkout, setuptools, tmp_path_factory) -> Path:
    """The source archive, unpacked."""
    where = tmp_path_factory.mktemp("dist")
    for name in checkout:
        (where / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, where / "tree" / name)
    with tarfile.open(_build("build_sdist", where / "tree", where, setuptools)) as archive:
        archive.extractall(where / "sdist", filter="data")
    (unpacked,) = (where / "sdist").iterdir()
    return unpacked


def test_the_source_archive_is_the_checkout(sdist, checkout):
    packed = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    assert {name for name in packed if not name.startswith(MADE)} == checkout
    assert os.access(sdist / ".ci/run", os.X_OK)


def test_the_wheel_has_the_packages_and_the_licence(sdist, checkout, setuptools, tmp_path):
    with zipfile.ZipFile(_build("build_wheel", sdist, tmp_path, setuptools)) as wheel:
        packed = set(wheel.namelist())
        info = {name for name in packed if ".dist-info/" in name}
        assert packed - info == {name for name in checkout if name.startswith(PACKAGES)}
        (licence,) = (name for name in info if name.endswith("/licenses/emu/LICENSE"))
        assert wheel.read(licence) == (ROOT / "emu/LICENSE").read_bytes()
        assert any(name.endswith("/entry_points.txt") for name in info)
