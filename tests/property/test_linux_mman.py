"""mmap, munmap, mremap, madvise and writes of a Linux program against a dictionary of pages."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel_model.errors import SyscallError
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vmspace import vmspace_fork, vmspace_free
from tests.process import Process

PG = 4096
BASE = 0x10_0000_0000
SPAN = 24
"""Pages in which everything happens, so that ranges meet."""
FIXED = 0x32

page = st.integers(0, SPAN - 1)
count = st.integers(1, 8)
OPERATION = st.one_of(
    st.tuples(st.just("map"), page, count),
    st.tuples(st.just("unmap"), page, count),
    st.tuples(st.just("write"), page, st.integers(1, 255)),
    st.tuples(st.just("discard"), page, count),
    st.tuples(st.just("resize"), page, count, count),
    st.tuples(st.just("move"), page, count, count, page),
    st.tuples(st.just("fork"), page),
)


class Model:
    """page -> byte; a page that is not there is not mapped."""

    def __init__(self, process: Process) -> None:
        self.host = process
        self.pages: dict[int, int] = {}
        self.value = 0

    def whole(self, first: int, pages: int) -> bool:
        return all(index in self.pages for index in range(first, first + pages))

    def map(self, first: int, pages: int) -> None:
        assert self.host.call(9, BASE + first * PG, pages * PG, 3, FIXED, -1, 0) == BASE + first * PG
        self.pages.update(dict.fromkeys(range(first, first + pages), 0))

    def unmap(self, first: int, pages: int) -> None:
        assert self.host.call(11, BASE + first * PG, pages * PG) == 0
        for index in range(first, first + pages):
            self.pages.pop(index, None)

    def write(self, index: int, value: int) -> None:
        try:
            copyout(self.host.td, BASE + index * PG, bytes([value]))
        except SyscallError:
            assert index not in self.pages
        else:
            assert index in self.pages
            self.pages[index] = value

    def discard(self, first: int, pages: int) -> None:
        expected = 0 if self.whole(first, pages) else -12
        assert self.host.call(28, BASE + first * PG, pages * PG, 4) == expected
        for index in range(first, first + pages):
            if index in self.pages:
                self.pages[index] = 0

    def resize(self, first: int, old: int, new: int) -> None:
        result = self.host.call(25, BASE + first * PG, old * PG, new * PG, 0, 0)
        if first not in self.pages:
            assert result == -14
            return
        if new <= old:
            assert result == BASE + first * PG
            for index in range(first + new, first + old):
                self.pages.pop(index, None)
            return
        free = not any(index in self.pages for index in range(first + old, first + new))
        if not self.whole(first, old):
            assert result == -14
        elif free:
            assert result == BASE + first * PG
            self.pages.update(dict.fromkeys(range(first + old, first + new), 0))
        else:
            assert result == -12

    def move(self, first: int, old: int, new: int, target: int) -> None:
        result = self.host.call(25, BASE + first * PG, old * PG, new * PG, 3, BASE + target * PG)
        if first not in self.pages:
            assert result == -14
            return
        if first + old > target and target + new > first:
            assert result == -22
            return
        for index in range(target, target + new):
            self.pages.pop(index, None)
        for index in range(first + new, first + old):
            self.pages.pop(index, None)
        old = min(old, new)
        if not self.whole(first, old):
            assert result == -14
            return
        assert result == BASE + target * PG
        moved = [self.pages.pop(index) for index in range(first, first + old)]
        moved += [0] * (new - old)
        self.pages.update(zip(range(target, target + new), moved, strict=True))

    def fork(self, _: int) -> None:
        """The child writes everywhere it can; the parent must not see it."""
        parent = self.host.proc.p_vmspace
        child, charge = vmspace_fork(parent)
        assert swap_reserve_by_cred(self.host.vm, charge, self.host.proc.p_ucred)
        self.host.proc.p_vmspace = child
        for index in self.pages:
            copyout(self.host.td, BASE + index * PG, b"\xee")
        self.host.proc.p_vmspace = parent
        vmspace_free(child)

    def check(self) -> None:
        for index in range(SPAN + 16):
            try:
                seen = copyin(self.host.td, BASE + index * PG, 1)[0]
            except SyscallError:
                seen = None
            assert seen == self.pages.get(index), index
        vm_map_assert_consistent(self.host.map)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPERATION, min_size=3, max_size=25))
def test_like_a_dictionary(operations: list[tuple]) -> None:
    model = Model(Process("linux", ram=16 << 20))
    for name, *args in operations:
        getattr(model, name)(*args)
        model.check()
