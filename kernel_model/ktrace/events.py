"""Records of what happened: plain, ready to be written to a file.

Model only: FreeBSD's ktrace(2) records system calls, namei and signals, but no decision of the VM
system.  Addresses and sizes are bytes.  They are named tuples, five times cheaper to make than frozen
dataclasses, and much cheaper to define.  ``seq`` is 0 until the sink stamps it; it counts beginnings, so
a system call or fault has a lower number than the map changes that it caused.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.ktrace.entry import EntryState
    from kernel_model.ktrace.snapshot import MapSnapshot

EXEC = "exec"
SYSCALL = "syscall"
FAULT = "fault"
SIGNAL = "signal"
MAP = "map"
UNSUPPORTED = "unsupported"
INSN = "insn"
KINDS = (EXEC, SYSCALL, FAULT, SIGNAL, MAP, UNSUPPORTED, INSN)
"""Every kind of event, the words of ``--trace``."""


STAGE = "stage"
CHECK = "check"
VISIT = "visit"
"""Kinds of Step."""


class Step(NamedTuple):
    """One recorded step; ``ok`` is True for stages and visits.  Model only."""

    kind: str
    name: str
    ok: bool
    operands: dict[str, int]


class Cause(NamedTuple):
    """Why a map is being changed.  Model only.

    ``kind`` is EXEC, SYSCALL, FAULT or SIGNAL; ``number`` the system call or signal number; ``name`` the
    call's or stage's name; ``rip`` the user instruction, 0 when there is none; ``seq`` the sequence
    number of the call, fault or signal.
    """

    kind: str
    name: str
    number: int = 0
    rip: int = 0
    seq: int = 0
    pid: int = 0
    addr: int = 0
    """For a fault, the exact address."""
    abi: str = ""
    args: tuple[int, ...] = ()
    """Of a system call, with ``letters`` as in its SyscallEvent."""
    letters: str = ""
    callers: tuple[int, ...] = ()
    """Return addresses of the user code that made the system call, nearest first; some may be stale."""


NO_CAUSE = Cause("kernel", "kernel")
"""What is recorded when nobody set a cause."""


class MapChange(NamedTuple):
    """One change of a vm_map, in ``[start, end)``.  Model only.

    ``what``: ``insert`` ``delete`` ``protect`` ``grow`` ``inherit`` ``wire`` ``unwire`` ``advise``
    ``clear`` (the whole map went).  Attributes are those after the change (for ``delete``: of what went).
    ``grow`` comes after the ``insert`` of the same range and says that it was vm_map_growstack; its
    ``before_start``, ``before_end`` are the reserve as it was.
    """

    what: str
    start: int
    end: int
    prot: int = 0
    max_prot: int = 0
    inheritance: int = 1
    eflags: int = 0
    offset: int = 0
    object_type: int = -1
    """OBJT_* of the entry's object, -1 for none."""
    vnode: str = ""
    """Path of the file behind it, when the object is a vnode's."""
    before_prot: int = 0
    before_start: int = 0
    before_end: int = 0
    cause: Cause = NO_CAUSE
    map: Any = None
    """The VmMap, for hooks; never written to a file."""
    seq: int = 0
    pid: int = 0

    @property
    def kind(self) -> str:
        """MAP."""
        return MAP


class ExecStage(NamedTuple):
    """execve reached a stage.  FreeBSD: do_execve(), sys/kern/kern_exec.c, cut where its phases change."""

    stage: str
    """activate, segment, interpreter, new_vmspace, stack, strings, auxv, registers, commit, failed ..."""
    path: str = ""
    operands: Mapping[str, int | str] = MappingProxyType({})
    seq: int = 0
    pid: int = 0

    @property
    def kind(self) -> str:
        """EXEC."""
        return EXEC


