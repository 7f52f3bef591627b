"""Where the contents of an object come from: asking its pager, and the pagers that need no store.

    None (anonymous)  swap_pager.py: zero until written, then the swap device
    VnodePager        vnode_pager.py: a file
    PhysPager         zero-filled, wired memory that is never paged: the shared page
    DevicePager       pages that somebody else made: a device's memory

FreeBSD: sys/vm/vm_pager.c, struct pagerops; phys_pager.c, device_pager.c, sg_pager.c.
Differs: one page at a time; the row of pagertab[] is an object, ``VmObject.pager`` (the Protocol ``Pager``), put there
by whoever allocates the VM object; None means anonymous memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert, some
from kernel_model.vm.swap_pager import swap_pager_getpages, swap_pager_haspage, swap_pager_putpages
from kernel_model.vm.vm import (
    OBJT_DEVICE,
    OBJT_PHYS,
    OBJT_SG,
    OBJT_SWAP,
    VM_PAGER_BAD,
    VM_PAGER_ERROR,
    VM_PAGER_FAIL,
    VM_PAGER_OK,
)
from kernel_model.vm.vm_object import VmObject
from kernel_model.vm.vm_page import vm_page_alloc, vm_page_wire
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_page import VmPage

__all__ = [
    "VM_PAGER_BAD",
    "VM_PAGER_ERROR",
    "VM_PAGER_FAIL",
    "VM_PAGER_OK",
    "DevicePager",
    "PhysPager",
    "device_pager_allocate",
    "phys_pager_allocate",
    "sg_pager_allocate",
    "vm_pager_get_pages",
    "vm_pager_has_page",
    "vm_pager_put_pages",
]


def vm_pager_has_page(object_: VmObject, pindex: int) -> bool:
    """Whether the pager holds the page.  FreeBSD: vm_pager_has_page()."""
    if object_.pager is not None:
        return object_.pager.haspage(object_, pindex)
    return swap_pager_haspage(object_, pindex)


def vm_pager_get_pages(object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
    """Fill a page from the pager, which may bring absent neighbours along: (result, pages read ahead of it).

    FreeBSD: vm_pager_get_pages().
    """
    if object_.pager is not None:
        return object_.pager.getpages(object_, m, behind, ahead)
    return swap_pager_getpages(object_, m), 0


def vm_pager_put_pages(object_: VmObject, m: VmPage) -> int:
    """Write a page back; on VM_PAGER_OK it is clean.  FreeBSD: vm_pager_put_pages()."""
    kassert(m.valid, "vm_pager_put_pages: page %r is not valid", m)
    if object_.pager is not None:
        return object_.pager.putpages(object_, m)
    kassert(object_.type <= OBJT_SWAP, "vm_pager_put_pages: object %r has no pager", object_)
    return swap_pager_putpages(object_, m)


class PhysPager:
    """OBJT_PHYS: zero pages, wired for as long as the object lives.  FreeBSD: sys/vm/phys_pager.c."""

    __slots__ = ()

    def haspage(self, object_: VmObject, pindex: int) -> bool:
        """Every page of the object exists."""
        return pindex < object_.size

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        """The frame is zero already."""
        m.valid = True
        vm_page_wire(m)
        return VM_PAGER_OK, 0

    def putpages(self, object_: VmObject, m: VmPage) -> int:
        """Never paged out."""
        return VM_PAGER_FAIL

    def dealloc(self, object_: VmObject) -> None:
        """Nothing is kept outside the pages."""


class DevicePager(PhysPager):
    """OBJT_DEVICE, OBJT_SG: the device fills a page when it is first seen.  FreeBSD: sys/vm/device_pager.c.

    Differs: a device has no memory of its own here; its pages are ordinary frames that *fill* writes.
    """

    __slots__ = ("fill",)

    def __init__(self, fill: Callable[[int, memoryview], None]) -> None:
        self.fill = fill

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        """Let the device write its page."""
        self.fill(m.pindex, object_.vm.phys.page(m.frame))
        return super().getpages(object_, m, behind, ahead)


def phys_pager_allocate(vm: Vm, handle: object, contents: bytes, size: int) -> VmObject:
    """An OBJT_PHYS object of *size* pages that begins with *contents*: the shared page.

    FreeBSD: vm_pager_allocate(OBJT_PHYS), sys/vm/phys_pager.c; shared_page_init(), sys/kern/kern_sharedpage.c.
    """
    object_ = VmObject(vm, OBJT_PHYS, size)
    object_.handle = handle
    object_.pager = PhysPager()
    for pindex in range((len(contents) + PAGE_SIZE - 1) >> PAGE_SHIFT):
        m = some(vm_page_alloc(object_, pindex), "page for a physical object")
        piece = contents[pindex << PAGE_SHIFT : (pindex + 1) << PAGE_SHIFT]
        vm.phys.page(m.frame)[: len(piece)] = piece
        m.valid = True
        vm_page_wire(m)
    return object_


def device_pager_allocate(vm: Vm, handle: object, size: int, fill: Callable[[int, memoryview], None]) -> VmObject:
    """An OBJT_DEVICE object whose page *i* the device writes through ``fill(i, frame)``.

    FreeBSD: cdev_pager_allocate(), sys/vm/device_pager.c.
    """
    return _device_object(vm, OBJT_DEVICE, handle, size, fill)


def sg_pager_allocate(vm: Vm, handle: object, size: int, fill: Callable[[int, memoryview], None]) -> VmObject:
    """An OBJT_SG object: scattered ranges of a device seen as one.  FreeBSD: sys/vm/sg_pager.c."""
    return _device_object(vm, OBJT_SG, handle, size, fill)


def _device_object(vm: Vm, type_: int, handle: object, size: int, fill: Callable[[int, memoryview], None]) -> VmObject:
    object_ = VmObject(vm, type_, size)
    object_.handle = handle
    object_.pager = DevicePager(fill)
    return object_
