"""Shared memory objects: shm_open(2), memfd_create(2).

FreeBSD: sys/kern/uipc_shm.c.
Differs: the contents are in an unnamed file of the host and are paged like any file, instead of being charged to
swap, but all of them together take no more than the machine's swap space; the object's type is a regular file in
every respect; seals are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.host.memory import memfd
from kernel_model.kern.kern_descrip import (
    DTYPE_VNODE,
    FREAD,
    FWRITE,
    O_ACCMODE,
    O_CLOEXEC,
    O_CREAT,
    O_EXCL,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    File,
)
from kernel_model.kern.shmfd import SHM_MOUNT, ShmStore, ShmVnode
from kernel_model.kern.vfs_vnops import VNOPS, vn_truncate
from kernel_model.kern.vnode import VREAD, VREG, VWRITE

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vnode

SHM_ANON = 1
"""The pointer that asks shm_open(2) for an object without a name."""


def new_memory(td: Thread, name: bytes, mode: int) -> ShmVnode:
    """An empty object owned by the caller."""
    cred = td.td_proc.p_ucred
    kernel = td.td_proc.kernel
    store = kernel.shm_store
    if store is None:
        store = kernel.shm_store = ShmStore(kernel.vm.swap_total)
    fd = memfd(name or b"shm")
    store.fds.add(fd)
    return ShmVnode(
        v_type=VREG, v_mount=SHM_MOUNT, v_name=name, fd=fd, store=store,
        mode=mode & ~td.td_proc.p_fd.fd_cmask & 0o777, uid=cred.cr_uid, gid=cred.cr_gid,
    )  # fmt: skip


def install_memory(td: Thread, vp: Vnode, fflag: int, *, cloexec: bool) -> int:
    """A new descriptor of *vp*."""
    kassert(fflag & FREAD, "shm: %r opened for nothing", vp)
    fp = File(VNOPS, DTYPE_VNODE, fflag, vp)
    fd = td.td_proc.p_fd.install(td, fp, cloexec=cloexec)
    vp.v_incr_usecount(write=bool(fflag & FWRITE))
    return fd


def kern_shm_open(td: Thread, name: bytes | None, flags: int, mode: int) -> int:
    """shm_open(2); *name* is None for SHM_ANON.

    FreeBSD: kern_shm_open().
    """
    accmode = flags & O_ACCMODE
    if accmode not in (O_RDONLY, O_RDWR) or flags & ~(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC):
        raise SyscallError(E.EINVAL)
    fflag = FREAD | (FWRITE if accmode == O_RDWR else 0)
    cloexec = True
    if name is None:
        if accmode == O_RDONLY:
            raise SyscallError(E.EINVAL)
        return install_memory(td, new_memory(td, b"anon", mode), fflag, cloexec=cloexec)
    if not name.startswith(b"/"):
        raise SyscallError(E.EINVAL)
    objects = td.td_proc.kernel.shm_dictionary
    vp = objects.get(name)
    if vp is None:
        if not flags & O_CREAT:
            raise SyscallError(E.ENOENT)
        vp = objects[name] = new_memory(td, name, mode)
    else:
        if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL:
            raise SyscallError(E.EEXIST)
        vp.access(VREAD | (VWRITE if fflag & FWRITE else 0), td.td_proc.p_ucred)
        if flags & (O_ACCMODE | O_TRUNC) == O_RDWR | O_TRUNC:
            vn_truncate(vp, 0)
    return install_memory(td, vp, fflag, cloexec=cloexec)


def kern_shm_unlink(td: Thread, name: bytes) -> None:
    """shm_unlink(2)."""
    objects = td.td_proc.kernel.shm_dictionary
    vp = objects.get(name)
    if vp is None:
        raise SyscallError(E.ENOENT)
    vp.access(VWRITE, td.td_proc.p_ucred)
    del objects[name]
