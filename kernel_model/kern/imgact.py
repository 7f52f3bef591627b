"""What an execve carries from stage to stage, and the one exception it ends with when it cannot go on.

FreeBSD: struct image_args and struct image_params, sys/sys/imgact.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.proc import P_INEXEC
from kernel_model.ktrace.events import EXEC, Cause, ExecStage
from kernel_model.text import printable_bytes
from kernel_model.vm.vm_kern import ARG_MAX
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vnode_pager import vnode_pager_flush

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Proc, SysentVec, Thread
    from kernel_model.kern.vnode import Vattr, Vnode
    from kernel_model.release import Release
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_object import VmObject

MAXSHELLCMDLEN: Final = PAGE_SIZE
MAXPAGESIZES: Final = 3


def path_text(path: bytes) -> str:
    """*path* for a message: printable, and not longer than a line.  Model only."""
    text = printable_bytes(path)
    return text if len(text) <= 80 else f"{text[:60]}...{text[-17:]}"


class ExecError(SyscallError):
    """execve refuses; ``reason`` tells the person who started the program what is wrong with it.

    Model only: FreeBSD prints some of these on the terminal with uprintf(9) and drops the others.
    """

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(errno)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(slots=True, eq=False)
class ImageArgs:
    """The path and the two vectors, copied out of the old image: struct image_args.

    Differs: the strings are kept one by one as well, beside the buffer in exec_map.
    """

    fname: bytes
    """What is being executed: the path given, later that of a script's interpreter."""
    argv: list[bytes] = field(default_factory=list)
    """Without NULs, like ``envv``."""
    envv: list[bytes] = field(default_factory=list)
    arg_max: int = ARG_MAX
    """Bytes that all strings may have, with their NULs; the release's."""
    stringspace: int = field(init=False)
    """What is left of them."""
    path: bytes = b""
    """The path given, whatever interprets it."""

    def __post_init__(self) -> None:
        self.path = self.fname
        self.stringspace = self.arg_max

    def add_arg(self, string: bytes) -> None:
        """Append an argument; E2BIG when the strings get too long.  FreeBSD: exec_args_add_arg()."""
        self._take(len(string) + 1)
        self.argv.append(string)

    def add_env(self, string: bytes) -> None:
        """Append an environment string.  FreeBSD: exec_args_add_env()."""
        self._take(len(string) + 1)
        self.envv.append(string)

    def replace_argv0(self, words: list[bytes]) -> None:
        """Put *words* where argv[0] was; E2BIG when they do not fit.  FreeBSD: exec_args_adjust_args()."""
        freed = len(self.argv[0]) + 1 if self.argv else 0
        wanted = sum(len(word) + 1 for word in words)
        if wanted > self.stringspace + freed:
            raise ExecError(E.E2BIG, "argument list too long for the script's interpreter")
        self.stringspace += freed - wanted
        kassert(0 <= self.stringspace <= self.arg_max, "exec arguments: %d bytes left", self.stringspace)
        self.argv[:1] = words

    def _take(self, length: int) -> None:
        if length > self.stringspace:
            raise ExecError(E.E2BIG, f"arguments and environment are longer than {self.arg_max} bytes")
        self.stringspace -= length
        kassert(0 <= self.stringspace <= self.arg_max, "exec arguments: %d bytes left", self.stringspace)


@dataclass(slots=True, eq=False)
class ElfAuxargs:
    """What the ELF activator tells the program about itself: Elf_Auxargs."""

    phdr: int
    phent: int
    phnum: int
    base: int
    entry: int
    hdr_eflags: int
    interpreted: bool
    """A program interpreter was loaded, ``base`` is where."""
    flags: int = 0


class StackItem(NamedTuple):
    """One thing that execve wrote on the first stack.  Model only: for people who look at it."""

    start: int
    size: int
    what: str
    """``argc`` ``argv`` ``envp`` ``auxv`` ``strings`` ``pagesizes`` ``canary`` ``execpath`` ``ps_strings`` ..."""


@dataclass(slots=True, eq=False)
class ImageParams:
    """One execve under way: struct image_params."""

    td: Thread
    args: ImageArgs
    vp: Vnode
    attr: Vattr
    object: VmObject | None = None
    """The vnode's VM object, with a reference of ours."""
    image_header: bytes = b""
    """The first page of the file, zeros where the file is shorter."""
    interpreted: bool = False
    """A script was seen; it must not lead to another."""
    interpreter_name: bytes = b""
    vmspace_destroyed: bool = False
    """The point of no return: an error kills the process from here on."""
    sysent: SysentVec | None = None
    refusal: str = ""
    """Why the activators so far did not take the file, for a person."""
    copyout_strings: Callable[[ImageParams], int] | None = None
    """Set by the activator: writes the first stack and returns the address of argc.  FreeBSD: sv_copyout_strings."""
    setregs: Callable[[Thread, ImageParams, int], None] | None = None
    """Set by the activator: (td, imgp, stack), the registers of the first instruction.  FreeBSD: sv_setregs."""
    entry_addr: int = 0
    et_dyn_addr: int = 0
    auxargs: ElfAuxargs | None = None
    stack_prot: int = 0
    """VM_PROT_* of PT_GNU_STACK, 0 for none."""
    stack_sz: int = 0
    """p_memsz of PT_GNU_STACK, 0 for the release's default."""
    map_flags: int = 0
    newcred: Ucred | None = None
    credential_setid: bool = False
    execpath: bytes = b""
    # addresses on the new stack
    ps_strings: int = 0
    execpathp: int = 0
    canary: int = 0
    canarylen: int = 0
    pagesizes: int = 0
    pagesizeslen: int = 0
    argv: int = 0
    envv: int = 0
    stack_items: list[StackItem] = field(default_factory=list)

    @property
    def proc(self) -> Proc:
        """The process that executes."""
        return self.td.td_proc

    @property
    def release(self) -> Release:
        """The kernel's release."""
        return self.td.td_proc.kernel.vm.release

    def read(self, offset: int, size: int) -> bytes | None:
        """*size* bytes of the file at *offset*; None when they are not all there or cannot be read.

        FreeBSD: vn_rdwr(UIO_READ).  Callers bound *size*.
        """
        kassert(offset >= 0 and size >= 0, "execve reads %d bytes at %d", size, offset)
        if offset + size > self.attr.va_size:
            return None
        buf = bytearray(size)
        vnode_pager_flush(self.vp, offset, offset + size)
        try:
            got = self.vp.v_pread_into(memoryview(buf), offset)
        except SyscallError:
            return None
        return bytes(buf) if got == size else None

    def stage(self, stage: str, **operands: int | str) -> None:
        """Tell that *stage* begins: it is the cause of the map changes that follow, and an event.

        Stages: activate, interpret, new_vmspace, shared_page, stack, segment, interpreter, strings, auxv,
        commit, registers, failed.
        """
        proc = self.td.td_proc
        kassert(proc.p_flag & P_INEXEC, "execve %s: process %d is not in execve", stage, proc.p_pid)
        kernel = proc.kernel
        kt = kernel.ktrace
        kt.cause = Cause(EXEC, stage, pid=proc.p_pid)
        if kt.execs is not None:
            kt.emit(ExecStage(stage, path_text(self.args.fname), operands, pid=proc.p_pid))
