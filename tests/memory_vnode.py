"""A file in memory, with a count of what the vnode pager asks of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EIO
from kernel_model.errors import SyscallError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kernel_model.vm.vm_object import VmObject


class MemoryVnode:
    """A file in memory, as far as the vnode pager looks at it."""

    def __init__(self, contents: bytes = b"") -> None:
        self.data = bytearray(contents)
        self.v_object: VmObject | None = None
        self.reads = 0
        self.writes: list[tuple[int, int]] = []
        self.refuse = False
        self.v_writecount = 0
        self.v_textcount = 0

    def v_size(self) -> int:
        return len(self.data)

    def v_pread_into(self, buf: memoryview, offset: int) -> int:
        if self.refuse:
            raise SyscallError(EIO)
        self.reads += 1
        piece = self.data[offset : offset + len(buf)]
        buf[: len(piece)] = piece
        return len(piece)

    def v_pwrite(self, data: memoryview | bytes, offset: int) -> int:
        if self.refuse:
            raise SyscallError(EIO)
        self.writes.append((offset, len(data)))
        if offset + len(data) > len(self.data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data
        return len(data)

    def v_pwritev(self, bufs: Iterable[memoryview], offset: int) -> int:
        return self.v_pwrite(b"".join(bufs), offset)
