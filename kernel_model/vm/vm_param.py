"""Page arithmetic, KERN_* codes and the amd64 address-space layout.

FreeBSD: sys/vm/vm_param.h, sys/amd64/include/vmparam.h.  All sizes and addresses are bytes.
"""

from __future__ import annotations

VmOffset = int
"""A virtual address or a length in bytes (vm_offset_t, vm_size_t)."""


class KernReturn(int):
    """A return code of the vm layer: a plain number that shows its name.

    ``if rv``, ``rv == KERN_NO_SPACE`` and ``hash(rv)`` are int's own, at its price; JSON and ``%d`` give the number.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return KERN_NAMES.get(self, str(int(self)))


PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1
"""Low bits of an address: FreeBSD's PAGE_MASK, not Linux's complement."""
NBPDR = 1 << 21
"""Bytes of an amd64 superpage (2 MiB)."""
WORD_MASK = (1 << 64) - 1

KERN_SUCCESS = KernReturn(0)
KERN_INVALID_ADDRESS = KernReturn(1)
KERN_PROTECTION_FAILURE = KernReturn(2)
KERN_NO_SPACE = KernReturn(3)
KERN_INVALID_ARGUMENT = KernReturn(4)
KERN_FAILURE = KernReturn(5)
KERN_RESOURCE_SHORTAGE = KernReturn(6)
KERN_NOT_RECEIVER = KernReturn(7)
KERN_NO_ACCESS = KernReturn(8)
KERN_OUT_OF_BOUNDS = KernReturn(9)
KERN_RESTART = KernReturn(10)

KERN_NAMES: dict[int, str] = {
    KERN_SUCCESS: "KERN_SUCCESS",
    KERN_INVALID_ADDRESS: "KERN_INVALID_ADDRESS",
    KERN_PROTECTION_FAILURE: "KERN_PROTECTION_FAILURE",
    KERN_NO_SPACE: "KERN_NO_SPACE",
    KERN_INVALID_ARGUMENT: "KERN_INVALID_ARGUMENT",
    KERN_FAILURE: "KERN_FAILURE",
    KERN_RESOURCE_SHORTAGE: "KERN_RESOURCE_SHORTAGE",
    KERN_NOT_RECEIVER: "KERN_NOT_RECEIVER",
    KERN_NO_ACCESS: "KERN_NO_ACCESS",
    KERN_OUT_OF_BOUNDS: "KERN_OUT_OF_BOUNDS",
    KERN_RESTART: "KERN_RESTART",
}
KERN_CODES: dict[str, KernReturn] = {name: KernReturn(code) for code, name in KERN_NAMES.items()}
"""By name, as ``kernel_model.release`` gives them."""

VM_MIN_ADDRESS = 0
VM_MAXUSER_ADDRESS = 0x0000_8000_0000_0000
SHAREDPAGE = VM_MAXUSER_ADDRESS - PAGE_SIZE
USRSTACK = SHAREDPAGE
VM_MIN_KERNEL_ADDRESS = 0xFFFF_FE00_0000_0000
VM_MAX_KERNEL_ADDRESS = 0xFFFF_FF00_0000_0000

DFLDSIZ = 128 << 20
DFLSSIZ = 8 << 20
MAXSSIZ = 512 << 20
SGROWSIZ = 128 << 10


def trunc_page(va: VmOffset) -> VmOffset:
    """Round *va* down to a page boundary."""
    return va & ~PAGE_MASK


def round_page(va: VmOffset) -> VmOffset:
    """Round *va* up to a page boundary; unlike C it never wraps, callers test for that."""
    return (va + PAGE_MASK) & ~PAGE_MASK


def btoc(size: VmOffset) -> int:
    """Bytes to pages, rounding up: a stack grown by a sgrowsiz that is no multiple of a page ends inside one."""
    return (size + PAGE_MASK) >> PAGE_SHIFT
