"""The two ABIs as data: nothing above the record asks which one it is, and the values are the real ones."""

import ast
import errno as host_errno
import os
import re
import sys
from pathlib import Path

import pytest

from kernel_model import errno as E
from kernel_model.abi.freebsd64.sysvec import ELF64_FREEBSD_SYSVEC as FREEBSD
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC as LINUX
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_time import CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_REALTIME
from kernel_model.kern.machdep import ReferenceCpu
from kernel_model.kern.proc import SysentVec
from kernel_model.kern.signo import (
    SIGCHLD,
    SIGCONT,
    SIGIO,
    SIGKILL,
    SIGPROP_CONT,
    SIGPROP_CORE,
    SIGPROP_IGNORE,
    SIGPROP_KILL,
    SIGPROP_STOP,
    SIGRTMIN,
    SIGSEGV,
    SIGSYS,
    SIGTERM,
    SIGTSTP,
    SIGURG,
    SIGUSR1,
    SIGWINCH,
)
from kernel_model.kern.sysentvec import CredRules, ExecRules, FileRules, PathRules, SignalRules, TimeRules
from tests.process import Process

ROOT = Path(__file__).resolve().parents[2]
SHARED = sorted((ROOT / "kernel_model/kern").rglob("*.py")) + sorted((ROOT / "kernel_model/fs").rglob("*.py"))
ABIS = {"freebsd", "linux"}


