"""emu/README.md and emu.api have examples, and the files and names that they speak of are there."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import emu.api

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "emu/README.md"


def test_the_guide_and_the_api_have_examples():
    """They run in tests/unit/test_examples.py."""
    text = README.read_text(encoding="utf-8").replace("```", "")
    assert len(doctest.DocTestParser().get_examples(text)) > 30
    tests = [test for test in doctest.DocTestFinder().find(emu.api, "emu.api") if test.examples]
    assert {test.name for test in tests} >= {"emu.api", "emu.api.Process"}


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
