"""Swap: who may reserve it, and where paged-out anonymous memory goes.

Reservation and use are two things, as in FreeBSD: a charge is taken when a mapping could come to need space, a
block only when the page daemon writes a page out.  Blocks live in one unnamed temporary file that exists from the
first page-out on.

FreeBSD: sys/vm/swap_pager.c.
Differs: one swap device, page-sized blocks without clustering; the block map is a dictionary ``VmObject.swap``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.errors import kassert
from kernel_model.rlimit import RLIMIT_SWAP
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_SWAP, VM_PAGER_ERROR, VM_PAGER_FAIL, VM_PAGER_OK
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.ucred import Ucred
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_page import VmPage

SWAP_RESERVE_FORCE_ON = 1
SWAP_RESERVE_RLIMIT_ON = 2
SWAP_RESERVE_ALLOW_NONWIRED = 4
"""Bits of vm.overcommit."""


class SwapObject(Protocol):
    """What the swap pager asks of an object, and changes in it: the part of struct vm_object that is un_pager.swp."""

    vm: Vm
    type: int
    size: int
    swap: dict[int, int] | None
    """Blocks by page index; None: never paged out."""


class SwapDevice:
    """The swap file: page-sized blocks, given out lowest first, freed ones first of all."""

    __slots__ = ("_fd", "_free", "_next", "nblocks")

    def __init__(self, nblocks: int) -> None:
        self.nblocks = nblocks
        self._fd = -1
        self._free: list[int] = []
        self._next = 0

    @property
    def used(self) -> int:
        """Blocks that hold a page."""
        return self._next - len(self._free)

    def alloc(self) -> int | None:
        """A free block, or None: swap is full."""
        if self._free:
            return self._free.pop()
        if self._next >= self.nblocks:
            return None
        self._next += 1
        return self._next - 1

    def free(self, block: int) -> None:
        """Forget a block's contents."""
        kassert(0 <= block < self._next, "swap block %d was never given out", block)
        self._free.append(block)

    def write(self, block: int, page: memoryview) -> bool:
        """Store a page; False when the host's disk refuses."""
        if self._fd < 0:
            import tempfile  # late: most programs never swap, and it pulls in much

            with tempfile.TemporaryFile() as unnamed:
                self._fd = os.dup(unnamed.fileno())
        try:
            return os.pwrite(self._fd, page, block << PAGE_SHIFT) == PAGE_SIZE
        except OSError:
            return False

    def read(self, block: int, page: memoryview) -> bool:
        """Fetch a page."""
        kassert(0 <= block < self._next, "swap block %d was never given out", block)
        return os.preadv(self._fd, [page], block << PAGE_SHIFT) == PAGE_SIZE

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def swap_device(vm: Vm) -> SwapDevice:
    """The machine's swap device, made at the first use."""
    if vm.swap_device is None:
        vm.swap_device = SwapDevice(vm.swap_total >> PAGE_SHIFT)
    return cast("SwapDevice", vm.swap_device)


def swap_reserve(vm: Vm, nbytes: int) -> bool:
    """Reserve swap for the current process.  FreeBSD: swap_reserve()."""
    return swap_reserve_by_cred(vm, nbytes, vm.curproc.p_ucred if vm.curproc is not None else None)


def swap_reserve_by_cred(vm: Vm, nbytes: int, cred: Ucred | None) -> bool:
    """Reserve swap for *cred*: False when vm.overcommit or the cap forbids it.

    FreeBSD: swap_reserve_by_cred().  Differs: no RACCT.
    """
    kassert(nbytes & PAGE_MASK == 0, "swap_reserve: %#x", nbytes)
    total = vm.swap_reserved + nbytes
    if total > vm.swap_cap:
        return False
    if vm.overcommit:
        superuser = cred is None or cred.cr_uid == 0
        if not superuser and not _overcommit_allows(vm, nbytes, total, cred):
            return False
    vm.swap_reserved = total
    if cred is not None:
        uid = cred.cr_ruid
        vm.uid_vmsize[uid] = vm.uid_vmsize.get(uid, 0) + nbytes
    return True


def swap_reserve_force(vm: Vm, nbytes: int) -> None:
    """Reserve whatever the limits say.  FreeBSD: swap_reserve_force()."""
    vm.swap_reserved += nbytes
    if vm.curproc is not None:
        uid = vm.curproc.p_ucred.cr_ruid
        vm.uid_vmsize[uid] = vm.uid_vmsize.get(uid, 0) + nbytes


def swap_release(vm: Vm, nbytes: int) -> None:
    """Give back what the current process reserved.  FreeBSD: swap_release()."""
    swap_release_by_cred(vm, nbytes, vm.curproc.p_ucred if vm.curproc is not None else None)


