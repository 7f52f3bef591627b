"""``from kernel_model.vm import ...``: every name, its type for mypy, and nothing paid for before it is asked for."""

from __future__ import annotations

import ast
import pydoc
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import kernel_model
import kernel_model.vm as door
from kernel_model.errors import UsageError
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm_param import KernReturn

SOURCE = Path(door.__file__).read_text(encoding="utf-8")
ROOT = Path(__file__).resolve().parents[2]


def _typed() -> dict[str, str]:
    """Each name that mypy sees, and the file that it takes it from."""
    return {
        alias.name: node.module
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kernel_model.vm.")
        for alias in node.names
    }


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_what_is_offered_is_what_is_typed() -> None:
    typed = _typed()
    assert len(set(door.OFFERED)) == len(door.OFFERED)
    assert set(typed) == set(door.OFFERED)
    assert {f"kernel_model.vm.{file}" for file in door.FILES} == set(typed.values())


def test_each_name_is_the_one_of_its_file() -> None:
    assert [name for name, file in _typed().items() if getattr(door, name) is not vars(import_module(file))[name]] == []


@pytest.mark.parametrize("first", ["kernel_model.vm", "kernel_model.vm.vm_fault", "kernel_model.init_main"])
def test_a_name_is_the_function_whatever_was_loaded_before(first: str) -> None:
    code = f"import {first}; from kernel_model.vm import vm_fault, vm_map_insert as insert; from types import *; "
    code += "print(isinstance(vm_fault, FunctionType), insert.__name__)"
    assert _python(code) == "True vm_map_insert\n"


def test_a_file_that_has_a_name_of_its_own_is_a_file() -> None:
    assert _python("from kernel_model.vm import vm_map, vm_mmap; print(vm_map.__name__)") == "kernel_model.vm.vm_map\n"
    with pytest.raises(AttributeError, match=r"'kernel_model.vm' has no attribute 'vm_map_nothing'"):
        _ = door.vm_map_nothing


def test_a_star_brings_all_and_nothing_else() -> None:
    scope: dict[str, object] = {}
    exec("from kernel_model.vm import *", scope)
    assert set(scope) - {"__builtins__"} == set(door.OFFERED)


@pytest.mark.parametrize("module", ["kernel_model", "kernel_model.vm", "kernel_model.vm.vm_param"])
def test_a_door_that_nobody_goes_through_costs_nothing(module: str) -> None:
    loaded = _python(f"import sys, {module}; print(sorted(n for n in sys.modules if n.startswith('kernel_model')))")
    assert set(ast.literal_eval(loaded)) <= {"kernel_model", "kernel_model.vm", "kernel_model.vm.vm_param"}


def test_nobody_inside_goes_through_the_doors() -> None:
    """They stand above all rooms: a file below imports other files, by their own names."""
    doors = {"kernel_model": set(kernel_model.__all__), "kernel_model.vm": set(door.OFFERED)}
    inside = [
        (path.name, alias.name)
        for package in ("kernel_model", "emu")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module in doors
        for alias in node.names
        if alias.name in doors[node.module]
    ]
    assert inside == []


def test_help_shows_a_guide_and_the_verbs() -> None:
    text = pydoc.plain(pydoc.render_doc(door))
    assert text.index("The vm_map(9) family under the manual pages' names.") < text.index(">>> map_ = one_map()")
    for verb in ("vm_map_stack(map_", "vm_map_lock(map_", "vm_fault(map_", "KERN_NO_SPACE = KERN_NO_SPACE"):
        assert verb in text


def test_every_function_is_documented_and_every_code_has_its_type() -> None:
    functions = [getattr(door, name) for name in door.OFFERED if callable(getattr(door, name))]
    assert [function.__name__ for function in functions if not function.__doc__] == []
    codes = [getattr(door, name) for name in door.OFFERED if name.startswith("KERN_")]
    assert {type(code) for code in codes} == {KernReturn}


# one map, one vmspace, one kernel


def test_a_signature_names_the_default_release() -> None:
    for function in (kernel_model.one_map, kernel_model.one_vmspace, kernel_model.one_kernel):
        assert function.__defaults__[0] == DEFAULT_RELEASE


@pytest.mark.parametrize("release", RELEASES)
def test_a_stack_grows_on_the_map_of_every_release(release: str) -> None:
    map_ = kernel_model.one_map(release)
    top = 0x7FFF_0010_0000
    with map_.locked():
        assert repr(map_) == door.map_table(map_)
    rv = door.vm_map_stack(map_, top - (1 << 20), 1 << 20, door.VM_PROT_RW, door.VM_PROT_ALL, door.MAP_STACK_GROWS_DOWN)
    assert repr(rv) == "KERN_SUCCESS"
    assert repr(door.vm_fault(map_, top - door.SGROWSIZ - 8, door.VM_PROT_WRITE)) == "KERN_SUCCESS"
    assert door.vm_map_lookup_entry(map_, top - door.SGROWSIZ - 8)[0]
    assert map_.vm.release.name == release
    door.vm_map_assert_consistent(map_)


def test_what_was_made_shows_itself_in_a_line() -> None:
    kernel = kernel_model.one_kernel("freebsd-12.1")
    proc = kernel.curthread.td_proc
    assert repr(kernel) == f"<Kernel freebsd-12.1: <Proc {proc.p_pid} without a program (freebsd)>>"
    assert repr(kernel.curthread) == f"<Thread {proc.p_pid} of {proc!r}>"
    assert repr(proc.p_vmspace) == "<VmSpace of 0 entries: text 0, data 0, stack 0 pages, vm_refcnt 1>"


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_a_kernel_serves_calls_by_name(abi: str) -> None:
    kernel = kernel_model.one_kernel(abi=abi, seed=1)
    proc = kernel.curthread.td_proc
    anonymous = door.MAP_ANON if abi == "freebsd" else 0x20
    addr = kernel_model.syscall(kernel, "mmap", 0, 0x2000, 3, anonymous | door.MAP_PRIVATE, -1, 0)
    assert [(entry.start, entry.end) for entry in proc.p_vmspace.vm_map] == [(addr, addr + 0x2000)]
    assert kernel_model.syscall(kernel, "munmap", addr, 0) == -22
    assert kernel_model.syscall(kernel, "getpid") == proc.p_pid
    assert kernel_model.syscall(kernel, "kill", proc.p_pid, 9) == 0
    assert proc.wait_status == 128 + 9


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: kernel_model.one_map("freebsd-1.0"),
        lambda: kernel_model.one_kernel(abi="plan9"),
        lambda: kernel_model.one_kernel(root="/nonexistent"),
        lambda: kernel_model.syscall(kernel_model.one_kernel(), "nothing"),
        lambda: kernel_model.syscall(kernel_model.one_kernel(), "getpid", *range(7)),
    ],
)
def test_bad_use_says_so(wrong) -> None:
    with pytest.raises(UsageError):
        wrong()
