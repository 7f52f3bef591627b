"""What a page fault costs in the kernel alone, without an engine: ``python -m tests.bench vm_fault``.

A first touch is a lookup, a zero page and an entry in the page table; a copy is what a process pays for the first
store to a page that it shares with its parent; a page-out is a first touch in a machine whose memory is full.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from kernel_model.vm.pmap import NullHardware
from kernel_model.vm.swap_store import SwapMemory
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import DEFAULT_RAM
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vmspace import VmSpace, vmspace_fork, vmspace_free
from tests.bench.figures import Figure, best_of
from tests.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

TOPIC = "vm_fault"
PAGES = 16_384
NEIGHBOURS = 50
BASE = 1 << 40
FULL = 2_048
"""Pages of memory of the machine that has to page out."""


def _space(ram: int = DEFAULT_RAM) -> VmSpace:
    """An address space with some other entries and one large anonymous one, and swap that costs a copy."""
    process = Process(ram=ram, hardware=NullHardware, bare=True)
    process.vm.make_swap = SwapMemory
    space = process.space
    with space.vm_map.locked():
        for number in range(NEIGHBOURS):
            at = (number + 1) << 24
            vm_map_insert(space.vm_map, None, 0, at, at + 8 * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0)
        vm_map_insert(space.vm_map, None, 0, BASE, BASE + PAGES * PAGE_SIZE, VM_PROT_RW, VM_PROT_ALL, 0)
    return space


def _touch(space: VmSpace) -> float:
    """Microseconds of processor time per page."""
    map_ = space.vm_map
    gc.collect()
    before = time.process_time()
    for page in range(PAGES):
        vm_fault(map_, BASE + page * PAGE_SIZE, VM_PROT_WRITE)
    return (time.process_time() - before) / PAGES * 1e6


def _first_touch(ram: int) -> float:
    space = _space(ram)
    cost = _touch(space)
    vmspace_free(space)
    return cost


def _copy() -> float:
    parent = _space()
    _touch(parent)
    child, charge = vmspace_fork(parent)
    parent.vm.swap_reserved += charge
    cost = _touch(child)
    vmspace_free(child)
    vmspace_free(parent)
    return cost


def measure() -> list[Figure]:
    """Best of five, in processor time, because the host is shared."""

    def best(work: Callable[[], float]) -> float:
        return best_of(5, work)

    return [
        Figure("vm_fault: first touch of an anonymous page", best(lambda: _first_touch(1 << 30)), "us", 3.5),
        Figure("vm_fault: copy of a page shared with the parent", best(_copy), "us", 8.0),
        Figure("vm_fault: first touch with a page-out", _first_touch(FULL * PAGE_SIZE), "us"),
    ]
