"""Processes and threads.

FreeBSD: sys/sys/proc.h.  Field names are the kernel's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.signalvar import StackT
from kernel_model.ucred import Ucred

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import FileDesc
    from kernel_model.kern.kern_resource import Plimit
    from kernel_model.kern.kernel import Kernel
    from kernel_model.kern.machdep import Cpu
    from kernel_model.kern.signalvar import KSigInfo, SigActs
    from kernel_model.kern.sysentvec import SysentVec
    from kernel_model.kern.vnode import Vnode
    from kernel_model.vm.vmspace import VmSpace

P2_STKGAP_DISABLE = 0x00000800
P2_STKGAP_DISABLE_EXEC = 0x00001000

P_INEXEC = 0x4000000
P_EXITED = 1
"""``p_state`` of a process that has finished; 0 while it runs."""


@dataclass(slots=True, eq=False)
class ProcLock:
    """PROC_LOCK(9): counted, so that who must hold it can be asserted; nothing else runs meanwhile."""

    held: int = 0

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *_: object) -> None:
        self.held -= 1

    def assert_owned(self) -> None:
        """PROC_LOCK_ASSERT(p, MA_OWNED)."""
        kassert(self.held, "process lock not owned")


@dataclass(slots=True, eq=False)
class Itimer:
    """A running interval timer: struct itimerval in nanoseconds of its own clock."""

    it_due: int
    it_interval: int = 0


@dataclass(slots=True, eq=False)
class Proc:
    """One process: struct proc."""

    kernel: Kernel
    p_pid: int
    p_vmspace: VmSpace
    p_limit: Plimit
    p_fd: FileDesc
    p_sigacts: SigActs
    p_sysent: SysentVec
    p_ucred: Ucred = field(default_factory=Ucred)
    p_ppid: int = 1
    p_pgid: int = 0
    p_sid: int = 0
    p_comm: str = ""
    p_args: list[bytes] = field(default_factory=list)
    p_envv: list[bytes] = field(default_factory=list)
    """The environment that the last execve(2) was given."""
    p_execpath: str = ""
    p_osrel: int = 0
    p_fctl0: int = 0
    p_flag: int = 0
    p_flag2: int = 0
    p_textvp: Vnode | None = None
    p_state: int = 0
    p_xexit: int = 0
    """Exit status argument of _exit(2), 0..255."""
    p_xsig: int = 0
    """Signal that killed the process, 0 for none."""
    p_sigqueue: list[KSigInfo] = field(default_factory=list)
    """Signals for the process as a whole that wait."""
    p_itimers: dict[int, Itimer] = field(default_factory=dict)
    """Interval timers that run: ITIMER_* to when they are due."""
    p_nice: int = 0
    p_personality: int = 0
    """Linux only: personality(2)."""
    p_linux_brk: int = 0
    """Linux only: the end of the heap to the byte, when it lies in the last page of the heap."""
    p_dumpable: int = 1
    """Linux only: prctl(PR_SET_DUMPABLE)."""
    p_threads: list[Thread] = field(default_factory=list)
    p_lock: ProcLock = field(default_factory=ProcLock)

    @property
    def wait_status(self) -> int:
        """What a shell shows: the exit status, or 128 + the signal in the ABI's numbers."""
        return 128 + self.p_sysent.sv_signo(self.p_xsig) if self.p_xsig else self.p_xexit


@dataclass(slots=True, eq=False)
class Thread:
    """One thread: struct thread.  ``td_cpu`` is where its registers are while it is current."""

    td_proc: Proc
    td_tid: int
    td_cpu: Cpu
    td_sigmask: int = 0
    """Blocked signals, bit ``signo - 1``, in FreeBSD numbers."""
    td_sigstk: StackT = field(default_factory=StackT)
    td_oldsigmask: int | None = None
    """The mask to go back to after sigsuspend(2)."""
    td_sigqueue: list[KSigInfo] = field(default_factory=list)
    td_name: str = ""
    td_ast: bool = False
    """Something must be done before the next user instruction: a signal, an exit, a new image."""
    td_syscall: int = -1
    """Number of the system call being served, -1 outside of one."""
    td_clear_tid: int = 0
    """Linux only: where set_tid_address(2) wants a zero when the thread ends."""
    td_robust_list: int = 0
    """Linux only: set_robust_list(2)."""
