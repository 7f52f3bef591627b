"""The tables of kernel_model/MANPAGES.md: every test that they name exists, and every page of the family is there."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "kernel_model" / "MANPAGES.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (?P<sentence>.+?) \| `(?P<file>tests/[\w/]+\.py)::(?P<test>test_\w+)` \|$", re.MULTILINE)
ROWS = [(match["file"], match["test"]) for match in ROW.finditer(README)]
PAGES = (
    "vm_map", "vm_map_check_protection", "vm_map_create", "vm_map_delete", "vm_map_entry_resize_free", "vm_map_find",
    "vm_map_findspace", "vm_map_inherit", "vm_map_init", "vm_map_insert", "vm_map_lock", "vm_map_lookup",
    "vm_map_madvise", "vm_map_max", "vm_map_protect", "vm_map_remove", "vm_map_simplify_entry", "vm_map_stack",
    "vm_map_submap", "vm_map_sync", "vm_map_wire",
)  # fmt: skip


@functools.cache
def functions(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("file", sorted({file for file, _ in ROWS}))
def test_every_test_that_the_table_names_exists(file):
    assert {test for named, test in ROWS if named == file} - functions(file) == set()


def test_every_row_of_the_tables_was_read():
    """A row that names no test, or names it in another form, would not be checked."""
    text = README.partition("sentence by sentence")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| The page says")]
    assert len(rows) == len(ROWS) > 100


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_family_has_a_heading(page):
    headings = [line for line in README.splitlines() if line.startswith("## ")]
    assert any(f"{page}(9)" in heading for heading in headings)
