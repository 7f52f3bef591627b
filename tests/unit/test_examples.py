"""What docstrings and READMEs show in the interpreter is what happens there."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
FLAGS = doctest.NORMALIZE_WHITESPACE


def _with_examples(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if ">>> " in path.read_text(encoding="utf-8"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _run(test: doctest.DocTest) -> None:
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)


PACKAGES = [ROOT / name for name in ("kernel_model", "emu", "guest")]
PAGES = [ROOT / "README.md", *(path for folder in [*PACKAGES, ROOT / "tests"] for path in folder.rglob("*.md"))]
MODULES = _with_examples(path for folder in PACKAGES for path in folder.rglob("*.py"))


def test_there_are_examples() -> None:
    shown = {_name(path) for path in MODULES}
    assert shown >= {"kernel_model/__init__.py", "kernel_model/vm/__init__.py", "emu/api.py"}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_docstrings(path: Path) -> None:
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    tests = [test for test in doctest.DocTestFinder().find(module, module.__name__) if test.examples]
    written = path.read_text(encoding="utf-8").count(">>> ")
    assert sum(len(test.examples) for test in tests) == written, "an example stands where nobody runs it"
    for test in tests:
        _run(test)


@pytest.mark.parametrize("path", _with_examples(PAGES), ids=_name)
def test_pages(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("```", "")
    _run(doctest.DocTestParser().get_doctest(text, {}, _name(path), str(path), 0))


def test_no_example_is_forgotten() -> None:
    """A Python block is a session, which runs above; README's own script is test_readme's."""
    scripts = [
        _name(path)
        for path in PAGES
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
        if ">>> " not in block
    ]
    assert scripts in ([], ["README.md"])
