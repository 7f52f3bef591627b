"""Out of memory: who is chosen, what is said, and how the one that faulted ends."""

from __future__ import annotations

from functools import partial

import pytest

from kernel_model.kern.kern_sig import ast, out_of_memory, was_killed
from kernel_model.kern.proc import P_INEXEC
from kernel_model.kern.signo import SIGKILL
from kernel_model.kern.trap import trap_pfault
from kernel_model.vm.vm import VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.process import Process

HUGE = 0x2000_0000


def hungry(abi: str, release: str) -> tuple[Process, list[str]]:
    process = Process(abi, release=release, ram=2 << 20)
    process.vm.swap_total = 0
    process.vm.on_oom = partial(out_of_memory, process.kernel)
    said: list[str] = []
    process.kernel.uprintf = said.append
    process.map_at(HUGE, 64 << 20, VM_PROT_RW)
    return process, said


def touch_until_refused(process: Process) -> int:
    pages = 0
    while trap_pfault(process.td, HUGE + pages * PAGE_SIZE, VM_PROT_WRITE, 8, 0, 0x40_0000):
        pages += 1
        assert pages < 1024
    return pages


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
def test_the_only_process_is_killed_and_by_nothing_else(abi: str, release: str) -> None:
    process, said = hungry(abi, release)
    assert touch_until_refused(process) > 400
    assert was_killed(process.proc)
    assert said == ["pid 1000 (), uid 0, was killed: out of swap space"]
    ast(process.td)
    assert (process.proc.p_state != 0, process.proc.p_xsig) == (True, SIGKILL)


def test_a_process_inside_execve_or_killed_already_is_not_chosen() -> None:
    process, said = hungry("freebsd", "freebsd-10.1")
    process.proc.p_flag |= P_INEXEC
    assert not out_of_memory(process.kernel)
    assert said == []
    process.proc.p_flag &= ~P_INEXEC
    assert not out_of_memory(process.kernel)
    assert not out_of_memory(process.kernel)
    assert len(said) == 1
