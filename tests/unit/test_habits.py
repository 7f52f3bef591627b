"""``python -m tests NAME``: every habit's command exists and is what the pages say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import HABITS, Habit, main, run

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "format", "lint", "types", "fast", "all", "bench", "mutate", "listings", "quirks", "replay", "layers", "journeys",
}  # fmt: skip
each_habit = pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.name)


def test_the_habits_of_the_house():
    assert {habit.name for habit in HABITS} == NAMES


@each_habit
def test_a_dry_run_shows_the_command_and_runs_nothing(habit, capsys):
    assert main(["--dry-run", habit.name, "--flag", "two words"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"$ python -m {habit.command[0]} ")
    assert "--flag 'two words'" in shown.err


@each_habit
def test_the_command_exists(habit):
    tool, *arguments = habit.command
    if tool in ("ruff", "mypy", "pytest"):
        pytest.importorskip(tool, reason=f"{tool} is not installed: pip install '.[test]'")
    assert importlib.util.find_spec(tool) is not None
    assert all((ROOT / path).exists() for path in arguments if "/" in path)


@each_habit
def test_help_names_it_and_a_page_does(habit, capsys):
    assert main(["--help"]) == 0
    assert habit.help in capsys.readouterr().out
    assert f"`python -m tests {habit.name}`" in (ROOT / "tests/README.md").read_text(encoding="utf-8")
    assert habit.name in re.findall(r"`(\w+)`", _section(ROOT / "README.md", "Habits of the house"))


def _section(page: Path, title: str) -> str:
    text = page.read_text(encoding="utf-8")
    assert f"\n## {title}\n" in text
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_bad_use_is_one_line(capsys):
    assert main(["sing"]) == 2
    assert capsys.readouterr().err == "python -m tests: no habit 'sing'; --help names them\n"
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err


def test_the_status_is_the_tool_s(capfd):
    """Through the front and back: mutate refuses a module that there is none of."""
    assert main(["mutate", "no/such.py"]) == 2
    assert "no module no/such.py" in capfd.readouterr().err


def test_output_for_a_file_is_written_only_when_the_tool_succeeds(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.__main__.ROOT", tmp_path)
    (tmp_path / "good.py").write_text("print('new')")
    (tmp_path / "bad.py").write_text("print('half'); raise SystemExit(3)")
    (tmp_path / "page").write_text("old")
    assert run(Habit("bad", ("bad",), "", "page"), ()) == 3
    assert (tmp_path / "page").read_text() == "old"
    assert run(Habit("good", ("good",), "", "page"), ()) == 0
    assert (tmp_path / "page").read_text() == "new\n"


def test_from_the_shell():
    done = subprocess.run(
        [sys.executable, "-m", "tests", "--dry-run", "all"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == "$ python -m pytest\n"
