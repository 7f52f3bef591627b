"""Where a swap device keeps its pages.

Model only: FreeBSD writes to a disk.  vm stands below the host, so the kernel brings the host's file.
"""

from __future__ import annotations

from typing import Protocol


class SwapStore(Protocol):
    """Where the blocks of a swap device are kept; the kernel brings the host's file (``Vm.make_swap``)."""

    def write(self, offset: int, page: memoryview) -> bool:
        """Store a page at *offset*; False when there is no room for it."""
        ...

    def read(self, offset: int, page: memoryview) -> bool:
        """Fetch the page that was stored at *offset*."""
        ...


class SwapMemory:
    """A store without a kernel: the pages themselves.  Model only."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: dict[int, bytes] = {}

    def write(self, offset: int, page: memoryview) -> bool:
        """Keep a copy."""
        self._pages[offset] = bytes(page)
        return True

    def read(self, offset: int, page: memoryview) -> bool:
        """Copy it back."""
        page[:] = self._pages[offset]
        return True
