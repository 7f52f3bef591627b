"""mmap and its relatives: checks in their order, errnos by release."""

from __future__ import annotations

import pytest

from kernel_model import errno as E
from kernel_model.rlimit import RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_VMEM
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_advise import vm_map_madvise
from kernel_model.vm.vm_map_entry import MAP_ENTRY_GUARD
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.process import SCRATCH, Process

ALL = ("freebsd-9.3", "freebsd-10.1", "freebsd-10.4", "freebsd-11.0", "freebsd-12.1", "freebsd-15.0")
STRICT = ("freebsd-11.0", "freebsd-12.1", "freebsd-15.0")
LAX = ("freebsd-9.3", "freebsd-10.1", "freebsd-10.4")
MMAP, MUNMAP, MPROTECT, MADVISE, MINCORE, BREAK = 477, 73, 74, 75, 78, 17
MLOCK, MUNLOCK, MLOCKALL, MUNLOCKALL, MSYNC, MINHERIT = 203, 204, 324, 325, 65, 250
SHARED, PRIVATE, FIXED, STACK, ANON, GUARD, EXCL = 1, 2, 0x10, 0x400, 0x1000, 0x2000, 0x4000
PG = 4096
FREE = 0x2000_0000
HIGH = 0x10_0000_0000
TOP = 1 << 64


def mmap(
    process: Process, addr: int, size: int, prot: int = 3, flags: int = ANON | PRIVATE, fd: int = -1, pos: int = 0
) -> int:
    return process.call(MMAP, addr, size, prot, flags, fd, pos)


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize("addr", [0, 1, PG - 1, PG, TOP - 1, TOP - PG, TOP - 1 - PG, PG - 1 + PG, 0x1000 * PG])
def test_map_at_zero(release: str, addr: int) -> None:
    """tests/sys/vm/mmap_test.c map_at_zero: of its addresses only whole pages from 1 on can be mapped."""
    process = Process(release=release)
    good = addr in (PG, 0x1000 * PG)
    assert mmap(process, addr, PG, 3, ANON | FIXED) == (addr if good else -E.EINVAL)


BAD_EVERYWHERE = [
    ("no length", {"addr": 0, "size": 0}),
    ("anonymous with a descriptor", {"addr": 0, "size": PG, "fd": 0}),
    ("anonymous with an offset", {"addr": 0, "size": PG, "pos": PG}),
    ("stack with a descriptor", {"addr": 0, "size": PG, "flags": STACK, "fd": 0}),
    ("stack only readable", {"addr": 0, "size": 0x20000, "prot": 1, "flags": STACK}),
    ("stack only writable", {"addr": 0, "size": 0x20000, "prot": 2, "flags": STACK}),
    ("fixed and not aligned", {"addr": FREE + 1, "size": PG, "flags": ANON | FIXED}),
    ("fixed and past the end", {"addr": (1 << 47) - PG, "size": 2 * PG, "flags": ANON | FIXED}),
    ("fixed and wrapping", {"addr": FREE, "size": TOP - PG, "flags": ANON | FIXED}),
    ("alignment below a page", {"addr": 0, "size": PG, "flags": ANON | 11 << 24}),
    ("alignment beyond a pointer", {"addr": 0, "size": PG, "flags": ANON | 64 << 24}),
]


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize(("what", "args"), BAD_EVERYWHERE)
def test_bad_arguments_everywhere(release: str, what: str, args: dict) -> None:
    assert mmap(Process(release=release), **args) == -E.EINVAL, what


BAD_WHEN_STRICT = [
    ("unknown protection bits", {"addr": 0, "size": PG, "prot": 0x80 | 3}),
    ("unknown protection bits alone", {"addr": 0, "size": PG, "prot": 0x100000}),
    ("unknown flag", {"addr": 0, "size": PG, "flags": ANON | 0x80}),
    ("shared and private", {"addr": 0, "size": PG, "flags": ANON | SHARED | PRIVATE}),
]


@pytest.mark.parametrize("release", ALL)
@pytest.mark.parametrize(("what", "args"), BAD_WHEN_STRICT)
def test_bad_arguments_since_11(release: str, what: str, args: dict) -> None:
    """tests/sys/vm/mmap_test.c bad_arguments; 10 and older mask what they do not know."""
    result = mmap(Process(release=release), **args)
    assert result == -E.EINVAL if release in STRICT else result > 0, what


@pytest.mark.parametrize("release", ALL)
def test_excl(release: str) -> None:
    process = Process(release=release)
    known = release != "freebsd-9.3"
    result = mmap(process, FREE, PG, 3, ANON | EXCL)
    assert result == -E.EINVAL if known else result > 0
    process = Process(release=release)
    assert mmap(process, FREE, PG, 3, ANON | FIXED | EXCL) == FREE
    assert mmap(process, FREE, PG, 3, ANON | FIXED | EXCL) == (-E.ENOMEM if known else FREE)