def swap_release_by_cred(vm: Vm, nbytes: int, cred: Ucred | None) -> None:
    """Give back what *cred* reserved.  FreeBSD: swap_release_by_cred()."""
    kassert(nbytes & PAGE_MASK == 0, "swap_release: %#x", nbytes)
    kassert(vm.swap_reserved >= nbytes, "swap_reserved < decr: %#x", nbytes)
    vm.swap_reserved -= nbytes
    if cred is not None:
        vm.uid_vmsize[cred.cr_ruid] = vm.uid_vmsize.get(cred.cr_ruid, 0) - nbytes


def _overcommit_allows(vm: Vm, nbytes: int, total: int, cred: Ucred | None) -> bool:
    cnt = vm.cnt
    room = vm.swap_total
    if vm.overcommit & SWAP_RESERVE_ALLOW_NONWIRED:
        room += (cnt.v_page_count - cnt.v_free_reserved - cnt.v_wire_count) << PAGE_SHIFT
    if vm.overcommit & SWAP_RESERVE_FORCE_ON and total > room:
        return False
    if not vm.overcommit & SWAP_RESERVE_RLIMIT_ON or cred is None or vm.curproc is None:
        return True
    limit = vm.curproc.p_limit.lim_cur(RLIMIT_SWAP)
    return vm.uid_vmsize.get(cred.cr_ruid, 0) + nbytes <= limit


def swap_pager_haspage(object_: SwapObject, pindex: int) -> bool:
    """Whether a block holds the page.  FreeBSD: swap_pager_haspage()."""
    return object_.swap is not None and pindex in object_.swap


def swap_pager_getpages(object_: SwapObject, m: VmPage) -> int:
    """Read a page back; the block stays valid until the page is dirtied.  FreeBSD: swap_pager_getpages()."""
    vm = object_.vm
    block = object_.swap.get(m.pindex) if object_.swap is not None else None
    if block is None:
        return VM_PAGER_FAIL
    if not swap_device(vm).read(block, vm.phys.page(m.frame)):
        return VM_PAGER_ERROR
    m.valid = True
    m.dirty = False
    vm.cnt.v_swapin += 1
    vm.cnt.v_swappgsin += 1
    return VM_PAGER_OK


def swap_pager_putpages(object_: SwapObject, m: VmPage) -> int:
    """Write a page out; OBJT_DEFAULT becomes OBJT_SWAP.  FreeBSD: swap_pager_putpages()."""
    vm = object_.vm
    device = swap_device(vm)
    if object_.swap is None:
        object_.swap = {}
    block = object_.swap.get(m.pindex)
    if block is None:
        block = device.alloc()
        if block is None:
            return VM_PAGER_FAIL
    if not device.write(block, vm.phys.page(m.frame)):
        if m.pindex not in object_.swap:
            device.free(block)
        return VM_PAGER_ERROR
    object_.swap[m.pindex] = block
    object_.type = OBJT_SWAP
    m.dirty = False
    vm.cnt.v_swapout += 1
    vm.cnt.v_swappgsout += 1
    return VM_PAGER_OK


def swap_pager_freespace(object_: SwapObject, start: int, size: int) -> None:
    """Drop the blocks of page indexes [start, start+size).  FreeBSD: swap_pager_freespace()."""
    swap = object_.swap
    if not swap:
        return
    device = swap_device(object_.vm)
    if size <= len(swap):
        doomed = [pindex for pindex in range(start, start + size) if pindex in swap]
    else:
        doomed = [pindex for pindex in swap if start <= pindex < start + size]
    for pindex in doomed:
        device.free(swap.pop(pindex))


def swap_pager_copy(source: SwapObject, target: SwapObject, offset: int, destroy_source: bool) -> None:
    """Move blocks: *target*'s page i is *source*'s page ``offset + i``; existing blocks of *target* win.

    Requires: no page of *target* is resident where *source* has a block that differs from it.
    FreeBSD: swap_pager_copy().
    """
    swap = source.swap
    if not swap:
        return
    device = swap_device(source.vm)
    for pindex in [pindex for pindex in swap if offset <= pindex < offset + target.size]:
        block = swap.pop(pindex)
        if target.swap is None:
            target.swap = {}
        if pindex - offset in target.swap:
            device.free(block)
        else:
            target.swap[pindex - offset] = block
            target.type = OBJT_SWAP
    if destroy_source:
        swap_pager_dealloc(source)


def swap_pager_dealloc(object_: SwapObject) -> None:
    """Free every block of a dying object.  FreeBSD: swap_pager_dealloc()."""
    if object_.swap is None:
        return
    device = swap_device(object_.vm)
    for block in object_.swap.values():
        device.free(block)
    object_.swap = None
    if object_.type == OBJT_SWAP:
        object_.type = OBJT_DEFAULT
