"""execve: replace the image of a process.

    copy in path, argv, environment           EFAULT, E2BIG, ENAMETOOLONG
    look up, permissions, first page          ENOENT, EACCES, ETXTBSY, ENOEXEC ...
    activator: "#!" -> again with the interpreter; ELF -> its checks
    ---- point of no return ------------------------------------------------ below it: SIGABRT
    new vmspace, stack, segments, run-time linker
    strings, vectors, auxiliary vector
    descriptors, signals, name, credentials
    registers of the first instruction

FreeBSD: sys/kern/kern_exec.c, sys_execve() to do_execve().
Image activators are asked in the order in which they registered at boot (``Kernel.execsw``); none is named here.
Differs: one thread per process; no ktrace files, no MAC, no capability mode, no process descriptors; no System V
shared memory to detach; no randomisation of the stack and of the shared page; with no room left in exec_map or in
memory for the strings the answer is ENOMEM, nobody waits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errno import EJUSTRETURN
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.kern.copyin import copyin, copyinstr
from kernel_model.kern.imgact import ExecError, ImageArgs, ImageParams, path_text
from kernel_model.kern.kern_exit import exit1
from kernel_model.kern.kern_prot import proc_set_cred
from kernel_model.kern.kern_sharedpage import shared_page_obj
from kernel_model.kern.kern_sig import execsigs
from kernel_model.kern.proc import P2_NO_NEW_PRIVS, P2_STKGAP_DISABLE, P2_STKGAP_DISABLE_EXEC, P_INEXEC
from kernel_model.kern.signo import SIGABRT
from kernel_model.kern.sysentvec import SV_SHP
from kernel_model.kern.vfs_lookup import namei, vn_fullpath
from kernel_model.kern.vnode import MNT_NOEXEC, MNT_NOSUID, S_ISGID, S_ISUID, VDIR, VEXEC, VREG
from kernel_model.rlimit import RLIMIT_STACK
from kernel_model.text import printable
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ
from kernel_model.vm.vm_kern import exec_map_alloc, exec_map_free, kmem_write
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_ACC_NO_CHARGE, MAP_INHERIT_SHARE, MAP_STACK_GROWS_DOWN, MAP_WIREFUTURE
from kernel_model.vm.vm_map_find import vm_map_find, vm_map_fixed
from kernel_model.vm.vm_object import vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_NAMES,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    trunc_page,
)
from kernel_model.vm.vm_stack import vm_map_stack
from kernel_model.vm.vmspace import vmspace_exec, vmspace_free
from kernel_model.vm.vnode_pager import vnode_pager_alloc, vnode_pager_flush

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kern.proc import SysentVec, Thread
    from kernel_model.kern.vnode import Vattr, Vnode
    from kernel_model.vm.vm_param import KernReturn

MAP_AT_ZERO: Final = "security.bsd.map_at_zero"
_MMAP_ERRNO: Final = {
    KERN_INVALID_ADDRESS: E.ENOMEM,
    KERN_NO_SPACE: E.ENOMEM,
    KERN_PROTECTION_FAILURE: E.EACCES,
}
_REASONS = {
    E.ENOENT: "no such file",
    E.ENOTDIR: "a component of the path is not a directory",
    E.EACCES: "permission denied",
    E.ELOOP: "too many symbolic links",
    E.ENAMETOOLONG: "path too long",
    E.ETXTBSY: "file is open for writing",
    E.EIO: "cannot be read",
}
"""Errors of the look-up in words, for the person who started the program."""


def sys_execve(td: Thread, fname: int, argv: int, envv: int) -> int:
    """execve(2): three pointers into the old image."""
    return kern_execve(td, exec_copyin_args(td, fname, argv, envv))


def execve(td: Thread, path: bytes, argv: Sequence[bytes], envv: Sequence[bytes]) -> int:
    """Execute *path* for somebody inside the kernel: the machine, which has no old image to copy from.

    Returns: EJUSTRETURN; the registers are those of the new program, or the process has died of SIGABRT.
    Raises:  ExecError, a SyscallError with ``reason``, before the point of no return.
    """
    if len(path) >= _path_max(td):
        raise ExecError(_long_path_errno(td), "path too long")
    args = ImageArgs(path, arg_max=td.td_proc.kernel.release.arg_max)
    for string in argv:
        args.add_arg(string)
    for string in envv:
        args.add_env(string)
    return kern_execve(td, args)


# -- the old image ----------------------------------------------------------------------------------------------


def exec_copyin_args(td: Thread, fname: int, argv: int, envv: int) -> ImageArgs:
    """Copy path and vectors out of the old image.

    Raises: EFAULT; E2BIG; what the release says for a path of PATH_MAX bytes.
    Differs: a Linux program may give no argv at all, as on Linux.
    """
    if not argv and td.td_proc.p_sysent.exec.argv_needed:
        raise ExecError(E.EFAULT, "no argument vector")
    try:
        path = copyinstr(td, fname, _path_max(td))
    except SyscallError as error:
        errno = _long_path_errno(td) if error.errno == E.ENAMETOOLONG else error.errno
        raise ExecError(errno, "the path cannot be read") from None
    args = ImageArgs(path, arg_max=td.td_proc.kernel.release.arg_max)
    if argv:
        _copyin_vector(td, argv, args, env=False)
    if envv:
        _copyin_vector(td, envv, args, env=True)
    return args


def _path_max(td: Thread) -> int:
    return td.td_proc.p_sysent.paths.path_max


def _long_path_errno(td: Thread) -> int:
    return E.E2BIG if td.td_proc.kernel.release.exec_long_name_errno == "E2BIG" else E.ENAMETOOLONG


def _copyin_vector(td: Thread, vector: int, args: ImageArgs, *, env: bool) -> None:
    """Copy the strings of a NULL-terminated vector, reading the pointers of a page at a time."""
    while True:
        count = (PAGE_SIZE - (vector & PAGE_MASK)) // 8 or 1
        words = copyin(td, vector, 8 * count)
        for at in range(0, len(words), 8):
            pointer = int.from_bytes(words[at : at + 8], "little")
            if not pointer:
                return
            string = _copyin_string(td, pointer, args.stringspace)
            if env:
                args.add_env(string)
            else:
                args.add_arg(string)
        vector += 8 * count


def _copyin_string(td: Thread, pointer: int, space: int) -> bytes:
    try:
        return copyinstr(td, pointer, space)
    except SyscallError as error:
        if error.errno != E.ENAMETOOLONG:
            raise
        raise ExecError(E.E2BIG, "arguments and environment are too long") from None


# -- execve itself --------------------------------------------------------------------------------------------


class _Execution:
    """One execve: what must be let go when it ends, however it ends."""

    __slots__ = ("args", "imgp", "td")

    def __init__(self, td: Thread, args: ImageArgs) -> None:
        self.td = td
        self.args = args
        self.imgp: ImageParams | None = None

    @property
    def destroyed(self) -> bool:
        """The point of no return has been passed."""
        return self.imgp is not None and self.imgp.vmspace_destroyed

    def take(self, imgp: ImageParams | None) -> None:
        """Go on with *imgp*; what was executed until now, a script or nothing, lets go of its VM object."""
        if self.imgp is not None and self.imgp.object is not None:
            vm_object_deallocate(self.imgp.object)
            self.imgp.object = None
        if imgp is not None:
            kassert(not self.destroyed, "execve: another image after the point of no return")
            self.imgp = imgp

    def fail(self, error: ExecError) -> None:
        """Tell that it failed, and why; aloud when the program that asked is gone and cannot."""
        if self.imgp is None:
            return
        fate = "SIGABRT" if self.destroyed else E.NAMES.get(error.errno, str(error.errno))
        self.imgp.stage("failed", errno=error.errno, reason=error.reason, result=fate)
        uprintf = self.td.td_proc.kernel.uprintf
        if self.destroyed and uprintf is not None:
            uprintf(f"{path_text(self.args.path)}: {error.reason}")


def kern_execve(td: Thread, args: ImageArgs) -> int:
    """Execute what *args* says; see ``execve``.  FreeBSD: kern_execve()."""
    proc = td.td_proc
    vm, kt = proc.kernel.vm, proc.kernel.ktrace
    old_osrel, old_fctl0, old_cause, old_vmspace = proc.p_osrel, proc.p_fctl0, kt.cause, proc.p_vmspace
    kassert(not proc.p_flag & P_INEXEC, "execve: process %d is in execve already", proc.p_pid)
    kassert(not proc.p_state, "execve: process %d has exited", proc.p_pid)
    buf = exec_alloc_args(td, args)
    proc.p_flag |= P_INEXEC
    run = _Execution(td, args)
    try:
        do_execve(run)
    except SyscallError as error:
        proc.p_osrel, proc.p_fctl0 = old_osrel, old_fctl0
        failure = error if isinstance(error, ExecError) else ExecError(error.errno, E.NAMES.get(error.errno, ""))
        run.fail(failure)
        if run.destroyed:
            return exit1(td, 0, SIGABRT)
        raise failure from None
    finally:
        proc.p_flag &= ~P_INEXEC
        run.take(None)
        exec_map_free(vm, buf)
        if proc.p_vmspace is not old_vmspace:
            vmspace_free(old_vmspace)
        kt.cause = old_cause
    return EJUSTRETURN


def exec_alloc_args(td: Thread, args: ImageArgs) -> int:
    """Keep path and strings in exec_map while the old image goes; returns where.  FreeBSD: exec_alloc_args()."""
    vm = td.td_proc.kernel.vm
    buf = exec_map_alloc(vm)
    if buf is None:
        raise ExecError(E.ENOMEM, "no kernel address space for the arguments")
    strings = b"".join(string + b"\0" for string in (args.fname, *args.argv, *args.envv))
    if not kmem_write(vm, buf, strings):
        exec_map_free(vm, buf)
        raise ExecError(E.ENOMEM, "no memory for the arguments")
    return buf


def do_execve(run: _Execution) -> None:
    """Everything between the arguments and the registers, in order.  FreeBSD: do_execve()."""
    td, args = run.td, run.args
    proc = td.td_proc
    if not args.argv and not proc.kernel.release.exec_argc_zero_ok:
        raise ExecError(E.EINVAL, "no arguments at all")
    imgp = _interpret(run)
    kassert(imgp.vmspace_destroyed and imgp.auxargs is not None, "execve: image of %r half made", args.fname)
    if proc.p_textvp is None:
        # Model only: the first process has no program yet, but its stack may have to grow for the strings.
        _set_textvp(imgp)
    stack_base = some(imgp.copyout_strings, "copyout_strings")(imgp)
    imgp.stage("commit", comm=printable(_comm(imgp)))
    _commit(imgp)
    some(imgp.setregs, "setregs")(td, imgp, stack_base)
    imgp.stage("registers", rip=imgp.entry_addr, stack=stack_base)


def _interpret(run: _Execution) -> ImageParams:
    """Run the activators; a script leads once more through the look-up, with its interpreter.

    FreeBSD: do_execve() from its label "interpret" on.
    """
    proc = run.td.td_proc
    interpreted = False
    while True:
        imgp = exec_open(run.td, run.args, run.args.fname)
        imgp.interpreted = interpreted
        run.take(imgp)
        proc.p_osrel = proc.p_fctl0 = 0
        _prepare_credentials(imgp)
        imgp.execpath = _execpath(imgp)
        if not any(activate(imgp) for activate in proc.kernel.execsw):
            raise ExecError(E.ENOEXEC, imgp.refusal)
        if not imgp.interpreter_name:
            return imgp
        kassert(not interpreted and not imgp.vmspace_destroyed, "execve: script %r twice", run.args.fname)
        interpreted = True
        imgp.stage("interpret", interpreter=path_text(imgp.interpreter_name))
        run.args.fname = imgp.interpreter_name


# -- the file: look-up, permissions, first page ---------------------------------------------------------------


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
        what = _REASONS.get(error.errno) or E.NAMES.get(error.errno, str(error.errno))
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


def _execpath(imgp: ImageParams) -> bytes:
    """The path the program is told it has: absolute when that can be found out."""
    fname = imgp.args.fname
    if fname[:1] == b"/":
        return fname
    try:
        return vn_fullpath(imgp.vp, imgp.proc.p_fd.fd_rdir)
    except SyscallError:
        return fname


def _prepare_credentials(imgp: ImageParams) -> None:
    """Set-user-id and set-group-id files, and the saved ids that follow every execve."""
    cred = imgp.proc.p_ucred
    attr = imgp.attr
    setuid = bool(attr.va_mode & S_ISUID) and cred.cr_uid != attr.va_uid
    setgid = bool(attr.va_mode & S_ISGID) and cred.cr_gid != attr.va_gid
    refused = imgp.vp.v_mount.mnt_flag & MNT_NOSUID or imgp.proc.p_flag2 & P2_NO_NEW_PRIVS
    if (setuid or setgid) and not refused:
        imgp.credential_setid = True
        cred = replace(
            cred,
            cr_uid=attr.va_uid if attr.va_mode & S_ISUID else cred.cr_uid,
            cr_gid=attr.va_gid if attr.va_mode & S_ISGID else cred.cr_gid,
        )
    if imgp.credential_setid or cred.cr_svuid != cred.cr_uid or cred.cr_svgid != cred.cr_gid:
        imgp.newcred = replace(cred, cr_svuid=cred.cr_uid, cr_svgid=cred.cr_gid)


# -- the new address space ------------------------------------------------------------------------------------


def exec_new_vmspace(imgp: ImageParams, sysent: SysentVec) -> None:
    """Empty the process's address space, or give it another when somebody shares the old one.

    This is the point of no return.
    """
    proc = imgp.proc
    kassert(proc.p_flag & P_INEXEC, "exec_new_vmspace: process %d is not in execve", proc.p_pid)
    kassert(not imgp.vmspace_destroyed, "exec_new_vmspace: the old image has gone already")
    imgp.stage("new_vmspace")
    imgp.vmspace_destroyed = True
    imgp.sysent = sysent
    minuser = sysent.sv_minuser
    if not proc.kernel.tunables.get(MAP_AT_ZERO, 0):
        minuser = max(minuser, PAGE_SIZE)
    vmspace = proc.p_vmspace
    vm_map = vmspace.vm_map
    reusable = vm_map.min_offset == minuser and vm_map.max_offset == sysent.sv_maxuser
    if vmspace.vm_refcnt == 1 and reusable:
        _check(imgp, vm_map_remove(vm_map, minuser, sysent.sv_maxuser), "the old image cannot be unmapped")
        if imgp.release.exec_clears_wirefuture:
            with vm_map.locked():
                vm_map.modflags(0, MAP_WIREFUTURE)
    else:
        errno = vmspace_exec(proc, minuser, sysent.sv_maxuser)
        if errno:
            raise ExecError(errno, "no memory for a new address space")
    vm_map = proc.p_vmspace.vm_map
    kassert(vm_map.nentries == 0 and vm_map.size == 0, "exec_new_vmspace: map not empty: %d entries", vm_map.nentries)
    vm_map.flags |= imgp.map_flags


def exec_map_stack(imgp: ImageParams) -> None:
    """Map the stack and the shared page, in the release's order.

    The stack has room for kern.maxssiz or for what PT_GNU_STACK says; RLIMIT_STACK only bounds how far it grows.
    """
    kassert(imgp.vmspace_destroyed, "exec_map_stack: the old image is still there")
    if imgp.release.exec_stack_after_interpreter:
        _map_stack(imgp)
        _map_shared_page(imgp)
    else:
        _map_shared_page(imgp)
        _map_stack(imgp)


def _map_shared_page(imgp: ImageParams) -> None:
    sysent = some(imgp.sysent, "sysent")
    obj = shared_page_obj(imgp.proc.kernel, sysent)
    if obj is None:
        return
    imgp.stage("shared_page", address=sysent.sv_shared_page_base)
    prot = VM_PROT_READ | VM_PROT_EXECUTE
    vm_object_reference(obj)
    rv = vm_map_fixed(imgp.proc.p_vmspace.vm_map,
        obj, 0, sysent.sv_shared_page_base, PAGE_SIZE, prot, prot, MAP_INHERIT_SHARE | MAP_ACC_NO_CHARGE
    )
    if rv != KERN_SUCCESS:
        vm_object_deallocate(obj)
        # Since FreeBSD 14 the place of a segment that lies there wins, and the program runs without the page.
        if not imgp.release.exec_stack_after_interpreter:
            _check(imgp, rv, "the shared page cannot be mapped")


def _map_stack(imgp: ImageParams) -> None:
    proc = imgp.proc
    vm = proc.kernel.vm
    sysent = some(imgp.sysent, "sysent")
    vmspace = proc.p_vmspace
    size = _stack_size(imgp)
    kassert(size & PAGE_MASK == 0, "exec_map_stack: size %#x", size)
    bottom = sysent.sv_usrstack - size
    prot = imgp.stack_prot or sysent.sv_stackprot
    imgp.stage("stack", address=bottom, size=size, prot=prot, top=sysent.sv_usrstack)
    if imgp.release.exec_stack_after_interpreter:
        # Since FreeBSD 14 by vm_map_find: there is no VMEM test.
        rv, bottom = vm_map_find(vmspace.vm_map, None, 0, bottom, size, 0, prot, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    else:
        rv = vm_map_stack(vmspace.vm_map, bottom, size, prot, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    _check(imgp, rv, f"a stack of {size:#x} bytes cannot be mapped")
    vmspace.vm_ssize = vm.sgrowsiz >> PAGE_SHIFT
    vmspace.vm_maxsaddr = bottom
    vmspace.vm_stacktop = sysent.sv_usrstack
    vmspace.vm_shp_base = sysent.sv_shared_page_base if sysent.sv_flags & SV_SHP else 0


def _stack_size(imgp: ImageParams) -> int:
    """Bytes to reserve; a size in PT_GNU_STACK raises the soft limit up to the hard one.

    Differs: a Linux program's size is ignored, as Linux does.
    """
    if not imgp.stack_sz or not some(imgp.sysent, "sysent").exec.gnu_stack_size:
        return imgp.proc.kernel.vm.maxssiz
    limit = imgp.proc.p_limit
    size = min(trunc_page(imgp.stack_sz), limit.lim_max(RLIMIT_STACK))
    if size > limit.lim_cur(RLIMIT_STACK):
        limit.set(RLIMIT_STACK, size, limit.lim_max(RLIMIT_STACK))
    return size


def _check(imgp: ImageParams, rv: KernReturn, what: str) -> None:
    """Turn a KERN code into the release's errno."""
    if rv == KERN_SUCCESS:
        return
    errno = rv if imgp.release.exec_raw_stack_error else _MMAP_ERRNO.get(rv, E.EINVAL)
    raise ExecError(errno, f"{what}: {KERN_NAMES.get(rv, repr(rv))}")


