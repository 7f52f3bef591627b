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
from tests.unit.kern_host import KernHost

HUGE = 0x2000_0000


def hungry(abi: str, release: str) -> tuple[KernHost, list[str]]:
    host = KernHost(abi, release, ram=2 << 20)
    host.vm.swap_total = 0
    host.vm.on_oom = partial(out_of_memory, host.kernel)
    said: list[str] = []
    host.kernel.uprintf = said.append
    host.map_at(HUGE, 64 << 20, VM_PROT_RW)
    return host, said


def touch_until_refused(host: KernHost) -> int:
    pages = 0
    while trap_pfault(host.td, HUGE + pages * PAGE_SIZE, VM_PROT_WRITE, 8, 0, 0x40_0000):
        pages += 1
        assert pages < 1024
    return pages


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
def test_the_only_process_is_killed_and_by_nothing_else(abi: str, release: str) -> None:
    host, said = hungry(abi, release)
    assert touch_until_refused(host) > 400
    assert was_killed(host.proc)
    assert said == ["pid 1000 (), uid 0, was killed: out of swap space"]
    ast(host.td)
    assert (host.proc.p_state != 0, host.proc.p_xsig) == (True, SIGKILL)


def test_a_process_inside_execve_or_killed_already_is_not_chosen() -> None:
    host, said = hungry("freebsd", "freebsd-10.1")
    host.proc.p_flag |= P_INEXEC
    assert not out_of_memory(host.kernel)
    assert said == []
    host.proc.p_flag &= ~P_INEXEC
    assert not out_of_memory(host.kernel)
    assert not out_of_memory(host.kernel)
    assert len(said) == 1
