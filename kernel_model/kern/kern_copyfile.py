"""Copying between two open files inside the kernel: sendfile(2), copy_file_range(2).

FreeBSD: vn_generic_copy_file_range(), sys/kern/vfs_vnops.c; sys/kern/kern_sendfile.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.file import file_ops
from kernel_model.kern.vnode import VDIR, VREG

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Thread

CHUNK = 1 << 18
MAXPHYS_COPY = 0x7FFFF000
"""Most bytes that one call moves."""


def copy_between(
    td: Thread, source: File, start: int, target: File, end: int, count: int
) -> int:
    """Copy up to *count* bytes from *source* at *start* to *target* at *end*: the bytes copied.

    A signal that waits ends it after a piece.  The files' own offsets are not touched.
    """
    buffer = memoryview(bytearray(min(count, CHUNK)))
    done = 0
    while done < count:
        piece = buffer[: min(len(buffer), count - done)]
        try:
            got = file_ops(source).fo_read(td, source, [piece], start + done)
            if got == 0:
                break
            put = file_ops(target).fo_write(td, target, [piece[:got]], end + done)
        except SyscallError:
            if done:
                break
            raise
        kassert(0 <= put <= got <= count - done, "copy: %d read, %d written, %d left", got, put, count - done)
        done += put
        if put < got or td.td_ast:
            break
    return done


def copy_file_range(
    td: Thread, source: File, inoffp: int, target: File, outoffp: int, count: int
) -> int:
    """copy_file_range(2) of two files that may be read and written; offsets are where the pointers say.

    Raises: EISDIR; EINVAL for what is no regular file, or for overlapping parts of one file.
    """
    for fp in (source, target):
        vp = fp.f_vnode
        if vp is not None and vp.v_type == VDIR:
            raise SyscallError(E.EISDIR)
        if vp is None or vp.v_type != VREG:
            raise SyscallError(E.EINVAL)
    start, end = read_offset(td, source, inoffp), read_offset(td, target, outoffp)
    count = min(count, MAXPHYS_COPY)
    if source.f_vnode is target.f_vnode and start < end + count and end < start + count:
        raise SyscallError(E.EINVAL)
    done = copy_between(td, source, start, target, end, count)
    write_offset(td, source, inoffp, start + done)
    write_offset(td, target, outoffp, end + done)
    return done


def read_offset(td: Thread, fp: File, va: int) -> int:
    """The offset at *va*, or the file's own when *va* is 0."""
    if va == 0:
        return fp.f_offset
    offset = int.from_bytes(copyin(td, va, 8), "little", signed=True)
    if offset < 0:
        raise SyscallError(E.EINVAL)
    return offset


def write_offset(td: Thread, fp: File, va: int, offset: int) -> None:
    """Store the offset after the copy where read_offset() took it from."""
    if va:
        copyout(td, va, offset.to_bytes(8, "little"))
        return
    fp.f_offset = offset
    if fp.f_moved is not None:
        fp.f_moved(offset)
