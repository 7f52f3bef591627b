"""From the path of a program to its first page: what may be executed at all.

FreeBSD: exec_check_permissions() and exec_map_first_page(), sys/kern/kern_exec.c.
Differs: no MAC, no capability mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern.imgact import ExecError, ImageParams, path_text
from kernel_model.kern.vfs_lookup import namei
from kernel_model.kern.vnode import MNT_NOEXEC, VDIR, VEXEC, VREG
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE
from kernel_model.vm.vnode_pager import vnode_pager_alloc, vnode_pager_flush

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageArgs
    from kernel_model.kern.proc import Thread
    from kernel_model.kern.vnode import Vattr, Vnode

REASONS = {
    E.ENOENT: "no such file",
    E.ENOTDIR: "a component of the path is not a directory",
    E.EACCES: "permission denied",
    E.ELOOP: "too many symbolic links",
    E.ENAMETOOLONG: "path too long",
    E.ETXTBSY: "file is open for writing",
    E.EIO: "cannot be read",
}


def exec_open(td: Thread, args: ImageArgs, path: bytes) -> ImageParams:
    """Look *path* up, check that it may be executed and read its first page.

    The result owns a reference on its VM object.
    Raises: ExecError whose reason begins with the path, unless it is the one given to execve.
    """
    name = "" if path == args.path else f"{path_text(path)}: "
    try:
        vp = namei(td, path)
        attr = exec_check_permissions(td, vp)
        imgp = ImageParams(td, args, vp, attr, execpath=path)
        imgp.object = vnode_pager_alloc(td.td_proc.kernel.vm, vp)
        try:
            exec_map_first_page(imgp)
        except SyscallError:
            vm_object_deallocate(imgp.object)
            raise
    except ExecError as error:
        raise ExecError(error.errno, name + error.reason) from None
    except SyscallError as error:
        what = REASONS.get(error.errno) or E.NAMES.get(error.errno, str(error.errno))
        raise ExecError(error.errno, name + what) from None
    return imgp


def exec_check_permissions(td: Thread, vp: Vnode) -> Vattr:
    """Refuse what must not be executed, in FreeBSD's order; returns the file's attributes."""
    attr = vp.getattr()
    if vp.v_mount.mnt_flag & MNT_NOEXEC:
        raise ExecError(E.EACCES, "its file system forbids execution")
    if attr.va_type != VREG:
        raise ExecError(E.EACCES, "is a directory" if attr.va_type == VDIR else "not a regular file")
    if not attr.va_mode & 0o111:
        raise ExecError(E.EACCES, "permission denied: no execute bit")
    if attr.va_size == 0:
        raise ExecError(E.ENOEXEC, "file is empty")
    vp.access(VEXEC, td.td_proc.p_ucred)
    if vp.v_writecount > 0:
        raise ExecError(E.ETXTBSY, "file is open for writing")
    vp.open(write=False)
    return attr


def exec_map_first_page(imgp: ImageParams) -> None:
    """Read the first page of the file into ``image_header``, zeros where the file is shorter.

    Raises: EACCES when the file has no VM object; EIO; what the file system says, which is EACCES for a file of the
    host that may be executed but not read.
    """
    obj = imgp.object
    if obj is None:
        raise ExecError(E.EACCES, "cannot be mapped")
    m = obj.pages.get(0)
    if m is not None and m.valid:
        start = m.frame << PAGE_SHIFT
        imgp.image_header = bytes(obj.vm.phys.mem[start : start + PAGE_SIZE])
        return
    vnode_pager_flush(imgp.vp, 0, PAGE_SIZE)
    page = bytearray(PAGE_SIZE)
    if imgp.vp.v_pread_into(memoryview(page), 0) < min(imgp.attr.va_size, PAGE_SIZE):
        raise ExecError(E.EIO, "cannot be read")
    imgp.image_header = bytes(page)
