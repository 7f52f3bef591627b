"""Who may import whom, and what may lie at the top level.

The order of all modules stands in the READMEs of both packages.  A module imports what is listed before it and nothing
else; imports inside functions and for types count like all others, and no module is excused.
"""

from __future__ import annotations

import ast
import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.layers import ROOMS, ROOT, all_imports, imports_of, listed_order, modules_of, room_of, rows, violations

if TYPE_CHECKING:
    from pathlib import Path

ENGINE_DOOR = "emu.engine.raw"
MODULES = {name: path for package in ROOMS for name, path in modules_of(ROOT, package).items()}
KNOWN = set(MODULES)
IMPORTS = all_imports()
ORDER = listed_order()
ARROWS = [(name, other) for name in ORDER for other in sorted(IMPORTS[name] & KNOWN)]


def test_the_order_lists_every_module_once():
    assert sorted(ORDER) == sorted(KNOWN)


def test_every_room_is_listed_with_its_own_modules_and_says_what_it_is():
    for package, rooms in ROOMS.items():
        table = rows(package)
        assert tuple(table) == rooms
        assert [room for room, (words, _) in table.items() if not words.strip()] == []
        assert [(room, name) for room, (_, names) in table.items() for name in names if room_of(name) != room] == []


def test_the_picture_in_readme_is_the_order():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for package, rooms in ROOMS.items():
        drawn = re.search(rf"^{package} +(.*)$", text, re.M)
        assert drawn, f"README draws no rooms of {package}"
        words = [name for name in modules_of(ROOT, package) if room_of(name) == package != name]
        first = [" ".join(name.rpartition(".")[2] for name in words)] if words else []
        top = [room.removeprefix(f"{package}.") for room in rooms if room.count(".") == 1 and "__" not in room]
        assert drawn[1].split(" < ") == [*first, *top]


def test_every_import_points_down():
    assert violations(ORDER, IMPORTS) == []


def test_an_arrow_turned_round_is_noticed():
    """Each of the real arrows, one after the other, planted the other way round."""
    nothing: dict[str, set[str]] = {name: set() for name in ORDER}
    missed = [(a, b) for a, b in ARROWS if violations(ORDER, nothing | {b: {a}}) != [f"{b} -> {a}"]]
    assert missed == []
    assert len(ARROWS) > 1000


PLANTED = (
    "from {package} import {leaf}\n",
    "import {name}\n",
    "import {name} as other\n",
    "from {name} import something\n",
    "def f():\n    from {name} import something\n",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {name} import Something\n",
    "try:\n    import {name}\nexcept ImportError:\n    pass\n",
    "import importlib\nimportlib.import_module('{name}')\n",
)


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("kernel_model.vm.vm_page", "kernel_model.vm.vm_object"),
        ("kernel_model.vm.vm_page", "kernel_model.vm"),
        ("kernel_model.vm.vm_fault", "kernel_model.kern.proc"),
        ("kernel_model.ktrace.events", "kernel_model.vm.vm_param"),
        ("kernel_model.kern.imgact_elf", "kernel_model.abi.linux64.linux_elf"),
        ("kernel_model.kern.vnode", "kernel_model.fs.hostfs"),
        ("kernel_model.host.files", "kernel_model.kern.vnode"),
        ("kernel_model.kern.trap", "emu.machine"),
        ("emu.engine.fill", "emu.machine"),
        ("emu.trace.codec", "emu.why.verdict"),
    ],
)
def test_an_upward_import_is_noticed_however_it_is_written(low, high, planted):
    package, _, leaf = high.rpartition(".")
    source = MODULES[low].read_text(encoding="utf-8") + planted.format(name=high, package=package, leaf=leaf)
    imports = imports_of(source, low, KNOWN)
    assert violations(ORDER, IMPORTS | {low: imports}) == [f"{low} -> {high}"]


def _top(name: str) -> str:
    return name.partition(".")[0]


def test_the_kernel_imports_only_the_standard_library_and_itself():
    allowed = sys.stdlib_module_names | {"kernel_model"}
    foreign = [(name, other) for name in MODULES for other in IMPORTS[name] if _top(other) not in allowed]
    assert [pair for pair in foreign if _top(pair[0]) == "kernel_model"] == []


def _calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_the_kernel_never_prints():
    assert [name for name, path in modules_of(ROOT, "kernel_model").items() if "print" in _calls(path)] == []


def test_only_the_engine_room_touches_unicorn():
    """The library is loaded with ctypes, and nothing of its binding is imported."""
    emu = [name for name in KNOWN if _top(name) == "emu"]
    touching = {name for name in emu if {_top(other) for other in IMPORTS[name]} & {"unicorn", "ctypes"}}
    assert ENGINE_DOOR in touching, "the door does not look as this test thinks"
    assert {name for name in touching if room_of(name) != "emu.engine"} == set()
    assert all("unicorn" not in {_top(other) for other in IMPORTS[name]} for name in KNOWN)


def test_only_the_engine_room_and_the_machine_speak_to_the_door():
    """emu.api passes on the error that the door raises."""
    speaking = {name for name in KNOWN if ENGINE_DOOR in IMPORTS[name]}
    assert {room_of(name) for name in speaking} == {"emu.engine", "emu.machine", "emu.api"}


def test_guests_are_data_and_import_neither_layer():
    guests = modules_of(ROOT, "guest")
    assert "guest.build" in guests
    for name, path in guests.items():
        imported = imports_of(path.read_text(encoding="utf-8"), name, set())
        assert {_top(other) for other in imported} & {*ROOMS, "unicorn"} == set()


def test_the_top_level_holds_exactly_the_agreed_names():
    allowed = {"pyproject.toml", "emu", "kernel_model", "guest", "tests", "README.md"}
    left_by_builds = {"build", "dist"}
    if (ROOT / "PKG-INFO").exists():  # an unpacked source archive: setuptools adds two files
        left_by_builds |= {"PKG-INFO", "setup.cfg"}
    visible = {
        entry.name
        for entry in ROOT.iterdir()
        if not entry.name.startswith(".") and not entry.name.endswith(".egg-info")
    }
    assert visible - left_by_builds == allowed


def test_ci_runs_exactly_the_readme_test_command():
    commands = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if "-m pytest" in line]
    assert commands, "README shows no test command"
    assert commands[0].strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
