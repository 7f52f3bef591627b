"""Moving bytes between the kernel and a program, with the faults that this causes.

FreeBSD: copyin(9), copyout(9), copyinstr(9), fetch(9), store(9); sys/amd64/amd64/copyout.c (support.S).

A page that is not resident, or not yet writable, goes through ``vm_fault`` like a fault of the program itself,
so that a system call's buffer can grow a stack.  What fails is EFAULT.  ``segments`` hands out the guest's
memory itself, for data that should be copied only once.

As on the processor, a mapped page can always be read: x86 page tables have no "write only".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EFAULT, ENAMETOOLONG
from kernel_model.errors import SyscallError, kassert, panic
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_page import vm_page_unwire, vm_page_wire
from kernel_model.vm.vm_param import (
    KERN_NAMES,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    VM_MAXUSER_ADDRESS,
    VmOffset,
)

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.vm.pmap import Pte
    from kernel_model.vm.vm_meter import VmMeter
    from kernel_model.vm.vm_page import VmPage

_HOLD_BELOW = 512
"""Free pages above the minimum below which a fault, with the input and wiring it may cause, could end in a page-out."""
_TRIES = 3
"""A served fault leaves the page mapped with the right; the page daemon can take it away at most meanwhile."""


def _fault(td: Thread, va: VmOffset, size: int, prot: int) -> Pte:
    """Make the page of *va* resident with *prot*; raises EFAULT."""
    proc = td.td_proc
    ptes = proc.p_vmspace.vm_pmap.ptes
    for _ in range(_TRIES):
        rv = _vm_fault(td, va, size, prot)
        if rv:
            raise SyscallError(EFAULT)
        pte = ptes.get(va >> PAGE_SHIFT)
        if pte is not None and (prot != VM_PROT_WRITE or pte[1] & VM_PROT_WRITE):
            return pte
    panic("copyin: page %#x is not mapped after its fault was served", va)


def _vm_fault(td: Thread, va: VmOffset, size: int, prot: int) -> int:
    proc = td.td_proc
    recorder = proc.kernel.ktrace.recorder
    if recorder is None:
        return vm_fault(proc.p_vmspace.vm_map, va, prot)
    where = "copyout" if prot == VM_PROT_WRITE else "copyin"
    recorder.begin(td, va, prot, size, None, td.td_cpu.get_frame().rip - 2, where)
    rv = vm_fault(proc.p_vmspace.vm_map, va, prot)
    recorder.end(rv, 0, 0, f"{KERN_NAMES[rv]} -> EFAULT" if rv else "")
    return rv


def _user_range(va: VmOffset, size: int) -> None:
    if size < 0 or va + size > VM_MAXUSER_ADDRESS or va < 0:
        raise SyscallError(EFAULT)


def copyin(td: Thread, va: VmOffset, size: int) -> bytes:
    """Read *size* bytes at *va*; EFAULT when any of them cannot be read."""
    offset = va & PAGE_MASK
    if 0 < size <= PAGE_SIZE - offset:
        proc = td.td_proc
        pte = proc.p_vmspace.vm_pmap.ptes.get(va >> PAGE_SHIFT)
        if pte is None:
            _user_range(va, size)
            pte = _fault(td, va, size, VM_PROT_READ)
        start = (pte[0].frame << PAGE_SHIFT) + offset
        return bytes(proc.kernel.vm.phys.mem[start : start + size])
    if size == 0:
        return b""
    return b"".join(segments(td, va, size, VM_PROT_READ))


def copyout(td: Thread, va: VmOffset, data: bytes | bytearray | memoryview) -> None:
    """Write *data* at *va*; EFAULT when a byte cannot be written, what precedes its page being written."""
    size = len(data)
    offset = va & PAGE_MASK
    proc = td.td_proc
    if 0 < size <= PAGE_SIZE - offset:
        pmap = proc.p_vmspace.vm_pmap
        pte = pmap.ptes.get(va >> PAGE_SHIFT)
        if pte is None or not pte[1] & VM_PROT_WRITE:
            _user_range(va, size)
            pte = _fault(td, va, size, VM_PROT_WRITE)
        start = (pte[0].frame << PAGE_SHIFT) + offset
        proc.kernel.vm.phys.mem[start : start + size] = data
        if pte[1] & VM_PROT_EXECUTE:
            pmap.hardware.code_changed(va, va + size)
        return
    view = memoryview(data)
    _user_range(va, size)
    done = 0
    while done < size:
        count = min(size - done, PAGE_SIZE - (va + done & PAGE_MASK))
        copyout(td, va + done, view[done : done + count])
        done += count


def copyinstr(td: Thread, va: VmOffset, maxlen: int) -> bytes:
    """Read the string at *va* without its NUL.

    Raises: EFAULT; ENAMETOOLONG when no NUL is among the first *maxlen* bytes.
    """
    parts: list[bytes] = []
    left = maxlen
    while left > 0:
        count = min(left, PAGE_SIZE - (va & PAGE_MASK))
        chunk = copyin(td, va, count)
        end = chunk.find(0)
        if end >= 0:
            parts.append(chunk[:end])
            return b"".join(parts)
        parts.append(chunk)
        va += count
        left -= count
    raise SyscallError(ENAMETOOLONG)


def segments(td: Thread, va: VmOffset, size: int, prot: int, *, partial: bool = False) -> list[memoryview]:
    """The program's memory [va, va + size) in pieces, resident and accessible with *prot*.

    Pages whose frames follow each other come as one piece.  With *partial* a bad page ends the list instead of
    raising EFAULT, unless it is the first.  The pieces are good until the next fault: use them at once.  When memory
    is short, what was seen is held against the page daemon while the rest is faulted in; a range of more
    than a quarter of the memory is then EFAULT, or short with *partial*.
    """
    _user_range(va, size)
    proc = td.td_proc
    pmap = proc.p_vmspace.vm_pmap
    ptes = pmap.ptes
    mem = proc.kernel.vm.phys.mem
    pieces: list[tuple[int, int]] = []
    seen: list[VmPage] = []
    held: list[VmPage] = []
    code = False
    end = va + size
    here = va
    while here < end:
        stop = min(end, (here | PAGE_MASK) + 1)
        pte = ptes.get(here >> PAGE_SHIFT)
        if pte is None or (prot == VM_PROT_WRITE and not pte[1] & VM_PROT_WRITE):
            try:
                _hold(proc.kernel.vm.cnt, seen, held)
                pte = _fault(td, here, end - here, prot)
            except SyscallError:
                if not partial or not pieces:
                    _unhold(held)
                    raise
                break
        code = code or bool(pte[1] & VM_PROT_EXECUTE)
        seen.append(pte[0])
        start = (pte[0].frame << PAGE_SHIFT) + (here & PAGE_MASK)
        if pieces and pieces[-1][1] == start:
            pieces[-1] = (pieces[-1][0], start + stop - here)
        else:
            pieces.append((start, start + stop - here))
        here = stop
    _unhold(held)
    if code and prot == VM_PROT_WRITE:
        pmap.hardware.code_changed(va, here)
    return [mem[start:stop] for start, stop in pieces]


def _hold(cnt: VmMeter, seen: list[VmPage], held: list[VmPage]) -> None:
    """When the next fault may need the page daemon, keep it off the pages already seen: vm_page_hold().

    Raises EFAULT rather than hold more than a quarter of the memory.
    """
    if cnt.v_free_count < cnt.v_free_min + _HOLD_BELOW:
        if len(seen) > cnt.v_page_count >> 2:
            raise SyscallError(EFAULT)
        kassert(len(held) <= len(seen), "copyin: %d pages held of %d", len(held), len(seen))
        for m in seen[len(held) :]:
            vm_page_wire(m)
            held.append(m)


def _unhold(held: list[VmPage]) -> None:
    for m in held:
        vm_page_unwire(m)


def fuword32(td: Thread, va: VmOffset) -> int:
    """The unsigned 32-bit word at *va*.  FreeBSD: fueword32(9)."""
    return int.from_bytes(copyin(td, va, 4), "little")


def fuword64(td: Thread, va: VmOffset) -> int:
    """The unsigned 64-bit word at *va*.  FreeBSD: fueword64(9)."""
    return int.from_bytes(copyin(td, va, 8), "little")


def suword32(td: Thread, va: VmOffset, value: int) -> None:
    """Store the low 32 bits of *value* at *va*.  FreeBSD: suword32(9)."""
    copyout(td, va, (value & 0xFFFFFFFF).to_bytes(4, "little"))


def suword64(td: Thread, va: VmOffset, value: int) -> None:
    """Store the low 64 bits of *value* at *va*.  FreeBSD: suword64(9)."""
    copyout(td, va, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))
