"""Finding room, and mapping there.

FreeBSD: vm_map_findspace(), vm_map_find(), vm_map_find_min(), vm_map_alignspace(), vm_map_fixed() in sys/vm/vm_map.c;
vm_map_findspace(9), vm_map_find(9).
Differs: vm_map_find hands the address back beside the code instead of through a pointer; no stack below its
guard is tried for ever by an aligned find (10.4 loops, here KERN_NO_SPACE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kernel_model.errors import kassert
from kernel_model.vm.pmap import pmap_align_superpage
from kernel_model.vm.vm import OBJ_COLORED
from kernel_model.vm.vm_map_delete import vm_map_delete
from kernel_model.vm.vm_map_dragonfly import dragonfly_findspace
from kernel_model.vm.vm_map_entry import (
    MAP_ASLR,
    MAP_ASLR_IGNSTART,
    MAP_CHECK_EXCL,
    MAP_INHERIT_SHARE,
    MAP_IS_SUB_MAP,
    MAP_NO_HINT,
    MAP_REMAP,
    MAP_STACK_GROWS_DOWN,
    MAP_STACK_GROWS_UP,
)
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import first_gap, vm_map_lookup_entry
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_NO_SPACE,
    KERN_SUCCESS,
    NBPDR,
    PAGE_SIZE,
    WORD_MASK,
    KernReturn,
)
from kernel_model.vm.vm_stack import vm_map_stack_locked

if TYPE_CHECKING:
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject

VMFS_NO_SPACE = 0
VMFS_ANY_SPACE = 1
MAP_32BIT_MAX_ADDR = 1 << 31
ASLR_PAGES_64 = (0x1000, 0x10)
ASLR_PAGES_32 = (0x100, 0x4)
_GROWS = MAP_STACK_GROWS_DOWN | MAP_STACK_GROWS_UP


def vm_map_findspace(map_: VmMap, start: int, length: int) -> int | None:
    """The lowest address >= *start* with *length* free bytes, or None.

    Requires: the map locked, a read lock is enough.
    FreeBSD: vm_map_findspace(9): returns 1 for none, or, since 12, the map's end - length + 1
    (vm_map_findspace_address).
    Differs: 12.1 misses the space above the last entry when the search begins in a too small gap right below
    it, if its tree happens to have a certain shape; here it always misses it then.
    """
    start = max(start, map_.min_offset)
    if start + length > map_.max_offset:
        return None
    release = map_.vm.release
    if release.stack_dragonfly:
        return dragonfly_findspace(map_, start, length)
    if release.findspace_returns_address and start >= map_.max_offset:
        return None
    if release.findspace_last_gap_blind and map_.nentries:
        found, entry = vm_map_lookup_entry(map_, start)
        above = entry.next
        if not found and above.next is map_.header and above is not map_.header and start + length > above.start:
            return None
    return first_gap(map_, start, length)


def vm_map_findspace_address(map_: VmMap, start: int, length: int) -> int:
    """The three-argument form of 12 and later: an address, or one from which *length* does not fit.

    FreeBSD: vm_map_findspace() since 12.0.
    """
    addr = vm_map_findspace(map_, start, length)
    return (map_.max_offset - length + 1) & WORD_MASK if addr is None else addr


def vm_map_fixed(
    map_: VmMap, obj: VmObject | None, offset: int, start: int, length: int, prot: int, max_: int, cow: int
) -> KernReturn:
    """Map exactly at *start*, in place of what is there unless *cow* has MAP_CHECK_EXCL.

    Returns: what vm_map_insert or, with a MAP_STACK_GROWS_* flag, vm_map_stack returns.
    FreeBSD: vm_map_fixed(), see vm_map_find(9).
    """
    release = map_.vm.release
    map_.lock()
    start, end = map_.range_check(start, (start + length) & WORD_MASK)
    rv = KERN_SUCCESS
    if not (cow & MAP_CHECK_EXCL and release.fixed_check_excl):
        rv = vm_map_delete(map_, start, end)
        if not release.fixed_returns_delete:
            rv = KERN_SUCCESS
    if rv == KERN_SUCCESS:
        if cow & _GROWS and release.find_stacks:
            kassert(obj is None, "vm_map_fixed: object for a stack")
            rv = vm_map_stack_locked(map_, start, length, map_.vm.sgrowsiz, prot, max_, cow)
        else:
            rv = vm_map_insert(map_, obj, offset, start, end, prot, max_, cow)
    map_.unlock()
    return rv


class FindRequest(NamedTuple):
    """What vm_map_find is asked for, made once at the door and passed on whole.

    FreeBSD: the arguments of vm_map_find(); passed by hand from function to function there.
    """

    obj: VmObject | None
    offset: int
    addr: int
    """The hint, or the place itself."""
    length: int
    find_space: int
    """VMFS_*; where a strategy gives the alignment up it goes on with VMFS_ANY_SPACE of its own."""
    prot: int
    max_: int
    cow: int
    max_addr: int
    """The mapping must end at or below it; 0 for no bound."""


def vm_map_find(
    map_: VmMap,
    obj: VmObject | None,
    offset: int,
    addr: int,
    length: int,
    find_space: int,
    prot: int,
    max_: int,
    cow: int,
    max_addr: int = 0,
) -> tuple[KernReturn, int]:
    """Map *length* bytes at the first place from *addr* on that *find_space* asks for.

    *find_space*: VMFS_NO_SPACE exactly at *addr*; VMFS_ANY_SPACE first fit; the release's super, optimal or
    aligned space.
    *max_addr*: the mapping must end at or below it, 0 for no bound (from 10.0 on).
    Returns: the code, and the address when it is KERN_SUCCESS: KERN_NO_SPACE when there is no room; else what
             vm_map_insert or, with a MAP_STACK_GROWS_* flag, vm_map_stack returns.
    FreeBSD: vm_map_find(9).
    """
    return _find(map_, _request(map_, obj, offset, addr, length, find_space, prot, max_, cow, max_addr))


def vm_map_find_min(
    map_: VmMap,
    obj: VmObject | None,
    offset: int,
    addr: int,
    length: int,
    min_addr: int,
    max_addr: int,
    find_space: int,
    prot: int,
    max_: int,
    cow: int,
) -> tuple[KernReturn, int]:
    """vm_map_find from the hint *addr*, and once more from *min_addr* when nothing was found above the hint.

    FreeBSD: vm_map_find_min(), see vm_map_find(9).
    """
    request = _request(map_, obj, offset, addr, length, find_space, prot, max_, cow, max_addr)
    rv, found = _find(map_, request)
    if rv == KERN_SUCCESS or min_addr >= addr:
        return rv, found
    return _find(map_, request._replace(addr=min_addr))


def _request(
    map_: VmMap,
    obj: VmObject | None,
    offset: int,
    addr: int,
    length: int,
    find_space: int,
    prot: int,
    max_: int,
    cow: int,
    max_addr: int,
) -> FindRequest:
    """What is asked for, as far as the release knows such a wish and the object has a colour."""
    release = map_.vm.release
    kassert(not cow & _GROWS or obj is None, "vm_map_find: object for a stack")
    if find_space == release.vmfs_optimal_space and (obj is None or not obj.flags & OBJ_COLORED):
        find_space = VMFS_ANY_SPACE
    if not release.find_max_addr:
        max_addr = 0
    return FindRequest(obj, offset, addr, length, find_space, prot, max_, cow, max_addr)


def _find(map_: VmMap, request: FindRequest) -> tuple[KernReturn, int]:
    """Choose the strategy, and hold the lock meanwhile."""
    map_.lock()
    rv, addr = (_find_modern if map_.vm.release.find_alignspace else _find_classic)(map_, request)
    map_.unlock()
    return rv, addr


def _place(map_: VmMap, request: FindRequest, addr: int) -> KernReturn:
    """Map at *addr*: a stack or an ordinary entry."""
    obj, offset, _, length, _, prot, max_, cow, _ = request
    if cow & _GROWS and map_.vm.release.find_stacks:
        return vm_map_stack_locked(map_, addr, length, map_.vm.sgrowsiz, prot, max_, cow)
    return vm_map_insert(map_, obj, offset, addr, addr + length, prot, max_, cow)


def _align(map_: VmMap, request: FindRequest, addr: int) -> int:
    """The address at or above *addr* with the alignment that the request asks for."""
    release = map_.vm.release
    find_space = request.find_space
    if find_space in (release.vmfs_super_space, release.vmfs_optimal_space):
        obj = request.obj
        color = obj.pg_color if obj is not None and obj.flags & OBJ_COLORED else 0
        return pmap_align_superpage(color, request.offset, addr, request.length)
    alignment = 1 << (find_space >> 8) if find_space >> 8 else 0
    if alignment and addr & (alignment - 1):
        return (addr & ~(alignment - 1)) + alignment
    return addr


def _bounded(map_: VmMap, request: FindRequest, start: int) -> int | None:
    """vm_map_findspace below the request's bound."""
    addr = vm_map_findspace(map_, start, request.length)
    if addr is None or (request.max_addr and addr + request.length > request.max_addr):
        return None
    return addr


