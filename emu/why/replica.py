"""A fault decided again: a map rebuilt from a snapshot, with one thing changed.

Model only.  ``decide(snapshot, addr, access)`` answers what the kernel did; with changes applied to the
snapshot first it answers what the kernel would have done::

    decide(with_limit(snapshot, "stack", 16 << 20), addr, VM_PROT_WRITE).repaired

The replica has the entries, objects, limits and tunables of the snapshot and no pages: nothing here
touches the process that faulted.  It runs vm_fault() itself, not a copy of its rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kernel_model.abi.freebsd64.sysvec import ELF64_FREEBSD_SYSVEC
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC
from kernel_model.errors import UsageError
from kernel_model.kern.kern_ktrace import entry_state
from kernel_model.kern.proc import ProcLock
from kernel_model.kern.trap import fault_signal
from kernel_model.release import RELEASES, release_named
from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_NAMES
from kernel_model.ucred import Ucred
from kernel_model.vm.vm import OBJT_VNODE
from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map import vm_map_restore
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_IS_SUB_MAP,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    VmMapEntry,
)
from kernel_model.vm.vm_object import VmObject
from kernel_model.vm.vm_pager import VM_PAGER_BAD, VM_PAGER_OK
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE
from kernel_model.vm.vmspace import VmSpace, vmspace_alloc

if TYPE_CHECKING:
    from kernel_model.kern.proc import SysentVec
    from kernel_model.ktrace.entry import EntryState
    from kernel_model.ktrace.events import Step
    from kernel_model.ktrace.snapshot import MapSnapshot, ObjectState
    from kernel_model.vm.vm_page import VmPage

_RAM = 16 << 20
_SPAN = 1 << 34
"""A replica touches a page or two: a huge range would only make the next machine's smaller."""
_GAPS = MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP


@dataclass(frozen=True, slots=True)
class Decision:
    """What the kernel would do with one access."""

    result: int
    """KERN_*."""
    signo: int
    code: int
    translation: str
    steps: tuple[Step, ...]
    grown: int
    """Bytes by which map.size rose."""
    entries: tuple[EntryState, ...]
    """Entries of the map afterwards."""

    @property
    def repaired(self) -> bool:
        """The access succeeds."""
        return self.result == 0


class _Limits:
    """The limits of a snapshot as struct plimit."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits

    def lim_cur(self, which: int) -> int:
        return self.limits.get(RLIMIT_NAMES[which], RLIM_INFINITY)


@dataclass(slots=True, eq=False)
class _Kernel:
    """As much of a Kernel as trap.fault_signal() asks for."""

    vm: Vm
    tunables: dict[str, int]

    @property
    def release(self) -> Any:  # noqa: ANN401
        return self.vm.release


@dataclass(slots=True, eq=False)
class _Proc:
    """As much of a process as sys/vm and the trap code ask for."""

    kernel: _Kernel
    p_vmspace: VmSpace
    p_limit: _Limits
    p_sysent: SysentVec
    p_osrel: int
    p_flag2: int
    p_fctl0: int
    p_textvp: object | None
    p_pid: int = 1000
    p_lock: ProcLock = field(default_factory=ProcLock)
    p_ucred: Ucred = field(default_factory=Ucred)


@dataclass(frozen=True, slots=True)
class _Thread:
    """The thread that faults."""

    td_proc: _Proc


class _File:
    """A pager for vnode objects: zero pages up to the size that the file had."""

    def __init__(self, size: int) -> None:
        self.size = size

    def haspage(self, object_: VmObject, pindex: int) -> bool:
        return pindex << PAGE_SHIFT < self.size

    def getpages(self, object_: VmObject, m: VmPage, behind: int, ahead: int) -> tuple[int, int]:
        if not self.haspage(object_, m.pindex):
            return VM_PAGER_BAD, 0
        m.valid = True
        return VM_PAGER_OK, 0

    def putpages(self, object_: VmObject, m: VmPage) -> int:
        return VM_PAGER_OK

    def dealloc(self, object_: VmObject) -> None:
        pass


def build(snapshot: MapSnapshot) -> _Proc:
    """A process whose map is *snapshot*'s; it is the current process of a Vm of its own."""
    vm = Vm(release_named(snapshot.release), _RAM, _RAM, _SPAN)
    for name, value in snapshot.tunables.items():
        setattr(vm, name, bool(value) if name == "old_mlock" else value)
    vmspace = vmspace_alloc(vm, snapshot.min_offset, snapshot.max_offset)
    vmspace.vm_ssize = snapshot.ssize_pages
    vmspace.vm_maxsaddr = snapshot.maxsaddr
    vmspace.vm_stacktop = snapshot.stacktop
    vmspace.vm_pmap.wired_count = snapshot.wired_pages
    sysvec = ELF64_LINUX_SYSVEC if "linux" in snapshot.abi.lower() else ELF64_FREEBSD_SYSVEC
    proc = _Proc(
        _Kernel(vm, {}), vmspace, _Limits(snapshot.limits), sysvec._replace(sv_usrstack=snapshot.stacktop),
        snapshot.osrel, snapshot.flag2, snapshot.fctl0, object() if snapshot.has_text else None,
    )  # fmt: skip
    vm.pcpu.switch(_Thread(proc))
    _link_entries(vmspace, snapshot)
    return proc


