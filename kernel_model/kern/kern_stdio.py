"""The first three descriptors of the first process.

Model only: FreeBSD's init gets /dev/console.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

from kernel_model.fs.hostfd import buffer_vnode, hostfd_vnode
from kernel_model.kern.kern_descrip import DTYPE_VNODE, FREAD, FWRITE, O_APPEND, File
from kernel_model.kern.vfs_vnops import VNOPS
from kernel_model.kern.vnode import VREG

if TYPE_CHECKING:
    from kernel_model.fs.hostfd import BufferVnode, HostFdVnode

Stream = int | bytes | bytearray | None
"""A host descriptor; bytes to be read; a buffer to be written to; None: the descriptor is closed."""


def stdio_file(stream: int | bytes | bytearray) -> File:
    """The open file for one standard stream."""
    vp: HostFdVnode | BufferVnode
    if isinstance(stream, int):
        vp = hostfd_vnode(stream)
        how = fcntl.fcntl(stream, fcntl.F_GETFL)
        mode = {os.O_RDONLY: FREAD, os.O_WRONLY: FWRITE}.get(how & os.O_ACCMODE, FREAD | FWRITE)
        fp = File(VNOPS, DTYPE_VNODE, mode | (O_APPEND if how & os.O_APPEND else 0), vp)
        if vp.v_type == VREG:
            fp.f_offset = os.lseek(stream, 0, os.SEEK_CUR)
            fp.f_moved = vp.moved
    elif isinstance(stream, bytes):
        vp = buffer_vnode(stream)
        fp = File(VNOPS, DTYPE_VNODE, FREAD, vp)
    else:
        vp = buffer_vnode(out=stream)
        fp = File(VNOPS, DTYPE_VNODE, FWRITE, vp)
    vp.v_usecount += 1
    if fp.f_flag & FWRITE:
        vp.v_writecount += 1
    return fp


def same_open_file(first: int, second: int) -> bool:
    """Whether two host descriptors share one offset, as after dup(2): moving one moves the other."""
    if first == second:
        return True
    if os.fstat(first)[:3] != os.fstat(second)[:3]:
        return False
    where = os.lseek(first, 0, os.SEEK_CUR)
    try:
        return os.lseek(first, where + 1, os.SEEK_SET) == os.lseek(second, 0, os.SEEK_CUR)
    finally:
        os.lseek(first, where, os.SEEK_SET)


def stdio_files(*streams: Stream) -> dict[int, File]:
    """Descriptor table entries for *streams*, numbered from 0; what shares an offset on the host shares it here."""
    table: dict[int, File] = {}
    for number, stream in enumerate(streams):
        if stream is None:
            continue
        fp = _known_file(stream, streams[:number], table) or stdio_file(stream)
        fp.f_count += 1
        table[number] = fp
    return table


def _known_file(stream: Stream, before: tuple[Stream, ...], table: dict[int, File]) -> File | None:
    """The entry of an earlier stream that is the same open file of the host."""
    if not isinstance(stream, int) or not stat.S_ISREG(os.fstat(stream).st_mode):
        return None
    for number, other in enumerate(before):
        if isinstance(other, int) and same_open_file(other, stream):
            return table[number]
    return None
