"""DragonFly's search for space and its stacks, where they differ from FreeBSD's.

Its findspace takes an alignment, of any value, and keeps ordinary mappings out of a stack's reserve; its
stacks never have a guard page, and a grown piece has all rights and is no stack entry itself.

FreeBSD: sys/vm/vm_map.c has the functions of these names; theirs are in vm_map_find, vm_stack and vm_stack_gap.
DragonFly: vm_map_findspace(), vm_map_stack(), vm_map_growstack() in sys/vm/vm_map.c; vm_map(9), vm_map_findspace(9),
vm_map_stack(9) there.
Differs: MAP_ENTRY_STACK is our MAP_ENTRY_GROWS_DOWN; pieces coalesce by attributes alone, DragonFly's
entries also carry the subsystem that made them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.rlimit import RLIMIT_STACK, RLIMIT_VMEM
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_map import vm_map_grown
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN, MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_insert import vm_map_clip_end, vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import (
    KERN_NO_SPACE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    WORD_MASK,
    KernReturn,
)
from kernel_model.vm.vm_stack_limits import growing_space

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import VmProc
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_stack_limits import StackSpace

MAP_FIXED = 0x0010
MAP_STACK = 0x0400
MAP_TRYFIXED = 0x10000
"""mmap(2)'s flags, as DragonFly's vm_map_stack() takes them."""


def dragonfly_findspace(map_: VmMap, start: int, length: int, align: int = 1, flags: int = 0) -> int | None:
    """The lowest address >= *start*, a multiple of *align*, with *length* free bytes, or None.

    *flags*: MAP_STACK lets the space lie in the reserve of a stack; without it the reserve counts as taken.
    DragonFly: vm_map_findspace(map, start, length, align, flags, &addr).
    """
    header = map_.header
    start = max(start, map_.min_offset)
    if start > map_.max_offset:
        return None
    found, entry = vm_map_lookup_entry(map_, start)
    if found:
        start = entry.end
    while True:
        start = -(-start // align) * align
        end = start + length
        if start > WORD_MASK or end > map_.max_offset:
            return None
        nxt = entry.next
        if nxt is header or (nxt.start >= end and _may_end(nxt, end, flags)):
            return start
        entry = nxt
        start = max(start, entry.end)


def _may_end(above: VmMapEntry, end: int, flags: int) -> bool:
    """Whether a mapping may end at *end* below *above*: not in a stack's reserve, unless it is a stack itself."""
    if not above.eflags & MAP_ENTRY_GROWS_DOWN or flags & MAP_STACK:
        return True
    return above.start - above.avail_ssize >= end


def dragonfly_stack(
    map_: VmMap, addrbos: int, max_ssize: int, flags: int, prot: int, max_: int, cow: int
) -> tuple[KernReturn, int]:
    """Reserve *max_ssize* bytes and map their top: the code, and the lowest address of the reserve.

    Without MAP_FIXED or MAP_TRYFIXED in *flags* the first place from *addrbos* on is taken.  No limit is tested.
    Returns: KERN_NO_SPACE when nothing is found or something is there; else what vm_map_insert says.
    DragonFly: vm_map_stack(9).
    """
    map_.lock()
    rv = KERN_NO_SPACE
    bottom: int | None = addrbos
    if not flags & (MAP_FIXED | MAP_TRYFIXED):
        bottom = dragonfly_findspace(map_, addrbos, max_ssize, 1, flags)
    if bottom is not None:
        addrbos = bottom
        rv = dragonfly_stack_locked(map_, addrbos, max_ssize, prot, max_, cow)
    map_.unlock()
    return rv, addrbos


def dragonfly_stack_locked(map_: VmMap, addrbos: int, max_ssize: int, prot: int, max_: int, cow: int) -> KernReturn:
    """The stack at a place that is settled.  Requires: the map locked."""
    found, prev = vm_map_lookup_entry(map_, addrbos)
    top = addrbos + max_ssize
    if found or (prev.next is not map_.header and prev.next.start < top):
        return KERN_NO_SPACE
    start = top - min(max_ssize, map_.vm.sgrowsiz)
    rv = vm_map_insert(map_, None, 0, start, top, prot, max_, cow | MAP_STACK_GROWS_DOWN)
    if rv == KERN_SUCCESS:
        prev.next.avail_ssize = start - addrbos
    return rv


