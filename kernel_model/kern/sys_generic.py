"""read(2), write(2) and their relatives.

FreeBSD: sys/kern/sys_generic.c, sys/kern/subr_uio.c.

Data goes between the host and the pages of the guest in one copy: ``gather`` makes the buffer's pages resident
and hands out views of them, and the file fills or drains those.  Only pages that can receive data are touched.

Differs: a write that fails after a part was written reports that part (FreeBSD takes a short write to a disk
file back and reports the error).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.copyin import copyin, segments
from kernel_model.kern.file import file_ops
from kernel_model.kern.kern_descrip import FREAD, FWRITE, O_APPEND, OFF_MAX, File
from kernel_model.kern.kern_sig import tdsendsignal
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SI_KERNEL, SIGPIPE
from kernel_model.kern.vfs_vnops import append_offset
from kernel_model.kern.vnode import VCHR
from kernel_model.vm.vm import VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread

CHUNK = 1 << 20
"""Bytes that are made resident at once; below IOV_MAX pages, so one host call takes them."""
UIO_MAXIOV = 1024
IOSIZE_MAX = (1 << 63) - 1

Iov = list[tuple[int, int]]
"""Pieces of the guest's memory: (address, bytes)."""


# -- buffers ---------------------------------------------------------------------------------


def read_iov(td: Thread, iovp: int, iovcnt: int) -> Iov:
    """Copy in *iovcnt* struct iovec; EINVAL when there are too many or they sum up to too much.

    FreeBSD: copyinuio().
    """
    if not 0 <= iovcnt <= UIO_MAXIOV:
        raise SyscallError(E.EINVAL)
    flat = struct.unpack(f"<{2 * iovcnt}Q", copyin(td, iovp, 16 * iovcnt))
    iov = list(zip(flat[::2], flat[1::2], strict=True))
    total = sum(length for _, length in iov)
    if total > IOSIZE_MAX:
        raise SyscallError(E.EINVAL)
    limit = td.td_proc.p_sysent.files.rw_max
    return iov if total <= limit else _clip(iov, limit)


def one_iov(td: Thread, va: int, nbyte: int) -> Iov:
    """The buffer of a plain read or write, after the check of its size."""
    rules = td.td_proc.p_sysent.files
    if nbyte > IOSIZE_MAX:
        raise SyscallError(rules.rw_size_negative)
    if nbyte > rules.rw_max:
        nbyte = rules.rw_max
    return [(va, nbyte)]


def _clip(iov: Iov, limit: int) -> Iov:
    clipped: Iov = []
    for va, length in iov:
        clipped.append((va, min(length, limit)))
        limit -= clipped[-1][1]
    return clipped


def gather(td: Thread, iov: Iov, count: int, prot: int) -> tuple[list[memoryview], int]:
    """Views of the first *count* bytes of *iov*, resident; fewer when a page is bad, EFAULT when the first is.

    The second result is their length.  Making one page resident can push out another; then the views are
    good for one page only.
    """
    cnt = td.td_proc.kernel.vm.cnt
    freed = cnt.v_tfree
    bufs: list[memoryview] = []
    got = 0
    for va, length in iov:
        want = min(length, count - got)
        if want <= 0:
            continue
        try:
            pieces = segments(td, va, want, prot, partial=True)
        except SyscallError:
            if not bufs:
                raise
            break
        bufs += pieces
        have = sum(map(len, pieces))
        got += have
        if have < want:
            break
    if cnt.v_tfree != freed and got > PAGE_SIZE:
        return gather(td, iov, _first_page(iov), prot)
    return bufs, got


def _first_page(iov: Iov) -> int:
    """Bytes from the start of the first piece that is not empty to the end of its page."""
    va, length = next(piece for piece in iov if piece[1])
    return min(length, PAGE_SIZE - (va & PAGE_MASK))


def _advance(iov: Iov, count: int) -> Iov:
    """What is left of *iov* after its first *count* bytes."""
    rest: Iov = []
    for va, length in iov:
        skip = min(length, count)
        count -= skip
        if skip < length:
            rest.append((va + skip, length - skip))
    kassert(count == 0, "%d bytes beyond the buffers", count)
    return rest


# -- transfer ---------------------------------------------------------------------------------


def transfer_in(td: Thread, fp: File, iov: Iov, offset: int) -> int:
    """Read from *fp* at *offset* into *iov*.  FreeBSD: dofileread()."""
    ops = file_ops(fp)
    if len(iov) == 1 and 0 < iov[0][1] <= PAGE_SIZE:
        va, resid = iov[0]
        return ops.fo_read(td, fp, _short(td, va, resid, VM_PROT_WRITE), offset)
    resid = sum(length for _, length in iov)
    total = 0
    while resid > 0:
        want = min(resid, CHUNK)
        if fp.f_vnode is not None and want > PAGE_SIZE:
            want = fp.f_vnode.read_limit(offset + total, want)
            if want <= 0:
                break
        try:
            bufs, have = gather(td, iov, want, VM_PROT_WRITE)
            got = ops.fo_read(td, fp, bufs, offset + total)
        except SyscallError:
            if total and td.td_proc.p_sysent.files.rw_keeps_progress:
                break
            raise
        kassert(0 <= got <= have, "%d of %d bytes read", got, have)
        total += got
        resid -= got
        if got < have or resid == 0 or not ops.fo_seekable(fp):
            break
        iov = _advance(iov, got)
    return total


