"""System-call arguments as text, the way strace and truss write them, for both ABIs.

Model only.  The argument letters of the call's ``Sysent`` say what each register is; ``SHAPES`` names the
structures and flags of the calls where that is known.  Guest memory is read without faulting: an
argument whose page is not resident yet stays a number until the call returns.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from emu.dump import peek
from emu.trace.flagnames import CHOICES, FLAGS
from emu.trace.shapes import SHAPES, Shape
from kernel_model.kern.sysent import convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.ktrace import SyscallEvent
    from kernel_model.vm.vmspace import VmSpace

STRING = 128
"""Characters of a string that are shown."""
BUFFER = 32
"""Bytes of a buffer that are shown."""
AT_FDCWD = -100
_ESCAPES = {0x0A: "\\n", 0x09: "\\t", 0x0D: "\\r", 0x22: '\\"', 0x5C: "\\\\", 0: "\\0"}


class Decoder:
    """Turns the arguments of one call into text, first when it begins and again when it is answered."""

    def __init__(self, event: SyscallEvent, vmspace: VmSpace) -> None:
        """Decode what can be known before the call is served."""
        self.linux = "linux" in event.abi.lower()
        self.shape: Shape = SHAPES.get(event.name, ())
        self.event = event
        self.texts: list[str | None] = [self._argument(index, vmspace, None) for index in range(len(event.args))]

    def finish(self, event: SyscallEvent, vmspace: VmSpace) -> tuple[str, ...]:
        """The texts, with what the call wrote filled in."""
        for index, text in enumerate(self.texts):
            if text is None:
                self.texts[index] = self._argument(index, vmspace, event)
        return tuple(
            _number(self._letter(index), self.event.args[index]) if text is None else text
            for index, text in enumerate(self.texts)
        )

    def begun(self) -> tuple[str, ...]:
        """The texts of a call that has not returned."""
        return tuple(
            _number(self._letter(index), self.event.args[index]) if text is None else text
            for index, text in enumerate(self.texts)
        )

    @staticmethod
    def plain(event: SyscallEvent) -> list[str]:
        """The arguments by their letters and flags alone, without guest memory."""
        letters = event.letters.ljust(len(event.args), "p")
        kinds = SHAPES.get(event.name, ()) + ("",) * len(event.args)
        abi = "linux" if "linux" in event.abi.lower() else "freebsd"
        return [
            _named(kind, value, abi) or _number(letter, value)
            for letter, value, kind in zip(letters, event.args, kinds, strict=False)
        ]

    def _letter(self, index: int) -> str:
        letters = self.event.letters
        return letters[index] if index < len(letters) else "p"

    def _argument(self, index: int, vmspace: VmSpace, answered: SyscallEvent | None) -> str | None:
        """The text of argument *index*; None when it must wait for the answer, or cannot be read."""
        value = self.event.args[index]
        letter = self._letter(index)
        kind = self.shape[index] if index < len(self.shape) else ""
        if kind.startswith("&"):
            if answered is None:
                return None
            if answered.errno:
                return _pointer(value)
            kind = kind[1:]
        if kind:
            return self._shaped(kind, value, letter, vmspace, answered)
        if letter == "s":
            return _string(vmspace, value)
        if letter == "b":
            later = range(index + 1, len(self.event.args))
            size = next((self.event.args[i] for i in later if self._letter(i) == "u"), 0)
            return _buffer(vmspace, value, size)
        return _number(letter, value)

    def _shaped(
        self, kind: str, value: int, letter: str, vmspace: VmSpace, answered: SyscallEvent | None
    ) -> str | None:
        if kind == "out":
            # A buffer that the call fills: as much as it says it wrote.
            return _buffer(vmspace, value, answered.result or 0) if answered is not None else None
        abi = "linux" if self.linux else "freebsd"
        named = _named(kind, value, abi)
        if named:
            return named
        reader = _STRUCTS.get(f"{kind}.{abi}") or _STRUCTS.get(kind)
        if reader is None:
            return _number(letter, value)
        if not value:
            return "NULL"
        return reader(vmspace, value)


def flag_text(value: int, flags: dict[int, str]) -> str:
    """``O_RDWR|O_CREAT``: names joined, what has none as a number.  A key 0 names the value nought.

    A ``0`` key of an open mode is only used when none of the bits 0 and 1 is set.
    """
    names = []
    rest = value
    low = flags.get(-1)
    if low is not None:
        # The low two bits are a number, not flags: O_RDONLY, O_WRONLY, O_RDWR.
        names.append(low.split(",")[value & 3])
        rest &= ~3
    for bit, name in flags.items():
        if bit > 0 and rest & bit == bit:
            names.append(name)
            rest &= ~bit
    if rest:
        names.append(f"{rest:#x}")
    return "|".join(names) if names else flags.get(0, "0")


def _named(kind: str, value: int, abi: str) -> str:
    """*value* as one of the choices or flags called *kind*; empty when these are none."""
    choices = CHOICES.get(f"{kind}.{abi}") or CHOICES.get(kind)
    if choices is not None:
        number = convert("d", value)
        return choices.get(number, str(number))
    flags = FLAGS.get(f"{kind}.{abi}") or FLAGS.get(kind)
    return flag_text(value & 0xFFFFFFFF, flags) if flags is not None else ""


def _number(letter: str, value: int) -> str:
    match letter:
        case "p" | "s" | "b":
            return _pointer(value)
        case "o":
            return f"0{value & 0xFFFFFFFF:o}" if value else "0"
        case "x":
            return f"{value & 0xFFFFFFFF:#x}"
        case "q":
            return f"{value:#x}"
        case "f":
            number = convert("f", value)
            return "AT_FDCWD" if number == AT_FDCWD else str(number)
        case _:
            return str(convert(letter, value))


def _pointer(value: int) -> str:
    return f"{value:#x}" if value else "NULL"


def quoted(data: bytes, more: bool = False) -> str:
    """Bytes as a C string."""
    text = "".join(_ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in data)
    return f'"{text}"' + ("..." if more else "")


def _string(vmspace: VmSpace, va: int) -> str | None:
    if not va:
        return "NULL"
    data = peek(vmspace, va, STRING + 1)
    end = data.find(0)
    if end >= 0:
        return quoted(data[:end])
    return quoted(data[:STRING], more=True) if data else None


def _buffer(vmspace: VmSpace, va: int, size: int) -> str | None:
    if not va:
        return "NULL"
    data = peek(vmspace, va, min(size, BUFFER))
    if len(data) < min(size, BUFFER):
        return None
    return quoted(data, more=size > BUFFER)


def _unpack(vmspace: VmSpace, va: int, layout: str) -> tuple[int, ...] | None:
    size = struct.calcsize(layout)
    data = peek(vmspace, va, size)
    return struct.unpack(layout, data) if len(data) == size else None


def _timespec(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<qq")
    return None if found is None else f"{{{found[0]}.{found[1]:09d}}}"


def _timeval(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<qq")
    return None if found is None else f"{{{found[0]}.{found[1]:06d}}}"


def _rlimit(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QQ")
    if found is None:
        return None
    cur, max_ = ("unlimited" if value >= (1 << 63) - 1 else str(value) for value in found)
    return f"{{cur={cur}, max={max_}}}"


def _stat_at(layout: str) -> Callable[[VmSpace, int], str | None]:
    def read(vmspace: VmSpace, va: int) -> str | None:
        found = _unpack(vmspace, va, layout)
        return None if found is None else f"{{mode=0{found[0]:o}, size={found[1]}}}"

    return read


def _iovec(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QQ")
    if found is None:
        return None
    return f"[{{{_buffer(vmspace, found[0], found[1]) or _pointer(found[0])}, {found[1]}}}, ...]"


def _sigset_linux(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<Q")
    if found is None:
        return None
    names = CHOICES["signo.linux"]
    return "[" + " ".join(names.get(n + 1, str(n + 1)) for n in range(64) if found[0] >> n & 1) + "]"


def _sigset_freebsd(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<4I")
    if found is None:
        return None
    names = CHOICES["signo.freebsd"]
    mask = sum(word << 32 * index for index, word in enumerate(found))
    return "[" + " ".join(names.get(n + 1, str(n + 1)) for n in range(128) if mask >> n & 1) + "]"


def _handler(value: int) -> str:
    return {0: "SIG_DFL", 1: "SIG_IGN"}.get(value, f"{value:#x}")


def _sigaction_linux(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QQQQ")
    if found is None:
        return None
    return f"{{{_handler(found[0])}, flags={flag_text(found[1], FLAGS['sa_flags.linux'])}}}"


def _sigaction_freebsd(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QI")
    if found is None:
        return None
    return f"{{{_handler(found[0])}, flags={flag_text(found[1], FLAGS['sa_flags.freebsd'])}}}"


def _stack_freebsd(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QQI")
    return None if found is None else f"{{sp={found[0]:#x}, size={found[1]}, flags={found[2]}}}"


def _stack_linux(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<QI4xQ")
    return None if found is None else f"{{sp={found[0]:#x}, size={found[2]}, flags={found[1]}}}"


def _two_ints(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<ii")
    return None if found is None else f"[{found[0]}, {found[1]}]"


def _mib(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<ii")
    return None if found is None else f"[{found[0]}.{found[1]}...]"


def _pollfd(vmspace: VmSpace, va: int) -> str | None:
    found = _unpack(vmspace, va, "<ihh")
    return None if found is None else f"[{{fd={found[0]}, events={found[1]:#x}, revents={found[2]:#x}}}, ...]"


def _strings(vmspace: VmSpace, va: int) -> str | None:
    """A NULL-terminated vector of strings: argv."""
    texts: list[str] = []
    while len(texts) < 8:
        found = _unpack(vmspace, va + 8 * len(texts), "<Q")
        if found is None:
            return None
        if not found[0]:
            return f"[{', '.join(texts)}]"
        texts.append(_string(vmspace, found[0]) or _pointer(found[0]))
    return f"[{', '.join(texts)}, ...]"


def _count(vmspace: VmSpace, va: int) -> str | None:
    """A vector of strings, only counted: envp."""
    for number in range(1024):
        found = _unpack(vmspace, va + 8 * number, "<Q")
        if found is None:
            return None
        if not found[0]:
            return f"{va:#x} /* {number} strings */"
    return _pointer(va)


_STRUCTS: dict[str, Callable[[VmSpace, int], str | None]] = {
    "timespec": _timespec,
    "timeval": _timeval,
    "rlimit": _rlimit,
    "stat.linux": _stat_at("<24xI20xq"),
    "stat.freebsd": _stat_at("<24xH86xq"),
    "stat11.freebsd": _stat_at("<8xH62xq"),
    "iovec": _iovec,
    "sigset.linux": _sigset_linux,
    "sigset.freebsd": _sigset_freebsd,
    "sigaction.linux": _sigaction_linux,
    "sigaction.freebsd": _sigaction_freebsd,
    "stack.linux": _stack_linux,
    "stack.freebsd": _stack_freebsd,
    "ints": _two_ints,
    "mib": _mib,
    "pollfd": _pollfd,
    "argv": _strings,
    "envp": _count,
}