def _link_entries(vmspace: VmSpace, snapshot: MapSnapshot) -> None:
    map_ = vmspace.vm_map
    objects = _build_objects(map_.vm, snapshot.objects)
    entries = []
    for state in snapshot.entries:
        entry = VmMapEntry(state.start, state.end)
        entry.protection, entry.max_protection = state.prot, state.max_prot
        entry.inheritance, entry.eflags = state.inheritance, state.eflags & ~MAP_ENTRY_IS_SUB_MAP
        entry.wired_count, entry.offset, entry.avail_ssize = state.wired_count, state.offset, state.avail_ssize
        entry.next_read = state.guard
        entry.object = objects[state.object] if state.object >= 0 else None
        entries.append(entry)
    vm_map_restore(map_, entries, snapshot.size)
    map_.flags = snapshot.map_flags


def _build_objects(vm: Vm, states: tuple[ObjectState, ...]) -> list[VmObject]:
    objects = []
    for state in states:
        obj = VmObject(vm, state.type, state.size)
        obj.ref_count, obj.flags = max(state.ref_count, 1), state.flags
        obj.backing_object_offset = state.backing_offset
        if state.type == OBJT_VNODE:
            obj.pager = _File(state.vnode_size)
            obj.handle = state.vnode
        objects.append(obj)
    for obj, state in zip(objects, states, strict=True):
        if state.backing >= 0:
            backing = objects[state.backing]
            obj.backing_object = backing
            backing.shadow_head[obj] = None
        obj.shadow_count = state.shadow_count
    return objects


def decide(snapshot: MapSnapshot, addr: int, access: int) -> Decision:
    """Run vm_fault() for *access* (a VM_PROT bit) at *addr* on a copy of the map."""
    proc = build(snapshot)
    vmspace = proc.p_vmspace
    map_ = vmspace.vm_map
    recorder = StepRecorder()
    map_.vm.listen(recorder)
    size = map_.size
    result = vm_fault(map_, addr, access)
    signo, code, why = (0, 0, "") if result == 0 else fault_signal(proc, addr, access, result)  # type: ignore[arg-type]
    after = tuple(entry_state(entry) for entry in map_)
    return Decision(result, signo, code, why, tuple(recorder.steps), map_.size - size, after)


def check_limit_name(name: str) -> None:
    """UsageError unless *name* is one of a limit."""
    if name not in RLIMIT_NAMES.values():
        raise UsageError(f"no limit is called {name!r} (try {', '.join(sorted(RLIMIT_NAMES.values()))})")


def with_limit(snapshot: MapSnapshot, name: str, value: int) -> MapSnapshot:
    """*snapshot* with another soft limit; *name* as ``stack`` or ``vmem``.

    It is the limit that the program starts with: setrlimit(2) would change rights in the stack's reserve too.
    """
    check_limit_name(name)
    return replace(snapshot, limits=snapshot.limits | {name: value})


def with_tunable(snapshot: MapSnapshot, name: str, value: int) -> MapSnapshot:
    """*snapshot* with another tunable (``sgrowsiz``)."""
    return replace(snapshot, tunables=snapshot.tunables | {name: value})


def with_guard(snapshot: MapSnapshot, pages: int) -> MapSnapshot:
    """*snapshot* as if security.bsd.stack_guard_page had been *pages* when its stacks were made."""
    entries = tuple(
        entry._replace(guard=pages * PAGE_SIZE) if entry.eflags & _GAPS else entry for entry in snapshot.entries
    )
    return with_tunable(replace(snapshot, entries=entries), "stack_guard_page", pages)


