"""The Linux calls on memory, where they differ from FreeBSD's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel_model.kern.copyin import copyout
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.unit.kern_host import KernHost

MMAP, MPROTECT, MUNMAP, BRK, MREMAP, MINCORE, MADVISE, MSYNC, MLOCK = 9, 10, 11, 12, 25, 27, 28, 26, 149
SHARED, PRIVATE, FIXED, ANON, GROWSDOWN, NOREPLACE = 1, 2, 0x10, 0x20, 0x100, 0x100000
ENOMEM, EBADF, EACCES, EEXIST, EINVAL, EFAULT, EPERM = -12, -9, -13, -17, -22, -14, -1
PG = 4096
FREE = 0x10_0000_0000


@pytest.fixture
def host() -> KernHost:
    return KernHost("linux")


def mmap(host: KernHost, addr: int, size: int, prot: int = 3, flags: int = ANON | PRIVATE, fd: int = -1, pos: int = 0):
    return host.call(MMAP, addr, size, prot, flags, fd, pos)


def fill(host: KernHost, addr: int, pages: int) -> None:
    for page in range(pages):
        copyout(host.td, addr + page * PG, bytes([page + 1]) * 16)


def pages_at(host: KernHost, addr: int, pages: int) -> list[int]:
    return [host.get(addr + page * PG, 1)[0] for page in range(pages)]


# -- mmap, munmap, mprotect ---------------------------------------------------------------------------------


def test_mmap_errors(host: KernHost) -> None:
    assert mmap(host, 0, 0) == EINVAL
    assert mmap(host, 0, PG, 3, ANON) == EINVAL, "neither shared nor private"
    assert mmap(host, 0, PG, 3, PRIVATE, 77) == EBADF
    assert mmap(host, 0, PG, 3, ANON | PRIVATE, -1, 1) == EINVAL
    assert mmap(host, 0, 1 << 48) == mmap(host, 0, (1 << 64) - 1) == ENOMEM
    assert mmap(host, FREE + 1, PG, 3, ANON | PRIVATE | FIXED) == EINVAL
    assert mmap(host, (1 << 47) - PG, 2 * PG, 3, ANON | PRIVATE | FIXED) == ENOMEM
    assert mmap(host, 0, PG, 3, ANON | PRIVATE | FIXED) == EPERM, "page 0 stays empty"
    assert mmap(host, 0, PG, 3, ANON | PRIVATE | 0x40000) == ENOMEM, "no huge pages"


def test_mmap_ignores_what_freebsd_refuses(host: KernHost) -> None:
    assert mmap(host, 0, PG, 3 | 0x1000, ANON | PRIVATE, 99) > 0, "the descriptor of anonymous memory is not looked at"
    assert mmap(host, FREE + 5, PG) == FREE, "an unaligned hint is rounded down"


def test_fixed_noreplace(host: KernHost) -> None:
    assert mmap(host, FREE, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == FREE
    assert mmap(host, FREE + PG, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == EEXIST
    assert mmap(host, FREE - PG, 2 * PG, 3, ANON | PRIVATE | NOREPLACE) == EEXIST
    assert mmap(host, FREE + 2 * PG, PG, 3, ANON | PRIVATE | NOREPLACE) == FREE + 2 * PG


def test_writable_is_readable(host: KernHost) -> None:
    addr = mmap(host, 0, PG, 2)
    copyout(host.td, addr, b"x")
    assert host.get(addr, 1) == b"x"
    assert vm_map_lookup_entry(host.map, addr)[1].protection == 3


def test_a_directory_cannot_be_mapped(host: KernHost) -> None:
    fd = host.call(2, host.put(b"/etc\0"), 0, 0)
    assert fd >= 0
    assert mmap(host, 0, PG, 1, PRIVATE, fd) == -19


def test_a_file_opened_for_reading_cannot_be_shared_writable(host: KernHost) -> None:
    fd = host.call(2, host.put(b"/etc/passwd\0"), 0, 0)
    assert mmap(host, 0, PG, 3, SHARED, fd) == EACCES
    addr = mmap(host, 0, PG, 1, SHARED, fd)
    assert host.get(addr, 4) == b"root"
    assert host.call(MPROTECT, addr, PG, 3) == EACCES
    private = mmap(host, 0, PG, 3, PRIVATE, fd)
    copyout(host.td, private, b"user")
    assert (host.get(private, 4), host.get(addr, 4)) == (b"user", b"root")
    assert host.call(MADVISE, private, PG, 4) == 0
    assert host.get(private, 4) == b"root", "MADV_DONTNEED shows the file again"


def test_populate_makes_resident(host: KernHost) -> None:
    before = host.proc.p_vmspace.vm_pmap.resident_count
    addr = mmap(host, 0, 5 * PG, 3, ANON | PRIVATE | 0x8000)
    assert host.proc.p_vmspace.vm_pmap.resident_count == before + 5
    vec = host.put(bytes(8))
    assert host.call(MINCORE, addr, 5 * PG, vec) == 0
    assert host.get(vec, 5) == b"\1" * 5


def test_munmap(host: KernHost) -> None:
    addr = mmap(host, 0, 4 * PG)
    assert host.call(MUNMAP, addr, 0) == host.call(MUNMAP, addr + 1, PG) == EINVAL
    assert host.call(MUNMAP, addr, 1 << 48) == EINVAL
    assert host.call(MUNMAP, addr + PG, PG) == host.call(MUNMAP, addr, 4 * PG) == 0


def test_mprotect_stops_at_a_hole_with_enomem(host: KernHost) -> None:
    addr = mmap(host, 0, 4 * PG)
    host.call(MUNMAP, addr + 2 * PG, PG)
    assert host.call(MPROTECT, addr, 4 * PG, 1) == ENOMEM
    assert [prot for start, _, prot in host.entries() if addr <= start < addr + 4 * PG] == [1, 3]
    assert host.call(MPROTECT, addr + 2 * PG, PG, 1) == ENOMEM
    assert host.call(MPROTECT, addr + 1, PG, 1) == host.call(MPROTECT, addr, PG, 0x80) == EINVAL
    assert host.call(MPROTECT, addr, 0, 1) == 0
    assert host.call(MPROTECT, addr, (1 << 64) - PG, 1) == ENOMEM
    assert host.call(MPROTECT, addr, PG, 1 | 0x01000000) == EINVAL, "PROT_GROWSDOWN is for stacks"


def test_growsdown_grows(host: KernHost) -> None:
    from kernel_model.kern.trap import trap_pfault

    addr = mmap(host, FREE, 4 * PG, 3, ANON | PRIVATE | GROWSDOWN | FIXED)
    assert addr == FREE
    copyout(host.td, addr, b"bottom")
    assert trap_pfault(host.td, addr - PG, 2)
    assert trap_pfault(host.td, addr - 20 * PG, 2)
    assert host.call(MPROTECT, addr, PG, 1 | 0x01000000) == 0


# -- madvise ------------------------------------------------------------------------------------------------


def test_dontneed_discards(host: KernHost) -> None:
    addr = mmap(host, 0, 4 * PG)
    fill(host, addr, 4)
    assert host.call(MADVISE, addr + PG, 2 * PG, 4) == 0
    assert pages_at(host, addr, 4) == [1, 0, 0, 4]


def test_dontneed_of_shared_memory_keeps_it(host: KernHost) -> None:
    addr = mmap(host, 0, 2 * PG, 3, ANON | SHARED)
    fill(host, addr, 2)
    assert host.call(MADVISE, addr, 2 * PG, 4) == 0
    assert pages_at(host, addr, 2) == [1, 2]


def test_dontneed_after_a_fork_leaves_the_other_process_alone(host: KernHost) -> None:
    from kernel_model.vm.vmspace import vmspace_fork

    addr = mmap(host, 0, 4 * PG)
    fill(host, addr, 4)
    child, _ = vmspace_fork(host.proc.p_vmspace)
    assert host.call(MADVISE, addr + PG, PG, 4) == 0
    assert pages_at(host, addr, 4) == [1, 0, 3, 4]
    host.proc.p_vmspace = child
    assert pages_at(host, addr, 4) == [1, 2, 3, 4]


def test_madvise_errors(host: KernHost) -> None:
    addr = mmap(host, 0, 4 * PG)
    host.call(MUNMAP, addr + PG, PG)
    fill(host, addr + 2 * PG, 1)
    assert host.call(MADVISE, addr, 4 * PG, 4) == ENOMEM
    assert pages_at(host, addr + 2 * PG, 1) == [0], "what lies behind the hole was done"
    assert host.call(MADVISE, addr + 1, PG, 4) == host.call(MADVISE, addr, PG, 99) == EINVAL
    assert host.call(MADVISE, addr, 0, 4) == 0


# -- mremap -------------------------------------------------------------------------------------------------


def test_mremap_shrinks_and_grows_in_place(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    fill(host, addr, 4)
    assert host.call(MREMAP, addr, 4 * PG, 2 * PG, 0) == addr
    assert host.call(MREMAP, addr, 2 * PG, 8 * PG, 0) == addr
    assert pages_at(host, addr, 8) == [1, 2, 0, 0, 0, 0, 0, 0]


def test_mremap_moves_when_it_may(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    fill(host, addr, 4)
    host.map_at(FREE + 4 * PG, PG)
    assert host.call(MREMAP, addr, 4 * PG, 6 * PG, 0) == ENOMEM
    new = host.call(MREMAP, addr, 4 * PG, 6 * PG, 1)
    assert new > 0
    assert new != addr
    assert pages_at(host, new, 6) == [1, 2, 3, 4, 0, 0]
    assert not vm_map_lookup_entry(host.map, addr)[0]
    vm_map_assert_consistent(host.map)


def test_mremap_fixed(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    fill(host, addr, 4)
    target = FREE + 64 * PG
    host.map_at(target, 2 * PG)
    assert host.call(MREMAP, addr, 4 * PG, 4 * PG, 3, target) == target
    assert pages_at(host, target, 4) == [1, 2, 3, 4]
    assert host.call(MREMAP, target, 4 * PG, 4 * PG, 3, target + PG) == EINVAL, "overlap"
    assert host.call(MREMAP, target, 4 * PG, 4 * PG, 3, target + 1) == EINVAL
    assert host.call(MREMAP, target, 4 * PG, 4 * PG, 2, FREE) == EINVAL, "FIXED needs MAYMOVE"


def test_mremap_errors(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    assert host.call(MREMAP, addr, PG, 0, 0) == EINVAL
    assert host.call(MREMAP, addr + 1, PG, PG, 0) == EINVAL
    assert host.call(MREMAP, addr, PG, PG, 8) == EINVAL
    assert host.call(MREMAP, FREE + 64 * PG, PG, 2 * PG, 1) == EFAULT
    assert host.call(MREMAP, addr, 5 * PG, 6 * PG, 1) == EFAULT
    assert host.call(MPROTECT, addr + PG, PG, 1) == 0
    assert host.call(MREMAP, addr, 4 * PG, 6 * PG, 1) == EFAULT, "more than one mapping"
    assert host.call(MREMAP, addr, PG, PG, 5) == EINVAL
    assert host.unsupported[-1].name == "MREMAP_DONTUNMAP"


def test_mremap_keeps_pages_where_they_are(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    fill(host, addr, 4)
    frames = [host.proc.p_vmspace.vm_pmap.extract(addr + page * PG) for page in range(4)]
    new = host.call(MREMAP, addr, 4 * PG, 4 * PG, 3, FREE + 64 * PG)
    pages_at(host, new, 4)
    assert [host.proc.p_vmspace.vm_pmap.extract(new + page * PG) for page in range(4)] == frames


# -- brk ----------------------------------------------------------------------------------------------------


def test_brk_is_exact_and_never_fails(host: KernHost) -> None:
    base = host.call(BRK, 0)
    assert base == 0x60_0000
    assert host.call(BRK, base + 5) == base + 5
    assert host.call(BRK, 0) == base + 5
    copyout(host.td, base + PG - 1, b"x")
    assert host.call(BRK, base + 3 * PG + 1) == base + 3 * PG + 1
    assert host.call(BRK, base - 1) == base + 3 * PG + 1
    assert host.call(BRK, (1 << 64) - 1) == base + 3 * PG + 1
    assert host.call(BRK, base + (64 << 30)) == base + 3 * PG + 1, "over the limit"
    assert host.call(BRK, base + PG) == base + PG
    assert not vm_map_lookup_entry(host.map, base + PG)[0]


# -- others -------------------------------------------------------------------------------------------------


def test_mincore_and_msync_and_mlock(host: KernHost) -> None:
    addr = mmap(host, FREE, 2 * PG)
    vec = host.put(bytes(8))
    assert host.call(MINCORE, addr + 1, PG, vec) == EINVAL
    assert host.call(MINCORE, addr, 3 * PG, vec) == ENOMEM
    assert host.call(MINCORE, addr, PG, 8) == EFAULT
    assert host.call(MSYNC, addr, PG, 5) == host.call(MSYNC, addr + 1, PG, 1) == host.call(MSYNC, addr, PG, 8) == EINVAL
    assert host.call(MSYNC, addr, 3 * PG, 4) == ENOMEM
    assert host.call(MLOCK, addr, 3 * PG) == ENOMEM
    assert host.call(MLOCK, addr + 5, PG) == 0
    assert host.call(MSYNC, addr, PG, 2) == -16, "locked"
    assert host.call(MADVISE, addr, PG, 4) == EINVAL, "locked"
    assert host.call(150, addr, 2 * PG) == 0
    assert host.proc.p_vmspace.vm_pmap.wired_count == 0


def test_mlock_limit_is_for_others_than_root(host: KernHost) -> None:
    addr = mmap(host, FREE, 4 * PG)
    host.proc.p_limit.set(6, 2 * PG, 2 * PG)
    assert host.call(MLOCK, addr, 4 * PG) == 0
    assert host.call(150, addr, 4 * PG) == 0
    host.proc.p_ucred = replace(host.proc.p_ucred, cr_uid=1000)
    assert host.call(MLOCK, addr, 4 * PG) == ENOMEM
    host.proc.p_limit.set(6, 0, 0)
    assert host.call(MLOCK, addr, PG) == EPERM


def test_the_map_is_whole_after_all_that(host: KernHost) -> None:
    for _ in range(20):
        addr = mmap(host, 0, 16 * PG)
        fill(host, addr, 16)
        addr = host.call(MREMAP, addr, 16 * PG, 64 * PG, 1)
        assert pages_at(host, addr, 17) == [*range(1, 17), 0]
        assert host.call(MUNMAP, addr, 64 * PG) == 0
    vm_map_assert_consistent(host.map)