# -- commit: what outlives the image --------------------------------------------------------------------------


def _comm(imgp: ImageParams) -> str:
    """The process's name: last component of what runs; where the ABI says so that of the script."""
    rules = some(imgp.sysent, "sysent").exec
    path = imgp.args.path if rules.comm_is_script else imgp.args.fname
    return path.rpartition(b"/")[2][: rules.comm_max].decode(errors="replace")


def _commit(imgp: ImageParams) -> None:
    """What outlives the image: descriptors, signals, name, credentials, text file."""
    td = imgp.td
    proc = td.td_proc
    kassert(proc.p_threads == [td], "execve: process %d has other threads", proc.p_pid)
    kassert(imgp.sysent is proc.p_sysent, "execve: the image is not of the process's ABI")
    proc.p_fd.close_on_exec(proc)
    execsigs(td)
    proc.p_comm = td.td_name = _comm(imgp)
    if not proc.p_flag2 & P2_STKGAP_DISABLE_EXEC:
        proc.p_flag2 &= ~P2_STKGAP_DISABLE
    if imgp.newcred is not None:
        proc_set_cred(proc, imgp.newcred)
    _set_textvp(imgp)
    proc.p_args = list(imgp.args.argv)
    proc.p_envv = list(imgp.args.envv)
    proc.p_execpath = imgp.execpath.decode(errors="surrogateescape")


def _set_textvp(imgp: ImageParams) -> None:
    """The process runs this file from now on: nobody may write to it."""
    proc = imgp.proc
    imgp.vp.set_text()
    if proc.p_textvp is not None:
        proc.p_textvp.unset_text()
    proc.p_textvp = imgp.vp