def _short(td: Thread, va: int, count: int, prot: int) -> list[memoryview]:
    """Views of at most a page of bytes, on two pages at most; making one resident may push the other out."""
    cnt = td.td_proc.kernel.vm.cnt
    freed = cnt.v_tfree
    bufs = segments(td, va, count, prot, partial=td.td_proc.p_sysent.files.rw_keeps_progress)
    if cnt.v_tfree != freed and len(bufs) > 1:
        bufs = segments(td, va, PAGE_SIZE - (va & PAGE_MASK), prot)
    return bufs


def transfer_out(td: Thread, fp: File, iov: Iov, offset: int) -> int:
    """Write *iov* to *fp* at *offset*.  FreeBSD: dofilewrite()."""
    ops = file_ops(fp)
    resid = sum(length for _, length in iov)
    if offset > OFF_MAX - resid and ops.fo_seekable(fp):
        raise SyscallError(E.EFBIG)
    total = 0
    while resid > 0:
        try:
            bufs, have = gather(td, iov, min(resid, CHUNK), VM_PROT_READ)
            put = ops.fo_write(td, fp, bufs, offset + total)
        except SyscallError as error:
            if error.errno == E.EPIPE:
                tdsendsignal(td, KSigInfo(SIGPIPE, SI_KERNEL))
            if total and (error.errno != E.EFAULT or td.td_proc.p_sysent.files.rw_keeps_progress):
                break
            raise
        kassert(0 <= put <= have, "%d of %d bytes written", put, have)
        total += put
        resid -= put
        if put < have or resid == 0:
            break
        iov = _advance(iov, put)
    return total


def _read(td: Thread, fd: int, iov: Iov) -> int:
    fp = td.td_proc.p_fd.fget(fd, FREAD)
    got = transfer_in(td, fp, iov, fp.f_offset)
    _moved(fp, fp.f_offset + got)
    return got


def _write(td: Thread, fd: int, iov: Iov) -> int:
    fp = td.td_proc.p_fd.fget(fd, FWRITE)
    offset = append_offset(fp)
    put = transfer_out(td, fp, iov, offset)
    if put:
        _moved(fp, offset + put)
    return put


def _moved(fp: File, offset: int) -> None:
    fp.f_offset = offset
    if fp.f_moved is not None:
        fp.f_moved(offset)


def positioned(td: Thread, fd: int, flags: int, offset: int) -> File:
    """The file for a pread or pwrite at *offset*: ESPIPE, EINVAL, EBADF.  FreeBSD: kern_preadv()."""
    fp = td.td_proc.p_fd.fget(fd, flags)
    device = fp.f_vnode is not None and fp.f_vnode.v_type == VCHR
    any_offset = td.td_proc.p_sysent.files.device_takes_any_offset
    if offset < 0 and not any_offset:
        raise SyscallError(E.EINVAL)
    if not fp.f_ops.fo_seekable(fp) and not (any_offset and device):
        raise SyscallError(E.ESPIPE)
    if offset < 0 and not device:
        raise SyscallError(E.EINVAL)
    return fp


# -- system calls ---------------------------------------------------------------------------------


def sys_read(td: Thread, fd: int, buf: int, nbyte: int) -> int:
    """read(2)."""
    return _read(td, fd, one_iov(td, buf, nbyte))


def sys_write(td: Thread, fd: int, buf: int, nbyte: int) -> int:
    """write(2)."""
    return _write(td, fd, one_iov(td, buf, nbyte))


def sys_readv(td: Thread, fd: int, iovp: int, iovcnt: int) -> int:
    """readv(2)."""
    return _read(td, fd, read_iov(td, iovp, iovcnt))


def sys_writev(td: Thread, fd: int, iovp: int, iovcnt: int) -> int:
    """writev(2)."""
    return _write(td, fd, read_iov(td, iovp, iovcnt))


def sys_pread(td: Thread, fd: int, buf: int, nbyte: int, offset: int) -> int:
    """pread(2)."""
    iov = one_iov(td, buf, nbyte)
    return transfer_in(td, positioned(td, fd, FREAD, offset), iov, offset)


def sys_pwrite(td: Thread, fd: int, buf: int, nbyte: int, offset: int) -> int:
    """pwrite(2); on Linux a file opened with O_APPEND is written at its end nevertheless."""
    iov = one_iov(td, buf, nbyte)
    fp = positioned(td, fd, FWRITE, offset)
    return transfer_out(td, fp, iov, _pwrite_offset(td, fp, offset))


def sys_preadv(td: Thread, fd: int, iovp: int, iovcnt: int, offset: int) -> int:
    """preadv(2)."""
    iov = read_iov(td, iovp, iovcnt)
    return transfer_in(td, positioned(td, fd, FREAD, offset), iov, offset)


def sys_pwritev(td: Thread, fd: int, iovp: int, iovcnt: int, offset: int) -> int:
    """pwritev(2)."""
    iov = read_iov(td, iovp, iovcnt)
    fp = positioned(td, fd, FWRITE, offset)
    return transfer_out(td, fp, iov, _pwrite_offset(td, fp, offset))


def _pwrite_offset(td: Thread, fp: File, offset: int) -> int:
    """Since IO_APPEND is set from f_flag on FreeBSD too, pwrite(2) appends there as well."""
    return append_offset(fp) if fp.f_flag & O_APPEND else offset
