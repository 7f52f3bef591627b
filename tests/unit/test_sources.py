"""What every source file keeps to: documented, cited, bounded, and honest about what it lacks."""

from __future__ import annotations

import ast
import re
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.quirks import MARK, quirks, render

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for package in ("emu", "kernel_model") for path in (ROOT / package).rglob("*.py"))
KERNEL = [path for path in SOURCES if path.is_relative_to(ROOT / "kernel_model")]
CITATION = re.compile(r"\b(FreeBSD|DragonFly|Linux):|\bModel only\b")
FUNCTION_LINES = 80
MODULE_LINES = 800
HOOK_BOUNDARY = "emu/engine/raw.py"
"""Here a callback from C may not raise: everything is kept for whoever started the engine."""

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
each_kernel_source = pytest.mark.parametrize("path", KERNEL, ids=lambda path: str(path.relative_to(ROOT)))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _public(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """The classes, functions and methods that carry a public name all the way up."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.ClassDef) and not inner.name.startswith("_"):
            yield prefix + inner.name, inner
            if isinstance(inner, ast.ClassDef):
                yield from _public(inner, f"{prefix}{inner.name}.")


def _repeats(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """A setter or an overload: the docstring stands at the getter or at the implementation."""
    marks = [mark.attr if isinstance(mark, ast.Attribute) else ast.unparse(mark) for mark in node.decorator_list]
    return "setter" in marks or "overload" in marks


@each_source
def test_what_is_public_is_documented(path):
    tree = _tree(path)
    assert ast.get_docstring(tree)
    assert [name for name, node in _public(tree) if not ast.get_docstring(node) and not _repeats(node)] == []


@each_kernel_source
def test_the_kernel_says_what_it_models(path):
    """In the docstring of the module, or else of each public class and function in it."""
    tree = _tree(path)
    if path.name != "__init__.py" and not CITATION.search(ast.get_docstring(tree) or ""):
        public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        silent = [
            node.name
            for node in public
            if not node.name.startswith("_") and not CITATION.search(ast.get_docstring(node) or "")
        ]
        assert public, "a module without functions cites its origin itself"
        assert silent == []


@each_source
def test_errors_are_caught_by_name(path):
    caught = {
        ast.unparse(node.type) if node.type else "everything"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler)
    }
    allowed = {"BaseException"} if path == ROOT / HOOK_BOUNDARY else set()
    assert caught & {"everything", "Exception", "BaseException"} <= allowed


@each_source
def test_rules_are_checked_by_kassert_and_nothing_is_left_to_do(path):
    text = path.read_text(encoding="utf-8")
    assert [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assert)] == []
    assert re.findall(r"\b(?:TODO|FIXME|XXX)\b", text) == []


@each_source
def test_no_module_and_no_function_is_endless(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES
    assert {name: lines for name, lines in _lengths(path) if lines > FUNCTION_LINES} == {}


def _lengths(path: Path) -> list[tuple[str, int]]:
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef)
    ]


def test_functions_are_short_on_the_whole():
    """Prints the longest (``-rP`` shows them): a place to look, where only the median can fail."""
    lengths = sorted((pair for path in SOURCES for pair in _lengths(path)), key=lambda pair: -pair[1])
    for name, lines in lengths[:20]:
        print(f"{lines:4} {name}")
    print("90 % of them have at most", lengths[len(lengths) // 10][1], "lines")
    assert statistics.median(lines for _, lines in lengths) <= 12


def test_the_list_of_quirks_is_complete_and_up_to_date():
    marks = sum(path.read_text(encoding="utf-8").count(MARK) for path in SOURCES)
    assert len(list(quirks())) == marks, f"{MARK} stands outside a docstring somewhere"
    listed = (ROOT / "kernel_model/QUIRKS.md").read_text(encoding="utf-8")
    assert listed == render(), "python -m tests.quirks > kernel_model/QUIRKS.md"
