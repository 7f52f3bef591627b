"""Page arithmetic, KERN_* codes and the amd64 address-space layout.

FreeBSD: sys/vm/vm_param.h, sys/amd64/include/vmparam.h.  All sizes and addresses are bytes.
"""

from __future__ import annotations

VmOffset = int
"""A virtual address or a length in bytes (vm_offset_t, vm_size_t)."""
KernReturn = int
"""One of the KERN_* codes; 0 is success."""

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PAGE_MASK = PAGE_SIZE - 1
"""Low bits of an address: FreeBSD's PAGE_MASK, not Linux's complement."""
NBPDR = 1 << 21
"""Bytes of an amd64 superpage (2 MiB)."""
WORD_MASK = (1 << 64) - 1

KERN_SUCCESS = 0
KERN_INVALID_ADDRESS = 1
KERN_PROTECTION_FAILURE = 2
KERN_NO_SPACE = 3
KERN_INVALID_ARGUMENT = 4
KERN_FAILURE = 5
KERN_RESOURCE_SHORTAGE = 6
KERN_NOT_RECEIVER = 7
KERN_NO_ACCESS = 8
KERN_OUT_OF_BOUNDS = 9
KERN_RESTART = 10

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
KERN_CODES: dict[str, int] = {name: code for code, name in KERN_NAMES.items()}
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
