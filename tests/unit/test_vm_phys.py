"""Frames: reserving numbers, handing out zero memory, giving both back."""

from __future__ import annotations

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vm_phys import MADVISE_PAGES, SMALLEST_RUN, VmPhys

SMALL_SPAN = 1 << 26
"""64 MiB: 16,384 frames, so that the numbers can run out."""


def test_a_run_is_a_power_of_two_and_is_used_again() -> None:
    phys = VmPhys(1024)
    run = phys.reserve(100)
    assert run is not None
    assert run.npages == 128
    assert phys.reserved_frames() == 128
    phys.release(run)
    again = phys.reserve(65)
    assert again is not None
    assert again.base == run.base
    assert phys.reserve(1).npages == 1 << SMALLEST_RUN  # type: ignore[union-attr]


def test_a_request_for_too_large_a_share_is_refused_at_no_cost() -> None:
    phys = VmPhys(1024)
    assert phys.reserve(1 << 34) is None
    assert phys.reserved_frames() == 0


def test_numbers_that_ran_out_are_cut_from_larger_runs_and_merged_from_smaller_ones() -> None:
    phys = VmPhys(64, SMALL_SPAN)
    large = []
    while (run := phys.reserve(1024)) is not None:
        large.append(run)
    assert len(large) == (SMALL_SPAN // PAGE_SIZE - 64) // 1024
    for run in large:
        phys.release(run)
    small = [phys.reserve(16) for _ in range(len(large) * 64)]
    assert None not in small
    assert len({run.base for run in small if run}) == len(small)
    for run in small:
        assert run is not None
        phys.release(run)
    assert phys.reserve(1024) is not None, "adjacent small runs are one large run again"


def test_a_stray_keeps_its_run_until_it_is_freed() -> None:
    phys = VmPhys(64)
    run = phys.reserve(16)
    assert run is not None
    run.strays.add(run.base + 3)
    phys.disown(run)
    assert phys.reserved_frames() == 16
    with pytest.raises(KernelPanic, match="strays"):
        phys.release(run)
    phys.stray_freed(run, run.base + 3)
    assert phys.reserved_frames() == 0


@pytest.mark.parametrize("count", [1, 3, MADVISE_PAGES, MADVISE_PAGES + 1, 100])
def test_freed_frames_are_zero_and_their_neighbours_are_not(count: int) -> None:
    phys = VmPhys(1024)
    for frame in range(200):
        phys.page(frame)[:] = b"\xaa" * PAGE_SIZE
    doomed = [*range(10, 10 + count), 150, 152]
    phys.zero_frames(reversed(doomed))
    for frame in range(200):
        expected = 0 if frame in doomed else 0xAA
        assert phys.page(frame)[0] == phys.page(frame)[PAGE_SIZE - 1] == expected, frame


def test_the_pool_never_hands_out_more_than_the_machine_has() -> None:
    phys = VmPhys(4)
    frames = [phys.alloc_frame() for _ in range(4)]
    assert sorted(frames) == [0, 1, 2, 3]
    with pytest.raises(KernelPanic):
        phys.alloc_frame()
    phys.free_frame(2)
    assert phys.alloc_frame() == 2


def test_copy_moves_one_page() -> None:
    phys = VmPhys(8)
    phys.page(1)[:] = bytes(range(256)) * 16
    phys.copy(1, 2)
    assert phys.page(2) == phys.page(1)
    assert phys.page(3) == bytes(PAGE_SIZE)
