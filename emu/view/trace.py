"""Events as text, a line each: what ``--trace`` prints.

Model only.  System calls look as strace and truss show them; everything else begins with its kind.  Colours are for
terminals: ``use_colour`` decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.program.disasm import disassemble
from emu.trace.codec import access_name
from emu.trace.decode import Decoder
from emu.why.blame import describe_cause
from emu.why.verdict import headline
from kernel_model.errno import NAMES
from kernel_model.kern.signo import signame
from kernel_model.kern.sysent import convert
from kernel_model.ktrace import (
    Event,
    ExecStage,
    FaultEvent,
    InsnEvent,
    MapChange,
    SignalEvent,
    SyscallEvent,
    Unsupported,
)
from kernel_model.text import printable
from kernel_model.vm.vm import prot_string

if TYPE_CHECKING:
    from typing import TextIO

    from emu.program.symbols import Symbols
    from emu.why.blame import Blame

RESET = "\x1b[0m"
COLOURS = {
    "exec": "\x1b[35m",
    "syscall": "\x1b[36m",
    "fault": "\x1b[33m",
    "refused": "\x1b[1;31m",
    "signal": "\x1b[31m",
    "map": "\x1b[32m",
    "unsupported": "\x1b[1;31m",
    "insn": "\x1b[2m",
}
_POINTER_RESULTS = frozenset({"mmap", "mremap", "brk", "break", "freebsd6_mmap"})
_CODES = {
    (11, 1): "SEGV_MAPERR", (11, 2): "SEGV_ACCERR", (10, 1): "BUS_ADRALN", (10, 2): "BUS_ADRERR", (10, 3): "BUS_OBJERR",
    (10, 100): "BUS_OOMERR", (10, 12): "12 (T_PAGEFLT)", (8, 1): "FPE_INTOVF", (8, 2): "FPE_INTDIV",
    (4, 1): "ILL_ILLOPC", (4, 3): "ILL_ILLADR", (4, 5): "ILL_PRVOPC", (5, 1): "TRAP_BRKPT", (5, 2): "TRAP_TRACE",
}  # fmt: skip


def use_colour(stream: TextIO) -> bool:
    """Colours only where a person looks: a terminal, and NO_COLOR is not set."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


@dataclass(frozen=True)
class TraceView:
    """Makes a line of each event."""

    colour: bool = False
    symbols: Symbols | None = None
    blame: Blame | None = None

    def line(self, event: Event) -> str:
        """*event* as one line, coloured when that was asked for."""
        text = printable(self._text(event))
        if not self.colour:
            return text
        kind = "refused" if isinstance(event, FaultEvent) and not event.repaired else event.kind
        return f"{COLOURS.get(kind, '')}{text}{RESET}"

    def _text(self, event: Event) -> str:
        match event:
            case SyscallEvent():
                return syscall_line(event)
            case FaultEvent():
                return self._fault(event)
            case MapChange():
                return map_line(event)
            case SignalEvent():
                return signal_line(event)
            case ExecStage():
                return exec_line(event)
            case Unsupported():
                detail = f": {event.detail}" if event.detail else ""
                return f"NOT MODELLED  {event.what} {event.name} ({event.number}){detail}"
            case InsnEvent():
                return insn_line(event)

    def _fault(self, event: FaultEvent) -> str:
        size = f" of {event.size}" if event.size else ""
        where = "" if event.where in ("user", "trap") else f" in {event.where}"
        head = f"fault   {access_name(event.access)}{size} at {event.addr:#x}{where}  rip {event.rip:#x}"
        return f"{head}  {outcome(event)}{headline(event, self.symbols, self.blame)}"


def outcome(event: FaultEvent) -> str:
    """``SIGSEGV/SEGV_MAPERR: `` for a refused fault, ``EFAULT: `` inside a system call, empty for a repaired one."""
    if event.repaired:
        return ""
    if event.signo:
        return f"{signame(event.signo)}/{code_name(event.signo, event.code)}: "
    return "EFAULT: " if event.syscall is not None else "refused: "


def code_name(signo: int, code: int) -> str:
    """The name of a si_code."""
    return _CODES.get((signo, code), str(code))


def syscall_line(event: SyscallEvent) -> str:
    """``mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = 0x800600000``."""
    arguments = ", ".join(event.decoded or Decoder.plain(event))
    return f"{event.name}({arguments}) = {result_text(event)}"


def result_text(event: SyscallEvent) -> str:
    """The result as strace shows it."""
    if event.phase == "enter" or event.result is None:
        return "?"
    if event.errno:
        return f"-1 {NAMES.get(event.errno, event.errno)} ({os.strerror(_host_errno(event.errno))})"
    if event.name in _POINTER_RESULTS:
        return f"{event.result:#x}" if event.result else "0"
    return str(convert("l", event.result))


def _host_errno(errno: int) -> int:
    """The host's number for FreeBSD's *errno*, for its text."""
    import errno as host

    return getattr(host, NAMES.get(errno, ""), errno)


def map_line(event: MapChange) -> str:
    """``map     insert [0x.., 0x..) rw- /lib/libc.so  by mmap at event 12``."""
    rights = prot_string(event.prot)
    if event.what == "protect":
        rights = f"{prot_string(event.before_prot)} -> {rights}"
    file = f" {event.vnode}" if event.vnode else ""
    where = f"[{event.start:#x}, {event.end:#x}) {rights}{file}"
    return f"map     {event.what:<8} {where}  by {describe_cause(event.cause)}"


def signal_line(event: SignalEvent) -> str:
    """``signal  SIGSEGV {SEGV_MAPERR, addr 0x18} kills``."""
    facts = [code_name(event.signo, event.code)] if event.code else []
    if event.addr or event.signo in (10, 11):
        facts.append(f"addr {event.addr:#x}")
    does = {
        "deliver": f"goes to the handler {event.handler:#x}, frame at {event.frame:#x}"
        + (" on the alternate stack" if event.altstack else ""),
        "ignore": "is ignored",
        "queue": "is blocked and waits",
        "kill": "kills",
        "core": "kills",
        "no_frame": f"finds no room for the frame of its handler {event.handler:#x}",
    }.get(event.action, event.action)
    braces = f" {{{', '.join(facts)}}}" if facts else ""
    return f"signal  {signame(event.signo)}{braces} {does}"


def exec_line(event: ExecStage) -> str:
    """``exec    segment /bin/ls  start 0x200000  end 0x201000``."""
    operands = "  ".join(f"{name} {_operand(value)}" for name, value in event.operands.items())
    return f"exec    {event.stage:<12} {event.path}  {operands}".rstrip()


def _operand(value: int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:#x}" if value > 0xFFFF else str(value)


def insn_line(event: InsnEvent) -> str:
    """``insn    0x201234  mov eax, 1``."""
    insn = disassemble(event.code_bytes, event.rip, {})
    return f"insn    {event.rip:#x}  {insn if insn is not None else event.code_bytes.hex()}"