@pytest.mark.parametrize("release", ["freebsd-10.4", "freebsd-12.1", "freebsd-15.0"])
def test_guard(release: str) -> None:
    process = Process(release=release)
    addr = mmap(process, 0, 4 * PG, 0, GUARD)
    assert addr > 0
    assert vm_map_lookup_entry(process.map, addr)[1].eflags & MAP_ENTRY_GUARD
    assert process.call(MPROTECT, addr, 4 * PG, 3) == 0, "quirk Q10: accepted, without effect"
    assert vm_map_lookup_entry(process.map, addr)[1].protection == 0
    for args in (
        {"prot": 1, "flags": GUARD},
        {"prot": 0, "flags": GUARD, "fd": 0},
        {"prot": 0, "flags": GUARD, "pos": PG},
        {"prot": 0, "flags": GUARD | ANON},
        {"prot": 0, "flags": GUARD | SHARED},
    ):
        assert mmap(process, 0, PG, **args) == -E.EINVAL, args


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-11.0"])
def test_guard_is_unknown_to_the_classic_releases(release: str) -> None:
    result = mmap(Process(release=release), 0, PG, 3, ANON | GUARD)
    assert result == -E.EINVAL if release == "freebsd-11.0" else result > 0


@pytest.mark.parametrize("release", ALL)
def test_hint_inside_the_heap_is_moved_behind_it(release: str) -> None:
    process = Process(release=release)
    end = 0x60_0000 + (32 << 30)
    assert mmap(process, 0, PG) == end
    assert mmap(process, 0x70_0000, PG) == end + PG
    assert mmap(process, 0x123 << 40, PG) == 0x123 << 40 if 0x123 << 40 < 1 << 47 else True
    assert mmap(process, end + 0x10_0000, PG) == end + 0x10_0000


def test_map_32bit() -> None:
    process = Process(release="freebsd-12.1")
    for hint in (0, 1 << 40, 0x7FFF_F000):
        addr = mmap(process, hint, 2 * PG, 3, ANON | 0x80000)
        assert 0 < addr + 2 * PG <= 1 << 31
    assert mmap(process, 0x7FFF_F000, 2 * PG, 3, ANON | FIXED | 0x80000) == -E.EINVAL


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1"])
def test_stack_placement(release: str) -> None:
    """9.3 puts a stack exactly on the hint, replacing nothing; later releases search and replace."""
    process = Process(release=release)
    size = 0x40000
    first = mmap(process, HIGH, size, 3, STACK)
    assert first == HIGH
    again = mmap(process, HIGH, size, 3, STACK)
    fixed = mmap(process, HIGH, size, 3, STACK | FIXED)
    if release == "freebsd-9.3":
        assert (again, fixed) == (-E.ENOMEM, -E.ENOMEM)
    else:
        assert again > first
        assert fixed == first


@pytest.mark.parametrize(("release", "errno"), [("freebsd-10.4", E.ENOMEM), ("freebsd-12.1", E.EINVAL)])
def test_stack_not_larger_than_its_guard(release: str, errno: int) -> None:
    """Quirk Q8."""
    assert mmap(Process(release=release), HIGH, PG, 3, STACK) == -errno


@pytest.mark.parametrize("release", ALL)
def test_vmem_limit(release: str) -> None:
    process = Process(release=release)
    process.proc.p_limit.set(RLIMIT_VMEM, process.map.size + 3 * PG, process.map.size + 3 * PG)
    assert mmap(process, 0, 4 * PG) == -E.ENOMEM
    assert mmap(process, 0, 3 * PG) > 0


def test_prot_max_of_15() -> None:
    process = Process(release="freebsd-15.0")
    addr = mmap(process, 0, PG, 1 | 3 << 16)
    assert process.call(MPROTECT, addr, PG, 3) == 0
    assert process.call(MPROTECT, addr, PG, 7) == -E.EACCES
    assert mmap(process, 0, PG, 7 | 3 << 16) == -E.ENOTSUP
    assert process.call(MPROTECT, addr, PG, 8) == -E.EINVAL
    assert Process(release="freebsd-12.1").call(MPROTECT, SCRATCH, PG, 8 | 1) == 0, "masked until 13"


@pytest.mark.parametrize("release", ALL)
def test_munmap(release: str) -> None:
    process = Process(release=release)
    addr = mmap(process, 0, 8 * PG)
    assert process.call(MUNMAP, addr + 2 * PG, PG) == 0
    assert process.call(MUNMAP, addr, 8 * PG) == 0, "holes are fine"
    assert process.call(MUNMAP, addr, 8 * PG) == 0
    bad = ((addr, 0), (0, PG), (addr, TOP - 2 * PG), ((1 << 47) - PG, 2 * PG), (TOP - PG, PG))
    for start, size in bad:
        assert process.call(MUNMAP, start, size) == -E.EINVAL, (hex(start), hex(size))
    assert process.call(MUNMAP, addr, TOP - 1) == 0, "rounded up the size is 0, in C too"


