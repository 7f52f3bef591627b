"""The first mounts: a host directory as root, devfs and procfs over it.

FreeBSD: vfs_mountroot(), sys/kern/vfs_mountroot.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel_model.errors import SyscallError, UsageError, kassert
from kernel_model.fs.devfs import devfs_mount
from kernel_model.fs.hostfs import HostMount, hostfs_mount
from kernel_model.fs.procfs import procfs_mount
from kernel_model.fs.pseudofs import mount_at
from kernel_model.host.files import getcwd, realpath
from kernel_model.kern.vfs_lookup import lookup_path
from kernel_model.kern.vnode import VDIR
from kernel_model.ucred import Ucred

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel
    from kernel_model.kern.vnode import Vnode


VFSCONF = ((b"dev", devfs_mount), (b"proc", procfs_mount))
"""What is mounted on the root at boot, and where: struct vfsconf of each, and their lines in /etc/fstab."""


def mount_root(
    kernel: Kernel, root: str | os.PathLike[str] = "/", cwd: str | None = None, *, rw: bool = False
) -> tuple[Vnode, Vnode]:
    """Mount everything and return the root and the working directory; ``kernel.rootvnode`` is set.

    *cwd* is a path inside the root, relative to the host's working directory when *root* is ``/``.  Without it the
    working directory is the host's, if that is inside the root, and ``/`` otherwise.
    Files below the working directory can be written, and all with *rw*, as far as the user may.  When the working
    directory is ``/``, nothing can be written without *rw*.
    Raises: UsageError when there is no such directory.
    """
    kassert(kernel.rootvnode is None, "mount_root: there is a root")
    top = realpath(root)
    try:
        rootvp = hostfs_mount(top, rw=rw)
    except SyscallError:
        raise UsageError(f"root: {os.fspath(root)}: not a directory that can be opened") from None
    for name, vfs_mount in VFSCONF:
        mount_at(rootvp, name, vfs_mount(kernel))
    if cwd is None:
        where = _inside(top)
    else:
        where = realpath(cwd) if top == "/" else cwd
    try:
        cwdvp = lookup_path(rootvp, os.fsencode(where), Ucred())
    except SyscallError:
        raise UsageError(f"cwd: {where}: no such directory inside {top}") from None
    if cwdvp.v_type != VDIR:
        raise UsageError(f"cwd: {where}: not a directory")
    if cwdvp is not rootvp and isinstance(rootvp.v_mount, HostMount):
        rootvp.v_mount.allow_writes(cwdvp)
    kernel.rootvnode = rootvp
    return rootvp, cwdvp


def _inside(top: str) -> str:
    """The host's working directory as a path inside *top*, or ``/``."""
    here = getcwd()
    if here is None or here == top:
        return "/"
    if top == "/":
        return here
    return here.removeprefix(top) if here.startswith(top + "/") else "/"
