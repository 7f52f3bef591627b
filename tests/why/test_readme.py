"""The examples of emu/README.md and of emu.api run, what they show is true, and the files that are named are there."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import emu.api

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "emu/README.md"


def _run(test: doctest.DocTest) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


def test_the_examples_run():
    text = README.read_text(encoding="utf-8").replace("```", "")
    test = doctest.DocTestParser().get_doctest(text, {}, "README", str(README), 0)
    assert len(test.examples) > 30
    _run(test)


def test_the_examples_of_the_api_run():
    tests = [test for test in doctest.DocTestFinder().find(emu.api, "emu.api") if test.examples]
    assert {test.name for test in tests} >= {"emu.api", "emu.api.Process"}
    for test in tests:
        _run(test)


def test_the_api_offers_what_it_lists_and_documents_it():
    assert sorted(emu.api.__all__) == list(emu.api.__all__), "in order"
    undocumented = [name for name in emu.api.__all__ if not getattr(emu.api, name).__doc__]
    assert undocumented == []
    assert [name for name in emu.api.__all__ if f"``{name}" not in emu.api.__doc__ and name != "watch"] == []


def test_the_api_is_light():
    heavy = "{'capstone', 'elftools', 'rich', 'unicorn'}"
    code = f"import sys, emu.api; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_files_that_the_recipes_name_exist():
    named = set(re.findall(r"`((?:emu|kernel_model|tests)/[\w./]+)`", README.read_text(encoding="utf-8")))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_table_of_the_engine_is_complete():
    listed = set(
        re.findall(
            r"`(\w+\.py)`", README.read_text(encoding="utf-8").partition("| in `engine/` |")[2].partition("\n\n")[0]
        )
    )
    assert listed == {path.name for path in (ROOT / "emu/engine").glob("*.py")} - {"__init__.py"}
