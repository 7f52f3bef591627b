"""What a refused fault leaves behind: the map as it was, registers, code and the shape of the stack.

Model only.  A ``MapSnapshot`` is plain data, from which ``emu.why.replica`` builds a map in which the fault is decided
again.  It needs the kernel and nothing else, so it stands below the machine, which registers ``evidence_of`` and
``user_callers`` with the kernel's KTrace; a trace reads guest memory with ``peek``.  Nothing here changes the process
or faults.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from kernel_model.kern.kern_ktrace import entry_state
from kernel_model.kern.machdep import FRAME_REGISTERS
from kernel_model.kern.signo import SS_DISABLE
from kernel_model.ktrace.entry import full_path
from kernel_model.ktrace.snapshot import MapSnapshot, ObjectState, Recursion
from kernel_model.rlimit import RLIMIT_NAMES
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_WRITE
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, trunc_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.ktrace.entry import EntryState
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_map_entry import VmMapEntry
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage
    from kernel_model.vm.vmspace import VmSpace

TUNABLES = ("sgrowsiz", "stack_guard_page", "maxssiz", "old_mlock", "overcommit", "cluster_anon")
"""Fields of Vm that decide faults; a snapshot has each under its name."""
WINDOW = 2048
"""Entries kept on either side of the address in a very large map."""
STACK_BYTES = 1024
CODE_BYTES = 16
DEEPEST = 256 << 20
"""Bytes of stack that are searched for repeated return addresses."""
_NEAR = 1 << 16
_RECURSION = 8
_ROUND = 1 << 14
"""Bytes of the stack in which one round of a recursion is looked for."""
_OUTER = 2
"""Return addresses kept from before a recursion."""
_TOP = 128
"""Bytes on top of the stack that are searched for callers without a frame."""
_CALLERS = 4
"""Frames that are followed from a system call to its callers."""


def take_snapshot(proc: Proc, va: int | None = None) -> MapSnapshot:
    """Copy what decides faults in *proc*; of a very large map only the entries around *va*."""
    vmspace = proc.p_vmspace
    map_ = vmspace.vm_map
    vm = map_.vm
    chosen, omitted = _window(map_, va)
    numbers: dict[VmObject, int] = {}
    objects: list[ObjectState] = []
    entries = []
    for entry in chosen:
        obj = entry.vm_object
        entries.append(entry_state(entry, -1 if obj is None else _number(obj, numbers, objects)))
    return MapSnapshot(
        release=vm.release.name,
        tunables={name: int(getattr(vm, name)) for name in TUNABLES},
        limits={name: proc.p_limit.lim_cur(which) for which, name in RLIMIT_NAMES.items()},
        min_offset=map_.min_offset,
        max_offset=map_.max_offset,
        map_flags=map_.flags,
        size=map_.size,
        entries=tuple(entries),
        objects=tuple(objects),
        ssize_pages=vmspace.vm_ssize,
        maxsaddr=vmspace.vm_maxsaddr,
        stacktop=vmspace.vm_stacktop or proc.p_sysent.sv_usrstack,
        abi=proc.p_sysent.name,
        osrel=proc.p_osrel,
        flag2=proc.p_flag2,
        fctl0=proc.p_fctl0,
        has_text=proc.p_textvp is not None,
        wired_pages=vmspace.vm_pmap.wired_count,
        omitted=omitted,
    )


def _window(map_: VmMap, va: int | None) -> tuple[list[VmMapEntry], int]:
    """The entries to keep, in address order, and how many are left out."""
    if va is None or map_.nentries <= 2 * WINDOW:
        return list(map_), 0
    header = map_.header
    _, entry = vm_map_lookup_entry(map_, va)
    kept: list[VmMapEntry] = []
    below = entry
    while below is not header and len(kept) < WINDOW:
        kept.append(below)
        below = below.prev
    kept.reverse()
    above = entry.next
    while above is not header and len(kept) < 2 * WINDOW:
        kept.append(above)
        above = above.next
    return kept, map_.nentries - len(kept)


def _number(obj: VmObject, numbers: dict[VmObject, int], objects: list[ObjectState]) -> int:
    """Number *obj* and its shadow chain; each object is described once."""
    known = numbers.get(obj)
    if known is not None:
        return known
    number = numbers[obj] = len(objects)
    vnode_size, path = _vnode_facts(obj)
    state = ObjectState(
        obj.type, obj.size, obj.ref_count, obj.shadow_count, obj.flags, -1,
        obj.backing_object_offset, obj.charge, path, vnode_size,
    )  # fmt: skip
    objects.append(state)
    if obj.backing_object is not None:
        objects[number] = replace(state, backing=_number(obj.backing_object, numbers, objects))
    return number


def _vnode_facts(obj: VmObject) -> tuple[int, str]:
    vp = obj.handle
    size = getattr(vp, "v_size", None)
    return (size() if callable(size) else 0), full_path(vp)


def peek(vmspace: VmSpace, va: int, count: int) -> bytes:
    """Up to *count* bytes at *va* as the process would read them; stops where no page is resident."""
    parts = []
    while count > 0:
        page = _resident(vmspace, va)
        if page is None:
            break
        length = min(count, PAGE_SIZE - (va & PAGE_MASK))
        begin = page + (va & PAGE_MASK)
        parts.append(bytes(vmspace.vm_map.vm.phys.mem[begin : begin + length]))
        va += length
        count -= length
    return b"".join(parts)


def _resident(vmspace: VmSpace, va: int) -> int | None:
    """Where the page of *va* lies in physical memory, in bytes; None when it is not resident."""
    frame: int | None = vmspace.vm_pmap.extract(va)
    if frame is not None:
        return frame * PAGE_SIZE
    found, entry = vm_map_lookup_entry(vmspace.vm_map, va)
    obj = entry.vm_object if found else None
    pindex = (trunc_page(va) - entry.start + entry.offset) >> PAGE_SHIFT
    while obj is not None:
        page: VmPage | None = obj.pages.get(pindex)
        if page is not None and page.valid:
            return page.frame * PAGE_SIZE
        pindex += obj.backing_object_offset >> PAGE_SHIFT
        obj = obj.backing_object
    return None


def evidence_of(td: Thread, rip: int, va: int, spot: Iterable[EntryState | None]) -> dict[str, Any]:
    """The fields of a FaultEvent that only a refused fault has; *spot* is what was at *va* before."""
    proc = td.td_proc
    vmspace = proc.p_vmspace
    frame = td.td_cpu.get_frame()
    registers = {name: getattr(frame, name) for name in FRAME_REGISTERS}
    registers["rip"] = rip
    snapshot = take_snapshot(proc, va)
    stack = td.td_sigstk
    altstack = (0, 0) if stack.ss_flags & SS_DISABLE else (stack.ss_sp, stack.ss_size)
    shape = recursion_of(vmspace, frame.rsp) if near_stack(vmspace, va, frame.rsp) else None
    # From one word below rsp, where a ret took its address from, if that is on the same page.
    base = frame.rsp - 8 if frame.rsp & PAGE_MASK >= 8 else frame.rsp
    registers["stack_base"] = base
    return {
        "snapshot": replace(snapshot, recursion=shape, altstack=altstack, entries=_as_before(snapshot, spot)),
        "registers": registers,
        "code_bytes": peek(vmspace, rip, CODE_BYTES),
        "stack_bytes": peek(vmspace, base, STACK_BYTES),
    }


def _as_before(snapshot: MapSnapshot, spot: Iterable[EntryState | None]) -> tuple[EntryState, ...]:
    """The entries with the reserves that they had before a classic vm_map_growstack refused and trimmed them."""
    reserves = {entry.start: entry.avail_ssize for entry in spot if entry is not None}
    return tuple(entry._replace(avail_ssize=reserves.get(entry.start, entry.avail_ssize)) for entry in snapshot.entries)


def near_stack(vmspace: VmSpace, va: int, rsp: int) -> bool:
    """The fault may be about the stack: *va* is close to rsp, or rsp points to no memory."""
    return abs(va - rsp) < _NEAR or not vm_map_lookup_entry(vmspace.vm_map, rsp)[0]


def user_callers(td: Thread) -> tuple[int, ...]:
    """What can be return addresses of the user code that *td* runs, nearest first.

    Words on top of the stack below the first frame (a library's stub makes none), then the frames that rbp leads to.
    """
    vmspace = td.td_proc.p_vmspace
    frame = td.td_cpu.get_frame()
    top = min(_TOP, frame.rbp - frame.rsp) if frame.rbp >= frame.rsp else _TOP
    data = peek(vmspace, frame.rsp, top)
    found = [word for (word,) in struct.iter_unpack("<Q", data[: len(data) & ~7])]
    low, rbp = frame.rsp, frame.rbp
    for _ in range(_CALLERS):
        if rbp < low or rbp % 8:
            break
        found.append(_word(vmspace, rbp + 8))
        low, rbp = rbp + 16, _word(vmspace, rbp)
    map_ = vmspace.vm_map
    return tuple(word for word in dict.fromkeys(found) if word and _is_code(map_, word))


def _word(vmspace: VmSpace, va: int) -> int:
    return int.from_bytes(peek(vmspace, va, 8), "little")


def _is_code(map_: VmMap, addr: int) -> bool:
    found, entry = vm_map_lookup_entry(map_, addr)
    return bool(found and entry.protection & VM_PROT_EXECUTE and entry.vm_object is not None)


def recursion_of(vmspace: VmSpace, rsp: int) -> Recursion | None:
    """The return address that stands most often on the stack above *rsp*, when it looks like recursion."""
    map_ = vmspace.vm_map
    base, data = _stack_bytes(vmspace, rsp)
    if base % 8:
        data = data[8 - base % 8 :]
    code = [(e.start, e.end) for e in map_ if e.protection & VM_PROT_EXECUTE and e.vm_object is not None]
    best: Recursion | None = None
    tried: set[bytes] = set()
    for (word,) in struct.iter_unpack("<Q", data[: min(len(data), 1 << 14) & ~7]):
        packed = word.to_bytes(8, "little")
        if packed in tried or not any(start < word < end for start, end in code):
            continue
        tried.add(packed)
        if rsp <= word < rsp + len(data):
            continue
        frames = data.count(packed)
        if frames >= _RECURSION and (best is None or frames > best.frames):
            best = Recursion(word, frames, _stride(data, packed))
    return None if best is None else replace(best, callers=_callers_of(best, base + -base % 8, data, code))


def _callers_of(
    shape: Recursion, base: int, data: bytes, code: list[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """The return addresses of one round of *shape*, and the first ones above all rounds."""
    packed = shape.return_address.to_bytes(8, "little")
    first, last = data.find(packed), data.rfind(packed)
    cycle = []
    for word in _code_words(data[: min(first + shape.frame_size, _ROUND)], code):
        times = data.count(word.to_bytes(8, "little"))
        if 2 * times >= shape.frames:
            cycle.append((word, times))
    known = {word for word, _ in cycle}
    above = _chain(data, base, last - 8, code) or _code_words(data[last + 8 : last + 8 + _ROUND], code)
    outer = [word for word in above if word not in known]
    return (*cycle, *((word, 1) for word in outer[:_OUTER]))


def _chain(data: bytes, base: int, at: int, code: list[tuple[int, int]]) -> list[int]:
    """The return addresses of the frames that the saved rbp at offset *at* leads to; none without frame pointers."""
    found: list[int] = []
    while len(found) < _CALLERS and at >= 0:
        above = int.from_bytes(data[at : at + 8], "little") - base
        if above <= at or above % 8 or above + 16 > len(data):
            break
        word = int.from_bytes(data[above + 8 : above + 16], "little")
        if not any(start < word < end for start, end in code):
            break
        found.append(word)
        at = above
    return found


def _code_words(data: bytes, code: list[tuple[int, int]]) -> list[int]:
    """The different words of *data* that point into *code*, in order."""
    words = dict.fromkeys(word for (word,) in struct.iter_unpack("<Q", data[: len(data) & ~7]))
    return [word for word in words if any(start < word < end for start, end in code)]


def _stack_bytes(vmspace: VmSpace, rsp: int) -> tuple[int, bytes]:
    """The resident stack from the first mapped byte at or above *rsp*, and its address."""
    map_ = vmspace.vm_map
    found, entry = vm_map_lookup_entry(map_, rsp)
    start = rsp if found and entry.protection & VM_PROT_WRITE else _next_stack(entry, map_)
    return start, peek(vmspace, start, DEEPEST)


def _next_stack(entry: VmMapEntry, map_: VmMap) -> int:
    """Start of the next entry above that can be a stack: one that is writable."""
    return next((above.start for above in _following(entry, map_) if above.protection & VM_PROT_WRITE), 0)


def _following(entry: VmMapEntry, map_: VmMap) -> Iterator[VmMapEntry]:
    entry = entry.next
    while entry is not map_.header:
        yield entry
        entry = entry.next


def _stride(data: bytes, packed: bytes) -> int:
    """The commonest distance between the first occurrences of *packed*."""
    places: list[int] = []
    at = data.find(packed)
    while at >= 0 and len(places) < 64:
        places.append(at)
        at = data.find(packed, at + 8)
    gaps = [high - low for low, high in pairwise(places)]
    return max(set(gaps), key=gaps.count)