class SyscallEvent(NamedTuple):
    """A system call: once when it begins (``phase`` ``enter``), once when answered (``return``), one ``seq``.

    Model only.  ``letters`` are the Sysent's argument letters (kernel_model.kern.sysent).  ``errno`` is
    FreeBSD's number, 0 for success; ``result`` is what the register shows, None on entry.
    """

    phase: str
    abi: str
    number: int
    name: str
    args: tuple[int, ...]
    letters: str = ""
    result: int | None = None
    errno: int = 0
    rip: int = 0
    seq: int = 0
    pid: int = 0
    tid: int = 0
    decoded: tuple[str, ...] = ()
    """The arguments as text, when a tracer has read them."""

    @property
    def kind(self) -> str:
        """SYSCALL."""
        return SYSCALL


class SignalEvent(NamedTuple):
    """A signal was delivered, ignored, blocked or killed.  FreeBSD: postsig(), trapsignal(), sys/kern/kern_sig.c."""

    signo: int
    """FreeBSD number."""
    code: int = 0
    addr: int = 0
    action: str = "deliver"
    """deliver, ignore, queue (blocked), kill, core, and ``no_frame``: the handler's frame could not be written."""
    handler: int = 0
    frame: int = 0
    altstack: bool = False
    rip: int = 0
    fault: int = 0
    """seq of the fault that raised it, 0 for none."""
    seq: int = 0
    pid: int = 0
    tid: int = 0

    @property
    def kind(self) -> str:
        """SIGNAL."""
        return SIGNAL


class Unsupported(NamedTuple):
    """The guest asked for something that is not modelled; it was told so (ENOSYS, EINVAL).  Model only."""

    what: str
    """syscall, sysctl, ioctl, flag, fcntl ..."""
    name: str
    number: int = 0
    detail: str = ""
    seq: int = 0
    pid: int = 0

    @property
    def kind(self) -> str:
        """UNSUPPORTED."""
        return UNSUPPORTED


class InsnEvent(NamedTuple):
    """An instruction is about to be executed; only on request, it costs per instruction.  Model only."""

    rip: int
    code_bytes: bytes = b""
    seq: int = 0
    pid: int = 0
    tid: int = 0

    @property
    def kind(self) -> str:
        """INSN."""
        return INSN


class Counters(NamedTuple):
    """Sizes of a process's map and of memory at one moment.  FreeBSD: vm_map, vmspace, vm_meter."""

    nentries: int
    size: int
    ssize_pages: int
    resident_pages: int
    free_pages: int


class FaultEvent(NamedTuple):
    """One fault and everything that was decided about it.

    FreeBSD: trap_pfault(), vm_fault(), vm_map_growstack().  ``entry`` is the entry that holds ``addr``;
    where there is none ``below`` and ``above`` are the neighbours of the hole.  A refused fault also
    carries ``snapshot`` of the map, the registers and the code bytes.
    """

    seq: int
    pid: int
    tid: int
    rip: int
    access: int
    """VM_PROT_READ, WRITE or EXECUTE."""
    addr: int
    size: int
    value: int | None
    """What a write wanted to store, None when unknown or no write."""
    where: str
    """``user``, ``copyin``, ``copyout`` or ``trap`` (an exception that is no page fault)."""
    entry: EntryState | None
    below: EntryState | None
    above: EntryState | None
    steps: tuple[Step, ...]
    result: int
    """KERN_*; -1 for a trap that is no page fault."""
    signo: int
    code: int
    translation: str
    """How the result became the signal, in words; empty when the fault was repaired."""
    before: Counters | None
    after: Counters | None
    abi: str = ""
    vector: int = 14
    """x86 exception: 14 page fault, 13 general protection ..."""
    syscall: SyscallEvent | None = None
    snapshot: MapSnapshot | None = None
    registers: dict[str, int] | None = None
    code_bytes: bytes = b""
    stack_bytes: bytes = b""
    """The top of the user stack, from rsp up."""

    @property
    def kind(self) -> str:
        """FAULT."""
        return FAULT

    @property
    def repaired(self) -> bool:
        """The instruction goes on as if nothing had happened."""
        return self.result == 0


Event = ExecStage | SyscallEvent | FaultEvent | SignalEvent | MapChange | Unsupported | InsnEvent
