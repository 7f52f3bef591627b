"""There is one door to the host: kernel_model/host."""

from __future__ import annotations

import ast
import errno
import os
import re
from pathlib import Path

import pytest

import kernel_model.host
from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.host import files
from kernel_model.host.errors import FROM_HOST, host_error
from kernel_model.host.memory import SwapFile
from kernel_model.host.poll import Waiter, ready_events

ROOT = Path(__file__).resolve().parents[2]
DOOR = ROOT / "kernel_model/host"
OUTSIDE = sorted(path for path in (ROOT / "kernel_model").rglob("*.py") if not path.is_relative_to(DOOR))
INSIDE = sorted(path for path in DOOR.glob("*.py") if path.name != "__init__.py")

FORBIDDEN = frozenset((
    "os", "io", "pathlib", "shutil", "tempfile", "glob", "fileinput", "time", "datetime", "select", "selectors",
    "fcntl", "termios", "tty", "pty", "socket", "ssl", "signal", "subprocess", "multiprocessing", "threading",
    "asyncio", "random", "secrets", "uuid", "mmap", "ctypes", "resource", "pwd", "grp", "platform", "getpass", "sys",
    "logging", "urllib", "http",
))  # fmt: skip
"""Modules that reach the host, or what the host knows and the program does not."""
PURE = {
    "os": {"fsencode", "fsdecode", "fspath", "PathLike", "major", "minor", "makedev"},
    "sys": {"maxsize"},
}
"""Names of them that are arithmetic, or types."""
RAM = {"kernel_model/vm/vm_phys.py": {"mmap", "ctypes"}}
"""The machine's RAM: anonymous memory, which brings nothing in.  vm stands below the door and cannot ask it."""
BUILTINS = frozenset(("open", "input", "print", "breakpoint", "__import__"))


def doors(source: str, allowed: frozenset[str] | set[str] = frozenset()) -> list[str]:
    """What in *source* reaches the host: a module of FORBIDDEN that is used for more than PURE, or a built-in."""
    tree = ast.parse(source)
    found: list[str] = []
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = top
                if top in FORBIDDEN - allowed and (top not in PURE or alias.name != top):
                    found.append(f"import {alias.name}")
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or "").partition(".")[0]
            pure = PURE.get(top, set()) if node.module == top else set()
            found += [
                f"from {node.module} import {alias.name}"
                for alias in node.names
                if top in FORBIDDEN - allowed and alias.name not in pure
            ]
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and names.get(node.id) in PURE.keys() - allowed:
            above = parents[id(node)]
            used = above.attr if isinstance(above, ast.Attribute) else "itself"
            if used not in PURE[names[node.id]]:
                found.append(f"{node.id}.{used}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            found.append(f"{node.func.id}()")
    return found


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_but_the_door_reaches_the_host(path: Path) -> None:
    allowed = RAM.get(str(path.relative_to(ROOT)), set())
    assert doors(path.read_text(encoding="utf-8"), allowed) == []


def test_ram_is_anonymous() -> None:
    source = (ROOT / "kernel_model/vm/vm_phys.py").read_text(encoding="utf-8")
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "mmap.mmap"
    ]
    assert calls
    for call in calls:
        assert ast.unparse(call.args[0]) == "-1"


@pytest.mark.parametrize(
    "source",
    [
        "import time", "import os.path", "import os\nos.open('x', 0)", "import os as host\nhost.urandom(1)",
        "from os import urandom", "from os.path import exists", "import os\nprint_ = os",
        "import os\nos.path.join('a', 'b')",
        "def late():\n    import socket", "from random import SystemRandom", "open('/etc/passwd')",
        "__import__('os')", "import sys\nsys.stdout", "from ctypes import CDLL",
    ],
)  # fmt: skip
def test_a_planted_door_is_found(source: str) -> None:
    assert doors(source)


def test_arithmetic_is_no_door() -> None:
    assert doors("import os\nimport struct\nos.fsencode('x')\nos.major(3)\ndef f(x: os.PathLike[str]): ...") == []


def _public(path: Path) -> set[str]:
    """Functions of a module of the door, and the methods of its classes, that others may call."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef) and "Protocol" not in [ast.unparse(base) for base in node.bases]:
            names |= {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name[0] != "_"}
    return names


def test_the_list_of_calls_is_whole() -> None:
    lines = (kernel_model.host.__doc__ or "").splitlines()
    rule = next(line for line in lines if line.startswith("==="))
    first, last = rule.index("=  =") + 3, rule.rindex("=  =") + 1
    top, middle, bottom = (at for at, line in enumerate(lines) if line == rule)
    rows = lines[middle + 1 : bottom]
    assert middle == top + 2
    listed = set(re.findall(r"\w+", " ".join(row[first:last] for row in rows)))
    offered = set().union(*(_public(path) for path in INSIDE))
    assert offered - listed == {"seeded_random"}, "what asks the host nothing"
    assert listed - offered == {"HostClock", "HostRandom", "SwapFile", "Waiter", "close"}
    assert {row[:first].strip() for row in rows} - {""} == {path.stem for path in INSIDE}


def test_the_door_knows_nothing_above_it() -> None:
    imported = {
        node.module or ""
        for path in DOOR.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    ours = {module for module in imported if module.startswith("kernel_model")}
    assert "kernel_model.errors" in ours
    assert {module for module in ours if not re.fullmatch(r"kernel_model(\.errors|\.host\.\w+)?", module)} == set()


# -- what comes through ---------------------------------------------------------------------------------


def test_errors_are_translated_once() -> None:
    assert host_error(OSError(errno.ENOENT, "")).errno == E.ENOENT
    assert host_error(OSError(errno.EMFILE, "")).errno == E.ENFILE, "our descriptors are the system's"
    assert host_error(OSError("no number")).errno == E.EIO
    assert FROM_HOST[errno.EAGAIN] == E.EAGAIN
    with pytest.raises(SyscallError) as refused:
        files.fstat(-1)
    assert refused.value.errno == E.EBADF


def test_one_name_is_opened_and_never_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    top = files.open_root(os.fsencode(tmp_path))
    link, plain = files.open_path(top, b"link"), files.open_path(top, b"file")
    try:
        assert files.readlink(link) == b"file"
        reader = files.open_reader(plain)
        buf = bytearray(8)
        assert (files.preadv(reader, [memoryview(buf)], 1), buf[:3]) == (3, b"ext")
        files.close(reader)
        assert sorted(name for _, _, name in files.listdir(top)) == [b"file", b"link"]
    finally:
        for fd in (top, link, plain):
            files.close(fd)


def test_swap_is_a_file_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    swap = SwapFile()
    page = memoryview(bytearray(b"p" * 4096))
    assert swap.write(8192, page)
    back = memoryview(bytearray(4096))
    assert swap.read(8192, back)
    assert back == page

    def broken(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kernel_model.host.memory.os.pwrite", broken)
    assert not swap.write(0, page)
    monkeypatch.setattr("kernel_model.host.memory.os.preadv", broken)
    assert not swap.read(8192, back)
    monkeypatch.setattr("tempfile.TemporaryFile", broken)
    assert not SwapFile().write(0, page), "no room for the file itself"


def test_waiting_ends_when_something_comes() -> None:
    reader, writer = os.pipe()
    try:
        waiter = Waiter({reader: 1})
        assert (waiter.ready(), waiter.wait(0), ready_events(reader, 1)) == (False, False, 0)
        os.write(writer, b"x")
        assert (waiter.ready(), waiter.wait(10**12), ready_events(reader, 1)) == (True, True, 1)
    finally:
        os.close(reader)
        os.close(writer)
