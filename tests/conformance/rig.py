"""One process, its map and the operations of the recordings: what the conformance tests drive."""

from __future__ import annotations

from typing import Any

from kernel_model.release import RELEASES
from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import SGROWSIZ, USRSTACK, VM_MAXUSER_ADDRESS
from tests.replay.pagefree import FaultRecord
from tests.replay.world import World

PG = 0x1000
MAXSSIZ = 512 << 20
STACK_BOTTOM = USRSTACK - MAXSSIZ

CLASSIC = ("freebsd-9.3", "freebsd-10.1", "freebsd-11.0")
MODERN = ("freebsd-10.4", "freebsd-12.1", "freebsd-15.0")
FREEBSD = ("freebsd-9.3", "freebsd-10.1", "freebsd-10.4", "freebsd-11.0", "freebsd-12.1", "freebsd-15.0")


class Rig(World):
    """A World with short names; addresses beyond the process's own are its caller's."""

    def do(self, op: str, **args: Any) -> int:
        """The code of one operation."""
        return self.apply(op, args)[0]

    def out(self, op: str, **args: Any) -> Any:
        """What a successful operation puts out."""
        rv, out = self.apply(op, args)
        assert rv == 0
        return out

    def ranges(self) -> list[tuple[int, int]]:
        """Every entry's bounds."""
        return [(entry.start, entry.end) for entry in self.map]

    def entry(self, addr: int) -> Any:
        """The entry that holds *addr*."""
        found, entry = vm_map_lookup_entry(self.map, addr)
        assert found
        return entry

    def avail(self) -> list[int]:
        """avail_ssize of every growable entry."""
        return [entry.avail_ssize for entry in self.map if entry.eflags & 0x3000]


def rig(name: str, **setup: int) -> Rig:
    """A process of release *name* with the whole user range; *setup* as in the recordings."""
    values = {"min": PG, "max": VM_MAXUSER_ADDRESS, "usrstack": USRSTACK, "maxsaddr": USRSTACK, "sgrowsiz": SGROWSIZ}
    return Rig(RELEASES[name], values | setup, FaultRecord())


def process_rig(name: str, **setup: int) -> Rig:
    """A rig with the stack that execve makes: 512 MiB reserved below usrstack, SGROWSIZ mapped."""
    made = rig(name, **setup)
    assert made.do("stack", addr=STACK_BOTTOM, size=MAXSSIZ, prot=7, max=7, cow=MAP_STACK_GROWS_DOWN) == 0
    made.set_maxsaddr(STACK_BOTTOM)
    made.set_ssize(SGROWSIZ // PG)
    return made
