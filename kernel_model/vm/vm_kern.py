"""The kernel's own map and its submaps: exec_map for the arguments of execve, pipe_map for the buffers of pipes.

    kernel_map  [VM_MIN_KERNEL_ADDRESS ...................................... VM_MAX_KERNEL_ADDRESS)
                  kernel image | exec_map (16 x ARG_MAX + PATH_MAX) | pipe_map | free

Pages of the submaps are ordinary pageable memory and come by vm_fault like a program's.

    addr = exec_map_alloc(vm)            ...  exec_map_free(vm, addr)
    addr = pipe_map_alloc(vm, size)      ...  pipe_map_free(vm, addr, size)
    kmem_write(vm, addr, data)  kmem_read(vm, addr, size)  for view in kmem_views(vm, addr, size, write=True)

FreeBSD: sys/vm/vm_kern.c, vm_ksubmap_init() in sys/vm/vm_init.c, exec_alloc_args() in sys/kern/kern_exec.c,
pipespace_new() in sys/kern/sys_pipe.c.
Differs: who would sleep for space gets None; freed exec arguments are not cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kernel_model.errors import kassert, some
from kernel_model.vm.pmap import NullHardware, Pmap
from kernel_model.vm.swap_pager import swap_release, swap_reserve
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map import VmMap
from kernel_model.vm.vm_map_delete import vm_map_delete
from kernel_model.vm.vm_map_entry import MAP_ACC_CHARGED, MAP_ACC_NO_CHARGE, MAP_NOFAULT
from kernel_model.vm.vm_map_find import VMFS_ANY_SPACE, vm_map_find, vm_map_findspace
from kernel_model.vm.vm_map_insert import vm_map_insert, vm_map_submap
from kernel_model.vm.vm_param import (
    KERN_NO_SPACE,
    KERN_SUCCESS,
    NBPDR,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_MAX_KERNEL_ADDRESS,
    VM_MIN_KERNEL_ADDRESS,
    VmOffset,
    round_page,
    trunc_page,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernel_model.vm.vm_init import Vm

PATH_MAX = 1024
ARG_MAX = 524288
"""Bytes of argument and environment strings, NULs included, that exec_map has room for; a release may take fewer."""
EXEC_MAP_ENTRIES = 16
EXEC_MAP_ENTRY_SIZE = round_page(PATH_MAX + ARG_MAX)
"""Bytes of kernel address space that one execve takes for path, arguments and environment."""
LEAST_PIPE_KVA = 512 << 10
PIPE_KVA_SHARE = 20
"""pipe_map is this share of physical memory: maxpipekva."""


class KernelMaps:
    """kernel_map, exec_map and pipe_map of one kernel."""

    __slots__ = ("exec_map", "kernel_map", "pipe_map")

    def __init__(self, kernel_map: VmMap, exec_map: VmMap, pipe_map: VmMap) -> None:
        self.kernel_map = kernel_map
        self.exec_map = exec_map
        self.pipe_map = pipe_map

    def map_of(self, addr: VmOffset) -> VmMap:
        """The map that *addr* belongs to."""
        for submap in (self.exec_map, self.pipe_map):
            if submap.min_offset <= addr < submap.max_offset:
                return submap
        return self.kernel_map


def kernel_maps(vm: Vm) -> KernelMaps:
    """The kernel's maps, made when they are first needed.  FreeBSD: kmem_init(), vm_ksubmap_init()."""
    if vm.kernel_maps is None:
        kernel_map = kmem_init(vm)
        pipe_kva = max(round_page((vm.cnt.v_page_count << PAGE_SHIFT) // PIPE_KVA_SHARE), LEAST_PIPE_KVA)
        vm.kernel_maps = KernelMaps(
            kernel_map,
            kmem_suballoc(kernel_map, EXEC_MAP_ENTRIES * EXEC_MAP_ENTRY_SIZE),
            kmem_suballoc(kernel_map, pipe_kva),
        )
    return cast("KernelMaps", vm.kernel_maps)


def kmem_init(vm: Vm) -> VmMap:
    """The kernel map, with the kernel image as its first entry.  FreeBSD: kmem_init()."""
    pmap = Pmap(vm)
    pmap.hardware = NullHardware(pmap)
    kernel_map = VmMap(vm, pmap, VM_MIN_KERNEL_ADDRESS, VM_MAX_KERNEL_ADDRESS)
    kernel_map.system_map = True
    start = VM_MIN_KERNEL_ADDRESS
    with kernel_map.locked():
        rv = vm_map_insert(kernel_map, None, 0, start, start + NBPDR, VM_PROT_ALL, VM_PROT_ALL, MAP_NOFAULT)
    kassert(rv == KERN_SUCCESS, "kmem_init: %d", rv)
    return kernel_map


def kmem_suballoc(parent: VmMap, size: VmOffset) -> VmMap:
    """A submap of *size* bytes inside *parent*.  FreeBSD: kmem_suballoc()."""
    size = round_page(size)
    rv, start = vm_map_find(
        parent, None, 0, parent.min_offset, size, VMFS_ANY_SPACE, VM_PROT_ALL, VM_PROT_ALL, MAP_ACC_NO_CHARGE
    )
    kassert(rv == KERN_SUCCESS, "kmem_suballoc: bad status return of %d", rv)
    result = VmMap(parent.vm, parent.pmap, start, start + size)
    rv = vm_map_submap(parent, start, start + size, result)
    kassert(rv == KERN_SUCCESS, "kmem_suballoc: unable to change range to submap: %d", rv)
    parent.pmap.growkernel(start + size)
    return result


def kmap_alloc_wait(map_: VmMap, size: VmOffset) -> VmOffset | None:
    """Pageable kernel memory from a submap; None when swap or the submap's space does not suffice.

    FreeBSD: kmap_alloc_wait().
    """
    vm = map_.vm
    size = round_page(size)
    if not swap_reserve(vm, size):
        return None
    with map_.locked():
        addr = vm_map_findspace(map_, map_.min_offset, size)
        if addr is None:
            map_.needs_wakeup = True
            rv = KERN_NO_SPACE
        else:
            rv = vm_map_insert(map_, None, 0, addr, addr + size, VM_PROT_ALL, VM_PROT_ALL, MAP_ACC_CHARGED)
    if rv != KERN_SUCCESS:
        swap_release(vm, size)
        return None
    return addr


def kmap_free_wakeup(map_: VmMap, addr: VmOffset, size: VmOffset) -> None:
    """Give memory of a submap back.  FreeBSD: kmap_free_wakeup()."""
    with map_.locked():
        rv = vm_map_delete(map_, trunc_page(addr), round_page(addr + size))
        kassert(rv == KERN_SUCCESS, "kmap_free_wakeup: %d", rv)
        if map_.needs_wakeup:
            map_.wakeup()


class NoWait:
    """``with NoWait(vm):`` faults of the kernel never page out and may use the reserve: VM_ALLOC_SYSTEM, M_NOWAIT.

    Needed where views of other pages are in hand, which the page daemon could take away.
    """

    __slots__ = ("_busy", "_reserved", "_vm")

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        self._reserved = 0
        self._busy = False

    def __enter__(self) -> None:
        vm = self._vm
        self._reserved, vm.cnt.v_free_reserved = vm.cnt.v_free_reserved, 0
        self._busy, vm.in_pageout = vm.in_pageout, True

    def __exit__(self, *_: object) -> None:
        vm = self._vm
        vm.cnt.v_free_reserved = self._reserved
        vm.in_pageout = self._busy


class PipeBuffer:
    """struct pipebuf: a ring of bytes in pipe_map, whose space is taken at the first store and given back by free().

    FreeBSD: pipespace_new(), pipe_read(), pipe_write(), pipe_free_kmem(), sys/kern/sys_pipe.c.
    """

    __slots__ = ("_vm", "buffer", "cnt", "out", "size")

    def __init__(self, vm: Vm, size: int) -> None:
        self._vm = vm
        self.buffer: VmOffset | None = None
        self.size = size
        self.cnt = 0
        """Bytes waiting to be read."""
        self.out = 0
        """Where the first of them is."""

    def __len__(self) -> int:
        return self.cnt

    def alloc(self) -> bool:
        """Take the space now; False when pipe_map or swap does not suffice."""
        if self.buffer is None:
            self.buffer = pipe_map_alloc(self._vm, self.size)
        return self.buffer is not None

    def put(self, data: memoryview | bytes) -> int:
        """Append as much of *data* as there is room, and memory, for."""
        if not self.alloc():
            return 0
        put = 0
        count = min(len(data), self.size - self.cnt)
        with NoWait(self._vm):
            for view in self._views((self.out + self.cnt) % self.size, count, write=True):
                view[:] = data[put : put + len(view)]
                put += len(view)
        self.cnt += put
        return put

    def take(self, target: memoryview) -> int:
        """Move waiting bytes into *target*; fewer when memory ran out."""
        got = 0
        with NoWait(self._vm):
            for view in self._views(self.out, min(len(target), self.cnt), write=False):
                target[got : got + len(view)] = view
                got += len(view)
        self.cnt -= got
        self.out = (self.out + got) % self.size if self.cnt else 0
        return got

    def free(self) -> None:
        """Give the space back; what waited is lost."""
        if self.buffer is not None:
            pipe_map_free(self._vm, self.buffer, self.size)
            self.buffer = None
        self.cnt = self.out = 0

    def _views(self, start: int, count: int, write: bool) -> Iterator[memoryview]:
        """The ring's bytes from *start* on, across its end; stops early when memory runs out."""
        base = some(self.buffer, "buffer of a pipe that holds bytes") if count else 0
        first = min(count, self.size - start)
        reached = 0
        for view in kmem_views(self._vm, base + start, first, write):
            reached += len(view)
            yield view
        if reached == first:
            yield from kmem_views(self._vm, base, count - first, write)


def exec_map_alloc(vm: Vm) -> VmOffset | None:
    """Room for one execve's strings: EXEC_MAP_ENTRY_SIZE bytes, or None while 16 others hold it.

    FreeBSD: exec_alloc_args().
    """
    return kmap_alloc_wait(kernel_maps(vm).exec_map, EXEC_MAP_ENTRY_SIZE)


def exec_map_free(vm: Vm, addr: VmOffset) -> None:
    """Give an execve's room back.  FreeBSD: exec_free_args()."""
    kmap_free_wakeup(kernel_maps(vm).exec_map, addr, EXEC_MAP_ENTRY_SIZE)


def pipe_map_alloc(vm: Vm, size: VmOffset) -> VmOffset | None:
    """A pipe buffer of *size* bytes, or None when pipe_map is full (the pipe gets a smaller one, or ENOMEM).

    FreeBSD: pipespace_new().
    """
    return kmap_alloc_wait(kernel_maps(vm).pipe_map, size)


def pipe_map_free(vm: Vm, addr: VmOffset, size: VmOffset) -> None:
    """Give a pipe buffer back.  FreeBSD: pipe_free_kmem()."""
    kmap_free_wakeup(kernel_maps(vm).pipe_map, addr, size)


def kmem_views(vm: Vm, addr: VmOffset, size: VmOffset, write: bool = False) -> Iterator[memoryview]:
    """The memory itself, page by page, faulted in as it is reached; stops early when memory runs out."""
    pmap = kernel_maps(vm).kernel_map.pmap
    map_ = kernel_maps(vm).map_of(addr)
    prot = VM_PROT_WRITE if write else VM_PROT_READ
    end = addr + size
    while addr < end:
        pte = pmap.ptes.get(addr >> PAGE_SHIFT)
        if pte is None or not pte[1] & prot:
            if vm_fault(map_, addr, prot) != KERN_SUCCESS:
                return
            pte = some(pmap.lookup(addr), "page of a served kernel fault")
        offset = addr & PAGE_MASK
        count = min(PAGE_SIZE - offset, end - addr)
        yield vm.phys.page(pte[0].frame)[offset : offset + count]
        addr += count


def kmem_write(vm: Vm, addr: VmOffset, data: bytes | memoryview) -> bool:
    """Store *data* at a kernel address; False when memory ran out on the way."""
    done = 0
    for view in kmem_views(vm, addr, len(data), write=True):
        view[:] = data[done : done + len(view)]
        done += len(view)
    return done == len(data)


def kmem_read(vm: Vm, addr: VmOffset, size: VmOffset) -> bytes:
    """Fetch *size* bytes from a kernel address."""
    return b"".join(kmem_views(vm, addr, size))
