"""Files as memory: one object per vnode, in whose pages every mapping of the file meets.

read(2) and write(2) are made to agree with the mappings by vn_read() and vn_write() of kern/vfs_vnops.py, which look at
the pages of ``v_object``; who reads the store past them calls vnode_pager_flush() first.

FreeBSD: sys/vm/vnode_pager.c; vfs_msync(), sys/kern/vfs_subr.c.
Differs: when nobody maps a file any more its dirty pages are written and its object is gone, so that a file that
the host changes is read afresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernel_model.errors import SyscallError, kassert
from kernel_model.vm.vm import OBJ_DEAD, OBJ_MIGHTBEDIRTY, OBJT_VNODE, VM_PAGER_BAD, VM_PAGER_ERROR, VM_PAGER_OK
from kernel_model.vm.vm_object import (
    OBJPC_NOSYNC,
    OBJPC_SYNC,
    VmObject,
    vm_object_deallocate,
    vm_object_list,
    vm_object_page_clean,
    vm_object_page_remove,
    vm_object_reference,
    vm_object_terminate,
)
from kernel_model.vm.vm_page import PQ_INACTIVE, vm_page_alloc, vm_page_enqueue
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_page import VmPage


class PagedVnode(Protocol):
    """What the pager asks of a vnode: ``kern.vnode.Vnode``."""

    v_object: VmObject | None

    def v_size(self) -> int:
        """Bytes of the file now."""
        ...

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        """Fill *buf* from the store; the bytes read, 0 at the end of the file."""
        ...

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        """Write *data* to the store; the bytes written."""
        ...


class VnodePager:
    """The pager of one vnode object; it remembers the file's size: un_pager.vnp."""

    __slots__ = ("vnp_size", "vp")

    def __init__(self, vp: PagedVnode, size: int) -> None:
        self.vp = vp
        self.vnp_size = size

    def haspage(self, object_: VmObject, pindex: int) -> bool:
        """Whether the page begins inside the file.  FreeBSD: vnode_pager_haspage()."""
        return pindex << PAGE_SHIFT < self.vnp_size

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        """Read a page and absent neighbours with one call; past the end of the file is zero.

        FreeBSD: vnode_pager_generic_getpages().
        """
        if m.pindex << PAGE_SHIFT >= self.vnp_size:
            return VM_PAGER_BAD, 0
        kassert(not m.valid, "vnode_pager_getpages: page %r is valid already", m)
        cluster = _cluster(object_, m, behind, ahead)
        cnt = object_.vm.cnt
        first = cluster[0]
        start = first.frame << PAGE_SHIFT
        buffer = object_.vm.phys.mem[start : start + (len(cluster) << PAGE_SHIFT)]
        offset = first.pindex << PAGE_SHIFT
        wanted = min(len(buffer), self.vnp_size - offset)
        got = _read(self.vp, buffer[:wanted], offset)
        valid = (got + PAGE_MASK) >> PAGE_SHIFT
        for page in cluster[:valid]:
            page.valid = True
            page.dirty = False
            if page is not m:
                vm_page_enqueue(page, PQ_INACTIVE)
        if not m.valid and got >= 0 and (m.pindex << PAGE_SHIFT) - offset >= wanted - PAGE_SIZE:
            # The file became shorter behind our back: what it no longer has reads as zero.
            m.valid = True
        _drop_invalid(object_, cluster, m)
        if not m.valid:
            return VM_PAGER_ERROR, 0
        cnt.v_vnodein += 1
        cnt.v_vnodepgsin += len(cluster)
        return VM_PAGER_OK, cluster[-1].pindex - m.pindex

    def putpages(self, object_: VmObject, m: VmPage) -> int:
        """Write a page back, never beyond the end of the file.  FreeBSD: vnode_pager_generic_putpages()."""
        offset = m.pindex << PAGE_SHIFT
        size = min(PAGE_SIZE, self.vnp_size - offset)
        if size <= 0:
            m.dirty = False
            return VM_PAGER_BAD
        try:
            written = self.vp.v_pwrite(object_.vm.phys.page(m.frame)[:size], offset)
        except SyscallError:
            return VM_PAGER_ERROR
        if written < size:
            return VM_PAGER_ERROR
        m.dirty = False
        object_.vm.cnt.v_vnodeout += 1
        object_.vm.cnt.v_vnodepgsout += 1
        return VM_PAGER_OK

    def dealloc(self, object_: VmObject) -> None:
        """Nobody maps the file any more: write it back and end the object.  FreeBSD: vnode_pager_dealloc()."""
        kassert(self.vp.v_object is object_, "vnode_pager_dealloc: object %r is not its vnode's", object_)
        vm_object_page_clean(object_, 0, 0, OBJPC_SYNC)
        self.vp.v_object = None
        object_.pager = None
        vm_object_terminate(object_)


