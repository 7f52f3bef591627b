"""The programs in guest/bin are what the sources give: built again and compared byte for byte."""

from __future__ import annotations

import pytest

from guest import HERE, Guest, guests
from guest.build import build, built_with, listing, toolchain


@pytest.mark.parametrize("one", guests(), ids=lambda one: one.name)
def test_a_rebuild_gives_the_same_bytes(one: Guest, tmp_path) -> None:
    here = toolchain()
    if here is None:
        pytest.skip("clang, ld.lld and llvm-objdump are not all installed")
    if here != built_with():
        pytest.skip(f"guest/bin was made by {built_with()}, here is {here}")
    out = tmp_path / one.name
    build(one, out)
    assert out.read_bytes() == one.path.read_bytes(), f"python -m guest.build {one.name}"
    recorded = (HERE / "listing" / f"{one.name}.txt").read_text(encoding="utf-8")
    assert listing(one, out) == recorded
