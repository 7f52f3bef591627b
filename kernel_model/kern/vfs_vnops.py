"""Opening vnodes, and reading and writing them together with the pages that are mapped.

FreeBSD: sys/kern/vfs_vnops.c.

FreeBSD keeps one copy of a file's data in memory, for read(2) and for mappings.  Here the host's file is that
copy and the pages of ``v_object`` are a second one, so a read lays dirty pages over what the file gave, and a
write goes into resident pages too: both views always agree.
Differs: a program of the host that writes a mapped file is not noticed until the page is read anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.kern_descrip import (
    DTYPE_VNODE,
    FEXEC,
    FMASK,
    FREAD,
    FWRITE,
    O_APPEND,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_EXLOCK,
    O_FSYNC,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_SHLOCK,
    O_TRUNC,
    File,
    fdrop,
    file_vnode,
)
from kernel_model.kern.kern_flock import flock_file
from kernel_model.kern.kern_sig import tdsendsignal
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.signo import SI_KERNEL, SIGXFSZ
from kernel_model.kern.sys_pipe import fifo_open
from kernel_model.kern.sys_poll import seltdwait
from kernel_model.kern.vfs_lookup import AT_FDCWD, namei, namei_last, vn_globalpath
from kernel_model.kern.vnode import (
    POLLIN,
    POLLOUT,
    VBLK,
    VCHR,
    VDIR,
    VEXEC,
    VFIFO,
    VLNK,
    VREAD,
    VREG,
    VSOCK,
    VWRITE,
    VattrSet,
)
from kernel_model.rlimit import RLIMIT_FSIZE
from kernel_model.vm.pmap import pmap_mappings
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_mmap import MAP_ANON, MAP_SHARED, PROT_READ, PROT_WRITE, vm_mmap_object
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, VmOffset
from kernel_model.vm.vnode_pager import vnode_pager_alloc, vnode_pager_setsize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernel_model.kern.file import FileIoOps
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.kern.vnode import Vattr, Vnode
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_page import VmPage


# -- opening ---------------------------------------------------------------------------------


def vn_open(td: Thread, path: bytes, flags: int, mode: int, dirfd: int = AT_FDCWD) -> File:
    """Open *path*, making the file when O_CREAT asks for it, and return the new open file.

    *flags* are O_* of FreeBSD, *mode* the permissions of a new file after the umask.
    FreeBSD: kern_openat() and vn_open_cred().
    """
    fmode = _fflags(flags)
    if flags & (O_CREAT | O_EXCL | O_DIRECTORY) == O_CREAT | O_EXCL | O_DIRECTORY:
        raise SyscallError(E.EINVAL)
    if flags & (O_CREAT | O_DIRECTORY) == O_CREAT:
        vp, created = _lookup_or_create(td, path, flags, mode, dirfd)
    else:
        vp = namei(td, path, follow=not flags & O_NOFOLLOW, dirfd=dirfd)
        created = False
    fp = vn_open_vnode(td, vp, fmode, check_access=not created)
    if flags & O_TRUNC and not created and not flags & O_PATH and vp.v_type == VREG:
        vn_truncate(vp, 0)
    return fp


def _fflags(flags: int) -> int:
    if flags & O_PATH:
        return flags & (O_PATH | O_DIRECTORY)
    if flags & FEXEC:
        if flags & 3:
            raise SyscallError(E.EINVAL)
        return flags
    if flags & 3 == 3:
        raise SyscallError(E.EINVAL)
    return flags + 1


def _lookup_or_create(
    td: Thread, path: bytes, flags: int, mode: int, dirfd: int
) -> tuple[Vnode, bool]:
    slash_follows = td.td_proc.p_sysent.paths.last_slash_follows
    follow = not flags & (O_EXCL | O_NOFOLLOW) and (slash_follows or path[-1:] != b"/")
    found = namei_last(td, path, follow=follow, dirfd=dirfd)
    vp = found.ni_vp
    if not slash_follows and found.trailing_slash and found.cn_name not in (b"", b".", b".."):
        raise SyscallError(E.EISDIR)
    if vp is None:
        if found.trailing_slash:
            raise SyscallError(E.ENOENT)
        found.ni_dvp.access(VWRITE, td.td_proc.p_ucred)
        cmode = mode & ~td.td_proc.p_fd.fd_cmask & 0o6777
        return found.ni_dvp.create(found.cn_name, cmode), True
    if flags & O_EXCL:
        raise SyscallError(E.EEXIST)
    if vp.v_type == VDIR:
        raise SyscallError(E.EISDIR)
    return vp, False


def vn_open_vnode(td: Thread, vp: Vnode, fmode: int, *, check_access: bool = True) -> File:
    """Open a vnode that was found.  *fmode* holds FREAD, FWRITE, FEXEC and O_*.

    FreeBSD: vn_open_vnode().
    """
    if vp.v_type != VDIR and fmode & O_DIRECTORY:
        raise SyscallError(E.ENOTDIR)
    if fmode & O_PATH:
        vp.v_incr_usecount(write=False)
        return File(VNOPS, DTYPE_VNODE, O_PATH, vp)
    accmode = _accmode(td, vp, fmode)
    if check_access and accmode:
        vp.access(accmode, td.td_proc.p_ucred)
    if accmode & VWRITE and vp.v_textcount:
        raise SyscallError(E.ETXTBSY)
    dup = vp.dupfd(fmode)
    if dup is not None:
        return dupfdopen(td, *dup, fmode)
    if vp.v_type == VFIFO:
        return fifo_open(td, vp, fmode)
    kassert(vp.v_type in (VREG, VDIR, VBLK, VCHR), "open of %r", vp)
    vp.open(write=bool(accmode & VWRITE))
    fp = File(VNOPS, DTYPE_VNODE, fmode & FMASK, vp)
    vp.v_incr_usecount(write=bool(fmode & FWRITE))
    if fmode & (O_SHLOCK | O_EXLOCK):
        _lock_new_file(td, fp, fmode)
    return fp


def dupfdopen(td: Thread, fd: int, needs: int, fmode: int) -> File:
    """What opening a name for descriptor *fd* gives: the same open file again, if it is open for *needs*.

    Where the ABI says so, a regular file is opened anew, with an offset of its own.  FreeBSD: dupfdopen().
    """
    fp = td.td_proc.p_fd.fget(fd)
    if td.td_proc.p_sysent.files.devfd_reopens and fp.f_vnode is not None and fp.f_vnode.v_type == VREG:
        return vn_open_vnode(td, fp.f_vnode, fmode)
    if needs & (FREAD | FWRITE) & ~fp.f_flag:
        raise SyscallError(E.EACCES)
    return fp


def _accmode(td: Thread, vp: Vnode, fmode: int) -> int:
    """The kinds of access that opening needs; refuses what can never be opened so."""
    rules = td.td_proc.p_sysent.files
    if vp.v_type == VLNK:
        raise SyscallError(rules.open_symlink)
    if vp.v_type == VSOCK:
        raise SyscallError(rules.open_socket)
    writes = fmode & (FWRITE | O_TRUNC)
    if writes and vp.v_type == VDIR:
        raise SyscallError(E.EISDIR)
    accmode = VWRITE if writes else 0
    accmode |= VREAD if fmode & FREAD else 0
    return accmode | (VEXEC if fmode & FEXEC else 0)


def _lock_new_file(td: Thread, fp: File, fmode: int) -> None:
    """O_SHLOCK and O_EXLOCK; with O_NONBLOCK a lock in the way is EAGAIN."""
    kassert(fp.f_count == 0, "a new file has %d references", fp.f_count)
    fp.f_count = 1
    try:
        flock_file(td, fp, exclusive=bool(fmode & O_EXLOCK), wait=not fmode & O_NONBLOCK)
    except SyscallError:
        fdrop(fp)
        raise
    fp.f_count = 0


# -- data ---------------------------------------------------------------------------------


def _resident(object_: VmObject, start: int, end: int) -> Iterator[tuple[VmPage, int, int]]:
    """Valid pages that touch the bytes ``[start, end)``: (page, first byte, byte after the last one)."""
    pages = object_.pages
    first = start >> PAGE_SHIFT
    last = (end + PAGE_SIZE - 1) >> PAGE_SHIFT
    wanted = range(first, last) if last - first <= len(pages) else sorted(pages)
    for pindex in wanted:
        m = pages.get(pindex)
        if m is not None and m.valid and first <= pindex < last:
            base = pindex << PAGE_SHIFT
            yield m, max(start, base), min(end, base + PAGE_SIZE)


def _cut(bufs: Sequence[memoryview], start: int, end: int) -> Iterator[memoryview]:
    """The bytes ``[start, end)`` of the concatenated *bufs*, as views."""
    at = 0
    for buf in bufs:
        low, high = max(start - at, 0), min(end - at, len(buf))
        if low < high:
            yield buf[low:high]
        at += len(buf)
        if at >= end:
            return


def vn_read(vp: Vnode, bufs: Sequence[memoryview], offset: int) -> int:
    """Read at *offset*: the file as the store and the mapped pages together have it."""
    got = vp.v_preadv(bufs, offset)
    object_ = vp.v_object
    if got <= 0 or object_ is None or not object_.pages:
        return got
    mem = object_.vm.phys.mem
    for m, start, end in _resident(object_, offset, offset + got):
        if not m.dirty:
            continue
        source = (m.frame << PAGE_SHIFT) + (start & (PAGE_SIZE - 1))
        for view in _cut(bufs, start - offset, end - offset):
            view[:] = mem[source : source + len(view)]
            source += len(view)
    return got


def vn_write(vp: Vnode, bufs: Sequence[memoryview], offset: int) -> int:
    """Write at *offset*, to the store and to the resident pages; the file grows as needed."""
    put = vp.v_pwritev(bufs, offset)
    object_ = vp.v_object
    if put <= 0 or object_ is None:
        return put
    vnode_pager_setsize(vp, vp.v_size())
    mem = object_.vm.phys.mem
    for m, start, end in _resident(object_, offset, offset + put):
        target = (m.frame << PAGE_SHIFT) + (start & (PAGE_SIZE - 1))
        for view in _cut(bufs, start - offset, end - offset):
            mem[target : target + len(view)] = view
            target += len(view)
        _tell_code(m)
    return put


def _tell_code(m: VmPage) -> None:
    """The page was written by the kernel: whoever executes it must not use an old translation."""
    for pmap, vpn in pmap_mappings(m):
        if pmap.ptes[vpn][1] & VM_PROT_EXECUTE:
            va = vpn << PAGE_SHIFT
            pmap.hardware.code_changed(va, va + PAGE_SIZE)


def vn_truncate(vp: Vnode, length: int) -> None:
    """Set the size of a regular file, of its object and of its mappings.  FreeBSD: vn_truncate()."""
    kassert(length >= 0 and vp.v_type == VREG, "truncate %r to %d", vp, length)
    vp.setattr(VattrSet(va_size=length))
    if vp.v_object is not None:
        vnode_pager_setsize(vp, length)


def vn_rlimit_fsize(td: Thread, vp: Vnode, offset: int, count: int) -> int:
    """How many of *count* bytes RLIMIT_FSIZE lets be written at *offset*.

    Raises EFBIG, after posting SIGXFSZ, when it is none.  FreeBSD: vn_rlimit_fsize().
    """
    if vp.v_type != VREG:
        return count
    limit = td.td_proc.p_limit.lim_cur(RLIMIT_FSIZE)
    if offset + count <= limit:
        return count
    if offset >= limit:
        tdsendsignal(td, KSigInfo(SIGXFSZ, SI_KERNEL))
        raise SyscallError(E.EFBIG)
    kassert(0 <= offset < limit, "write at %d within %d", offset, limit)
    return limit - offset


# -- mappings ---------------------------------------------------------------------------------


def file_maxprot(fp: File, prot: int, flags: int) -> int:
    """What a mapping of *fp* may ever allow; EACCES when *prot* wants more.  FreeBSD: vn_mmap()."""
    if fp.f_vnode is None or fp.f_flag & O_PATH:
        raise SyscallError(E.ENODEV)
    maxprot = VM_PROT_EXECUTE
    if fp.f_flag & FREAD:
        maxprot |= VM_PROT_READ
    elif prot & PROT_READ:
        raise SyscallError(E.EACCES)
    if flags & MAP_SHARED:
        if fp.f_flag & FWRITE:
            maxprot |= VM_PROT_WRITE
        elif prot & PROT_WRITE:
            raise SyscallError(E.EACCES)
    else:
        maxprot |= VM_PROT_WRITE
    return maxprot


def vn_mmap(
    proc: Proc,
    vp: Vnode | None,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    maxprot: int,
    flags: int,
    foff: int,
) -> VmOffset:
    """Map *vp*, whose rights were checked, at file offset *foff*.  FreeBSD: vn_mmap(); vm_mmap_vnode() until 10."""
    if vp is None:
        raise SyscallError(E.ENODEV)
    if vp.v_type == VCHR:
        return _mmap_device(proc, vp, addr, size, prot, maxprot, flags)
    if vp.v_type != VREG:
        raise SyscallError(proc.p_sysent.files.mmap_no_file)
    kassert(not prot & ~maxprot, "mmap: rights %#x of %#x", prot, maxprot)
    kassert(not foff & PAGE_MASK, "mmap: file offset %#x", foff)
    obj = vnode_pager_alloc(proc.kernel.vm, vp)
    try:
        return vm_mmap_object(proc, addr, size, prot, maxprot, flags, obj, foff)
    except SyscallError:
        vm_object_deallocate(obj)
        raise


def _mmap_device(
    proc: Proc, vp: Vnode, addr: VmOffset, size: VmOffset, prot: int, maxprot: int, flags: int
) -> VmOffset:
    """/dev/zero is anonymous memory in both forms; other devices cannot be mapped.

    FreeBSD: devfs_mmap_f(), sys/fs/devfs/devfs_vnops.c; vm_mmap_cdev().
    """
    if not vp.maps_anonymous():
        raise SyscallError(E.ENODEV if flags & MAP_SHARED else proc.p_sysent.files.mmap_device_private)
    return vm_mmap_object(proc, addr, size, prot, maxprot, flags | MAP_ANON)


# -- the open file ---------------------------------------------------------------------------------


class VnodeFileOps:
    """``vnops``: an open file that is a vnode.  FreeBSD: struct fileops vnops."""

    __slots__ = ()

    def fo_read(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """vn_read(); a directory is EISDIR."""
        vp = file_vnode(fp)
        if vp.v_type == VDIR:
            raise SyscallError(E.EISDIR)
        if vp.v_type != VREG:
            host_fd = vp.poll_host_fd()
            if fp.f_flag & O_NONBLOCK and not vp.poll(POLLIN):
                raise SyscallError(E.EAGAIN)
            if host_fd >= 0:
                _ = seltdwait(td, {host_fd: POLLIN})
        return vn_read(vp, bufs, offset)

    def fo_write(self, td: Thread, fp: File, bufs: Sequence[memoryview], offset: int) -> int:
        """vn_write() within RLIMIT_FSIZE; O_APPEND is the caller's part."""
        vp = file_vnode(fp)
        count = sum(map(len, bufs))
        allowed = vn_rlimit_fsize(td, vp, offset, count)
        if allowed < count:
            bufs = list(_cut(bufs, 0, allowed))
        if fp.f_flag & O_NONBLOCK and vp.v_type != VREG and not vp.poll(POLLOUT):
            raise SyscallError(E.EAGAIN)
        put = vn_write(vp, bufs, offset)
        if fp.f_flag & O_FSYNC:
            vp.fsync(data_only=False)
        return put

    def fo_stat(self, fp: File) -> Vattr:
        """VOP_GETATTR."""
        return file_vnode(fp).getattr()

    def fo_poll(self, fp: File, events: int) -> int:
        """VOP_POLL."""
        return file_vnode(fp).poll(events)

    def fo_poll_host_fd(self, fp: File) -> int:
        """The host's descriptor of a terminal or pipe behind the vnode."""
        return file_vnode(fp).poll_host_fd()

    def fo_ioctl(self, td: Thread, fp: File, command: str, argument: bytes) -> bytes:
        """FIONREAD of a regular file, otherwise VOP_IOCTL."""
        vp = file_vnode(fp)
        if vp.v_type in (VREG, VDIR) and command == "FIONREAD":
            left = vp.v_size() - fp.f_offset
            return max(0, min(left, 0x7FFFFFFF)).to_bytes(4, "little")
        return vp.ioctl(command, argument)

    def fo_truncate(self, td: Thread, fp: File, length: int) -> None:
        """ftruncate(2)."""
        vp = file_vnode(fp)
        if vp.v_type == VDIR:
            raise SyscallError(E.EISDIR)
        if vp.v_type != VREG:
            raise SyscallError(E.EINVAL)
        vn_truncate(vp, length)

    def fo_close(self, fp: File) -> None:
        """vn_closefile()."""
        kassert(fp.f_count == 0, "close of a file with %d references", fp.f_count)
        vp = file_vnode(fp)
        vp.v_decr_usecount(write=bool(fp.f_flag & FWRITE))
        vp.close()

    def fo_seekable(self, fp: File) -> bool:
        """Whether there is an offset."""
        return file_vnode(fp).seekable()

    def fo_name(self, fp: File) -> bytes:
        """Its path from the top of the tree, or what the file system calls it."""
        vp = file_vnode(fp)
        return vp.link_text() or vn_globalpath(vp)


def append_offset(fp: File) -> int:
    """Where a write with O_APPEND goes: the end of the file."""
    vp = fp.f_vnode
    if fp.f_flag & O_APPEND and vp is not None and vp.v_type == VREG:
        return vp.v_size()
    return fp.f_offset


VNOPS: FileIoOps = VnodeFileOps()
