"""Random file system calls of the Linux ABI against the host's kernel: the same results, the same tree.

On the host a child process does them in a chroot of its own, so that absolute links and any number of ``..`` are part
of the game.  Without the right to chroot both sides work three directories deep and leave those out.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import stat
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.process import Process

if TYPE_CHECKING:
    from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
AT_FDCWD = -100
NUMBERS = {
    "open": 2, "close": 3, "access": 21, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87,
    "symlink": 88, "truncate": 76, "chmod": 90, "mkdirat": 258, "unlinkat": 263, "linkat": 265, "faccessat": 269,
    "renameat2": 316, "openat": 257,
}  # fmt: skip
DEEP = "one/two/three"
CAN_CHROOT = os.getuid() == 0

names = st.sampled_from(["a", "b", "c", "d"])
part = st.one_of(names, names, names, st.sampled_from([".", ".."]))
paths = st.builds(
    lambda start, parts, slash: start + "/".join(parts[:4]) + slash,
    st.sampled_from(["", "", "", "", "/", "/one/", "/../one/two/", "../../../../../"]) if CAN_CHROOT else st.just(""),
    st.lists(part, min_size=1, max_size=4).filter(lambda parts: CAN_CHROOT or parts.count("..") <= 2),
    st.sampled_from(["", "", "", "/", "//"]),
)
hostile = ["/", "..", "../../../..", "/..", "/one/two/three/a", "/a", "/../../a", "//b", "/one/../two"]
targets = st.one_of(paths, st.sampled_from(["a", "b", "c", "../three/d", "x" * 300, *(hostile if CAN_CHROOT else [])]))
modes = st.sampled_from([0o755, 0o700, 0o777])
open_flags = st.builds(
    lambda access, bits: access | sum(bits),
    st.sampled_from([0, 1, 2]),
    st.sets(st.sampled_from([0x40, 0x80, 0x200, 0x10000, 0x20000, 0x200000])),
)

calls = st.one_of(
    st.tuples(st.just("mkdir"), paths, modes),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("symlink"), targets, paths),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(
        st.just("linkat"), st.just(AT_FDCWD), paths, st.just(AT_FDCWD), paths, st.sampled_from([0, 0x400, 0x1000])
    ),
    st.tuples(st.just("unlinkat"), st.just(AT_FDCWD), paths, st.sampled_from([0, 0x200, 0x40])),
    st.tuples(st.just("rename"), paths, paths),
    st.tuples(st.just("renameat2"), st.just(AT_FDCWD), paths, st.just(AT_FDCWD), paths, st.sampled_from([0, 1])),
    st.tuples(st.just("truncate"), paths, st.sampled_from([0, 5, 4097, -1])),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("access"), paths, st.sampled_from([0, 4, 6, 7, 8])),
    st.tuples(st.just("open"), paths, open_flags, modes),
)


def native(name: str, *args: int | str) -> int:
    """The call on the host: result, or negative errno."""
    words = [ctypes.c_char_p(os.fsencode(arg)) if isinstance(arg, str) else ctypes.c_long(arg) for arg in args]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name]), *words)
    return -ctypes.get_errno() if result < 0 else result


def tree(top: Path) -> dict[str, tuple]:
    """Everything below *top*: kind, permissions, size or target, and which names are one file."""
    first: dict[int, str] = {}
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        info = path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        what = os.readlink(path) if path.is_symlink() else info.st_size if kind == stat.S_IFREG else 0
        same = first.setdefault(info.st_ino, name)
        found[name] = (oct(info.st_mode), what, same)
    return found


def run_native(top: Path, todo: list[tuple]) -> list[int]:
    """Do it all in a child, whose root is *top* where that is allowed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(0o022)
            if CAN_CHROOT:
                os.chroot(top)
            os.chdir("/" + DEEP if CAN_CHROOT else top / DEEP)
            os.write(writer, pickle.dumps([one_native(*call) for call in todo]))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as results:
        answer = results.read()
    os.waitpid(pid, 0)
    return pickle.loads(answer)


def one_native(name: str, *args: int | str) -> int:
    result = native(name, *args)
    if name == "open" and result >= 0:
        os.close(result)
        return 0
    return result


def run_model(top: Path, todo: list[tuple]) -> list[int]:
    process = Process("linux", root=top, cwd="/" + DEEP, rw=True)
    results = []
    for name, *args in todo:
        result = process.call(name, *args)
        if name == "open" and result >= 0:
            process.ok("close", result)
            result = 0
        results.append(result)
    return results


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(todo=st.lists(calls, min_size=5, max_size=40))
def test_calls_give_what_the_host_gives(tmp_path_factory, todo):
    theirs, ours = tmp_path_factory.mktemp("native"), tmp_path_factory.mktemp("model")
    for top in (theirs, ours):
        (top / DEEP).mkdir(parents=True)
    expected = run_native(theirs, todo)
    actual = run_model(ours, todo)
    assert list(zip(todo, actual, strict=True)) == list(zip(todo, expected, strict=True))
    assert tree(ours) == tree(theirs)
