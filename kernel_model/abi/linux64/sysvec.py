"""The Linux ABI of x86-64.  FreeBSD: elf_linux_sysvec, sys/amd64/linux/linux_sysvec.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.linux64.linux_time import COARSE_CLOCKS, linux_to_native_clockid
from kernel_model.abi.linux64.sendsig import sendsig, sendsig_failed
from kernel_model.abi.linux64.signo import linux_sigprop, to_linux
from kernel_model.abi.linux64.trap import (
    fault_signal,
    linux_fetch_syscall_args,
    linux_set_syscall_retval,
    transtrap,
)
from kernel_model.kern.proc import SysentVec
from kernel_model.kern.signo import SIGRTMIN
from kernel_model.kern.sysentvec import (
    SV_ABI_LINUX,
    CredRules,
    ExecRules,
    FileRules,
    PathRules,
    SignalRules,
    TimeRules,
)
from kernel_model.vm.vm import VM_PROT_RW
from kernel_model.vm.vm_param import SHAREDPAGE, VM_MAXUSER_ADDRESS, VM_MIN_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.kern.sysent import Sysent

LINUX_USRSTACK = 0x7FFF_FFFF_F000
"""TASK_SIZE: Linux leaves the last page of user space empty."""
LINUX_PATH_MAX = 4096
LINUX_MAXSYMLINKS = 40
LINUX_PIPE_BUF = 4096
LINUX_NGROUPS_MAX = 65536
MAX_RW_COUNT = 0x7FFFF000
"""INT_MAX rounded down to a page."""
TASK_COMM_LEN = 16
_ANY_FLAGS = -1


def _table() -> Mapping[int, Sysent]:
    from kernel_model.abi.linux64.sysent import table  # all handlers: most programs need only one ABI's

    return table()


ELF64_LINUX_SYSVEC = SysentVec(
    name="linux",
    sv_name="Linux ELF64",
    sv_flags=SV_ABI_LINUX,
    sv_table=_table,
    sv_fetch_syscall_args=linux_fetch_syscall_args,
    sv_set_syscall_retval=linux_set_syscall_retval,
    sv_sendsig=sendsig,
    no_frame=sendsig_failed,
    sv_transtrap=transtrap,
    fault_signal=fault_signal,
    sv_signo=to_linux,
    sv_minuser=VM_MIN_ADDRESS,
    sv_maxuser=VM_MAXUSER_ADDRESS,
    sv_usrstack=LINUX_USRSTACK,
    sv_psstrings=0,
    sv_stackprot=VM_PROT_RW,
    sv_shared_page_base=SHAREDPAGE,
    sv_sigcode_base=0,
    sv_sigcode=b"",
    signals=SignalRules(
        sigprop=linux_sigprop,
        once_below=SIGRTMIN,
        unknown_call=0,
        kernel_present=True,
    ),
    paths=PathRules(
        path_max=LINUX_PATH_MAX,
        maxsymlinks=LINUX_MAXSYMLINKS,
        last_slash_follows=False,
        empty_symlink=False,
        link_refuses_directory_first=False,
        unlink_directory=E.EISDIR,
        rmdir_dotdot=E.ENOTEMPTY,
        rename_dot=E.EBUSY,
        getdirentries_no_directory=E.ENOTDIR,
        readlink_needs_room=True,
        readlink_of_descriptor=True,
    ),
    files=FileRules(
        open_takes_descriptor_first=True,
        open_symlink=E.ELOOP,
        open_socket=E.ENXIO,
        devfd_reopens=True,
        rw_max=MAX_RW_COUNT,
        rw_size_negative=E.EFAULT,
        rw_keeps_progress=True,
        device_takes_any_offset=False,
        pipe_buf=LINUX_PIPE_BUF,
        pipe_both_ways=False,
        flock_no_operation=E.EINVAL,
        truncate_obeys_fsize=True,
        mmap_no_file=E.ENODEV,
        mmap_device_private=E.ENODEV,
    ),
    time=TimeRules(
        clockid=linux_to_native_clockid,
        coarse_clocks=COARSE_CLOCKS,
        nanosleep_flags=_ANY_FLAGS,
        null_itimer_stops=True,
    ),
    creds=CredRules(
        ngroups_max=LINUX_NGROUPS_MAX,
        groups_hold_egid=False,
        minus_one_is_an_id=False,
        setid_sets_all=False,
        getres_null=False,
    ),
    exec=ExecRules(
        argv_needed=False,
        comm_max=TASK_COMM_LEN - 1,
        comm_is_script=True,
        gnu_stack_size=False,
        limit_protects_stack=False,
    ),
)
