"""The buffer of a pipe or FIFO.

FreeBSD: sys/sys/pipe.h: struct pipebuf; struct fifoinfo, sys/fs/fifofs/fifo_vnops.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model.errors import kassert

if TYPE_CHECKING:
    from kernel_model.vm.vm_kern import PipeBuffer


@dataclass(slots=True, eq=False)
class Inbox:
    """The buffer that one end reads, and how many open files are at its ends."""

    data: PipeBuffer
    readers: int = 1
    writers: int = 1

    def opened(self, *, read: bool, write: bool) -> None:
        """One more open file reads it, or writes it, or both."""
        self.readers += read
        self.writers += write

    def closed(self, *, read: bool, write: bool) -> None:
        """One open file less; the memory goes when nobody can read it, or nothing more can come."""
        kassert(self.readers >= read, "pipe: %d readers", self.readers)
        kassert(self.writers >= write, "pipe: %d writers", self.writers)
        self.readers -= read
        self.writers -= write
        if self.readers == 0 or (self.writers == 0 and not self.data):
            self.data.free()
