"""Physical memory: one huge, lazily backed host range, cut into frames.

Frame *f* is the four kilobytes at byte ``f << 12`` of the range.  Two things are kept apart: *reserving* a run
of frame numbers, which costs nothing and gives an object consecutive frames, and *counting* a page, which
happens in vm_page_alloc() and is what the machine can run out of.

    [0, page_count)          the pool: frames handed out one by one, always enough of them
    [page_count, frames)     runs, reserved in powers of two

A frame that is handed out is zero.  FreeBSD: sys/vm/vm_phys.c (which has neither runs nor a pool).
Model only: runs exist so that the engine can map an object with one host pointer.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.errors import kassert, panic
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

MAP_NORESERVE = 0x4000
LARGEST_SPAN = 1 << 42
"""4 TiB; halved until the host agrees.  Not more: several machines share the host's 128 TiB with everything else."""
SMALLEST_RUN = 4
"""Order of the smallest run: a one-page object may grow to sixteen pages in place."""
MADVISE_PAGES = 16
"""A longer stretch of freed frames goes back to the host instead of being cleared by hand."""
LEAST_WARM = 4096
"""So many cleared frames, or an eighth of the memory, may cost the host memory before they are returned to it."""
ZEROES = bytes(MADVISE_PAGES * PAGE_SIZE)
ZERO_PAGE = bytes(PAGE_SIZE)


class PhysRun:
    """Consecutive frames that belong together: page index i of the owner lives in frame ``base + i``."""

    __slots__ = ("base", "npages", "owned", "strays")

    def __init__(self, base: int, npages: int) -> None:
        self.base = base
        self.npages = npages
        self.owned = True
        """False once the object that reserved the run is gone and only strays keep it alive."""
        self.strays: set[int] = set()
        """Frames whose page was renamed into another object."""

    def __repr__(self) -> str:
        return f"PhysRun(base={self.base:#x}, npages={self.npages})"


class RunPiece(NamedTuple):
    """A later part of a grown object: page indexes ``[first, first + run.npages)``."""

    first: int
    run: PhysRun


