"""What differs between the ABIs, as data: the kernel asks the record of a process, never which ABI it has.

FreeBSD: struct sysentvec, sys/sys/sysent.h.  SysentVec itself takes threads and so stands with them, in ``proc``; its
rules are here.  The two instances are abi/freebsd64/sysvec.py and abi/linux64/sysvec.py; each fills in every field.
Fields with ``sv_`` are FreeBSD's; the others are decisions that FreeBSD's own Linux ABI takes in sys/compat/linux, and
that here the shared code takes by these values.  Each says first what FreeBSD does (file of its sources) and then what
Linux does (file of its).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

SV_ABI_LINUX = 3
SV_ABI_FREEBSD = 9
SV_SHP = 0x010000
"""The ABI has a shared page at the top of user space."""

Syscall = Callable[[int, int, int, int, int, int, int], "int | tuple[int, int]"]
"""``(code, a0 .. a5)`` of the current thread; see subr_syscall.bind()."""
SyscallArgs = tuple[int, int, int, int, int, int]
"""The six argument registers of a system call."""


class SignalRules(NamedTuple):
    """What signals do, and what they tell."""

    sigprop: Callable[[int], int]
    """What a signal does by default, SIGPROP_*.  FreeBSD: sigproptbl, kern_sig.c, ignores SIGIO.  Linux:
    include/linux/signal.h, is killed by it."""
    once_below: int
    """A signal with a lower number waits only once.  FreeBSD: none, sigqueue_add(), kern_sig.c.  Linux: the
    standard ones, legacy_queue(), kernel/signal.c."""
    unknown_call: int
    """The signal for a number that no system call has, 0 for none.  FreeBSD: SIGSYS, nosys(), kern_sig.c.  Linux:
    none, do_syscall_64(), arch/x86/entry/common.c."""
    kernel_present: bool
    """Whether the error code of a fault above user space says that a page is there (PGEX_P).  FreeBSD: as the
    page table does, trap_pfault(), amd64/trap.c.  Linux: always, so that nobody learns which addresses are used,
    sanitize_error_code(), arch/x86/mm/fault.c."""


class PathRules(NamedTuple):
    """Names of files, and the calls that change them."""

    path_max: int
    """Bytes of a path with its NUL.  FreeBSD: PATH_MAX 1024, sys/syslimits.h.  Linux: 4096,
    include/uapi/linux/limits.h."""
    maxsymlinks: int
    """Symbolic links in one look-up.  FreeBSD: MAXSYMLINKS 32, sys/param.h.  Linux: 40, include/linux/namei.h."""
    last_slash_follows: bool
    """Whether a slash after the last component makes namei_last() follow a link and refuse a file.  FreeBSD: yes,
    lookup(), vfs_lookup.c.  Linux: no, the caller looks at it, and creation answers EISDIR, open_last_lookups(),
    fs/namei.c."""
    empty_symlink: bool
    """Whether symlink(2) takes an empty target.  FreeBSD: yes, kern_symlinkat(), vfs_syscalls.c.  Linux: ENOENT,
    getname(), fs/namei.c."""
    link_refuses_directory_first: bool
    """Whether link(2) refuses a directory before it looks at the new name.  FreeBSD: yes, kern_linkat_vp(),
    vfs_syscalls.c.  Linux: after it, vfs_link(), fs/namei.c."""
    unlink_directory: int
    """Errno of unlink(2) for a directory.  FreeBSD: EPERM, kern_unlinkat(), vfs_syscalls.c.  Linux: EISDIR,
    may_delete(), fs/namei.c."""
    rmdir_dotdot: int
    """Errno of rmdir(2) for ``..``.  FreeBSD: EINVAL, lookup(), vfs_lookup.c.  Linux: ENOTEMPTY, do_rmdir(),
    fs/namei.c."""
    rename_dot: int
    """Errno of rename(2) for ``.`` and ``..``.  FreeBSD: EINVAL, lookup(), vfs_lookup.c.  Linux: EBUSY,
    do_renameat2(), fs/namei.c."""
    getdirentries_no_directory: int
    """Errno of reading entries from what is no directory.  FreeBSD: EINVAL, kern_getdirentries(), vfs_syscalls.c.
    Linux: ENOTDIR, iterate_dir(), fs/readdir.c."""
    readlink_needs_room: bool
    """Whether readlink(2) refuses a buffer of no bytes.  FreeBSD: no, kern_readlinkat(), vfs_syscalls.c.  Linux:
    EINVAL, do_readlinkat(), fs/stat.c."""
    readlink_of_descriptor: bool
    """Whether readlinkat(2) with an empty path reads the link that the descriptor is.  FreeBSD: no.  Linux: yes,
    LOOKUP_EMPTY of do_readlinkat(), fs/stat.c."""


class FileRules(NamedTuple):
    """Open files: opening, reading, writing, mapping."""

    open_takes_descriptor_first: bool
    """Whether open(2) finds a free descriptor before it looks the path up, so that EMFILE wins.  FreeBSD: no,
    kern_openat(), vfs_syscalls.c.  Linux: yes, do_sys_openat2(), fs/open.c."""
    open_symlink: int
    """Errno of opening a symbolic link itself.  FreeBSD: EMLINK, vn_open_vnode(), vfs_vnops.c.  Linux: ELOOP,
    may_open(), fs/namei.c."""
    open_socket: int
    """Errno of opening a socket by name.  FreeBSD: EOPNOTSUPP, vn_open_vnode(), vfs_vnops.c.  Linux: ENXIO,
    no_open(), fs/inode.c."""
    devfd_reopens: bool
    """Whether /dev/fd/N of a regular file opens the file anew.  FreeBSD: no, the same open file, dupfdopen(),
    kern_descrip.c.  Linux: yes, proc_pid_get_link(), fs/proc/base.c."""
    rw_max: int
    """Bytes that one read or write moves at most; more are cut off.  FreeBSD: IOSIZE_MAX, sys_generic.c.  Linux:
    MAX_RW_COUNT, include/linux/fs.h."""
    rw_size_negative: int
    """Errno of a read or write of 2**63 bytes or more.  FreeBSD: EINVAL, sys_read(), sys_generic.c.  Linux:
    EFAULT, access_ok() in vfs_read(), fs/read_write.c."""
    rw_keeps_progress: bool
    """Whether a bad page in the middle of a buffer ends a transfer with what was moved.  FreeBSD: no, EFAULT,
    dofileread(), sys_generic.c.  Linux: yes, filemap_read() and generic_perform_write(), mm/filemap.c."""
    device_takes_any_offset: bool
    """Whether pread(2) and pwrite(2) on a character device ask neither for its sign nor for seeking.  FreeBSD:
    yes, kern_preadv(), sys_generic.c.  Linux: no, and the sign is looked at first, ksys_pread64(),
    fs/read_write.c."""
    pipe_buf: int
    """Bytes that a pipe takes all or not at all.  FreeBSD: PIPE_BUF 512, sys/syslimits.h.  Linux: 4096,
    include/uapi/linux/limits.h."""
    pipe_both_ways: bool
    """Whether both ends of a pipe read and write.  FreeBSD: yes, kern_pipe(), sys_pipe.c.  Linux: no,
    create_pipe_files(), fs/pipe.c."""
    flock_no_operation: int
    """Errno of flock(2) that names no operation.  FreeBSD: EBADF, sys_flock(), kern_descrip.c.  Linux: EINVAL,
    flock_translate_cmd(), fs/locks.c."""
    truncate_obeys_fsize: bool
    """Whether truncate(2) obeys RLIMIT_FSIZE.  FreeBSD: no.  Linux: yes, inode_newsize_ok(), fs/attr.c."""
    mmap_no_file: int
    """Errno of mapping a directory, a FIFO and the like.  FreeBSD: EINVAL, vm_mmap_vnode(), vm_mmap.c.  Linux:
    ENODEV, do_mmap(), mm/mmap.c."""
    mmap_device_private: int
    """Errno of mapping a device without memory with MAP_PRIVATE.  FreeBSD: EINVAL, vm_mmap_cdev(), vm_mmap.c.
    Linux: ENODEV, do_mmap(), mm/mmap.c."""


class TimeRules(NamedTuple):
    """Clocks and timers."""

    clockid: Callable[[int], int]
    """The program's number of a clock to the kernel's; may raise EINVAL.  FreeBSD: the same.  Linux:
    include/uapi/linux/time.h; linux_to_native_clockid(), sys/compat/linux/linux_time.c."""
    coarse_clocks: frozenset[int]
    """The clocks that count ticks, in the program's numbers.  FreeBSD: CLOCK_*_FAST, sys/_clock_id.h.  Linux:
    CLOCK_*_COARSE, include/uapi/linux/time.h."""
    nanosleep_flags: int
    """Flags that clock_nanosleep(2) takes.  FreeBSD: TIMER_ABSTIME, kern_clock_nanosleep(), kern_time.c.  Linux:
    any, kernel/time/posix-timers.c."""
    null_itimer_stops: bool
    """Whether setitimer(2) without a value stops the timer.  FreeBSD: no, it only asks, sys_setitimer(),
    kern_time.c.  Linux: yes, kernel/time/itimer.c."""


class CredRules(NamedTuple):
    """Users and groups."""

    ngroups_max: int
    """Groups that setgroups(2) takes.  FreeBSD: ngroups_max + 1, kern_prot.c.  Linux: NGROUPS_MAX 65536,
    include/uapi/linux/limits.h."""
    groups_hold_egid: bool
    """Whether the first group is the effective one.  FreeBSD: yes, cr_gid is cr_groups[0], sys/ucred.h.  Linux:
    no, include/linux/cred.h."""
    minus_one_is_an_id: bool
    """Whether setuid(2) and setgid(2) take -1.  FreeBSD: yes, sys_setuid(), kern_prot.c.  Linux: EINVAL,
    __sys_setuid(), kernel/sys.c."""
    setid_sets_all: bool
    """Whether setuid(2) and setgid(2) of an ordinary user set real and saved id too.  FreeBSD: yes,
    POSIX_APPENDIX_B_4_2_2, kern_prot.c.  Linux: no, __sys_setuid(), kernel/sys.c."""
    getres_null: bool
    """Whether getresuid(2) and getresgid(2) skip a null pointer.  FreeBSD: yes, sys_getresuid(), kern_prot.c.
    Linux: EFAULT, kernel/sys.c."""


class ExecRules(NamedTuple):
    """A program's image, its name and its stack."""

    argv_needed: bool
    """Whether execve(2) refuses a null argv with EFAULT.  FreeBSD: yes, exec_copyin_args(), kern_exec.c.  Linux:
    no, get_user_arg_ptr() and count(), fs/exec.c."""
    comm_max: int
    """Bytes of a process's name.  FreeBSD: MAXCOMLEN 19, sys/param.h.  Linux: TASK_COMM_LEN - 1,
    include/linux/sched.h."""
    comm_is_script: bool
    """Whether a script gives the process its name, not its interpreter.  FreeBSD: no, do_execve(), kern_exec.c.
    Linux: yes, bprm->filename in begin_new_exec(), fs/exec.c."""
    gnu_stack_size: bool
    """Whether the size in PT_GNU_STACK sizes the stack.  FreeBSD: yes, exec_new_vmspace(), kern_exec.c.  Linux:
    no, load_elf_binary(), fs/binfmt_elf.c."""
    limit_protects_stack: bool
    """Whether setrlimit(2) changes the rights of the band between the old and the new stack limit.  FreeBSD: yes,
    kern_proc_setrlimit(), kern_resource.c.  Linux: no, do_prlimit(), kernel/sys.c."""
