"""One row of a system-call table.

FreeBSD: struct sysent, sys/sys/sysent.h; a row here is a line of sys/kern/syscalls.master.

``letters`` has one character for each argument.  It tells the dispatcher how to read the register and the
tracer how to print the value; a handler is called as ``handler(td, *args)`` with the arguments converted:

=====  ======================================================  ==========================
letter what it is                                              the handler gets
=====  ======================================================  ==========================
``p``  pointer into the guest                                  0 .. 2**64-1
``s``  pointer to a path or another NUL-terminated string      0 .. 2**64-1
``b``  pointer to a buffer whose size is a later argument      0 .. 2**64-1
``u``  size_t or another unsigned 64-bit number                0 .. 2**64-1
``l``  long, off_t, time_t                                     signed 64 bit
``d``  int                                                     signed 32 bit
``f``  file descriptor (AT_FDCWD too)                          signed 32 bit
``n``  unsigned int: signal sets' size, uid, counts            0 .. 2**32-1
``o``  mode, shown in octal                                    0 .. 2**32-1
``x``  flags, shown in hexadecimal                             0 .. 2**32-1
``q``  flags of 64 bits, shown in hexadecimal                  0 .. 2**64-1
=====  ======================================================  ==========================

A handler returns rax as an int (negative ones are stored as two's complement), ``(rax, rdx)``, or ``EJUSTRETURN``
when it replaced the registers itself; it refuses with ``SyscallError``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from kernel_model.errors import kassert

SyscallReturn = int | tuple[int, int]
Handler = Callable[..., SyscallReturn]
"""``handler(td, *args)``; the number of arguments is that of the row's letters."""

SIGNED32 = frozenset("df")
UNSIGNED32 = frozenset("nox")
SIGNED64 = frozenset("l")
LETTERS = SIGNED32 | UNSIGNED32 | SIGNED64 | frozenset("psbuq")


class Support(Enum):
    """How much of a call is there; README's table prints it."""

    FULL = "full"
    PARTIAL = "partial"
    """Works, but not for the case that ``caveat`` names, which is refused."""
    STUB = "stub"
    """Accepted because nothing here depends on it; ``caveat`` says what is not done."""
    NONE = "none"
    """Known by name and number only: ENOSYS, and an event says so."""


class Sysent(NamedTuple):
    """One system call of one ABI."""

    name: str
    letters: str = ""
    support: Support = Support.NONE
    handler: Handler | None = None
    caveat: str = ""


def convert(letter: str, value: int) -> int:
    """Read register *value* as an argument of kind *letter*."""
    if letter in SIGNED32:
        return ((value & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    if letter in UNSIGNED32:
        return value & 0xFFFFFFFF
    if letter in SIGNED64:
        return (value ^ (1 << 63)) - (1 << 63)
    return value


def adapter(row: Sysent) -> Callable[[Any, int, int, int, int, int, int], SyscallReturn]:
    """Make the function ``(td, a0 .. a5)`` that converts the arguments *row* has and calls its handler.

    It is compiled from text, once for a row and when first used: a loop over the letters would cost a
    microsecond in each call.
    """
    kassert(row.handler is not None, "%s has no handler", row.name)
    kassert(LETTERS.issuperset(row.letters) and len(row.letters) <= 6, "%s takes %r", row.name, row.letters)
    parts = []
    for index, letter in enumerate(row.letters):
        name = f"a{index}"
        if letter in SIGNED32:
            name = f"(({name} & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000"
        elif letter in UNSIGNED32:
            name = f"{name} & 0xFFFFFFFF"
        elif letter in SIGNED64:
            name = f"({name} ^ {1 << 63}) - {1 << 63}"
        parts.append(name)
    text = f"lambda td, a0, a1, a2, a3, a4, a5: handler({', '.join(['td', *parts])})"
    call: Callable[[Any, int, int, int, int, int, int], SyscallReturn]
    call = eval(text, {"handler": row.handler})
    return call
