"""Records a fault from the trap to the signal.

Model only.  The trap code and copyin bracket the decision::

    fr = kernel.ktrace.recorder
    if fr is not None:
        fr.begin(td, va, access, size, value, rip)            # copyin: where="copyin", size = what is left to copy
    rv = vm_fault(...)
    ...
    if fr is not None:
        fr.end(rv)                                            # repaired
        fr.end(rv, signo, code, "KERN_FAILURE -> SIGSEGV")    # refused; copyin: signo 0, "KERN_FAILURE -> EFAULT"

``begin`` lets a StepRecorder listen to the decision (``Vm.listen``), ``end`` takes it out again.

FreeBSD: sys/kern/kern_ktrace.c is the file that fills its records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel_model.errors import kassert
from kernel_model.kern.machdep import SYSCALL_LENGTH
from kernel_model.ktrace.entry import EntryState, full_path
from kernel_model.ktrace.events import FAULT, Cause, Counters, FaultEvent
from kernel_model.vm.vm import VM_PROT_WRITE
from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_map_entry import MAP_ENTRY_STACK_GAP_DN, MAP_ENTRY_STACK_GAP_UP
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import bottom_object

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel, Thread
    from kernel_model.ktrace.events import Step
    from kernel_model.vm.vm_check import Listener
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vmspace import VmSpace


Spot = tuple["EntryState | None", "EntryState | None", "EntryState | None"]
"""What is at an address: the entry, or the neighbours of the hole."""


class _Pending:
    """A fault between begin and end; they nest when a signal frame faults."""

    __slots__ = (
        "access", "addr", "before", "cause", "outer", "rip", "seq", "size", "spot", "steps", "td", "value", "where",
    )  # fmt: skip

    td: Thread
    seq: int
    addr: int
    access: int
    size: int
    value: int | None
    rip: int
    where: str
    before: Counters | None
    spot: Spot
    steps: StepRecorder
    outer: Listener | None
    cause: Cause | None


class FaultRecorder:
    """Turns ``begin`` and ``end`` into one FaultEvent.  Model only."""

    __slots__ = ("kt", "stack", "vm")

    def __init__(self, kernel: Kernel) -> None:
        self.kt = kernel.ktrace
        self.vm = kernel.vm
        self.stack: list[_Pending] = []

    def begin(
        self,
        td: Thread,
        va: int,
        access: int,
        size: int,
        value: int | None,
        rip: int,
        where: str = "user",
    ) -> None:
        """A fault at *va* is about to be decided; *access* is VM_PROT_READ, WRITE or EXECUTE."""
        kt = self.kt
        vm = self.vm
        fault = _Pending()
        fault.td, fault.seq, fault.addr, fault.access = td, kt.next_seq(), va, access
        if where != "user" and kt.call is None:
            rip += SYSCALL_LENGTH  # copyin assumes a system call, but this is execve or a signal frame
        fault.size, fault.rip, fault.where = size, rip, where
        fault.value = value if access & VM_PROT_WRITE else None
        for hook in kt.before_fault or ():
            hook(td, va, access)
        vmspace = td.td_proc.p_vmspace
        fault.before = counters(vm, vmspace)
        fault.spot = spot(vmspace.vm_map, va)
        fault.cause = kt.cause
        fault.steps = StepRecorder()
        fault.outer = vm.listen(fault.steps)
        if kt.maps is not None:
            kt.cause = Cause(FAULT, "fault", 0, rip, fault.seq, td.td_proc.p_pid, va)
        self.stack.append(fault)

    def end(self, result: int, signo: int = 0, code: int = 0, translation: str = "") -> int:
        """The fault that began last is decided; returns its sequence number."""
        kassert(self.stack, "a fault ends that did not begin")
        fault = self.stack.pop()
        self.vm.listen(fault.outer)
        self.kt.cause = fault.cause
        self._emit(fault, tuple(fault.steps.steps), result, signo, code, translation, 14)
        return fault.seq

    def trap(
        self,
        td: Thread,
        vector: int,
        rip: int,
        signo: int,
        code: int,
        translation: str,
        addr: int = 0,
        access: int = 0,
        size: int = 0,
    ) -> int:
        """An exception that is no page fault (#GP, #DE, #UD ...) becomes a signal; returns its sequence number."""
        kt = self.kt
        fault = _Pending()
        fault.td, fault.seq, fault.addr, fault.access = td, kt.next_seq(), addr, access
        fault.size, fault.value, fault.rip, fault.where = size, None, rip, "trap"
        vmspace = td.td_proc.p_vmspace
        fault.before = counters(self.vm, vmspace)
        fault.spot = spot(vmspace.vm_map, addr)
        self._emit(fault, (), -1, signo, code, translation, vector)
        return fault.seq

    def _emit(
        self,
        fault: _Pending,
        steps: tuple[Step, ...],
        result: int,
        signo: int,
        code: int,
        translation: str,
        vector: int,
    ) -> None:
        kt = self.kt
        td = fault.td
        proc = td.td_proc
        evidence: dict[str, Any] = {}
        if result and kt.evidence is not None:
            evidence = kt.evidence(td, fault.rip, fault.addr, fault.spot)
        event = FaultEvent(
            fault.seq, proc.p_pid, td.td_tid, fault.rip, fault.access, fault.addr, fault.size, fault.value, fault.where,
            *fault.spot, steps, result, signo, code, translation, fault.before, counters(self.vm, proc.p_vmspace),
            proc.p_sysent.name, vector, kt.call, **evidence,
        )  # fmt: skip
        for listener in kt.faults or ():
            listener(event)


def counters(vm: Vm, vmspace: VmSpace) -> Counters:
    """The sizes of *vmspace* and the free pages of *vm* now."""
    map_ = vmspace.vm_map
    return Counters(map_.nentries, map_.size, vmspace.vm_ssize, vmspace.vm_pmap.resident_count, vm.cnt.v_free_count)


def spot(map_: VmMap, va: int) -> Spot:
    """What is at *va*: (entry, None, None), or (None, entry below, entry above)."""
    found, entry = vm_map_lookup_entry(map_, va)
    if found:
        return entry_state(entry), None, None
    header = map_.header
    above = entry.next
    return (
        None,
        None if entry is header else entry_state(entry),
        None if above is header else entry_state(above),
    )


def entry_state(entry: VmMapEntry, number: int = -1) -> EntryState:
    """Copy *entry*; *number* is its object's in a snapshot."""
    obj = entry.vm_object
    if obj is None:
        return EntryState(
            entry.start, entry.end, entry.protection, entry.max_protection, entry.inheritance,
            entry.eflags, entry.wired_count, entry.offset, entry.avail_ssize, saved_guard(entry),
        )  # fmt: skip
    return EntryState(
        entry.start, entry.end, entry.protection, entry.max_protection, entry.inheritance,
        entry.eflags, entry.wired_count, entry.offset, entry.avail_ssize, saved_guard(entry),
        number, obj.type, obj.size, vnode_path(obj),
    )  # fmt: skip


def saved_guard(entry: VmMapEntry) -> int:
    """The guard bytes that a stack gap remembers (FreeBSD 12 and newer: next_read)."""
    return int(entry.next_read) if entry.eflags & (MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP) else 0


def vnode_path(obj: VmObject) -> str:
    """Path of the file at the bottom of *obj*'s shadow chain, empty when it is anonymous."""
    return full_path(bottom_object(obj)[0].handle)
