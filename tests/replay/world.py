"""One scenario's world: address spaces, the current process, and the operations of the recordings."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.vm.pmap import NullHardware
from kernel_model.vm.vm import OBJ_ONEMAPPING, OBJT_DEFAULT, OBJT_PHYS, OBJT_SWAP, OBJT_VNODE
from kernel_model.vm.vm_init import DEFAULT_RAM
from kernel_model.vm.vm_map import vm_map_assert_consistent, vm_map_create
from kernel_model.vm.vm_map_advise import vm_map_inherit, vm_map_madvise, vm_map_sync
from kernel_model.vm.vm_map_delete import vm_map_delete, vm_map_remove
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_STACK_GAP_UP,
    MAP_WIREFUTURE,
)
from kernel_model.vm.vm_map_find import (
    vm_map_find,
    vm_map_find_min,
    vm_map_findspace,
    vm_map_findspace_address,
    vm_map_fixed,
)
from kernel_model.vm.vm_map_insert import (
    vm_map_clip_end,
    vm_map_clip_start,
    vm_map_insert,
    vm_map_simplify_entry,
    vm_map_submap,
)
from kernel_model.vm.vm_map_lookup import vm_map_lookup, vm_map_lookup_done
from kernel_model.vm.vm_map_protect import vm_map_check_protection, vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_map_wire import vm_map_unwire, vm_map_wire
from kernel_model.vm.vm_object import vm_object_allocate, vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import KERN_SUCCESS
from kernel_model.vm.vm_stack import vm_map_growstack, vm_map_stack
from kernel_model.vm.vm_stack_gap import P2_STKGAP_DISABLE, vm_map_growstack_gap
from kernel_model.vm.vmspace import VmSpace, vmspace_alloc, vmspace_fork, vmspace_free
from tests.process import LIMITS, Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.release import Release
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_object import VmObject
    from tests.replay.pagefree import FaultRecord

Args = dict[str, Any]
Outcome = tuple[int, Any]
_LIMITS = {
    "lim_stack": "stack",
    "lim_vmem": "vmem",
    "lim_memlock": "memlock",
    "lim_data": "data",
}
SPAN = 1 << 36
"""Frame numbers of a scenario, in bytes: many scenarios live at once."""
_OBJECT_TYPES = {"anon": OBJT_DEFAULT, "phys": OBJT_PHYS, "vnode": OBJT_VNODE}


class BadStep(ValueError):
    """The recording asks for something that was never made."""


_GROWS = MAP_ENTRY_GROWS_DOWN | MAP_ENTRY_GROWS_UP


class World:
    """Applies operations and dumps the state after each."""

    def __init__(self, release: Release, setup: dict[str, int], record: FaultRecord) -> None:
        self.release = release
        self.record = record
        self.owner = Process(release=release.name, ram=DEFAULT_RAM, span=SPAN, hardware=NullHardware, bare=True)
        self.stranger = self.owner.fork()
        self.stranger.proc.p_limit = self.owner.proc.p_limit
        for name in LIMITS:
            self.owner.limit(name, RLIM_INFINITY)
        self.vm = vm = self.owner.vm
        vm.max_user_wired = (1 << 63) - 1
        vm.swap_cap = (1 << 64) - 1
        self.min = setup["min"]
        self.max = setup["max"]
        for process in self.both():
            vmspace_free(process.space)
            process.proc.p_vmspace = vmspace_alloc(vm, self.min, self.max)
            process.give_program()
        self.spaces: list[VmSpace | None] = [self.owner.space]
        self.current = 0
        self.set_usrstack(0)
        self.objects: list[VmObject | None] = [None]
        self.unsound = False
        for name, value in setup.items():
            if name not in ("min", "max"):
                self._assign(name, value)

    def both(self) -> tuple[Process, Process]:
        """The process of the scenario, and the one that meddles with its map."""
        return self.owner, self.stranger

    @property
    def space(self) -> VmSpace:
        space = self.spaces[self.current]
        assert space is not None
        return space

    @property
    def map(self) -> VmMap:
        return self.space.vm_map

    def apply(self, op: str, args: Args) -> Outcome:
        """Do one operation: (code, what it put out)."""
        handler: Callable[[Args], Outcome] = getattr(self, f"op_{op}")
        outcome = handler(args)
        if not self._beyond_invariants():
            vm_map_assert_consistent(self.map)
        return outcome

    def _beyond_invariants(self) -> bool:
        """The sources themselves broke the map's rules in this scenario; only the recording can judge from then on.

        A stack that grows up may pass the map's end (9.3 to 11.0), and a guard that was inserted with a GROWS_* flag
        grows as a stack does, into a size that counts no guards (10.4 and later).
        """
        if not self.unsound:
            last = self.map.header.prev
            entries = islice(self.map, self.map.nentries)  # a ring that a bug has tied up never ends
            self.unsound = (last is not self.map.header and last.end > self.map.max_offset) or any(
                entry.eflags & MAP_ENTRY_GUARD and entry.eflags & _GROWS for entry in entries
            )
        return self.unsound

    # operations that map

    def _object(self, args: Args) -> VmObject | None:
        obj = self.objects[_index(args, "obj", self.objects)]
        vm_object_reference(obj)
        return obj

    def _placed(self, obj: VmObject | None, rv: int) -> int:
        if rv != KERN_SUCCESS:
            vm_object_deallocate(obj)
        return rv

    def op_insert(self, a: Args) -> Outcome:
        obj = self._object(a)
        self.map.lock()
        rv = vm_map_insert(
            self.map,
            obj,
            a.get("off", 0),
            a.get("start", 0),
            a.get("end", 0),
            a.get("prot", 0),
            a.get("max", 0),
            a.get("cow", 0),
        )
        self.map.unlock()
        return self._placed(obj, rv), None

    def op_find(self, a: Args) -> Outcome:
        obj = self._object(a)
        rv, addr = vm_map_find(
            self.map,
            obj,
            a.get("off", 0),
            a.get("addr", 0),
            a.get("len", 0),
            a.get("space", 0),
            a.get("prot", 0),
            a.get("max", 0),
            a.get("cow", 0),
            a.get("max_addr", 0),
        )
        return self._placed(obj, rv), addr if rv == KERN_SUCCESS else None

    def op_find_min(self, a: Args) -> Outcome:
        obj = self._object(a)
        rv, addr = vm_map_find_min(
            self.map,
            obj,
            a.get("off", 0),
            a.get("addr", 0),
            a.get("len", 0),
            a.get("min_addr", 0),
            a.get("max_addr", 0),
            a.get("space", 0),
            a.get("prot", 0),
            a.get("max", 0),
            a.get("cow", 0),
        )
        return self._placed(obj, rv), addr if rv == KERN_SUCCESS else None

    def op_findspace(self, a: Args) -> Outcome:
        with self.map.locked():
            if self.release.findspace_returns_address:
                return 0, vm_map_findspace_address(self.map, a.get("start", 0), a.get("len", 0))
            addr = vm_map_findspace(self.map, a.get("start", 0), a.get("len", 0))
        return (1, None) if addr is None else (0, addr)

    def op_fixed(self, a: Args) -> Outcome:
        obj = self._object(a)
        rv = vm_map_fixed(
            self.map,
            obj,
            a.get("off", 0),
            a.get("start", 0),
            a.get("len", 0),
            a.get("prot", 0),
            a.get("max", 0),
            a.get("cow", 0),
        )
        return self._placed(obj, rv), None

    def op_stack(self, a: Args) -> Outcome:
        return vm_map_stack(
            self.map, a.get("addr", 0), a.get("size", 0), a.get("prot", 0), a.get("max", 0), a.get("cow", 0)
        ), None

    def op_growstack(self, a: Args) -> Outcome:
        assert self.vm.curproc is not None
        if not self.release.stack_gap:
            return vm_map_growstack(self.vm.curproc, a.get("addr", 0)), None
        self.map.lock_read()
        rv = vm_map_growstack_gap(self.map, a.get("addr", 0), None)
        self.map.unlock_read()
        return rv, None

    # operations that look

    def op_fault(self, a: Args) -> Outcome:
        assert self.map.fault is not None
        rv = self.map.fault(self.map, a.get("addr", 0), a.get("type", 0))
        return rv, self.record.out if rv == KERN_SUCCESS else None

    def op_lookup(self, a: Args) -> Outcome:
        rv, top, entry, _, pindex, prot, wired = vm_map_lookup(self.map, a.get("addr", 0), a.get("type", 0))
        if rv != KERN_SUCCESS:
            return rv, None
        vm_map_lookup_done(top, entry)
        return rv, {"prot": prot, "wired": int(wired), "pindex": pindex}

    def op_check(self, a: Args) -> Outcome:
        self.map.lock_read()
        ok = vm_map_check_protection(self.map, a.get("start", 0), a.get("end", 0), a.get("prot", 0))
        self.map.unlock_read()
        return int(ok), None

    def op_lookup_entry(self, a: Args) -> Outcome:
        self.map.lock_read()
        found, entry = vm_map_lookup_entry(self.map, a.get("addr", 0))
        self.map.unlock_read()
        return int(found), None if entry is self.map.header else [entry.start, entry.end]

    # operations that change

    def op_protect(self, a: Args) -> Outcome:
        return vm_map_protect(
            self.map, a.get("start", 0), a.get("end", 0), a.get("prot", 0), bool(a.get("set_max", 0))
        ), None

    def op_delete(self, a: Args) -> Outcome:
        with self.map.locked():
            return vm_map_delete(self.map, a.get("start", 0), a.get("end", 0)), None

    def op_remove(self, a: Args) -> Outcome:
        return vm_map_remove(self.map, a.get("start", 0), a.get("end", 0)), None

    def op_inherit(self, a: Args) -> Outcome:
        return vm_map_inherit(self.map, a.get("start", 0), a.get("end", 0), a.get("inh", 0)), None

    def op_madvise(self, a: Args) -> Outcome:
        return vm_map_madvise(self.map, a.get("start", 0), a.get("end", 0), a.get("behav", 0)), None

    def op_wire(self, a: Args) -> Outcome:
        return vm_map_wire(self.map, a.get("start", 0), a.get("end", 0), a.get("flags", 0)), None

    def op_unwire(self, a: Args) -> Outcome:
        return vm_map_unwire(self.map, a.get("start", 0), a.get("end", 0), a.get("flags", 0)), None

    def op_sync(self, a: Args) -> Outcome:
        return vm_map_sync(
            self.map, a.get("start", 0), a.get("end", 0), bool(a.get("syncio", 0)), bool(a.get("invalidate", 0))
        ), None

    def op_simplify(self, a: Args) -> Outcome:
        with self.map.locked():
            found, entry = vm_map_lookup_entry(self.map, a.get("addr", 0))
            if found:
                vm_map_simplify_entry(self.map, entry)
        return int(found), None

    def op_clip(self, a: Args) -> Outcome:
        addr = a.get("addr", 0)
        with self.map.locked():
            found, entry = vm_map_lookup_entry(self.map, addr)
            if found:
                (vm_map_clip_end if a.get("endp", 0) else vm_map_clip_start)(self.map, entry, addr)
        return int(found), None

    def op_submap(self, a: Args) -> Outcome:
        start, end = a.get("start", 0), a.get("end", 0)
        sub = vm_map_create(self.vm, self.map.pmap, start, end)
        return vm_map_submap(self.map, start, end, sub), None

    # address spaces and objects

    def op_mkobj(self, a: Args) -> Outcome:
        type_ = _OBJECT_TYPES.get(a.get("type", ""))
        if type_ is None:
            raise BadStep(f"mkobj: unknown type {a.get('type')!r}")
        obj = vm_object_allocate(self.vm, type_, a.get("size", 0))
        if type_ != OBJT_DEFAULT:
            obj.handle = object()
        self.objects.append(obj)
        return 0, len(self.objects) - 1

    def op_fork(self, a: Args) -> Outcome:
        child, charge = vmspace_fork(self.space)
        self.vm.swap_reserved += charge
        self.spaces.append(child)
        return 0, {"child": len(self.spaces) - 1, "charge": charge}

    def op_use(self, a: Args) -> Outcome:
        self.current = self._living(a.get("vm", 0))
        self.owner.proc.p_vmspace = self.space
        return 0, None

    def op_exit(self, a: Args) -> Outcome:
        index = self._living(a.get("vm", 0))
        if index == self.current:
            raise BadStep("exit: the current address space")
        space = self.spaces[index]
        assert space is not None
        vmspace_free(space)
        self.spaces[index] = None
        return 0, None

    def op_set(self, a: Args) -> Outcome:
        self._assign(str(a.get("name")), a.get("value", 0))
        return 0, None

    def _living(self, index: int) -> int:
        """The number of an address space that exists."""
        if not 0 <= index < len(self.spaces) or self.spaces[index] is None:
            raise BadStep(f"no address space {index}")
        return index

    def _assign(self, name: str, value: int) -> None:
        """One of the settings of ``setup`` and of the operation ``set``."""
        setter = getattr(self, f"set_{name}", None)
        if name in _LIMITS:
            self.owner.limit(_LIMITS[name], value)
        elif setter is not None:
            setter(value)
        # every other key is for other readers

    def set_usrstack(self, value: int) -> None:
        for process in self.both():
            process.proc.p_sysent = process.proc.p_sysent._replace(sv_usrstack=value)
        self.space.vm_stacktop = value

    def set_maxsaddr(self, value: int) -> None:
        self.space.vm_maxsaddr = value

    def set_ssize(self, value: int) -> None:
        self.space.vm_ssize = value

    def set_sgrowsiz(self, value: int) -> None:
        self.vm.sgrowsiz = value

    def set_guard(self, value: int) -> None:
        self.vm.stack_guard_page = value

    def set_swap_cap(self, value: int) -> None:
        self.vm.swap_cap = value

    def set_old_mlock(self, value: int) -> None:
        self.vm.old_mlock = bool(value)

    def set_cluster_anon(self, value: int) -> None:
        self.vm.cluster_anon = value

    def set_max_user_wired(self, value: int) -> None:
        self.vm.max_user_wired = value

    def set_fault_fail(self, value: int) -> None:
        self.record.fault_fail = value

    def set_wirefuture(self, value: int) -> None:
        with self.map.locked():
            self.map.modflags(MAP_WIREFUTURE if value else 0, 0 if value else MAP_WIREFUTURE)

    def set_foreign(self, value: int) -> None:
        (self.stranger if value else self.owner).run()

    def set_curproc(self, value: int) -> None:
        space = self.spaces[self._living(value)]
        assert space is not None
        self.owner.proc.p_vmspace = space

    def set_textvp(self, value: int) -> None:
        for process in self.both():
            process.proc.p_textvp = process.proc.p_fd.fd_rdir if value else None

    def set_stkgap_disable(self, value: int) -> None:
        for process in self.both():
            process.proc.p_flag2 = P2_STKGAP_DISABLE if value else 0

    # the state

    def dump(self, space: VmSpace | None = None) -> dict[str, Any]:
        """The current address space, or *space*, as the recordings show it."""
        space = space or self.space
        map_ = space.vm_map
        numbers: dict[VmObject, int] = {}
        entries = []
        for entry in map_:
            obj = entry.vm_object
            entries.append(
                [
                    entry.start,
                    entry.end,
                    entry.protection,
                    entry.max_protection,
                    entry.inheritance,
                    entry.eflags,
                    entry.wired_count,
                    entry.offset,
                    int(obj is not None),
                    self._ext(entry),
                    -1 if obj is None else numbers.setdefault(obj, len(numbers)),
                    int(entry.cred is not None),
                ]
            )
        return {
            "nentries": map_.nentries,
            "size": map_.size,
            "timestamp": map_.timestamp,
            "flags": map_.flags & 0xFF,
            "ssize": space.vm_ssize,
            "wired_pages": map_.pmap.wired_count,
            "swap": self.vm.swap_reserved,
            "anon_loc": map_.anon_loc,
            "user_wired": self.vm.user_wire_count,
            "entries": entries,
            "objects": _dump_objects(numbers),
        }

    def _ext(self, entry: Any) -> int:
        if not self.release.stack_gap:
            return entry.avail_ssize
        if self.release.stack_guard_saved and entry.eflags & (MAP_ENTRY_STACK_GAP_DN | MAP_ENTRY_STACK_GAP_UP):
            return entry.next_read
        return 0


def _index(args: Args, name: str, known: list[Any]) -> int:
    index = args.get(name, 0)
    if not isinstance(index, int) or not 0 <= index < len(known):
        raise BadStep(f"no {name} {index}")
    return index


def _dump_objects(numbers: dict[Any, int]) -> list[list[int]]:
    """Every object that an entry reaches, by number; backing objects get theirs when they are met."""
    rows = []
    todo = list(numbers)
    for obj in todo:
        backing = obj.backing_object
        if backing is not None and backing not in numbers:
            numbers[backing] = len(numbers)
            todo.append(backing)
        rows.append(
            [
                obj.size,
                obj.ref_count,
                obj.shadow_count,
                OBJT_DEFAULT if obj.type == OBJT_SWAP else obj.type,
                int(obj.flags & OBJ_ONEMAPPING != 0),
                -1 if backing is None else numbers[backing],
                obj.backing_object_offset,
                int(obj.cred is not None),
                obj.charge,
            ]
        )
    return rows
