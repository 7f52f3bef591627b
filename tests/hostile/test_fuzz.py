"""Cases at random in a cage: EMU_FUZZ=20 makes twenty times as many."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.hostile.cage import run_cases, scale

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "tests.hostile.code:soup": 60,
    "tests.hostile.code:stream": 60,
    "tests.hostile.code:special": 60,
    "tests.hostile.code:damaged": 20,
    "tests.hostile.calls:calls": 50,
    "tests.hostile.contexts:contexts": 200,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(0)
def test_the_host_survives(kind: str) -> None:
    blamed = run_cases(kind, scale(KINDS[kind]))
    assert not blamed, "\n\n".join(map(str, blamed))


def test_a_cage_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child ends without tidying up, or is killed; the folder that all its files are in goes all the same."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_cases("tests.hostile.calls:calls", 2) == []
    assert list(tmp_path.iterdir()) == []