@pytest.mark.parametrize("release", ALL)
def test_munmap_rounds_an_unaligned_start_down(release: str) -> None:
    process = Process(release=release)
    addr = mmap(process, 0, 2 * PG)
    assert process.call(MUNMAP, addr + 1, 1) == 0
    assert not vm_map_lookup_entry(process.map, addr)[0]
    assert vm_map_lookup_entry(process.map, addr + PG)[0]


@pytest.mark.parametrize("release", ALL)
def test_mprotect(release: str) -> None:
    process = Process(release=release)
    addr = mmap(process, 0, 4 * PG)
    assert process.call(MPROTECT, addr + PG, PG, 1) == 0
    assert [prot for start, _, prot in process.entries() if addr <= start < addr + 4 * PG] == [3, 1, 3]
    assert process.call(MPROTECT, addr + 100 * PG, PG, 1) == 0, "a hole is no error on FreeBSD"
    assert process.call(MPROTECT, addr, TOP - PG, 1) == -E.EINVAL
    assert process.call(MPROTECT, addr, 0, 1) == 0


def test_minherit_and_madvise() -> None:
    process = Process(release="freebsd-12.1")
    addr = mmap(process, 0, 2 * PG)
    assert process.call(MINHERIT, addr, PG, 0) == 0
    assert vm_map_lookup_entry(process.map, addr)[1].inheritance == 0
    assert process.call(MINHERIT, addr, PG, 7) == -E.EINVAL
    assert process.call(MINHERIT, addr, TOP - PG, 0) == -E.EINVAL
    for advice in range(10):
        assert process.call(MADVISE, addr, PG, advice) == 0, advice
    for advice in (-1, 11, 99):
        assert process.call(MADVISE, addr, PG, advice) == -E.EINVAL
    assert process.call(MADVISE, 0, PG, 0) == process.call(MADVISE, addr, TOP - 1, 0) == -E.EINVAL


def test_mincore() -> None:
    process = Process()
    addr = mmap(process, 0, 4 * PG)
    vm_map_madvise(process.proc.p_vmspace.vm_map, addr, addr + PG, 3)
    from kernel_model.kern.copyin import copyout

    copyout(process.td, addr + PG, b"x")
    vec = process.put(b"\xff" * 4)
    assert process.call(MINCORE, addr, 4 * PG, vec) == 0
    answer = process.get(vec, 4)
    assert [bool(byte & 1) for byte in answer] == [False, True, False, False]
    assert answer[1] & 4, "modified"
    assert process.call(MINCORE, addr + PG, 4 * PG, vec) == -E.ENOMEM
    assert process.call(MINCORE, addr + 64 * PG, PG, vec) == -E.ENOMEM
    assert process.call(MINCORE, addr, PG, 0) == -E.EFAULT


def test_msync() -> None:
    process = Process()
    addr = mmap(process, 0, 2 * PG)
    assert process.call(MSYNC, addr, 2 * PG, 0) == 0
    assert process.call(MSYNC, addr, PG, 3) == -E.EINVAL, "ASYNC and INVALIDATE"
    assert process.call(MSYNC, addr, 3 * PG, 0) == -E.ENOMEM
    assert process.call(MSYNC, addr, TOP - PG, 0) == -E.EINVAL


@pytest.mark.parametrize("release", ALL)
def test_mlock(release: str) -> None:
    process = Process(release=release)
    addr = mmap(process, 0, 4 * PG)
    assert process.call(MLOCK, addr, 2 * PG) == 0
    assert process.proc.p_vmspace.vm_pmap.wired_count == 2
    assert process.call(MLOCK, addr, TOP - 1) == -E.EINVAL
    assert process.call(MLOCK, addr + PG, 4 * PG) == -E.ENOMEM, "a hole"
    process.proc.p_limit.set(RLIMIT_MEMLOCK, 2 * PG, 2 * PG)
    assert process.call(MLOCK, addr + 2 * PG, PG) == -E.ENOMEM
    assert process.call(MUNLOCK, addr, 2 * PG) == 0
    assert process.proc.p_vmspace.vm_pmap.wired_count == 0
    assert process.call(MUNLOCK, addr, 16 * PG) == -E.ENOMEM


