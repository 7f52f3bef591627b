"""The first three descriptors of the first process.

Model only: FreeBSD's init gets /dev/console.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from kernel_model.fs.hostfd import buffer_vnode, hostfd_vnode
from kernel_model.fs.vnode import VREG
from kernel_model.kern.kern_descrip import DTYPE_VNODE, FREAD, FWRITE, O_APPEND, File
from kernel_model.kern.vfs_vnops import VNOPS

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


def stdio_files(*streams: Stream) -> dict[int, File]:
    """Descriptor table entries for *streams*, numbered from 0; equal host descriptors share one file."""
    shared: dict[int, File] = {}
    table: dict[int, File] = {}
    for number, stream in enumerate(streams):
        if stream is None:
            continue
        fp = stdio_file(stream)
        if isinstance(stream, int):
            fp = shared.setdefault(stream, fp)
        fp.f_count += 1
        table[number] = fp
    return table