def without_entry(snapshot: MapSnapshot, addr: int) -> MapSnapshot:
    """*snapshot* without the entry that holds *addr*: what was mapped there had never been.

    A piece cut out of a stack's reserve goes back to it; where the reserve is a number, the process stack gets back
    what vm_map_growstack trimmed because of the neighbour.
    """
    gone = snapshot.at(addr)
    if gone is None:
        raise UsageError(f"nothing is mapped at {addr:#x}")
    entries = [_untrimmed(snapshot, entry) for entry in snapshot.entries if entry is not gone]
    size = snapshot.size
    if not gone.eflags & MAP_ENTRY_GUARD or RELEASES[snapshot.release].size_counts_guards:
        size -= gone.end - gone.start
    return replace(snapshot, entries=_rejoined(entries, gone), size=size)


def _untrimmed(snapshot: MapSnapshot, entry: EntryState) -> EntryState:
    if RELEASES[snapshot.release].stack_gap or not entry.eflags & MAP_ENTRY_GROWS_DOWN:
        return entry
    if not snapshot.maxsaddr < entry.start < snapshot.stacktop:
        return entry
    return entry._replace(avail_ssize=entry.start - snapshot.maxsaddr)


def _rejoined(entries: list[EntryState], gone: EntryState) -> tuple[EntryState, ...]:
    """Close the hole that *gone* leaves between two pieces of one gap; a lone piece above it spreads downwards."""
    above = next((entry for entry in entries if entry.start == gone.end), None)
    below = next((entry for entry in entries if entry.end == gone.start), None)
    if above is None or not above.eflags & MAP_ENTRY_STACK_GAP_DN:
        return tuple(entries)
    start = gone.start
    drop = {id(above)}
    if below is not None and below.eflags & MAP_ENTRY_STACK_GAP_DN:
        start = below.start
        drop.add(id(below))
    whole = above._replace(start=start)
    kept = [entry for entry in entries if id(entry) not in drop]
    return tuple(sorted([*kept, whole], key=lambda entry: entry.start))


def with_release(snapshot: MapSnapshot, name: str) -> MapSnapshot:
    """*snapshot* as another release would keep it: the stack's reserve changes its form, guards their default.

    Differs: addresses stay; what that release's execve or mmap would have placed elsewhere is not moved.
    """
    old, new = release_named(snapshot.release), release_named(name)
    made = replace(snapshot, release=name)
    made = with_tunable(made, "stack_guard_page", new.stack_guard_page)
    made = with_tunable(made, "cluster_anon", new.cluster_anon)
    if old.stack_gap == new.stack_gap:
        return made
    entries = _gaps_from_avail(made) if new.stack_gap else _avail_from_gaps(made)
    return replace(made, entries=entries, has_text=True)


def _gaps_from_avail(snapshot: MapSnapshot) -> tuple[EntryState, ...]:
    guard = snapshot.tunables["stack_guard_page"] * PAGE_SIZE
    entries: list[EntryState] = []
    for entry in snapshot.entries:
        if entry.eflags & MAP_ENTRY_GROWS_DOWN and entry.avail_ssize:
            floor = entries[-1].end if entries else snapshot.min_offset
            start = max(entry.start - entry.avail_ssize, floor)
            if start < entry.start:
                flags = MAP_ENTRY_GUARD | MAP_ENTRY_STACK_GAP_DN
                saved = entry.prot | entry.max_prot << 16
                gap = entry._replace(
                    start=start, end=entry.start, prot=0, max_prot=0, eflags=flags, offset=saved,
                    avail_ssize=0, guard=guard, object=-1, object_type=-1, object_size=0, vnode="",
                )  # fmt: skip
                entries.append(gap)
        entries.append(entry._replace(avail_ssize=0))
    return tuple(entries)


def _avail_from_gaps(snapshot: MapSnapshot) -> tuple[EntryState, ...]:
    entries: list[EntryState] = []
    gap: EntryState | None = None
    for entry in snapshot.entries:
        if entry.eflags & MAP_ENTRY_GUARD:
            gap = entry if entry.eflags & MAP_ENTRY_STACK_GAP_DN else None
            continue
        made = entry
        if entry.eflags & MAP_ENTRY_GROWS_DOWN:
            if gap is not None and gap.end == entry.start:
                made = entry._replace(avail_ssize=gap.end - gap.start)
            elif entries and entries[-1].end == entry.start:
                made = entry._replace(eflags=entry.eflags & ~MAP_ENTRY_GROWS_DOWN)
        entries.append(made)
        gap = None
    return tuple(entries)
