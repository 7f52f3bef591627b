"""Reading and writing an open file for a thread, whatever kind of file it is.

FreeBSD: the other half of struct fileops, and the inline functions fo_read() to fo_truncate(), sys/sys/file.h.

A ``File`` stands below the threads (``kern_descrip``), so it knows its operations only as far as they need none; here
they are whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.kern.kern_descrip import FileOps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Thread


class FileIoOps(FileOps, Protocol):
    """What can be done with an open file: struct fileops.

    Buffers are pieces of guest memory, in order; *offset* is where in the file, the caller moves the file's own on.
    """

    def fo_read(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """Read into *bufs*; the number of bytes, 0 at the end."""
        ...

    def fo_write(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """Write *bufs*; the number of bytes taken."""
        ...

    def fo_ioctl(self, td: Thread, fp: File, command: str, argument: bytes) -> bytes:
        """Carry out *command*; what goes back to the caller."""
        ...

    def fo_truncate(self, td: Thread, fp: File, length: int) -> None:
        """Set the size: ftruncate(2)."""
        ...


def file_ops(fp: File) -> FileIoOps:
    """The operations of *fp*, whole: each ``File`` is made with a FileIoOps."""
    return cast("FileIoOps", fp.f_ops)
