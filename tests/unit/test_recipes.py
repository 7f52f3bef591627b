"""The pages for who changes things name files, tests and commands that exist, and every guest once."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from guest import HERE, guests
from tests.__main__ import HABITS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("emu", "kernel_model", "guest", "tests")
PAGES = [ROOT / "README.md", *sorted(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))]
PLACEHOLDER = re.compile(r"[A-Z]{2,}|[<>*{}]|\.\.\.")
"""NAME, FILE, *: a name that the reader chooses."""
TREE = [f"/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()]

ANCHORS = (*(f"{room}/" for room in ROOMS), ".ci/")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _quoted(text: str) -> list[str]:
    """What stands in back-quotes, outside of code blocks; line breaks inside are spaces."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]


def paths(text: str) -> list[str]:
    """Back-quoted words that look like paths of the tree: they begin with a room, or end as our files do."""
    return [
        word
        for word in _quoted(text)
        if re.fullmatch(r"[\w.+-][\w./+-]*(::\w+)?", word)
        and not PLACEHOLDER.search(Path(word.partition("::")[0]).stem.removesuffix("README").removesuffix("QUIRKS"))
        and (word.startswith(ANCHORS) or word.partition("::")[0].endswith((".py", ".toml", ".md")))
    ]


def missing(text: str, root: Path = ROOT) -> list[str]:
    """The paths that are not there, and tests that their file does not define."""
    return [word for word in paths(text) if not _exists(word, root)]


def _exists(word: str, root: Path) -> bool:
    path, _, test = word.partition("::")
    if not word.startswith(ANCHORS):  # a file's last names are enough when the page has said which room it is in
        return (root / path).is_file() or any(known.endswith(f"/{path}") for known in TREE)
    if not (root / path).exists():
        return False
    return not test or f"def {test}(" in (root / path).read_text(encoding="utf-8")


@each_page
def test_every_path_is_there(page):
    assert missing(page.read_text(encoding="utf-8")) == []


@each_page
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@each_page
def test_every_command_is_there(page):
    """``python -m MODULE`` names a module, ``emu COMMAND`` a command, ``python -m tests NAME`` a habit."""
    for command in _quoted(page.read_text(encoding="utf-8")):
        words = command.split()
        if words[:2] in (["python", "-m"], ["python3", "-m"]) and len(words) > 2:
            assert importlib.util.find_spec(words[2]), command
            if words[2] == "tests" and len(words) > 3 and words[3].islower() and not words[3].startswith("-"):
                assert words[3] in {habit.name for habit in HABITS}, command
        if words[0] == "emu" and len(words) > 1 and words[1].islower():
            assert set(words[1].split("|")) <= _commands(), command


def _commands() -> set[str]:
    done = subprocess.run([sys.executable, "-m", "emu", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(re.findall(r"\b[a-z]+\b", done.stdout))


def test_the_check_finds_what_is_missing(tmp_path):
    text = "`tests/NAME.py` `tests/no.py` `tests/a.py::test_b` `tests/a.py::test_c` `no/path.py` `vm_map.py`"
    text += " `sys/vm/vm_map.c` `emu run` `/dev/null`\n```\n`emu/x.py`\n```\n"
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/a.py").write_text("def test_b():\n    pass\n")
    assert missing(text, tmp_path) == ["tests/no.py", "tests/a.py::test_c", "no/path.py"]


def test_each_room_has_its_page():
    for room in ROOMS:
        if (ROOT / room / "README.md").exists():
            assert len(paths((ROOT / room / "README.md").read_text(encoding="utf-8"))) >= 5, room
    assert (ROOT / "tests/README.md").exists()
    assert (ROOT / "guest/README.md").exists()


def test_the_pages_of_tests_and_guests_have_their_sections():
    for room in ("tests", "guest"):
        text = (ROOT / room / "README.md").read_text(encoding="utf-8")
        assert {"What lives here", "Which way data flows"} <= set(re.findall(r"^## (.*)$", text, re.MULTILINE))
        assert re.search(r"^## How to add a ", text, re.MULTILINE)


def test_every_folder_and_header_is_told_of():
    """A folder of tests or a header that a page forgets cannot be found by who reads only pages."""
    told = (ROOT / "tests/README.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert [name for name in sorted(folders) if f"`tests/{name}/" not in told] == []
    told = (ROOT / "guest/README.md").read_text(encoding="utf-8")
    assert [path.name for path in (HERE / "include").iterdir() if f"`guest/include/{path.name}`" not in told] == []


def test_every_guest_stands_once_in_the_order_to_read_them_in():
    page = (HERE / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|[^|]*\| `(\w+)` \|([^|]*)\| (.*) \|$", page, re.MULTILINE)
    plain = {one.name: one.teaches for one in guests() if one.name == one.source.stem}
    assert {name: teaches for name, _, teaches in rows} == plain
    assert len(rows) == len(plain)
    builds = {f"{name}-{build.strip()}" for name, others, _ in rows for build in others.split(",") if build.strip()}
    assert builds == {one.name for one in guests()} - set(plain)


def test_programs_that_die_come_after_those_that_do_not():
    page = (HERE / "README.md").read_text(encoding="utf-8")
    kinds = {one.name: one.kind for one in guests()}
    order = [kinds[name] for name in re.findall(r"^\|[^|]*\| `(\w+)` \|", page, re.MULTILINE)]
    assert order == sorted(order)
