"""Who imports whom, and the order of the rooms: ``python -m tests.layers`` prints an order that fits the imports.

The order itself stands in the tables "The order of the rooms" of kernel_model/README.md and emu/README.md;
tests/unit/test_layering.py holds the imports against it.  Imports inside functions and for types count like all others.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEADING = "## The order of the rooms"
ROOMS = {
    "kernel_model": (
        "kernel_model", "kernel_model.ktrace", "kernel_model.vm", "kernel_model.host", "kernel_model.kern",
        "kernel_model.fs", "kernel_model.abi", "kernel_model.abi.freebsd64", "kernel_model.abi.linux64",
        "kernel_model.init_main", "kernel_model.__init__",
    ),
    "emu": (
        "emu", "emu.program", "emu.dump", "emu.engine", "emu.machine", "emu.trace", "emu.why", "emu.view", "emu.api",
        "emu.cli", "emu.__main__",
    ),
}  # fmt: skip
"""The rooms of each package from the bottom up; one file alone can be a room.

A package's ``__init__`` stands in the room of that name, unless it is a room itself: a door, above all that it offers.
"""


LOADERS = ("importlib.import_module", "import_module", "__import__")


def modules_of(root: Path, package: str) -> dict[str, Path]:
    """Every module of *package* by its dotted name; a package is its ``__init__``."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imports_of(source: str, name: str, known: set[str]) -> set[str]:
    """The modules that the module *name* with this *source* imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative import"
            module = node.module or ""
            found.update(f"{module}.{word.name}" if f"{module}.{word.name}" in known else module for word in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in LOADERS:
            found.update(str(word.value) for word in node.args if isinstance(word, ast.Constant))
    return found


def all_imports(root: Path = ROOT) -> dict[str, set[str]]:
    """Of every module of both packages: what it imports."""
    modules = {name: path for package in ROOMS for name, path in modules_of(root, package).items()}
    known = set(modules)
    return {name: imports_of(path.read_text(encoding="utf-8"), name, known) - {name} for name, path in modules.items()}


def rows(package: str) -> dict[str, tuple[str, list[str]]]:
    """The table of the package's README: room -> what it is, and its modules by their dotted names, bottom first."""
    text = (ROOT / package / "README.md").read_text(encoding="utf-8")
    if HEADING not in text:
        return {}
    section = text.split(HEADING, 1)[1].split("\n## ", 1)[0]
    table = {}
    for room, words, listed in re.findall(r"^\| `([\w.]+)` \| ([^|]*) \| ([^|]+) \|$", section, re.M):
        table[room] = (words, [_full(room, name) for name in re.findall(r"`(\w+)`", listed)])
    return table


def _full(room: str, name: str) -> str:
    """A row's word as a module: the room itself when it is one file, or its ``__init__``."""
    alone = "__init__" if _is_folder(room) else room.rpartition(".")[2]
    return room.removesuffix(".__init__") if name == alone else f"{room}.{name}"


def _is_folder(room: str) -> bool:
    return (ROOT / room.replace(".", "/")).is_dir()


def _short(room: str, name: str) -> str:
    if name not in (room, room.removesuffix(".__init__")):
        return name.removeprefix(f"{room}.")
    return "__init__" if _is_folder(room) else room.rpartition(".")[2]


def listed_order() -> list[str]:
    """All modules as the READMEs list them, bottom first."""
    return [name for package in ROOMS for _, names in rows(package).values() for name in names]


def violations(order: list[str], imports: dict[str, set[str]]) -> list[str]:
    """``importer -> imported`` for each arrow that does not point down."""
    place = {name: index for index, name in enumerate(order)}
    return [
        f"{name} -> {other}"
        for name in order
        for other in sorted(imports[name])
        if other in place and place[other] >= place[name]
    ]


def room_of(name: str) -> str:
    """The room that a module stands in: the longest name that it begins with, or its own as a door."""
    all_rooms = [room for rooms in ROOMS.values() for room in rooms]
    if f"{name}.__init__" in all_rooms:
        return f"{name}.__init__"
    return max((room for room in all_rooms if name == room or name.startswith(f"{room}.")), key=len)


def computed_order(room: str, imports: dict[str, set[str]]) -> list[str]:
    """The modules of *room*, each after those that it imports."""
    left = {name for name in imports if room_of(name) == room}
    order: list[str] = []
    while left:
        ready = sorted(name for name in left if not imports[name] & left)
        if not ready:
            raise SystemExit(f"{room}: a circle among {', '.join(sorted(left))}")
        order += ready
        left -= set(ready)
    return order


def main() -> None:
    """Print both tables, with the words that they have now."""
    imports = all_imports()
    for package, rooms in ROOMS.items():
        known = rows(package)
        print(f"{package}/README.md\n\n| room | what it is | its files, from the bottom up |\n|---|---|---|")
        for room in rooms:
            words = known.get(room, ("", []))[0]
            files = " ".join(f"`{_short(room, name)}`" for name in computed_order(room, imports))
            print(f"| `{room}` | {words} | {files} |")
        print()


if __name__ == "__main__":
    sys.exit(main())