def _find_classic(map_: VmMap, request: FindRequest) -> tuple[KernReturn, int]:
    """Find, align, insert; when the aligned place is taken, on from there.  FreeBSD: vm_map_find() up to 11."""
    addr = request.addr
    find_space = request.find_space
    if find_space == VMFS_NO_SPACE:
        return _place(map_, request, addr), addr
    start = addr
    while True:
        space = _bounded(map_, request, start)
        if space is None:
            if find_space != map_.vm.release.vmfs_optimal_space:
                return KERN_NO_SPACE, addr
            find_space = VMFS_ANY_SPACE
            start = addr
            map_.unlock()
            map_.lock()
            continue
        if find_space != VMFS_ANY_SPACE:
            space = _align(map_, request, space)
        rv = _place(map_, request, space)
        if rv != KERN_NO_SPACE or find_space == VMFS_ANY_SPACE or space == start:
            return rv, space
        start = space


def _find_modern(map_: VmMap, request: FindRequest) -> tuple[KernReturn, int]:
    """Settle the address first, near other anonymous mappings if that is wanted.  FreeBSD: vm_map_find() since 12."""
    cluster = _may_cluster(map_, request)
    addr = request.addr
    if request.find_space != VMFS_NO_SPACE:
        rv, addr = _search(map_, request, cluster)
    elif request.cow & MAP_REMAP:
        rv = _clear_for_remap(map_, addr, request.length)
    else:
        rv = KERN_SUCCESS
    if rv == KERN_SUCCESS:
        rv = _place(map_, request, addr)
    if rv == KERN_SUCCESS and cluster:
        map_.anon_loc = addr + request.length
    return rv, addr


