"""Files of the host without a name: shared memory objects and swap.

Model only: FreeBSD keeps both in its own memory and on its own disk.  The machine's RAM is not here: it is anonymous
memory below this room (vm/vm_phys.py) and brings nothing in that the machine did not put there.
"""

from __future__ import annotations

import os

from kernel_model.errors import kassert
from kernel_model.host.errors import host_error


def memfd(name: bytes) -> int:
    """A descriptor of a new, empty, unnamed file in the host's memory; *name* is for the host's /proc only."""
    try:
        return os.memfd_create(os.fsdecode(name), os.MFD_CLOEXEC)
    except OSError as error:
        raise host_error(error) from None


class SwapFile:
    """Where paged-out memory goes: an unnamed file on the host's disk, made when the first page comes."""

    __slots__ = ("_fd",)

    def __init__(self) -> None:
        self._fd = -1

    def write(self, offset: int, page: memoryview) -> bool:
        """Store a page; False when the host's disk refuses."""
        try:
            if self._fd < 0:
                import tempfile  # late: most programs never swap, and it pulls in much

                with tempfile.TemporaryFile() as unnamed:
                    self._fd = os.dup(unnamed.fileno())
            return os.pwrite(self._fd, page, offset) == len(page)
        except OSError:
            return False

    def read(self, offset: int, page: memoryview) -> bool:
        """Fetch a page that was written; False when the host's disk does not give it back."""
        kassert(self._fd >= 0, "swap: nothing was written yet")
        try:
            return os.preadv(self._fd, [page], offset) == len(page)
        except OSError:
            return False

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
