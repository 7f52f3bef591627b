"""Whoever follows a fault, an argument or an mmap passes each file once, and comes back to none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys import by_file, journeys, render

TAKEN = journeys()


@pytest.mark.parametrize("title", TAKEN)
def test_no_file_is_come_back_to(title):
    files = [file for file, _ in by_file(TAKEN[title])]
    assert len(files) >= 3
    assert [file for file in files if files.count(file) > 1] == []


def test_the_page_shows_them_as_they_are():
    page = Path(__file__).resolve().parents[2] / "kernel_model" / "README.md"
    assert f"```\n{render()}\n```" in page.read_text(encoding="utf-8")
