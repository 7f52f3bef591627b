"""The examples of emu/trace/README.md run, and what they show is true."""

from __future__ import annotations

import doctest
from pathlib import Path

import emu.trace


def test_the_examples_run(monkeypatch):
    readme = Path(emu.trace.__file__).with_name("README.md")
    text = readme.read_text(encoding="utf-8").replace("```", "")
    parser = doctest.DocTestParser()
    test = parser.get_doctest(text, {}, "README", str(readme), 0)
    assert len(test.examples) > 30
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
