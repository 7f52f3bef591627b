"""What a run cost the machine: faults, pages, the map and its mirror, a counter to a line.

Model only: vmstat -s has most of these numbers for a whole system, getrusage(2) some for a process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from emu.machine import Machine


def stats(machine: Machine) -> dict[str, int]:
    """The counters of *machine* by name; pages are 4096 bytes, sizes bytes."""
    cnt = machine.vm.cnt
    vmspace = machine.proc.p_vmspace
    return {
        "faults": cnt.v_vm_faults,
        "faults that read a file": cnt.v_io_faults,
        "zero-filled pages": cnt.v_zfod,
        "copy-on-write copies": cnt.v_cow_faults,
        "copies saved by moving the page": cnt.v_cow_optim,
        "pages in from files": cnt.v_vnodepgsin,
        "pages out to files": cnt.v_vnodepgsout,
        "pages in from swap": cnt.v_swappgsin,
        "pages out to swap": cnt.v_swappgsout,
        "pages of memory": cnt.v_page_count,
        "pages free": cnt.v_free_count,
        "resident pages": vmspace.vm_pmap.resident_count,
        "stack bytes": vmspace.vm_ssize << PAGE_SHIFT,
        "map entries": machine.map.nentries,
        "map bytes": machine.map.size,
        "Unicorn mappings": len(machine.regions()),
    }


def stats_text(machine: Machine) -> str:
    """The counters as a table, numbers to the left so that names can be grepped."""
    counters = stats(machine)
    width = max(len(f"{value:,}") for value in counters.values())
    return "\n".join(f"{value:>{width},}  {name}" for name, value in counters.items())
