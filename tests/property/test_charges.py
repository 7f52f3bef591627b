"""Whatever a process maps and whoever it becomes meanwhile: when all is gone, nobody is charged for anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.kern.copyin import copyout
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_fork, vmspace_free
from tests.process import Process

MMAP, MUNMAP, SETRESUID = 477, 73, 311
MAP_ANON_PRIVATE = 0x1002
KEEP = -1

_uids = st.sampled_from((KEEP, 0, 1000, 1001))
_calls = st.one_of(
    st.tuples(st.just("mmap"), st.integers(1, 5), st.booleans()),
    st.tuples(st.just("munmap"), st.integers(0, 20), st.integers(0, 5), st.integers(1, 5)),
    st.tuples(st.just("setresuid"), _uids, _uids, _uids),
    st.tuples(st.just("fork")),
    st.tuples(st.just("exit")),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(_calls, max_size=25))
def test_nobody_is_charged_in_the_end(calls: list[tuple]) -> None:
    process = Process("freebsd", ram=4 << 20)
    vm, proc = process.vm, process.proc
    children: list = []
    mapped = [0x2000_0000]
    for name, *args in calls:
        if name == "mmap":
            pages, touch = args
            addr = process.call(MMAP, 0, pages * PAGE_SIZE, 3, MAP_ANON_PRIVATE, -1, 0)
            assert addr > 0
            mapped.append(addr)
            if touch:
                copyout(process.td, addr, b"x")
        elif name == "munmap":
            which, skip, pages = args
            addr = mapped[which % len(mapped)] + skip * PAGE_SIZE
            assert process.call(MUNMAP, addr, pages * PAGE_SIZE) == 0
        elif name == "setresuid":
            _ = process.call(SETRESUID, *args)
        elif name == "fork":
            child, charge = vmspace_fork(proc.p_vmspace)
            assert swap_reserve_by_cred(vm, charge, proc.p_ucred)
            children.append(child)
        elif children:
            vmspace_free(children.pop(0))
    for vmspace in (*children, proc.p_vmspace):
        vmspace_free(vmspace)
    assert vm.swap_reserved == 0
    assert set(vm.uid_vmsize.values()) == {0}, vm.uid_vmsize
