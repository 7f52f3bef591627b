"""Who may import whom, and what may lie at the top level."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE_DOORS = {"emu/engine/raw.py", "emu/engine/cpu.py", "emu/engine/pmap.py"}


def _sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Every module name that *path* imports, absolute, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def _top(name: str) -> str:
    return name.partition(".")[0]


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


@pytest.mark.parametrize("path", _sources("kernel_model"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_kernel_imports_only_the_standard_library_and_itself(path):
    import sys

    foreign = {name for name in _imports(path) if _top(name) not in sys.stdlib_module_names | {"kernel_model"}}
    if path.name == "imgact_elf.py":
        foreign = {name for name in foreign if _top(name) != "elftools"}
    assert foreign == set()


@pytest.mark.parametrize("path", _sources("kernel_model"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_kernel_never_prints(path):
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


@pytest.mark.parametrize("path", _sources("emu"), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_engine_doors_touch_unicorn(path):
    if str(path.relative_to(ROOT)) not in ENGINE_DOORS:
        assert "unicorn" not in {_top(name) for name in _imports(path)}


@pytest.mark.parametrize("path", _sources("guest"), ids=lambda p: str(p.relative_to(ROOT)))
def test_guests_are_data_and_import_neither_layer(path):
    assert {_top(name) for name in _imports(path)} & {"emu", "kernel_model", "unicorn"} == set()


def test_vm_does_not_look_up_into_the_kernel():
    """kernel_model.vm stands below kern, fs and abi: it imports them for types only."""
    for path in _sources("kernel_model/vm"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and id(node) not in guarded:
                above = [p for p in ("kern", "fs", "abi") if (node.module or "").startswith(f"kernel_model.{p}")]
                assert not above or path.name == "vm_mmap.py", f"{path.name} imports {node.module}"


def test_ci_runs_exactly_the_readme_test_command():
    commands = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if "-m pytest" in line]
    assert commands, "README shows no test command"
    assert commands[0].strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