def dragonfly_growstack(proc: VmProc, addr: int) -> KernReturn:
    """Grow the entry above *addr* down to it, if it has a reserve that reaches there.

    Returns: KERN_SUCCESS when *addr* is mapped, now or already, and when it is in no reserve; KERN_NO_SPACE
             when a neighbour, RLIMIT_STACK or RLIMIT_VMEM forbids.
    DragonFly: vm_map_growstack(map, addr), vm_map_stack(9).
    """
    vmspace = growing_space(proc)
    map_ = vmspace.vm_map
    check = map_.vm.check
    map_.lock_read()
    found, prev = vm_map_lookup_entry(map_, addr)
    entry = prev.next
    in_reserve = entry is not map_.header and entry.start - entry.avail_ssize <= addr < entry.start
    if not check("unmapped", not found, addr=addr) or not check(
        "neighbour", in_reserve, below=prev.end, above=entry.start
    ):
        map_.unlock_read()
        return KERN_SUCCESS
    limit = prev.end if prev is not map_.header else entry.start - entry.avail_ssize
    room = entry.start - limit
    need = (entry.start - addr + PAGE_MASK) & ~PAGE_MASK
    if not check("reserve", need <= room, need=need, avail_ssize=entry.avail_ssize, max_grow=room):
        map_.lock_upgrade()
        entry.avail_ssize = room
        map_.unlock()
        return KERN_NO_SPACE
    amount = _amount(proc, vmspace, entry, need, addr)
    if amount is None:
        map_.unlock_read()
        return KERN_NO_SPACE
    map_.lock_upgrade()
    rv = _grow(vmspace, prev, entry, limit, amount, addr)
    map_.unlock()
    return rv


def _amount(proc: VmProc, vmspace: StackSpace, entry: VmMapEntry, need: int, addr: int) -> int | None:
    """How much to grow.

    Differs: the stack limit cuts it to the page; the source cuts to the byte, and an entry then starts inside a page.
    """
    vm = vmspace.vm
    amount = min(-(-need // vm.sgrowsiz) * vm.sgrowsiz, entry.avail_ssize)
    if addr >= vmspace.vm_maxsaddr:
        ssize = vmspace.vm_ssize << PAGE_SHIFT
        limit = proc.p_limit.lim_cur(RLIMIT_STACK)
        if not vm.check("stack_limit", ssize + need <= limit, need=need, ssize=ssize, limit=limit):
            return None
        amount = min(amount, (limit & ~PAGE_MASK) - ssize)
    size = vmspace.vm_map.size
    limit = proc.p_limit.lim_cur(RLIMIT_VMEM)
    return amount if vm.check("vmem", size + amount <= limit, size=size, amount=amount, limit=limit) else None


def _grow(vmspace: StackSpace, prev: VmMapEntry, entry: VmMapEntry, limit: int, amount: int, addr: int) -> KernReturn:
    """Insert the piece; the reserve that is left goes with it."""
    map_ = vmspace.vm_map
    vm = vmspace.vm
    end = entry.start
    start = end - amount
    reserve = entry.avail_ssize
    if not vm.check("trim", start >= limit, amount=amount, max_grow=end - limit):
        entry.avail_ssize = end - limit
        start = limit
    rv = vm_map_insert(map_, None, 0, start, end, VM_PROT_ALL, VM_PROT_ALL, 0)
    if not vm.check("insert", rv == KERN_SUCCESS, start=start, end=end, rv=rv):
        return rv
    if prev is not map_.header:
        vm_map_clip_end(map_, prev, start)
    piece = prev.next
    piece.avail_ssize = entry.avail_ssize - (end - start)
    if addr >= vmspace.vm_maxsaddr:
        vmspace.vm_ssize += (end - start) >> PAGE_SHIFT
    vm_map_grown(map_, start, end, end - reserve, end)
    return rv