def _clear_for_remap(map_: VmMap, addr: int, length: int) -> KernReturn:
    """Remove what MAP_REMAP is going to replace."""
    if addr < map_.min_offset or addr + length > map_.max_offset or length <= 0:
        return KERN_INVALID_ADDRESS
    return vm_map_delete(map_, addr, addr + length)


def _may_cluster(map_: VmMap, request: FindRequest) -> bool:
    """Whether the mapping should go next to the last anonymous one.

    FreeBSD: clustering_anon_allowed() and its caller.
    """
    mode = map_.vm.cluster_anon
    if mode == 0 or (mode == 1 and request.addr != 0 and not request.cow & MAP_NO_HINT):
        return False
    return (
        not map_.flags & MAP_IS_SUB_MAP
        and request.max_addr == 0
        and request.find_space != VMFS_NO_SPACE
        and request.obj is None
        and not request.cow & (MAP_INHERIT_SHARE | _GROWS)
        and request.prot != 0
    )


def _search(map_: VmMap, request: FindRequest, may_cluster: bool) -> tuple[KernReturn, int]:
    """Up to two tries, the first clustered or randomized; OPTIMAL falls back to ANY and starts over."""
    min_addr = request.addr
    find_space = request.find_space
    aslr = bool(map_.flags & MAP_ASLR) and map_.random is not None
    if aslr and min_addr == 0 and not may_cluster and map_.flags & MAP_ASLR_IGNSTART:
        min_addr = map_.min_offset
    while True:
        # With clustering wanted but no cluster yet the search begins at 0, not at the hint.
        start = map_.anon_loc if may_cluster else min_addr
        cluster = may_cluster and start != 0
        randomize = aslr and not cluster
        addr = _randomized(map_, request, start, find_space) if randomize else _bounded(map_, request, start)
        if addr is None and (cluster or randomize):
            again = map_.min_offset if map_.flags & MAP_ASLR_IGNSTART else min_addr
            addr = _bounded(map_, request, again)
        if addr is None:
            return KERN_NO_SPACE, min_addr
        if find_space == VMFS_ANY_SPACE:
            return KERN_SUCCESS, addr
        aligned = _alignspace(map_, request, addr)
        if aligned is not None:
            return KERN_SUCCESS, aligned
        if find_space != map_.vm.release.vmfs_optimal_space:
            return KERN_NO_SPACE, addr
        find_space = VMFS_ANY_SPACE


def _randomized(map_: VmMap, request: FindRequest, start: int, find_space: int) -> int | None:
    """A random place in a gap that leaves room for it.  FreeBSD: the ASLR branch of vm_map_find()."""
    release = map_.vm.release
    length, max_addr = request.length, request.max_addr
    large = find_space in (release.vmfs_super_space, release.vmfs_optimal_space)
    wide = map_.max_offset > MAP_32BIT_MAX_ADDR and (max_addr == 0 or max_addr > MAP_32BIT_MAX_ADDR)
    steps = (ASLR_PAGES_64 if wide else ASLR_PAGES_32)[large]
    pagesize = NBPDR if large else PAGE_SIZE
    addr = vm_map_findspace(map_, start, length + steps * pagesize)
    if addr is None or map_.random is None:
        return None
    addr += map_.random(steps) * pagesize
    return None if max_addr and addr + length > max_addr else addr


def _alignspace(map_: VmMap, request: FindRequest, addr: int) -> int | None:
    """Alternate between aligning and finding until neither moves the address.  FreeBSD: vm_map_alignspace()."""
    while True:
        aligned = _align(map_, request, addr)
        if aligned == addr:
            return addr
        space = _bounded(map_, request, aligned)
        if space is None:
            return None
        if space == aligned:
            return space
        addr = space
