"""Cases at random in a cage: EMU_FUZZ=20 makes twenty times as many."""

from __future__ import annotations

import pytest

from tests.hostile.cage import run_cases, scale

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
