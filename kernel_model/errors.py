"""Who is at fault decides the type of an error.

Model only: FreeBSD has KASSERT(9) and panic(9) for the first two, and plain errno values for the
third.  A guest that touches bad memory is no error at all here: that is a ``KernReturn`` and later
a signal.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar

T = TypeVar("T")


class KernelPanic(Exception):
    """The model broke one of its own rules.  Nobody catches it; the command line reports and exits 70."""


class MirrorDesync(KernelPanic):
    """The Unicorn mappings and the vm_map disagree; the text names the first difference."""


class UsageError(Exception):
    """The person at the keyboard asked for something impossible: one line on stderr, exit status 2."""


class SyscallError(Exception):
    """A system call refuses; caught in one place, the dispatcher, which puts *errno* where the ABI wants it.

    ``errno`` is always FreeBSD's number (kernel_model.errno); the Linux table translates on the way out.
    """

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


def panic(message: str, *operands: object) -> NoReturn:
    """Stop the model: ``panic("overlap at %#x", va)``.  FreeBSD: panic(9)."""
    raise KernelPanic(message % operands if operands else message)


def kassert(condition: object, message: str, *operands: object) -> None:
    """Check an invariant; the text is only formatted when it fails.  FreeBSD: KASSERT(9)."""
    if not condition:
        raise KernelPanic(message % operands if operands else message)


def some(value: T | None, what: str) -> T:
    """Return *value*, which the caller knows is not None; panic naming *what* otherwise."""
    if value is None:
        raise KernelPanic(f"{what}: none")
    return value
