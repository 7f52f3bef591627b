"""Every ``Differs:`` paragraph of the sources as one list: ``python -m tests.quirks > kernel_model/QUIRKS.md``."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
MARK = "Differs:"
HEAD = """# Quirks

Where the model knows that it differs from the kernel it plays. Each paragraph stands in a docstring next to the code
that it is about; this list is made from them by `python -m tests.quirks > kernel_model/QUIRKS.md`, and a test compares.
What is missing altogether is listed under *Limits* in the [README](../README.md),
and by `emu calls freebsd --missing` and `emu calls linux --missing`.
"""
_END = re.compile(r"\n\s*\n|\n\s*(?=(?:FreeBSD|DragonFly|Linux|Model only|Raises|Returns|Differs)\b[^\n]*:)")
"""A paragraph ends at an empty line, or where the next labelled one begins."""


class Quirk(NamedTuple):
    """One ``Differs:`` paragraph and the place that it speaks of."""

    path: str
    name: str
    """Qualified name of the class, function or constant; empty for the module."""
    text: str


def quirks() -> Iterator[Quirk]:
    """All of them, by path and line."""
    for package in ("kernel_model", "emu"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from _of_body(tree, str(path.relative_to(ROOT)), "")


def _of_body(node: ast.Module | ast.ClassDef | ast.FunctionDef, path: str, name: str) -> Iterator[Quirk]:
    target = name
    for statement in node.body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from (Quirk(path, target, found) for found in _paragraphs(text))
            case ast.FunctionDef() | ast.ClassDef():
                yield from _of_body(statement, path, f"{name}.{statement.name}".lstrip("."))
            case ast.Assign(targets=[ast.Name(id=constant)]) | ast.AnnAssign(target=ast.Name(id=constant)):
                target = f"{name}.{constant}".lstrip(".")
                continue
        target = name


def _paragraphs(text: str) -> list[str]:
    return [" ".join(_END.split(part, maxsplit=1)[0].split()) for part in text.split(MARK)[1:]]


def render() -> str:
    """The text of QUIRKS.md."""
    lines = [HEAD]
    folder = ""
    for quirk in quirks():
        where, _, module = quirk.path.rpartition("/")
        if where != folder:
            lines.append(f"{'' if not folder else chr(10)}## {where}\n")
            folder = where
        place = f"`{module}`" + (f", `{quirk.name}`" if quirk.name else "")
        lines.append(f"* {place}: {quirk.text}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
