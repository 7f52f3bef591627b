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
Differs: one thread per process; no ktrace files, no MAC, no process descriptors; with no room left in exec_map or in
memory for the strings the answer is ENOMEM, nobody waits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errno import EJUSTRETURN
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.kern.copyin import copyin, copyinstr
from kernel_model.kern.elf_header import header_fault
from kernel_model.kern.imgact import ExecError, ImageArgs, ImageParams, path_text
from kernel_model.kern.imgact_elf import exec_elf_imgact
from kernel_model.kern.imgact_shell import exec_shell_imgact
from kernel_model.kern.kern_exec_vnode import exec_open
from kernel_model.kern.kern_exit import exit1
from kernel_model.kern.kern_prot import proc_set_cred
from kernel_model.kern.kern_sig import execsigs
from kernel_model.kern.proc import P2_STKGAP_DISABLE, P2_STKGAP_DISABLE_EXEC, P_INEXEC
from kernel_model.kern.signo import SIGABRT
from kernel_model.kern.vfs_lookup import vn_fullpath
from kernel_model.kern.vnode import MNT_NOSUID, PATH_MAX, S_ISGID, S_ISUID
from kernel_model.vm.vm_kern import exec_map_alloc, exec_map_free, kmem_write
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_free

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kernel_model.kern.proc import Thread

MAXCOMLEN: Final = 19
LINUX_PATH_MAX: Final = 4096


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
    linux = td.td_proc.p_sysent.is_linux
    if not argv and not linux:
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
    return LINUX_PATH_MAX if td.td_proc.p_sysent.is_linux else PATH_MAX


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


# -- the new image ----------------------------------------------------------------------------------------------


def kern_execve(td: Thread, args: ImageArgs) -> int:
    """Execute what *args* says; see ``execve``.  FreeBSD: kern_execve(), do_execve()."""
    proc = td.td_proc
    vm, kt = proc.kernel.vm, proc.kernel.ktrace
    old_osrel, old_fctl0, old_cause, old_vmspace = proc.p_osrel, proc.p_fctl0, kt.cause, proc.p_vmspace
    kassert(not proc.p_flag & P_INEXEC, "execve: process %d is in execve already", proc.p_pid)
    buf = _alloc_args(td, args)
    proc.p_flag |= P_INEXEC
    run = _Run(td, args)
    try:
        run.do_execve()
    except SyscallError as error:
        proc.p_osrel, proc.p_fctl0 = old_osrel, old_fctl0
        failure = error if isinstance(error, ExecError) else ExecError(error.errno, E.NAMES.get(error.errno, ""))
        run.fail(failure)
        if run.destroyed:
            return exit1(td, 0, SIGABRT)
        raise failure from None
    finally:
        proc.p_flag &= ~P_INEXEC
        run.release_object()
        exec_map_free(vm, buf)
        if proc.p_vmspace is not old_vmspace:
            vmspace_free(old_vmspace)
        kt.cause = old_cause
    return EJUSTRETURN


def _alloc_args(td: Thread, args: ImageArgs) -> int:
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


class _Run:
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

    def release_object(self) -> None:
        """Let go of the VM object of the file."""
        if self.imgp is not None and self.imgp.object is not None:
            vm_object_deallocate(self.imgp.object)
            self.imgp.object = None

    def fail(self, error: ExecError) -> None:
        """Tell that it failed, and why; aloud when the program that asked is gone and cannot."""
        if self.imgp is None:
            return
        fate = "SIGABRT" if self.destroyed else E.NAMES.get(error.errno, str(error.errno))
        self.imgp.stage("failed", errno=error.errno, reason=error.reason, result=fate)
        uprintf = self.td.td_proc.kernel.uprintf
        if self.destroyed and uprintf is not None:
            uprintf(f"{path_text(self.args.path)}: {error.reason}")

    def do_execve(self) -> None:
        """Everything between the arguments and the registers."""
        td, args = self.td, self.args
        proc = td.td_proc
        if not args.argv and not proc.kernel.release.exec_argc_zero_ok:
            raise ExecError(E.EINVAL, "no arguments at all")
        imgp = self._activate()
        kassert(imgp.vmspace_destroyed and imgp.auxargs is not None, "execve: image of %r half made", args.fname)
        brand = some(imgp.brand, "brand")
        if proc.p_textvp is None:
            # Model only: the first process has no program yet, but its stack may have to grow for the strings.
            _set_textvp(imgp)
        stack_base = brand.copyout_strings(imgp)
        imgp.stage("commit", comm=_comm(imgp))
        _commit(imgp)
        brand.setregs(td, imgp, stack_base)
        imgp.stage("registers", rip=imgp.entry_addr, stack=stack_base)

    def _activate(self) -> ImageParams:
        """Run the activators; a script leads once more through the look-up, with its interpreter."""
        interpreted = False
        while True:
            imgp = exec_open(self.td, self.args, self.args.fname)
            imgp.interpreted = interpreted
            self.release_object()
            self.imgp = imgp
            self.td.td_proc.p_osrel = self.td.td_proc.p_fctl0 = 0
            _prepare_credentials(imgp)
            imgp.execpath = _execpath(imgp)
            if exec_elf_imgact(imgp):
                return imgp
            if not exec_shell_imgact(imgp):
                raise ExecError(E.ENOEXEC, header_fault(imgp.image_header))
            interpreted = True
            imgp.stage("interpret", interpreter=path_text(imgp.interpreter_name))
            self.args.fname = imgp.interpreter_name


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
    if (setuid or setgid) and not imgp.vp.v_mount.mnt_flag & MNT_NOSUID:
        imgp.credential_setid = True
        cred = replace(
            cred,
            cr_uid=attr.va_uid if attr.va_mode & S_ISUID else cred.cr_uid,
            cr_gid=attr.va_gid if attr.va_mode & S_ISGID else cred.cr_gid,
        )
    if imgp.credential_setid or cred.cr_svuid != cred.cr_uid or cred.cr_svgid != cred.cr_gid:
        imgp.newcred = replace(cred, cr_svuid=cred.cr_uid, cr_svgid=cred.cr_gid)


def _comm(imgp: ImageParams) -> str:
    """The process's name: last component of what runs; for a Linux script that of the script."""
    linux = some(imgp.sysent, "sysent").is_linux
    path = imgp.args.path if linux else imgp.args.fname
    return path.rpartition(b"/")[2][: 15 if linux else MAXCOMLEN].decode(errors="replace")


def _commit(imgp: ImageParams) -> None:
    """What outlives the image: descriptors, signals, name, credentials, text file."""
    td = imgp.td
    proc = td.td_proc
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
    imgp.vp.v_textcount += 1
    if proc.p_textvp is not None:
        proc.p_textvp.v_textcount -= 1
    proc.p_textvp = imgp.vp
