"""Every change of a map goes through vm_map.py: nobody else assigns its size, moves an entry or tells of a change."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNNEL = "kernel_model/vm/vm_map.py"
TREE = "kernel_model/vm/vm_map_tree.py"
PMAP = "kernel_model/vm/pmap.py"
"""Passes on to the hardware what the funnel told."""
ENTRY_NAMES = re.compile(r"(^|\.)(entry|prev|nxt|next|gap|stack|new|old|src|dst|src_entry|dst_entry|piece|first)$")
MAP_NAMES = re.compile(r"(^|[._])(map_?)$")
SOURCES = sorted(
    str(path.relative_to(ROOT)) for package in ("kernel_model", "emu") for path in (ROOT / package).rglob("*.py")
)


def bypasses(text: str) -> list[str]:
    """What a module does that only the funnel may do."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            owner = ast.unparse(node.value)
            moves = node.attr in ("start", "end", "adj_free", "max_free") and ENTRY_NAMES.search(owner)
            if moves or (node.attr == "size" and MAP_NAMES.search(owner)):
                found.append(f"{node.lineno}: {owner}.{node.attr} =")
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if re.search(r"(pmap|ktrace)\.map_changed$", name) or re.match(r"vm_map_tree_(un)?link$", name):
                found.append(f"{node.lineno}: {name}()")
    return found


@pytest.mark.parametrize("name", [name for name in SOURCES if name not in (FUNNEL, TREE, PMAP)])
def test_nobody_goes_round_the_funnel(name):
    assert bypasses((ROOT / name).read_text(encoding="utf-8")) == []


def test_the_funnel_is_what_the_test_looks_for():
    """Size, borders, tree, mirror and record: all of it is in the one file."""
    found = " ".join(bypasses((ROOT / FUNNEL).read_text(encoding="utf-8")))
    for part in ("map_.size =", "entry.end =", "vm_map_tree_link()", "pmap.map_changed()", "ktrace.map_changed()"):
        assert part in found


@pytest.mark.parametrize(
    "line",
    [
        "map_.size += amount",
        "vmspace.vm_map.size = 0",
        "map_.pmap.map_changed(start, end)",
        "vm.ktrace.map_changed(change)",
        "gap.end = start",
        "self.stack.start -= amount",
        "vm_map_tree_unlink(map_, entry)",
    ],
)
def test_a_way_round_is_noticed(line):
    assert len(bypasses(line)) == 1
