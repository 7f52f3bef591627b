"""Stacks that grow: making one, and growing it where the reserve is a number.

The classic stack (up to 10.3 and 11.0)::

      bos                      start          end
       |<----- avail_ssize ---->[ stack entry )        a fault below start, within avail_ssize, adds an entry

The gap below ``start`` belongs to nobody: any mapping may take it, and growth then finds less room than it promised.
Up to 10.1 the new entry is inserted as ordinary memory and becomes a stack afterwards, so it may share an object with
what lies below; 11.0 inserts a stack.
Since 10.4 the reserve is an entry of its own, see vm_stack_gap.

FreeBSD: vm_map_stack(), vm_map_stack_locked(), vm_map_growstack() in sys/vm/vm_map.c; vm_map_stack(9).
DragonFly: the same names in its sys/vm/vm_map.c.
Differs: no RACCT.  The process lock is held for the whole call, as the manual page says; the sources hold it
only to read limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.rlimit import RLIMIT_MEMLOCK, RLIMIT_VMEM
from kernel_model.vm.vm_map import vm_map_entry_grow_up, vm_map_entry_hand_down, vm_map_entry_set_eflags, vm_map_grown
from kernel_model.vm.vm_map_dragonfly import MAP_FIXED, dragonfly_growstack, dragonfly_stack
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_STACK_GROWS_DOWN,
    MAP_STACK_GROWS_UP,
    MAP_WIREFUTURE,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_map_insert import vm_map_clip_end, vm_map_clip_start, vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_wire
from kernel_model.vm.vm_param import (
    KERN_NO_SPACE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    WORD_MASK,
    KernReturn,
    btoc,
    round_page,
)
from kernel_model.vm.vm_stack_gap import vm_map_growstack_gap, vm_map_stack_gap
from kernel_model.vm.vm_stack_limits import (
    extend_object,
    growing_space,
    growth_amount,
    is_procstack,
    lim_cur,
)

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm, VmProc
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_stack_limits import StackSpace

_BOTH = MAP_STACK_GROWS_DOWN | MAP_STACK_GROWS_UP


def vm_map_stack(map_: VmMap, addrbos: int, max_ssize: int, prot: int, max_: int, cow: int) -> KernReturn:
    """Map a stack whose range ``[addrbos, addrbos + max_ssize)`` is reserved and whose first piece is SGROWSIZ.

    *prot*, *max_*: rights and the most that they may become.
    *cow*: where it grows: MAP_STACK_GROWS_DOWN, MAP_STACK_GROWS_UP, or (classic) both.
    Returns: KERN_SUCCESS; KERN_NO_SPACE when something is mapped there or RLIMIT_VMEM or (classic) RLIMIT_MEMLOCK
             forbids, and up to 11 for a range outside the map or not larger than the guard, which since 12 is
             KERN_INVALID_ADDRESS and KERN_INVALID_ARGUMENT; KERN_RESOURCE_SHORTAGE without swap.
    FreeBSD: vm_map_stack(9).
    """
    proc = map_.vm.curproc
    if proc is None:
        return _vm_map_stack(map_, None, addrbos, max_ssize, prot, max_, cow)
    with proc.p_lock:
        return _vm_map_stack(map_, proc, addrbos, max_ssize, prot, max_, cow)


def _vm_map_stack(
    map_: VmMap, proc: VmProc | None, addrbos: int, max_ssize: int, prot: int, max_: int, cow: int
) -> KernReturn:
    vm = map_.vm
    release = vm.release
    if release.stack_dragonfly:
        return dragonfly_stack(map_, addrbos, max_ssize, MAP_FIXED, prot, max_, cow)[0]
    growsize = vm.sgrowsiz
    init_ssize = min(max_ssize, growsize)
    limits_ok = _gap_limits if release.stack_gap else _classic_limits
    range_first = not release.stack_limits_first and not release.stack_gap
    if range_first and not _range_ok(map_, addrbos, max_ssize):
        return KERN_NO_SPACE
    map_.lock()
    rv = KERN_NO_SPACE
    if limits_ok(map_, proc, init_ssize):
        rv = vm_map_stack_locked(map_, addrbos, max_ssize, growsize, prot, max_, cow)
    map_.unlock()
    return rv


def _range_ok(map_: VmMap, addrbos: int, max_ssize: int) -> bool:
    """The bottom is in the map and the top does not wrap; a top beyond the map is vm_map_insert's matter."""
    return map_.min_offset <= addrbos <= map_.max_offset and addrbos + max_ssize <= WORD_MASK


def _classic_limits(map_: VmMap, proc: VmProc | None, init_ssize: int) -> bool:
    """MEMLOCK when future mappings get wired, and VMEM."""
    vm = map_.vm
    if map_.flags & MAP_WIREFUTURE and not vm.old_mlock:
        wired = map_.pmap.wired_count << PAGE_SHIFT
        if wired + init_ssize > lim_cur(proc, RLIMIT_MEMLOCK):
            return False
    return map_.size + init_ssize <= lim_cur(proc, RLIMIT_VMEM)


