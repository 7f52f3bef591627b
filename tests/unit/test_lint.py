"""ruff and mypy have nothing to say, by the rules in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(tool: str, *arguments: str) -> str:
    """What *tool* complains about; empty when it is content."""
    pytest.importorskip(tool, reason=f"{tool} is not installed: pip install '.[test]'")
    done = subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_ruff_is_content():
    assert _run("ruff", "check", "--no-cache", "--output-format", "concise", ".") == ""


def test_mypy_is_content(tmp_path):
    assert _run("mypy", "--cache-dir", str(tmp_path)) == ""