@pytest.mark.parametrize("release", ALL)
def test_mlock_and_the_limit_of_the_machine(release: str) -> None:
    """8 pages allowed, 8 locked, 4 more asked: vm_mlock() of 10.4 and of an 11 without guards compares with
    v_wire_count as sys_mlock() of 9.3 does; since 12 vm_map_wire() counts the pages of users.
    """
    process = Process(release=release)
    addr = mmap(process, 0, 12 * PG)
    since_12 = release in ("freebsd-12.1", "freebsd-15.0")
    process.vm.max_user_wired = 8 if since_12 else 8 + process.vm.cnt.v_wire_count
    assert process.call(MLOCK, addr, 8 * PG) == 0
    assert process.call(MLOCK, addr + 8 * PG, 4 * PG) == (-E.ENOMEM if since_12 else -E.EAGAIN)
    assert process.space.vm_pmap.wired_count == 8
    assert process.call(MUNLOCK, addr, 4 * PG) == 0
    assert process.call(MLOCK, addr + 8 * PG, 4 * PG) == 0
    assert process.call(MLOCK, addr, process.vm.max_user_wired * PG + PG) == -E.ENOMEM, "more than there could ever be"


def test_mlockall() -> None:
    process = Process(release="freebsd-12.1")
    assert process.call(MLOCKALL, 0) == process.call(MLOCKALL, 4) == -E.EINVAL
    process.proc.p_limit.set(RLIMIT_MEMLOCK, PG, PG)
    assert process.call(MLOCKALL, 1) == -E.ENOMEM
    assert process.call(MLOCKALL, 2) == 0
    assert mmap(process, 0, 2 * PG) == -E.ENOMEM, "future mappings count against MEMLOCK"
    process.proc.p_limit.set(RLIMIT_MEMLOCK, 1 << 30, 1 << 30)
    addr = mmap(process, 0, 2 * PG)
    assert vm_map_lookup_entry(process.map, addr)[1].wired_count
    assert process.call(MUNLOCKALL) == 0
    assert not vm_map_lookup_entry(process.map, addr)[1].wired_count
    assert mmap(process, 0, PG) > 0


@pytest.mark.parametrize("release", ALL)
def test_break(release: str) -> None:
    process = Process(release=release)
    base = process.proc.p_vmspace.vm_daddr
    new = release in ("freebsd-12.1", "freebsd-15.0")
    assert process.call(BREAK, base + 5) == (base + PG if new else 0)
    assert process.proc.p_vmspace.vm_dsize == 1
    assert process.call(BREAK, base + 3 * PG) == (base + 3 * PG if new else 0)
    assert vm_map_lookup_entry(process.map, base + 2 * PG)[0]
    assert process.call(BREAK, base - PG) == (base + 3 * PG if new else -E.EINVAL), "the idiom of libc 12"
    assert process.call(BREAK, base + PG) >= 0
    assert not vm_map_lookup_entry(process.map, base + 2 * PG)[0]
    process.proc.p_limit.set(RLIMIT_DATA, 2 * PG, 1 << 40)
    assert process.call(BREAK, base + 3 * PG) == -E.ENOMEM
    assert process.call(BREAK, base + 2 * PG) >= 0
    process.map_at(base + 2 * PG, PG)
    process.proc.p_limit.set(RLIMIT_DATA, 1 << 40, 1 << 40)
    assert process.call(BREAK, base + 3 * PG) == -E.ENOMEM, "something is in the way"
    assert process.call(BREAK, 1 << 47) == -E.ENOMEM
    assert process.call(BREAK, TOP - 1) < 0 or new, "rounded up it wraps to 0"


def test_sbrk_and_sstk_never_existed() -> None:
    process = Process()
    assert process.call(69, PG) == process.call(70, PG) == -E.EOPNOTSUPP


HOSTILE = (0, 1, PG - 1, PG, 1 << 31, 1 << 47, (1 << 47) - PG, 1 << 63, TOP - PG, TOP - 1, TOP - PG + 1)


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_hostile_addresses_and_sizes_never_break_the_map(abi: str) -> None:
    """Every pair of awkward numbers through every call: an errno or success, and the map stays consistent."""
    numbers = (10, 11, 26, 27, 28, 149, 150) if abi == "linux" else (65, 73, 74, 75, 78, 203, 204, 250)
    process = Process(abi, release="freebsd-12.1")
    vec = process.put(bytes(64))
    for number in numbers:
        for addr in HOSTILE:
            for size in HOSTILE:
                third = vec if number in (27, 78) else 1
                if (number, addr <= SCRATCH < addr + size) in ((11, True), (73, True)):
                    continue
                result = process.call(number, addr, size, third)
                assert result <= 0, (number, hex(addr), hex(size), result)
        vm_map_assert_consistent(process.map)
    for addr in HOSTILE:
        for size in HOSTILE:
            if abi == "linux":
                process.call(9, addr, size, 3, 0x22, -1, 0)
                process.call(25, addr, size, size, 1, 0)
                process.call(12, addr)
            else:
                mmap(process, addr, size)
                process.call(BREAK, addr)
    vm_map_assert_consistent(process.map)
