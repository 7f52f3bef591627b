"""The FreeBSD ABI of amd64.  FreeBSD: elf64_freebsd_sysvec, sys/amd64/amd64/elf_machdep.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.abi.freebsd64.sendsig import sendsig, sendsig_failed
from kernel_model.abi.freebsd64.sigcode import SIGCODE
from kernel_model.abi.freebsd64.trap import cpu_fetch_syscall_args, cpu_set_syscall_retval, fault_signal, transtrap
from kernel_model.kern.kern_prot import NGROUPS_MAX
from kernel_model.kern.kern_time import CLOCK_MONOTONIC_FAST, CLOCK_REALTIME_FAST, CLOCK_UPTIME_FAST, TIMER_ABSTIME
from kernel_model.kern.proc import SysentVec
from kernel_model.kern.signo import SIGSYS, sigprop
from kernel_model.kern.sys_generic import IOSIZE_MAX
from kernel_model.kern.sys_pipe import PIPE_BUF
from kernel_model.kern.sysentvec import (
    SV_ABI_FREEBSD,
    SV_SHP,
    CredRules,
    ExecRules,
    FileRules,
    PathRules,
    SignalRules,
    TimeRules,
)
from kernel_model.kern.vfs_lookup import MAXSYMLINKS
from kernel_model.kern.vnode import PATH_MAX
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_param import SHAREDPAGE, USRSTACK, VM_MAXUSER_ADDRESS, VM_MIN_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kernel_model.kern.sysent import Sysent

SIZEOF_PS_STRINGS = 32
MAXCOMLEN = 19


def _table() -> Mapping[int, Sysent]:
    from kernel_model.abi.freebsd64.sysent import table  # all handlers: most programs need only one ABI's

    return table()


def _same(number: int) -> int:
    return number


ELF64_FREEBSD_SYSVEC = SysentVec(
    name="freebsd",
    sv_name="FreeBSD ELF64",
    sv_flags=SV_ABI_FREEBSD | SV_SHP,
    sv_table=_table,
    sv_fetch_syscall_args=cpu_fetch_syscall_args,
    sv_set_syscall_retval=cpu_set_syscall_retval,
    sv_sendsig=sendsig,
    no_frame=sendsig_failed,
    sv_transtrap=transtrap,
    fault_signal=fault_signal,
    sv_signo=_same,
    sv_minuser=VM_MIN_ADDRESS,
    sv_maxuser=VM_MAXUSER_ADDRESS,
    sv_usrstack=USRSTACK,
    sv_psstrings=USRSTACK - SIZEOF_PS_STRINGS,
    sv_stackprot=VM_PROT_ALL,
    sv_shared_page_base=SHAREDPAGE,
    sv_sigcode_base=SHAREDPAGE,
    sv_sigcode=SIGCODE,
    signals=SignalRules(
        sigprop=sigprop,
        once_below=0,
        unknown_call=SIGSYS,
        kernel_present=False,
    ),
    paths=PathRules(
        path_max=PATH_MAX,
        maxsymlinks=MAXSYMLINKS,
        last_slash_follows=True,
        empty_symlink=True,
        link_refuses_directory_first=True,
        unlink_directory=E.EPERM,
        rmdir_dotdot=E.EINVAL,
        rename_dot=E.EINVAL,
        getdirentries_no_directory=E.EINVAL,
        readlink_needs_room=False,
        readlink_of_descriptor=False,
    ),
    files=FileRules(
        open_takes_descriptor_first=False,
        open_symlink=E.EMLINK,
        open_socket=E.EOPNOTSUPP,
        devfd_reopens=False,
        rw_max=IOSIZE_MAX,
        rw_size_negative=E.EINVAL,
        rw_keeps_progress=False,
        device_takes_any_offset=True,
        pipe_buf=PIPE_BUF,
        pipe_both_ways=True,
        flock_no_operation=E.EBADF,
        truncate_obeys_fsize=False,
        mmap_no_file=E.EINVAL,
        mmap_device_private=E.EINVAL,
    ),
    time=TimeRules(
        clockid=_same,
        coarse_clocks=frozenset({CLOCK_UPTIME_FAST, CLOCK_REALTIME_FAST, CLOCK_MONOTONIC_FAST}),
        nanosleep_flags=TIMER_ABSTIME,
        null_itimer_stops=False,
    ),
    creds=CredRules(
        ngroups_max=NGROUPS_MAX + 1,
        groups_hold_egid=True,
        minus_one_is_an_id=True,
        setid_sets_all=True,
        getres_null=True,
    ),
    exec=ExecRules(
        argv_needed=True,
        comm_max=MAXCOMLEN,
        comm_is_script=False,
        gnu_stack_size=True,
        limit_protects_stack=True,
    ),
)