def vnode_pager_alloc(vm: Vm, vp: PagedVnode) -> VmObject:
    """The object of a file, with a reference for the caller.  FreeBSD: vnode_pager_alloc()."""
    object_ = vp.v_object
    if object_ is None or object_.flags & OBJ_DEAD:
        kassert(object_ is None or object_.ref_count == 0, "dead vnode object %r is referenced", object_)
        size = vp.v_size()
        object_ = VmObject(vm, OBJT_VNODE, (size + PAGE_MASK) >> PAGE_SHIFT)
        object_.handle = vp
        object_.pager = VnodePager(vp, size)
        vp.v_object = object_
    else:
        vm_object_reference(object_)
        vnode_pager_setsize(vp, vp.v_size())
    return object_


def vnode_pager_setsize(vp: PagedVnode, size: int) -> None:
    """The file is now *size* bytes long: pages beyond go, and the last page is zero behind the end.

    FreeBSD: vnode_pager_setsize().
    """
    object_ = vp.v_object
    pager = None if object_ is None else object_.pager
    if object_ is None or not isinstance(pager, VnodePager) or size == pager.vnp_size:
        return
    pages = (size + PAGE_MASK) >> PAGE_SHIFT
    if size < pager.vnp_size:
        if pages < object_.size:
            vm_object_page_remove(object_, pages, object_.size)
        tail = size & PAGE_MASK
        last = object_.pages.get(pages - 1)
        if tail and last is not None and last.valid:
            object_.vm.phys.page(last.frame)[tail:] = bytes(PAGE_SIZE - tail)
    elif pager.vnp_size & PAGE_MASK:
        _reread(object_, pager)
    object_.size = pages
    pager.vnp_size = size


def vnode_pager_flush(vp: PagedVnode, start: int, end: int) -> None:
    """Write dirty pages of bytes [start, end) to the store, before somebody reads it there."""
    object_ = vp.v_object
    if object_ is not None and object_.flags & OBJ_MIGHTBEDIRTY:
        vm_object_page_clean(object_, start, end, OBJPC_SYNC)


def vfs_msync(vm: Vm, skip_nosync: bool = True) -> int:
    """Write back every dirty page of every mapped file, as the syncer does: how many objects were dirty.

    Pages of MAP_NOSYNC mappings are left alone unless *skip_nosync* is false.  FreeBSD: vfs_msync(), sched_sync().
    """
    flags = OBJPC_NOSYNC if skip_nosync else OBJPC_SYNC
    vnode_objects = [object_ for object_ in vm_object_list(vm) if object_.type == OBJT_VNODE]
    dirty = [object_ for object_ in vnode_objects if object_.flags & OBJ_MIGHTBEDIRTY]
    for object_ in dirty:
        vm_object_reference(object_)
        vm_object_page_clean(object_, 0, 0, flags)
        vm_object_deallocate(object_)
    return len(dirty)


def _cluster(object_: VmObject, m: VmPage, behind: int, ahead: int) -> list[VmPage]:
    """*m* with newly allocated absent neighbours, in consecutive frames; only *m* when memory is short."""
    cnt = object_.vm.cnt
    if cnt.v_free_count < cnt.v_free_min + behind + ahead:
        return [m]
    pages = object_.pages
    cluster = [m]
    for pindex in range(m.pindex + 1, min(m.pindex + ahead + 1, object_.size)):
        if pindex in pages or not _append(object_, cluster, pindex, 1):
            break
    cluster.reverse()
    for pindex in range(m.pindex - 1, max(m.pindex - behind, 0) - 1, -1):
        if pindex in pages or not _append(object_, cluster, pindex, -1):
            break
    cluster.reverse()
    return cluster


def _append(object_: VmObject, cluster: list[VmPage], pindex: int, step: int) -> bool:
    """Allocate the next page of a cluster; False when its frame does not follow or there is none."""
    last = cluster[-1]
    if object_.frame_of(pindex) != last.frame + step:
        return False
    m = vm_page_alloc(object_, pindex)
    if m is None:
        return False
    cluster.append(m)
    return True


def _drop_invalid(object_: VmObject, cluster: list[VmPage], wanted: VmPage) -> None:
    """Free what was allocated along but not filled."""
    for page in cluster:
        if not page.valid and page is not wanted:
            vm_object_page_remove(object_, page.pindex, page.pindex + 1)


def _reread(object_: VmObject, pager: VnodePager) -> None:
    """The file grew behind its partly filled last page: fetch what is there now."""
    m = object_.pages.get(pager.vnp_size >> PAGE_SHIFT)
    if m is not None and m.valid:
        _read(pager.vp, object_.vm.phys.page(m.frame)[pager.vnp_size & PAGE_MASK :], pager.vnp_size)


def _read(vp: PagedVnode, buffer: memoryview, offset: int) -> int:
    """Read until *buffer* is full or the file ends; -1 for an error of the file system."""
    done = 0
    while done < len(buffer):
        try:
            got = vp.v_pread_into(buffer[done:], offset + done)
        except SyscallError:
            return -1 if done == 0 else done
        if got == 0:
            break
        done += got
    return done
