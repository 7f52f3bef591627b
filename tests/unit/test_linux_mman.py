"""The Linux calls on memory, where they differ from FreeBSD's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel_model.kern.copyin import copyout
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.process import Process

MMAP, MPROTECT, MUNMAP, BRK, MREMAP, MINCORE, MADVISE, MSYNC, MLOCK = 9, 10, 11, 12, 25, 27, 28, 26, 149
SHARED, PRIVATE, FIXED, ANON, GROWSDOWN, NOREPLACE = 1, 2, 0x10, 0x20, 0x100, 0x100000
ENOMEM, EBADF, EACCES, EEXIST, EINVAL, EFAULT, EPERM = -12, -9, -13, -17, -22, -14, -1
PG = 4096
FREE = 0x10_0000_0000


@pytest.fixture
def process() -> Process:
    return Process("linux")


def mmap(
    process: Process, addr: int, size: int, prot: int = 3, flags: int = ANON | PRIVATE, fd: int = -1, pos: int = 0
):
    return process.call(MMAP, addr, size, prot, flags, fd, pos)


def fill(process: Process, addr: int, pages: int) -> None:
    for page in range(pages):
        copyout(process.td, addr + page * PG, bytes([page + 1]) * 16)


def pages_at(process: Process, addr: int, pages: int) -> list[int]:
    return [process.get(addr + page * PG, 1)[0] for page in range(pages)]


# -- mmap, munmap, mprotect ---------------------------------------------------------------------------------


def test_mmap_errors(process: Process) -> None:
    assert mmap(process, 0, 0) == EINVAL
    assert mmap(process, 0, PG, 3, ANON) == EINVAL, "neither shared nor private"
    assert mmap(process, 0, PG, 3, PRIVATE, 77) == EBADF
    assert mmap(process, 0, PG, 3, ANON | PRIVATE, -1, 1) == EINVAL
    assert mmap(process, 0, 1 << 48) == mmap(process, 0, (1 << 64) - 1) == ENOMEM
    assert mmap(process, FREE + 1, PG, 3, ANON | PRIVATE | FIXED) == EINVAL
    assert mmap(process, (1 << 47) - PG, 2 * PG, 3, ANON | PRIVATE | FIXED) == ENOMEM
    assert mmap(process, 0, PG, 3, ANON | PRIVATE | FIXED) == EPERM, "page 0 stays empty"
    assert mmap(process, 0, PG, 3, ANON | PRIVATE | 0x40000) == ENOMEM, "no huge pages"


def test_mmap_ignores_what_freebsd_refuses(process: Process) -> None:
    assert mmap(process, 0, PG, 3 | 0x1000, ANON | PRIVATE, 99) > 0, (
        "the descriptor of anonymous memory is not looked at"
    )
    assert mmap(process, FREE + 5, PG) == FREE, "an unaligned hint is rounded down"


def test_fixed_noreplace(process: Process) -> None:
    assert mmap(process, FREE, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == FREE
    assert mmap(process, FREE + PG, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == EEXIST
    assert mmap(process, FREE - PG, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == EEXIST
    assert mmap(process, FREE + 2 * PG, PG, 3, ANON | PRIVATE | NOREPLACE) == FREE + 2 * PG


def test_writable_is_readable(process: Process) -> None:
    addr = mmap(process, 0, PG, 2)
    copyout(process.td, addr, b"x")
    assert process.get(addr, 1) == b"x"
    assert vm_map_lookup_entry(process.map, addr)[1].protection == 3


def test_a_directory_cannot_be_mapped(process: Process) -> None:
    fd = process.call(2, process.put(b"/etc\0"), 0, 0)
    assert fd >= 0
    assert mmap(process, 0, PG, 1, PRIVATE, fd) == -19


def test_a_file_opened_for_reading_cannot_be_shared_writable(process: Process) -> None:
    fd = process.call(2, process.put(b"/etc/passwd\0"), 0, 0)
    assert mmap(process, 0, PG, 3, SHARED, fd) == EACCES
    addr = mmap(process, 0, PG, 1, SHARED, fd)
    assert process.get(addr, 4) == b"root"
    assert process.call(MPROTECT, addr, PG, 3) == EACCES
    private = mmap(process, 0, PG, 3, PRIVATE, fd)
    copyout(process.td, private, b"user")
    assert (process.get(private, 4), process.get(addr, 4)) == (b"user", b"root")
    assert process.call(MADVISE, private, PG, 4) == 0
    assert process.get(private, 4) == b"root", "MADV_DONTNEED shows the file again"


def test_populate_makes_resident(process: Process) -> None:
    before = process.proc.p_vmspace.vm_pmap.resident_count
    addr = mmap(process, 0, 5 * PG, 3, ANON | PRIVATE | 0x8000)
    assert process.proc.p_vmspace.vm_pmap.resident_count == before + 5
    vec = process.put(bytes(8))
    assert process.call(MINCORE, addr, 5 * PG, vec) == 0
    assert process.get(vec, 5) == b"\1" * 5


def test_munmap(process: Process) -> None:
    addr = mmap(process, 0, 4 * PG)
    assert process.call(MUNMAP, addr, 0) == process.call(MUNMAP, addr + 1, PG) == EINVAL
    assert process.call(MUNMAP, addr, 1 << 48) == EINVAL
    assert process.call(MUNMAP, addr + PG, PG) == process.call(MUNMAP, addr, 4 * PG) == 0


def test_mprotect_stops_at_a_hole_with_enomem(process: Process) -> None:
    addr = mmap(process, 0, 4 * PG)
    process.call(MUNMAP, addr + 2 * PG, PG)
    assert process.call(MPROTECT, addr, 4 * PG, 1) == ENOMEM
    assert [prot for start, _, prot in process.entries() if addr <= start < addr + 4 * PG] == [1, 3]
    assert process.call(MPROTECT, addr + 2 * PG, PG, 1) == ENOMEM
    assert process.call(MPROTECT, addr + 1, PG, 1) == process.call(MPROTECT, addr, PG, 0x80) == EINVAL
    assert process.call(MPROTECT, addr, 0, 1) == 0
    assert process.call(MPROTECT, addr, (1 << 64) - PG, 1) == ENOMEM
    assert process.call(MPROTECT, addr, PG, 1 | 0x01000000) == EINVAL, "PROT_GROWSDOWN is for stacks"


def test_growsdown_grows(process: Process) -> None:
    from kernel_model.kern.trap import trap_pfault

    addr = mmap(process, FREE, 4 * PG, 3, ANON | PRIVATE | GROWSDOWN | FIXED)
    assert addr == FREE
    copyout(process.td, addr, b"bottom")
    assert trap_pfault(process.td, addr - PG, 2)
    assert trap_pfault(process.td, addr - 20 * PG, 2)
    assert process.call(MPROTECT, addr, PG, 1 | 0x01000000) == 0


# -- madvise ------------------------------------------------------------------------------------------------


def test_dontneed_discards(process: Process) -> None:
    addr = mmap(process, 0, 4 * PG)
    fill(process, addr, 4)
    assert process.call(MADVISE, addr + PG, 2 * PG, 4) == 0
    assert pages_at(process, addr, 4) == [1, 0, 0, 4]


def test_dontneed_of_shared_memory_keeps_it(process: Process) -> None:
    addr = mmap(process, 0, 2 * PG, 3, ANON | SHARED)
    fill(process, addr, 2)
    assert process.call(MADVISE, addr, 2 * PG, 4) == 0
    assert pages_at(process, addr, 2) == [1, 2]


def test_dontneed_after_a_fork_leaves_the_other_process_alone(process: Process) -> None:
    from kernel_model.vm.vmspace import vmspace_fork

    addr = mmap(process, 0, 4 * PG)
    fill(process, addr, 4)
    child, _ = vmspace_fork(process.proc.p_vmspace)
    assert process.call(MADVISE, addr + PG, PG, 4) == 0
    assert pages_at(process, addr, 4) == [1, 0, 3, 4]
    process.proc.p_vmspace = child
    assert pages_at(process, addr, 4) == [1, 2, 3, 4]


def test_madvise_errors(process: Process) -> None:
    addr = mmap(process, 0, 4 * PG)
    process.call(MUNMAP, addr + PG, PG)
    fill(process, addr + 2 * PG, 1)
    assert process.call(MADVISE, addr, 4 * PG, 4) == ENOMEM
    assert pages_at(process, addr + 2 * PG, 1) == [0], "what lies behind the hole was done"
    assert process.call(MADVISE, addr + 1, PG, 4) == process.call(MADVISE, addr, PG, 99) == EINVAL
    assert process.call(MADVISE, addr, 0, 4) == 0


# -- mremap -------------------------------------------------------------------------------------------------


def test_mremap_shrinks_and_grows_in_place(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    fill(process, addr, 4)
    assert process.call(MREMAP, addr, 4 * PG, 2 * PG, 0) == addr
    assert process.call(MREMAP, addr, 2 * PG, 8 * PG, 0) == addr
    assert pages_at(process, addr, 8) == [1, 2, 0, 0, 0, 0, 0, 0]


def test_mremap_moves_when_it_may(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    fill(process, addr, 4)
    process.map_at(FREE + 4 * PG, PG)
    assert process.call(MREMAP, addr, 4 * PG, 6 * PG, 0) == ENOMEM
    new = process.call(MREMAP, addr, 4 * PG, 6 * PG, 1)
    assert new > 0
    assert new != addr
    assert pages_at(process, new, 6) == [1, 2, 3, 4, 0, 0]
    assert not vm_map_lookup_entry(process.map, addr)[0]
    vm_map_assert_consistent(process.map)


def test_mremap_fixed(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    fill(process, addr, 4)
    target = FREE + 64 * PG
    process.map_at(target, 2 * PG)
    assert process.call(MREMAP, addr, 4 * PG, 4 * PG, 3, target) == target
    assert pages_at(process, target, 4) == [1, 2, 3, 4]
    assert process.call(MREMAP, target, 4 * PG, 4 * PG, 3, target + PG) == EINVAL, "overlap"
    assert process.call(MREMAP, target, 4 * PG, 4 * PG, 3, target + 1) == EINVAL
    assert process.call(MREMAP, target, 4 * PG, 4 * PG, 2, FREE) == EINVAL, "FIXED needs MAYMOVE"


def test_mremap_errors(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    assert process.call(MREMAP, addr, PG, 0, 0) == EINVAL
    assert process.call(MREMAP, addr + 1, PG, PG, 0) == EINVAL
    assert process.call(MREMAP, addr, PG, PG, 8) == EINVAL
    assert process.call(MREMAP, FREE + 64 * PG, PG, 2 * PG, 1) == EFAULT
    assert process.call(MREMAP, addr, 5 * PG, 6 * PG, 1) == EFAULT
    assert process.call(MPROTECT, addr + PG, PG, 1) == 0
    assert process.call(MREMAP, addr, 4 * PG, 6 * PG, 1) == EFAULT, "more than one mapping"
    assert process.call(MREMAP, addr, PG, PG, 5) == EINVAL
    assert process.unsupported[-1].name == "MREMAP_DONTUNMAP"


def test_mremap_keeps_pages_where_they_are(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    fill(process, addr, 4)
    frames = [process.proc.p_vmspace.vm_pmap.extract(addr + page * PG) for page in range(4)]
    new = process.call(MREMAP, addr, 4 * PG, 4 * PG, 3, FREE + 64 * PG)
    pages_at(process, new, 4)
    assert [process.proc.p_vmspace.vm_pmap.extract(new + page * PG) for page in range(4)] == frames


# -- brk ----------------------------------------------------------------------------------------------------


def test_brk_is_exact_and_never_fails(process: Process) -> None:
    base = process.call(BRK, 0)
    assert base == 0x60_0000
    assert process.call(BRK, base + 5) == base + 5
    assert process.call(BRK, 0) == base + 5
    copyout(process.td, base + PG - 1, b"x")
    assert process.call(BRK, base + 3 * PG + 1) == base + 3 * PG + 1
    assert process.call(BRK, base - 1) == base + 3 * PG + 1
    assert process.call(BRK, (1 << 64) - 1) == base + 3 * PG + 1
    assert process.call(BRK, base + (64 << 30)) == base + 3 * PG + 1, "over the limit"
    assert process.call(BRK, base + PG) == base + PG
    assert not vm_map_lookup_entry(process.map, base + PG)[0]


# -- others -------------------------------------------------------------------------------------------------


def test_mincore_and_msync_and_mlock(process: Process) -> None:
    addr = mmap(process, FREE, 2 * PG)
    vec = process.put(bytes(8))
    assert process.call(MINCORE, addr + 1, PG, vec) == EINVAL
    assert process.call(MINCORE, addr, 3 * PG, vec) == ENOMEM
    assert process.call(MINCORE, addr, PG, 8) == EFAULT
    assert (
        process.call(MSYNC, addr, PG, 5)
        == process.call(MSYNC, addr + 1, PG, 1)
        == process.call(MSYNC, addr, PG, 8)
        == EINVAL
    )
    assert process.call(MSYNC, addr, 3 * PG, 4) == ENOMEM
    assert process.call(MLOCK, addr, 3 * PG) == ENOMEM
    assert process.call(MLOCK, addr + 5, PG) == 0
    assert process.call(MSYNC, addr, PG, 2) == -16, "locked"
    assert process.call(MADVISE, addr, PG, 4) == EINVAL, "locked"
    assert process.call(150, addr, 2 * PG) == 0
    assert process.proc.p_vmspace.vm_pmap.wired_count == 0


def test_mlock_limit_is_for_others_than_root(process: Process) -> None:
    addr = mmap(process, FREE, 4 * PG)
    process.proc.p_limit.set(6, 2 * PG, 2 * PG)
    assert process.call(MLOCK, addr, 4 * PG) == 0
    assert process.call(150, addr, 4 * PG) == 0
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_uid=1000)
    assert process.call(MLOCK, addr, 4 * PG) == ENOMEM
    process.proc.p_limit.set(6, 0, 0)
    assert process.call(MLOCK, addr, PG) == EPERM


def test_the_map_is_whole_after_all_that(process: Process) -> None:
    for _ in range(20):
        addr = mmap(process, 0, 16 * PG)
        fill(process, addr, 16)
        addr = process.call(MREMAP, addr, 16 * PG, 64 * PG, 1)
        assert pages_at(process, addr, 17) == [*range(1, 17), 0]
        assert process.call(MUNMAP, addr, 64 * PG) == 0
    vm_map_assert_consistent(process.map)