def _gap_limits(map_: VmMap, proc: VmProc | None, init_ssize: int) -> bool:
    """VMEM alone: with the gap design vm_map_stack is never asked to wire."""
    kassert(not map_.flags & MAP_WIREFUTURE, "vm_map_stack: MAP_WIREFUTURE")
    return map_.size + init_ssize <= lim_cur(proc, RLIMIT_VMEM)


def vm_map_stack_locked(
    map_: VmMap, addrbos: int, max_ssize: int, growsize: int, prot: int, max_: int, cow: int
) -> KernReturn:
    """vm_map_stack without the limits, on a locked map; vm_map_find and vm_map_fixed come here.

    FreeBSD: vm_map_stack_locked().
    """
    orient = cow & _BOTH
    kassert(orient, "vm_map_stack: no stack grow direction")
    if map_.vm.release.stack_gap:
        return vm_map_stack_gap(map_, addrbos, max_ssize, growsize, prot, max_, cow)
    if not _range_ok(map_, addrbos, max_ssize):
        return KERN_NO_SPACE
    found, prev = vm_map_lookup_entry(map_, addrbos)
    if found:
        return KERN_NO_SPACE
    nxt = prev.next
    if nxt is not map_.header and nxt.start < addrbos + max_ssize:
        return KERN_NO_SPACE
    init_ssize = min(max_ssize, growsize)
    if orient == MAP_STACK_GROWS_DOWN:
        bot = addrbos + max_ssize - init_ssize
    elif orient == MAP_STACK_GROWS_UP:
        bot = addrbos
    else:
        bot = round_page(addrbos + max_ssize // 2 - init_ssize // 2)
    top = bot + init_ssize
    rv = vm_map_insert(map_, None, 0, bot, top, prot, max_, cow)
    if rv != KERN_SUCCESS:
        return rv
    entry = _new_piece(map_, prev, bot)
    kassert(entry.start == bot and entry.end == top, "bad entry start/end for new stack entry")
    entry.avail_ssize = max_ssize - init_ssize
    vm_map_entry_set_eflags(map_, entry, orient, 0)
    return KERN_SUCCESS


def _new_piece(map_: VmMap, prev: VmMapEntry, start: int) -> VmMapEntry:
    """The entry that vm_map_insert just made right above *prev*; where it coalesced with *prev*, cut off again."""
    if map_.vm.release.stack_merges_neighbour and prev is not map_.header:
        vm_map_clip_end(map_, prev, start)
    return prev.next


def vm_map_growstack(proc: VmProc, addr: int) -> KernReturn:
    """Grow a stack of *proc* until *addr* is mapped.

    Returns: KERN_SUCCESS when *addr* is mapped, now or already, and (classic) when no stack is near it;
             KERN_NO_SPACE when the reserve, the guard, a neighbour, RLIMIT_STACK, RLIMIT_MEMLOCK or RLIMIT_VMEM
             forbids; KERN_FAILURE (since 10.4) when *addr* is neither mapped nor in a gap beside its stack, or *proc*
             has no program or is not the one that runs, and (all) when the object of a stack that grows up cannot be
             extended; KERN_RESOURCE_SHORTAGE without swap; since 12 also what wiring the new piece answers.
    FreeBSD: vm_map_growstack(9).  With the gap design the kernel's function takes the map; this is its process form.
    """
    vmspace = growing_space(proc)
    map_ = vmspace.vm_map
    if map_.vm.release.stack_dragonfly:
        return dragonfly_growstack(proc, addr)
    if map_.vm.release.stack_gap:
        map_.lock_read()
        rv = vm_map_growstack_gap(map_, addr, None)
        map_.unlock_read()
        return rv
    with proc.p_lock:
        return _ClassicGrowth(map_.vm, proc, vmspace, map_, addr).run()


class _ClassicGrowth:
    """One call of vm_map_growstack; a method per step, each in the order of the source.

    FreeBSD: vm_map_growstack().
    """

    __slots__ = (
        "addr",
        "down",
        "entry",  # the stack entry that grows
        "limit",  # where a neighbour, or the reserve, ends the growth
        "map",
        "max_grow",
        "need",
        "next",
        "prev",
        "proc",
        "procstack",
        "vm",
        "vmspace",
    )

    entry: VmMapEntry
    prev: VmMapEntry
    next: VmMapEntry
    down: bool
    limit: int
    need: int
    max_grow: int
    procstack: bool

    def __init__(self, vm: Vm, proc: VmProc, vmspace: StackSpace, map_: VmMap, addr: int) -> None:
        self.vm = vm
        self.proc = proc
        self.vmspace = vmspace
        self.map = map_
        self.addr = addr

    def run(self) -> KernReturn:
        """All steps; the map is unlocked at the end."""
        map_ = self.map
        vm = self.vm
        map_.lock_read()
        if not self._choose():
            map_.unlock_read()
            return KERN_SUCCESS
        if not self._room():
            return KERN_NO_SPACE
        amount = self._amount()
        if amount is None:
            map_.unlock_read()
            return KERN_NO_SPACE
        map_.lock_upgrade()
        reserve = self.entry.avail_ssize
        rv, start, end = self._grow_down(amount) if self.down else self._grow_up(amount)
        if vm.check("insert", rv == KERN_SUCCESS, start=start, end=end, rv=rv):
            if self.procstack:
                self.vmspace.vm_ssize += btoc(end - start)
            low = end - reserve if self.down else start
            vm_map_grown(map_, start, end, low, low + reserve)
        map_.unlock()
        if rv == KERN_SUCCESS and map_.flags & MAP_WIREFUTURE:
            wired = vm_map_wire(map_, start, end, VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES)
            vm.check("wire", wired == KERN_SUCCESS, rv=wired)  # a stack that cannot be wired has grown all the same
        return rv

    def _choose(self) -> bool:
        """Find the stack entry to grow; False when *addr* is mapped already or in no stack's area."""
        check = self.vm.check
        addr = self.addr
        found, prev = vm_map_lookup_entry(self.map, addr)
        if not check("unmapped", not found, addr=addr):
            return False
        nxt = prev.next
        self.prev = prev
        self.next = nxt
        down = nxt.eflags & MAP_ENTRY_GROWS_DOWN != 0
        up = prev.eflags & MAP_ENTRY_GROWS_UP != 0
        if up and (not down or addr - prev.end <= nxt.start - addr):
            down = False
            self.entry = prev
        elif down:
            self.entry = nxt
        self.down = down
        return check("neighbour", up or down, below=prev.end, above=nxt.start)

    def _room(self) -> bool:
        """What the reserve and the neighbours leave; on False the map is unlocked."""
        vm = self.vm
        map_ = self.map
        entry = self.entry
        avail = entry.avail_ssize
        if self.down:
            self.limit = self.prev.end if self.prev is not map_.header else entry.start - avail
            self.need = (entry.start - self.addr + PAGE_MASK) & ~PAGE_MASK
            self.max_grow = entry.start - self.limit
        else:
            self.limit = self.next.start if self.next is not map_.header else entry.end + avail
            self.need = (self.addr + 1 - entry.end + PAGE_MASK) & ~PAGE_MASK
            self.max_grow = self.limit - entry.end
        need = self.need
        if not vm.check("reserve", need <= avail, need=need, avail_ssize=avail):
            map_.unlock_read()
            return False
        guard = PAGE_SIZE if vm.stack_guard_page else 0
        if not vm.check("guard", need + guard <= self.max_grow, need=need, guard=guard, max_grow=self.max_grow):
            map_.lock_upgrade()
            entry.avail_ssize = self.max_grow
            map_.unlock()
            return False
        return True

    def _amount(self) -> int | None:
        """How much to grow under the limits; None when one of them forbids even the need."""
        self.procstack = is_procstack(self.vm, self.proc, self.vmspace, self.addr)
        return growth_amount(self.map, self.proc, self.vmspace, self.need, self.entry.avail_ssize, self.procstack)

    def _cut(self, amount: int) -> int:
        """Stop at the neighbour, one page before it with the guard; the reserve becomes what was left."""
        vm = self.vm
        entry = self.entry
        guard = PAGE_SIZE if vm.stack_guard_page else 0
        if vm.check("trim", amount <= self.max_grow, amount=amount, max_grow=self.max_grow, guard=guard):
            return amount
        entry.avail_ssize = self.max_grow
        return self.max_grow - guard

    def _grow_down(self, amount: int) -> tuple[KernReturn, int, int]:
        """Insert the new piece below the entry and hand the reserve and GROWS_DOWN on to it."""
        map_ = self.map
        entry = self.entry
        release = self.vm.release
        start = entry.start - self._cut(amount)
        end = entry.start
        prot, max_ = entry.protection, entry.max_protection
        cow = MAP_STACK_GROWS_DOWN if release.insert_grows_flags else 0
        rv = vm_map_insert(map_, None, 0, start, end, prot, max_, cow)
        if rv != KERN_SUCCESS:
            return rv, start, end
        new = _new_piece(map_, self.prev, start)
        kassert(new is entry.prev and new.end == end and new.start == start, "grown piece %r", new)
        new.avail_ssize = entry.avail_ssize - (end - start)
        vm_map_entry_hand_down(map_, entry, new, MAP_ENTRY_GROWS_DOWN)
        return rv, start, end

    def _grow_up(self, amount: int) -> tuple[KernReturn, int, int]:
        """Extend the entry itself, and its object."""
        map_ = self.map
        entry = self.entry
        amount = self._cut(amount)
        start = entry.end
        end = start + amount
        rv = extend_object(self.vm, entry, amount)
        if rv != KERN_SUCCESS:
            return rv, start, end
        entry.avail_ssize -= amount
        vm_map_entry_grow_up(map_, entry, amount, None)
        if self.vm.release.stack_merges_neighbour and self.next is not map_.header:
            vm_map_clip_start(map_, self.next, end)
        return KERN_SUCCESS, start, end
