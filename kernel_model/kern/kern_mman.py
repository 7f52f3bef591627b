"""Mapping files: what a descriptor allows, and its object.  The system call itself is vm/vm_mmap.py's kern_mmap().

FreeBSD: fo_mmap(), sys/sys/file.h; vn_mmap(), sys/kern/vfs_vnops.c; devfs_mmap_f(), sys/fs/devfs/devfs_vnops.c.
Differs: no capability rights, no MAC; a device that can be mapped is one whose vnode says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.errno import EACCES, EINVAL, ENODEV
from kernel_model.errors import SyscallError
from kernel_model.kern.kern_descrip import FREAD, FWRITE, O_PATH, OFF_MAX
from kernel_model.kern.vnode import VCHR, VREG
from kernel_model.vm.vm import VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_mmap import (
    MAP_ANON,
    MAP_PRIVATE,
    MAP_SHARED,
    P_OSREL_MAP_FSTRICT,
    PROT_READ,
    PROT_WRITE,
    vm_mmap_object,
)
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vnode_pager import vnode_pager_alloc

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import File
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.kern.vnode import Vnode
    from kernel_model.vm.vm_param import VmOffset


def fo_mmap(
    td: Thread,
    addr: VmOffset,
    size: VmOffset,
    prot: int,
    cap_maxprot: int,
    flags: int,
    fd: int,
    pos: int,
) -> VmOffset:
    """Map the file that descriptor *fd* stands for, at most with the rights *cap_maxprot*.

    FreeBSD: fget_mmap() and fo_mmap(), the end of kern_mmap().
    """
    proc = td.td_proc
    fp = proc.p_fd.fget(fd)
    neither = not flags & (MAP_SHARED | MAP_PRIVATE)
    strict = proc.kernel.release.mmap_checks_flags
    if neither and strict and proc.p_osrel >= P_OSREL_MAP_FSTRICT:
        raise SyscallError(EINVAL)
    maxprot = file_maxprot(fp, prot, flags)
    if flags & MAP_SHARED:
        maxprot &= cap_maxprot
    else:
        maxprot &= cap_maxprot | VM_PROT_WRITE
    if size > OFF_MAX or not 0 <= pos <= OFF_MAX - size:
        raise SyscallError(EINVAL)
    return vn_mmap(proc, fp.f_vnode, addr, size, prot, maxprot, flags, pos)


def file_maxprot(fp: File, prot: int, flags: int) -> int:
    """What a mapping of *fp* may ever allow; EACCES when *prot* wants more.  FreeBSD: vn_mmap()."""
    if fp.f_vnode is None or fp.f_flag & O_PATH:
        raise SyscallError(ENODEV)
    maxprot = VM_PROT_EXECUTE
    if fp.f_flag & FREAD:
        maxprot |= VM_PROT_READ
    elif prot & PROT_READ:
        raise SyscallError(EACCES)
    if flags & MAP_SHARED:
        if fp.f_flag & FWRITE:
            maxprot |= VM_PROT_WRITE
        elif prot & PROT_WRITE:
            raise SyscallError(EACCES)
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
    """Map *vp*, whose rights were checked, at file offset *foff*.  FreeBSD: vm_mmap_vnode(), vm_mmap_cdev()."""
    if vp is None:
        raise SyscallError(ENODEV)
    if vp.v_type == VCHR:
        return _mmap_device(proc, vp, addr, size, prot, maxprot, flags)
    if vp.v_type != VREG:
        raise SyscallError(ENODEV if proc.p_sysent.is_linux else EINVAL)
    obj = vnode_pager_alloc(proc.kernel.vm, vp)
    try:
        return vm_mmap_object(proc, addr, size, prot, maxprot, flags, obj, foff)
    except SyscallError:
        vm_object_deallocate(obj)
        raise


def _mmap_device(
    proc: Proc, vp: Vnode, addr: VmOffset, size: VmOffset, prot: int, maxprot: int, flags: int
) -> VmOffset:
    """/dev/zero is anonymous memory in both forms; other devices cannot be mapped."""
    if not vp.maps_anonymous():
        linux = proc.p_sysent.is_linux
        private = not flags & MAP_SHARED
        raise SyscallError(EINVAL if private and not linux else ENODEV)
    return vm_mmap_object(proc, addr, size, prot, maxprot, flags | MAP_ANON)