def questions(source: str) -> list[int]:
    """Lines of *source* that ask which ABI a process has."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if getattr(node, "id", getattr(node, "attr", "")) in {"is_linux", "is_freebsd", *ABIS}:
            lines.append(node.lineno)
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = {side.value for side in sides if isinstance(side, ast.Constant)}
            names = {getattr(side, "id", getattr(side, "attr", "")) for side in ast.walk(node)}
            if words & ABIS or any(name.startswith("SV_ABI_") or name.endswith("_SYSVEC") for name in names):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", SHARED, ids=lambda p: str(p.relative_to(ROOT)))
def test_shared_code_never_asks_for_the_abi(path):
    assert questions(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = td.td_proc.p_sysent.is_linux",
        "linux = flag\nif linux: pass",
        "if sv.name == 'linux': pass",
        "if sv.sv_flags & SV_ABI_MASK == SV_ABI_LINUX: pass",
        "if proc.p_sysent is ELF64_LINUX_SYSVEC: pass",
    ],
)
def test_such_a_question_would_be_found(source):
    assert questions(source)


RULES = (SignalRules, PathRules, FileRules, TimeRules, CredRules, ExecRules)


@pytest.mark.parametrize(
    "record", [SysentVec, *RULES], ids=lambda r: r.__name__
)
def test_no_field_has_a_default_so_both_fill_in_all(record):
    assert record._fields
    assert record._field_defaults == {}


def flat(sv: SysentVec) -> dict[str, object]:
    """Every field by its name, those of the nested records as ``files.pipe_buf``."""
    values = {}
    for name, value in sv._asdict().items():
        if isinstance(value, RULES):
            values |= {f"{name}.{inner}": what for inner, what in value._asdict().items()}
        else:
            values[name] = value
    return values


def test_every_rule_is_a_difference():
    freebsd, linux = flat(FREEBSD), flat(LINUX)
    same = {name for name in freebsd if freebsd[name] == linux[name]}
    assert same == {"sv_minuser", "sv_maxuser", "sv_shared_page_base", "sv_usrstack"}


def test_every_rule_says_both_sources():
    text = (ROOT / "kernel_model/kern/sysentvec.py").read_text(encoding="utf-8")
    seen = []
    for node in ast.parse(text).body:
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("Rules"):
            continue
        body = node.body[1:]  # behind the docstring a field and its words take turns
        for field, words in zip(body[::2], body[1::2], strict=True):
            assert isinstance(field, ast.AnnAssign)
            said = ast.literal_eval(words.value)
            assert re.search(r"FreeBSD:\s.*Linux:\s", said, re.DOTALL), ast.unparse(field.target)
            seen.append(ast.unparse(field.target))
    assert sorted(seen) == sorted(name.partition(".")[2] for name in flat(LINUX) if "." in name)


def test_every_rule_is_asked_somewhere():
    text = "".join(path.read_text(encoding="utf-8") for path in SHARED if path.name != "sysentvec.py")
    for name in flat(LINUX):
        if "." in name:
            assert re.search(rf"\.{name.partition('.')[2]}\b", text), name


VALUES = [
    # FreeBSD's from sys/sys/syslimits.h, sys/sys/param.h and lib/libc/sys/*.2; Linux's from include/uapi/linux/limits.h
    # and sections 2, 3 and 7 of its manual pages
    ("paths.path_max", 1024, 4096),
    ("paths.maxsymlinks", 32, 40),
    ("paths.unlink_directory", E.EPERM, E.EISDIR),
    ("paths.rmdir_dotdot", E.EINVAL, E.ENOTEMPTY),
    ("paths.rename_dot", E.EINVAL, E.EBUSY),
    ("paths.getdirentries_no_directory", E.EINVAL, E.ENOTDIR),
    ("paths.empty_symlink", True, False),
    ("files.pipe_buf", 512, 4096),
    ("files.pipe_both_ways", True, False),
    ("files.rw_max", (1 << 63) - 1, 0x7FFFF000),
    ("files.open_symlink", E.EMLINK, E.ELOOP),
    ("files.open_socket", E.EOPNOTSUPP, E.ENXIO),
    ("files.mmap_no_file", E.EINVAL, E.ENODEV),
    ("creds.ngroups_max", 1024, 65536),
    ("creds.setid_sets_all", True, False),
    ("exec.comm_max", 19, 15),
    ("exec.argv_needed", True, False),
    ("signals.unknown_call", SIGSYS, 0),
    ("signals.once_below", 0, SIGRTMIN),
    ("time.null_itimer_stops", False, True),
    ("time.coarse_clocks", {8, 10, 12}, {5, 6}),
    ("sv_name", "FreeBSD ELF64", "Linux ELF64"),
    ("sv_stackprot", 7, 3),
    ("sv_usrstack", 0x7FFFFFFFF000, 0x7FFFFFFFF000),
]


@pytest.mark.parametrize(("name", "freebsd", "linux"), VALUES)
def test_known_differences(name, freebsd, linux):
    assert (flat(FREEBSD)[name], flat(LINUX)[name]) == (freebsd, linux)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel below")
def test_the_linux_below_agrees():
    assert os.pathconf("/", "PC_PATH_MAX") == LINUX.paths.path_max
    assert os.pathconf("/", "PC_PIPE_BUF") == LINUX.files.pipe_buf
    assert os.sysconf("SC_NGROUPS_MAX") == LINUX.creds.ngroups_max


@pytest.mark.parametrize(
    ("signo", "freebsd", "linux"),
    [
        (SIGCHLD, SIGPROP_IGNORE, SIGPROP_IGNORE),
        (SIGURG, SIGPROP_IGNORE, SIGPROP_IGNORE),
        (SIGWINCH, SIGPROP_IGNORE, SIGPROP_IGNORE),
        (SIGIO, SIGPROP_IGNORE, SIGPROP_KILL),
        (SIGCONT, SIGPROP_IGNORE | SIGPROP_CONT, SIGPROP_IGNORE | SIGPROP_CONT),
        (SIGTSTP, SIGPROP_STOP, SIGPROP_STOP),
        (SIGTERM, SIGPROP_KILL, SIGPROP_KILL),
        (SIGUSR1, SIGPROP_KILL, SIGPROP_KILL),
        (SIGKILL, SIGPROP_KILL, SIGPROP_KILL),
        (SIGSEGV, SIGPROP_KILL | SIGPROP_CORE, SIGPROP_KILL | SIGPROP_CORE),
    ],
)
def test_default_actions(signo, freebsd, linux):
    """signal(3) of FreeBSD; signal(7) of Linux."""
    assert (FREEBSD.signals.sigprop(signo), LINUX.signals.sigprop(signo)) == (freebsd, linux)


def test_failed_calls_return_what_each_c_library_expects():
    assert FREEBSD.sv_set_syscall_retval(E.EAGAIN) == -35
    assert LINUX.sv_set_syscall_retval(E.EAGAIN) == (1 << 64) - host_errno.EAGAIN
    assert LINUX.sv_set_syscall_retval(E.ELOOP) == (1 << 64) - 40


def test_clocks():
    """clock_gettime(2) of both; a negative number is the clock of a process, clock_getcpuclockid(3)."""
    assert FREEBSD.time.clockid(4) == LINUX.time.clockid(1) == CLOCK_MONOTONIC
    assert FREEBSD.time.clockid(0) == LINUX.time.clockid(0) == LINUX.time.clockid(5) == CLOCK_REALTIME
    assert LINUX.time.clockid(2) == LINUX.time.clockid(-6) == CLOCK_PROCESS_CPUTIME_ID
    with pytest.raises(SyscallError):
        LINUX.time.clockid(10)


def test_registers_of_an_indirect_call_shift_on_freebsd_only(monkeypatch):
    def get_frame(_cpu):
        raise AssertionError("nobody asks for the stack")

    td = Process().td
    monkeypatch.setattr(ReferenceCpu, "get_frame", get_frame)
    args = (1, 2, 3, 4, 5, 6)
    assert LINUX.sv_fetch_syscall_args(td, 0, args) == (0, args)
    assert FREEBSD.sv_fetch_syscall_args(td, 4, args) == (4, args)
