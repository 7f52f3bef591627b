"""Stacks whose reserve is an entry of its own: 10.4, 11.1 and everything since.

::

      bos                      start          end
       [ gap, NONE, GUARD|GAP_DN )[ stack entry )      a fault in the gap moves the border down

Nothing else can be mapped into the gap without MAP_FIXED, and an access that may not grow finds a mapped
page without rights: SEGV_ACCERR where the classic stack said SEGV_MAPERR.  The lowest ``guard`` bytes of the
gap are never given away.

FreeBSD: vm_map_stack_locked(), vm_map_growstack() in sys/vm/vm_map.c.  vm_map_stack(9) was never updated for
this design.
Differs: no RACCT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_map import vm_map_entry_grow_up, vm_map_entry_resize, vm_map_grown
from kernel_model.vm.vm_map_delete import vm_map_delete, vm_map_entry_delete
from kernel_model.vm.vm_map_entry import (
    MAP_CREATE_GUARD,
    MAP_CREATE_STACK_GAP_DN,
    MAP_CREATE_STACK_GAP_UP,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_STACK_GROWS_DOWN,
    MAP_STACK_GROWS_UP,
    MAP_WIREFUTURE,
    VM_MAP_WIRE_NOHOLES,
    VM_MAP_WIRE_USER,
)
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_wire, vm_map_wire_locked
from kernel_model.vm.vm_param import (
    KERN_CODES,
    KERN_FAILURE,
    KERN_NO_SPACE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    WORD_MASK,
    KernReturn,
    btoc,
)
from kernel_model.vm.vm_stack_limits import extend_object, growing_space, growth_amount, is_procstack

if TYPE_CHECKING:
    from kernel_model.vm.vm_init import Vm, VmProc
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry

P2_STKGAP_DISABLE = 0x00000800
NT_FREEBSD_FCTL_STKGAP_DISABLE = 0x00000004
_BOTH = MAP_STACK_GROWS_DOWN | MAP_STACK_GROWS_UP


def stkgap_disabled(proc: VmProc | None) -> bool:
    """The process asked for stacks without a gap: procctl(2) PROC_STACKGAP_CTL, or its ELF note."""
    if proc is None:
        return False
    return proc.p_flag2 & P2_STKGAP_DISABLE != 0 or proc.p_fctl0 & NT_FREEBSD_FCTL_STKGAP_DISABLE != 0


def _guard_now(vm: Vm) -> int:
    """security.bsd.stack_guard_page in bytes, 0 where the process opted out."""
    if vm.release.stkgap_disable and stkgap_disabled(vm.curproc):
        return 0
    return vm.stack_guard_page << PAGE_SHIFT


def _check_range(map_: VmMap, addrbos: int, max_ssize: int, sgp: int) -> KernReturn:
    release = map_.vm.release
    end = addrbos + max_ssize
    if release.stack_checks_end:
        bad = addrbos < map_.min_offset or end > map_.max_offset or max_ssize <= 0
    else:
        bad = addrbos < map_.min_offset or addrbos > map_.max_offset or end > WORD_MASK
    if bad:
        return KERN_CODES[release.stack_range_code]
    return KERN_CODES[release.stack_tiny_code] if sgp >= max_ssize else KERN_SUCCESS


def vm_map_stack_gap(
    map_: VmMap, addrbos: int, max_ssize: int, growsize: int, prot: int, max_: int, cow: int
) -> KernReturn:
    """Make a stack entry and the gap entry that it may grow into.  Requires: the map locked.

    FreeBSD: vm_map_stack_locked() since 10.4.
    """
    down = cow & _BOTH == MAP_STACK_GROWS_DOWN
    kassert(cow & _BOTH != _BOTH, "bi-directional stack")
    sgp = _guard_now(map_.vm)
    rv = _check_range(map_, addrbos, max_ssize, sgp)
    if rv != KERN_SUCCESS:
        return rv
    init_ssize = growsize if max_ssize >= growsize + sgp else max_ssize - sgp
    end = addrbos + max_ssize
    found, prev = vm_map_lookup_entry(map_, addrbos)
    if found or (prev.next is not map_.header and prev.next.start < end):
        return KERN_NO_SPACE
    if down:
        bot, top = end - init_ssize, end
        gap_bot, gap_top = addrbos, bot
    else:
        bot, top = addrbos, addrbos + init_ssize
        gap_bot, gap_top = top, end
    rv = vm_map_insert(map_, None, 0, bot, top, prot, max_, cow)
    if rv != KERN_SUCCESS:
        return rv
    if gap_bot == gap_top and map_.vm.release.stack_whole_ok:
        return KERN_SUCCESS
    rv = vm_map_insert(map_, None, 0, gap_bot, gap_top, 0, 0, _gap_cow(down))
    if rv != KERN_SUCCESS:
        vm_map_delete(map_, bot, top)
        return rv
    _, gap = vm_map_lookup_entry(map_, gap_bot)
    _save_in_gap(map_, gap, sgp, prot, max_)
    return KERN_SUCCESS


def _gap_cow(down: bool) -> int:
    return MAP_CREATE_GUARD | (MAP_CREATE_STACK_GAP_DN if down else MAP_CREATE_STACK_GAP_UP)


def _save_in_gap(map_: VmMap, gap: VmMapEntry, sgp: int, prot: int, max_: int) -> None:
    """A gap serves no fault, so its read-ahead field keeps the guard and its offset the protections."""
    if map_.vm.release.stack_guard_saved:
        gap.next_read = sgp
    if map_.vm.release.stack_prot_saved:
        gap.offset = prot | max_ << 16


def vm_map_growstack_gap(map_: VmMap, addr: int, gap: VmMapEntry | None) -> KernReturn:
    """Move the border between a stack and its gap until *addr* is in the stack.

    Requires: the map read-locked, and left so.
    Returns:  KERN_FAILURE for a foreign map, no gap, or a gap without its stack; KERN_NO_SPACE for guard and limits.
    FreeBSD:  vm_map_growstack() since 10.4.
    """
    vm = map_.vm
    proc = vm.curproc
    if proc is None:
        return KERN_FAILURE
    own = growing_space(proc).vm_map is map_ and (proc.p_textvp is not None or not vm.release.grow_needs_textvp)
    if not vm.check("own_map", own):
        return KERN_FAILURE
    if gap is None:
        found, gap = vm_map_lookup_entry(map_, addr)
        if not found:
            return KERN_FAILURE
    if not gap.eflags & MAP_ENTRY_GUARD:
        return KERN_SUCCESS
    with proc.p_lock:
        return _GapGrowth(vm, proc, map_, addr, gap).run()


class _GapGrowth:
    """One growth; a method per step, each in the order of the source.  FreeBSD: vm_map_growstack()."""

    __slots__ = ("addr", "down", "gap", "map", "max_grow", "need", "proc", "procstack", "stack", "vm", "vmspace")

    stack: VmMapEntry
    down: bool
    need: int
    max_grow: int
    procstack: bool

    def __init__(self, vm: Vm, proc: VmProc, map_: VmMap, addr: int, gap: VmMapEntry) -> None:
        self.vm = vm
        self.proc = proc
        self.vmspace = growing_space(proc)
        self.map = map_
        self.addr = addr
        self.gap = gap

    def run(self) -> KernReturn:
        """All steps."""
        rv = self._neighbour()
        if rv == KERN_SUCCESS:
            rv = self._room()
        if rv != KERN_SUCCESS:
            return rv
        amount = self._amount()
        if amount is None:
            return KERN_NO_SPACE
        vm = self.vm
        map_ = self.map
        before = (self.gap.start, self.gap.end)
        map_.lock_upgrade()
        rv, start, end = self._grow_down(amount) if self.down else self._grow_up(amount)
        if vm.check("insert", rv == KERN_SUCCESS, start=start, end=end, rv=rv):
            if self.procstack:
                self.vmspace.vm_ssize += btoc(amount)
            vm_map_grown(map_, start, end, *before)
            if map_.flags & MAP_WIREFUTURE:
                return self._wire(start, end)
        map_.lock_downgrade()
        return rv

    def _neighbour(self) -> KernReturn:
        """The entry beside the gap must be the stack that it belongs to."""
        gap = self.gap
        ok = False
        if gap.eflags & MAP_ENTRY_STACK_GAP_DN:
            self.down = True
            self.stack = stack = gap.next
            ok = stack.eflags & MAP_ENTRY_GROWS_DOWN != 0 and stack.start == gap.end
            self.need = (stack.start - self.addr + PAGE_MASK) & ~PAGE_MASK
        elif gap.eflags & MAP_ENTRY_STACK_GAP_UP:
            self.down = False
            self.stack = stack = gap.prev
            ok = stack.eflags & MAP_ENTRY_GROWS_UP != 0 and stack.end == gap.start
            self.need = (self.addr + 1 - stack.end + PAGE_MASK) & ~PAGE_MASK
        ok = self.vm.check("neighbour", ok, start=gap.start, end=gap.end, eflags=gap.eflags)
        return KERN_SUCCESS if ok else KERN_FAILURE

    def _room(self) -> KernReturn:
        """What the gap leaves above the guard."""
        vm = self.vm
        gap = self.gap
        guard = _guard_now(vm)
        if vm.release.stack_guard_saved:
            guard = 0 if stkgap_disabled(self.proc) else gap.next_read
        length = gap.end - gap.start
        self.max_grow = length - guard
        ok = guard <= length and self.need <= self.max_grow
        ok = vm.check("guard", ok, need=self.need, guard=guard, gap=length, max_grow=self.max_grow)
        return KERN_SUCCESS if ok else KERN_NO_SPACE

    def _amount(self) -> int | None:
        """How much to grow under the limits; None when one of them forbids even the need."""
        self.procstack = is_procstack(self.vm, self.proc, self.vmspace, self.addr)
        return growth_amount(self.map, self.proc, self.vmspace, self.need, self.max_grow, self.procstack)

    def _grow_down(self, amount: int) -> tuple[KernReturn, int, int]:
        """Shorten the gap from its top, or use it up, and insert the new piece there."""
        map_ = self.map
        gap = self.gap
        end = gap.end
        start = end - amount
        prot, max_ = self.stack.protection, self.stack.max_protection
        if self.vm.release.stack_prot_saved:
            prot, max_ = gap.offset & VM_PROT_ALL, gap.offset >> 16 & VM_PROT_ALL
        whole = gap.start == start
        if whole:
            vm_map_entry_delete(map_, gap)
        else:
            kassert(gap.start < start, "stack gap %r shorter than %#x", gap, amount)
            vm_map_entry_resize(map_, gap, -amount)
        rv = vm_map_insert(map_, None, 0, start, end, prot, max_, MAP_STACK_GROWS_DOWN)
        if rv != KERN_SUCCESS:
            self._restore_gap(start, end, whole)
        return rv, start, end

    def _restore_gap(self, start: int, end: int, whole: bool) -> None:
        """The piece could not be inserted: give the gap its room back.

        Until 12 a gap that was used up comes back without its saved guard: next_read is what vm_map_insert put there.
        """
        map_ = self.map
        gap = self.gap
        if not whole:
            vm_map_entry_resize(map_, gap, end - start)
            return
        rv = vm_map_insert(map_, None, 0, start, end, 0, 0, _gap_cow(True))
        kassert(rv == KERN_SUCCESS, "stack gap not restored: %d", rv)
        if self.vm.release.stack_prot_saved:
            _, new = vm_map_lookup_entry(map_, start)
            new.next_read = gap.next_read
            new.offset = gap.offset

    def _grow_up(self, amount: int) -> tuple[KernReturn, int, int]:
        """Extend the stack entry itself, and its object."""
        map_ = self.map
        gap = self.gap
        stack = self.stack
        start = stack.end
        end = start + amount
        rv = extend_object(self.vm, stack, amount)
        if rv != KERN_SUCCESS:
            return rv, start, end
        left: VmMapEntry | None = gap
        if gap.end == end:
            vm_map_entry_delete(map_, gap)
            left = None
        vm_map_entry_grow_up(map_, stack, amount, left)
        return KERN_SUCCESS, start, end

    def _wire(self, start: int, end: int) -> KernReturn:
        """Heed MAP_WIREFUTURE; whether its failure shows is the release's matter.  The map ends read-locked."""
        map_ = self.map
        flags = VM_MAP_WIRE_USER | VM_MAP_WIRE_NOHOLES
        if self.vm.release.grow_wire_error:
            rv = vm_map_wire_locked(map_, start, end, flags)
            map_.lock_downgrade()
        else:
            map_.unlock()
            rv = vm_map_wire(map_, start, end, flags)
            map_.lock_read()
        if self.vm.check("wire", rv == KERN_SUCCESS, rv=rv) or not self.vm.release.grow_wire_error:
            return KERN_SUCCESS
        return rv