class VmPhys:
    """The frames of one machine."""

    __slots__ = (
        "_bump", "_free_runs", "_map", "_pool", "_pool_next", "_warm", "_warm_limit", "frames", "host_base", "mem",
        "page_count",
    )  # fmt: skip

    def __init__(self, page_count: int, span: int = LARGEST_SPAN) -> None:
        self.page_count = page_count
        self._map = _host_range(span, 2 * page_count << PAGE_SHIFT)
        self.mem = memoryview(self._map)
        self.host_base = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.frames = len(self.mem) >> PAGE_SHIFT
        self._pool: list[int] = []
        self._pool_next = 0
        self._bump = page_count
        self._free_runs: dict[int, list[int]] = {}
        self._warm: list[int] = []
        """Frames of runs that were cleared by hand: the host still keeps memory for them."""
        self._warm_limit = max(LEAST_WARM, page_count >> 3)

    def close(self) -> None:
        """Give the memory back to the host now, unless somebody still holds a view of it; nothing may be used after."""
        try:
            self.mem.release()
            self._map.close()
        except BufferError:
            pass  # the last view that goes will do it

    @property
    def largest_run(self) -> int:
        """Pages of the largest run that is handed out: a share, so that one object cannot take all numbers."""
        return self.frames >> 4

    def reserve(self, npages: int) -> PhysRun | None:
        """Reserve consecutive frames; None when the request is too large a share or the numbers are used up.

        The run is at least *npages* long, rounded up to a power of two so that the object can grow in place.
        """
        kassert(npages > 0, "vm_phys: run of %d pages", npages)
        order = max((npages - 1).bit_length(), SMALLEST_RUN)
        size = 1 << order
        if size > self.largest_run:
            return None
        free = self._free_runs.get(order)
        if free:
            return PhysRun(free.pop(), size)
        if self._bump + size > self.frames:
            return self._carve(order)
        base = self._bump
        self._bump += size
        return PhysRun(base, size)

    def release(self, run: PhysRun) -> None:
        """Give a run's numbers back.  Requires: none of its frames holds a page."""
        kassert(not run.strays, "releasing run %r with strays", run)
        base, left = run.base, run.npages
        while left:
            # The machine cuts what a stack needs out of a larger run, so the length may be anything.
            order = left.bit_length() - 1
            self._free_runs.setdefault(order, []).append(base)
            base += 1 << order
            left -= 1 << order

    def disown(self, run: PhysRun) -> None:
        """The owner is gone: release the run now, or when its last stray page is freed."""
        kassert(run.owned, "run %r given back twice", run)
        run.owned = False
        if not run.strays:
            self.release(run)

    def stray_freed(self, run: PhysRun, frame: int) -> None:
        """A renamed page was freed: its frame returns to the run it came from."""
        kassert(frame in run.strays, "frame %#x is no stray of %r", frame, run)
        run.strays.discard(frame)
        if not run.owned and not run.strays:
            self.release(run)

    def alloc_frame(self) -> int:
        """One frame out of the pool.  Requires: the caller counted a page, so there is one."""
        if self._pool:
            return self._pool.pop()
        frame = self._pool_next
        if frame >= self.page_count:
            panic("frame pool empty with %d frames", self.page_count)
        self._pool_next = frame + 1
        return frame

    def free_frame(self, frame: int) -> None:
        """Put a frame back into the pool; it must already be zero."""
        kassert(frame < self._pool_next, "frame %#x is not of the pool", frame)
        self._pool.append(frame)

    def zero(self, frame: int) -> None:
        """Clear one frame."""
        start = frame << PAGE_SHIFT
        self.mem[start : start + PAGE_SIZE] = ZERO_PAGE
        if frame >= self.page_count:
            self._warm.append(frame)
            if len(self._warm) >= self._warm_limit:
                self._cool()

    def zero_frames(self, frames: Iterable[int]) -> None:
        """Clear many frames; long stretches are returned to the host, which gives zeroes back later."""
        start = end = -1
        for frame in sorted(frames):
            if frame == end:
                end += 1
                continue
            self._zero_stretch(start, end)
            start, end = frame, frame + 1
        self._zero_stretch(start, end)

    def copy(self, source: int, target: int) -> None:
        """Copy one frame over another: pmap_copy_page()."""
        mem = self.mem
        source <<= PAGE_SHIFT
        target <<= PAGE_SHIFT
        mem[target : target + PAGE_SIZE] = mem[source : source + PAGE_SIZE]

    def page(self, frame: int) -> memoryview:
        """The bytes of one frame."""
        start = frame << PAGE_SHIFT
        return self.mem[start : start + PAGE_SIZE]

    def reserved_frames(self) -> int:
        """Frames inside live runs: what a leak test compares."""
        free = sum(len(bases) << order for order, bases in self._free_runs.items())
        return self._bump - self.page_count - free

    def _zero_stretch(self, start: int, end: int) -> None:
        length = end - start
        if length > MADVISE_PAGES:
            self._map.madvise(mmap.MADV_DONTNEED, start << PAGE_SHIFT, length << PAGE_SHIFT)
        elif length > 0:
            size = length << PAGE_SHIFT
            first = start << PAGE_SHIFT
            self.mem[first : first + size] = ZEROES[:size]
            self._warm.extend(range(start, end))
            if len(self._warm) >= self._warm_limit:
                self._cool()

    def _cool(self) -> None:
        """Return cleared frames to the host: there are many more of them than the machine has memory.

        Some may hold a page again; one that is all zero reads the same from fresh memory of the host.
        """
        frames = sorted(set(self._warm))
        self._warm.clear()
        start = end = -1
        for frame in frames:
            if bytes(self.page(frame)) != ZERO_PAGE:
                continue
            if frame != end:
                self._give_back(start, end)
                start = frame
            end = frame + 1
        self._give_back(start, end)

    def _give_back(self, start: int, end: int) -> None:
        if end > start:
            self._map.madvise(mmap.MADV_DONTNEED, start << PAGE_SHIFT, (end - start) << PAGE_SHIFT)

    def _carve(self, order: int) -> PhysRun | None:
        """The numbers ran out: cut a larger free run, after merging neighbours if that is what it takes."""
        for _ in range(2):
            for larger in sorted(self._free_runs):
                bases = self._free_runs[larger]
                if larger < order or not bases:
                    continue
                base = bases.pop()
                for half in range(larger - 1, order - 1, -1):
                    self._free_runs.setdefault(half, []).append(base + (1 << half))
                return PhysRun(base, 1 << order)
            self._merge_free_runs()
        return None

    def _merge_free_runs(self) -> None:
        """Join adjacent free runs of equal size, smallest first."""
        for order in range(SMALLEST_RUN, self.frames.bit_length()):
            left: list[int] = []
            for base in sorted(self._free_runs.get(order, ())):
                if left and left[-1] + (1 << order) == base:
                    self._free_runs.setdefault(order + 1, []).append(left.pop())
                else:
                    left.append(base)
            if order in self._free_runs:
                self._free_runs[order] = left


def _host_range(span: int, least: int) -> mmap.mmap:
    """Map the largest lazily backed range that the host grants, at most *span* bytes."""
    collected = False
    while True:
        try:
            return mmap.mmap(-1, span, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        except OSError:
            if not collected:
                # Kernels that nobody uses any more still hold their ranges: they are reference cycles.
                collected = True
                gc.collect()
                continue
            if span <= least:
                raise
            span = max(span >> 1, least)
