"""The structures that point at each other: an ABI, a process, its threads, and the kernel that has them all.

    Kernel --> procs --> Proc --> p_threads --> Thread --> td_cpu
       ^                |    ^                    |
       +---- kernel ----+    +------ td_proc -----+
                        +--> p_sysent: SysentVec, whose functions take a Thread

FreeBSD: sys/sys/proc.h, struct sysentvec of sys/sys/sysent.h, allproc and the other globals of sys/kern.
Field names are the kernel's.  What is done with them stands in the modules above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from kernel_model.errors import kassert
from kernel_model.host.clock import Clock, HostClock, SteppedClock
from kernel_model.host.random import HostRandom, RandomSource, seeded_random
from kernel_model.kern.signalvar import StackT
from kernel_model.ucred import Ucred

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel_model.kern.kern_descrip import FileDesc
    from kernel_model.kern.machdep import Cpu, TrapFrame
    from kernel_model.kern.resourcevar import Plimit
    from kernel_model.kern.shmfd import ShmStore
    from kernel_model.kern.signalvar import KSigInfo, SigAction, SigActs, TrapSignal
    from kernel_model.kern.sysent import SyscallReturn, Sysent
    from kernel_model.kern.sysentvec import (
        CredRules,
        ExecRules,
        FileRules,
        PathRules,
        SignalRules,
        SyscallArgs,
        TimeRules,
    )
    from kernel_model.kern.vnode import Vnode
    from kernel_model.ktrace import KTrace
    from kernel_model.release import Release
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_object import VmObject
    from kernel_model.vm.vm_param import KernReturn, VmOffset
    from kernel_model.vm.vmspace import VmSpace

P2_STKGAP_DISABLE = 0x00000800
P2_STKGAP_DISABLE_EXEC = 0x00001000
P2_NO_NEW_PRIVS = 0x00008000
"""Set-id files give nothing.  FreeBSD: from 13.1 on; a Linux program may ask for it in every release."""

P_INEXEC = 0x4000000
P_EXITED = 1
"""``p_state`` of a process that has finished; 0 while it runs."""
FIRST_PID = 1000
"""Model only: the first program's pid, the same in every run."""


class SysentVec(NamedTuple):
    """One ABI; its rules are explained in ``sysentvec``.

    What builds the first stack belongs to the kinds of ELF program (imgact_elf_brand).
    """

    name: str
    """As in traces: "freebsd" or "linux"."""
    sv_name: str
    """As programs are told: kern.proc.sv_name."""
    sv_flags: int
    sv_table: Callable[[], Mapping[int, Sysent]]
    """The system-call table, assembled when first asked for."""
    sv_fetch_syscall_args: Callable[[Thread, int, SyscallArgs], tuple[int, SyscallArgs]]
    """(td, number, registers): number and arguments that are meant.  FreeBSD: syscall(2) and __syscall(2) shift
    them, cpu_fetch_syscall_args(), amd64/trap.c.  Linux: as they are, linux_fetch_syscall_args()."""
    sv_set_syscall_retval: Callable[[int], int]
    """What the machine gets for a call that failed with this errno (table in subr_syscall).  FreeBSD: carry and
    errno, cpu_set_syscall_retval(), amd64/vm_machdep.c.  Linux: minus Linux's errno, linux_set_syscall_retval()."""
    sv_sendsig: Callable[[Thread, SigAction, KSigInfo, int], bool]
    """(td, action, info, mask to return to): False when the frame could not be written."""
    no_frame: Callable[[Thread, int], None]
    """(td, signo): the frame of *signo*'s handler could not be written.  FreeBSD: killed by SIGILL, sendsig(),
    amd64/machdep.c.  Linux: SIGSEGV instead, force_sigsegv(), kernel/signal.c."""
    sv_transtrap: Callable[[Thread, int, TrapFrame], tuple[TrapSignal, int]]
    """(td, x86 vector, registers): the signal of an exception other than a page fault, and its address.  FreeBSD:
    trap(), amd64/trap.c.  Linux: arch/x86/kernel/traps.c."""
    fault_signal: Callable[[Proc, VmOffset, int, KernReturn], TrapSignal]
    """(process, va, access, vm_fault's refusal): the signal of a page fault.  FreeBSD: by the code of the refusal,
    vm_fault_trap(), vm_fault.c.  Linux: by what is mapped there, bad_area() and do_sigbus(), arch/x86/mm/fault.c."""
    sv_signo: Callable[[int], int]
    """FreeBSD signal number to this ABI's."""
    sv_minuser: int
    sv_maxuser: int
    sv_usrstack: int
    sv_psstrings: int
    sv_stackprot: int
    sv_shared_page_base: int
    sv_sigcode_base: int
    """Signal trampoline inside the shared page; 0 when the program brings its own."""
    sv_sigcode: bytes
    signals: SignalRules
    paths: PathRules
    files: FileRules
    time: TimeRules
    creds: CredRules
    exec: ExecRules


@dataclass(slots=True, eq=False)
class ProcLock:
    """PROC_LOCK(9): counted, so that who must hold it can be asserted; nothing else runs meanwhile."""

    held: int = 0

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *_: object) -> None:
        kassert(self.held > 0, "process lock not owned")
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

    def __repr__(self) -> str:
        return f"<Proc {self.p_pid} {self.p_comm or 'without a program'} ({self.p_sysent.name})>"


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

    def __repr__(self) -> str:
        return f"<Thread {self.td_tid} of {self.td_proc!r}>"


class ElfBrand(Protocol):
    """What the kernel as a whole knows of a kind of ELF program; imgact_elf_brand knows it as ElfBrandinfo."""

    @property
    def name(self) -> str:
        """For people."""
        ...


@dataclass(slots=True, eq=False)
class Kernel:
    """The kernel's own state; what it does is in the modules named after FreeBSD's files."""

    vm: Vm
    rootvnode: Vnode | None = None
    seed: int | None = None
    """None: the host's clock and random numbers; a number: repeatable ones."""
    hostname: str = "growstack"
    procs: dict[int, Proc] = field(default_factory=dict)
    clock: Clock = field(default_factory=HostClock)
    rng: RandomSource = field(default_factory=HostRandom)
    uprintf: Callable[[str], None] | None = None
    """Shows a line to the person at the terminal: why a program died inside execve.  FreeBSD: uprintf(9)."""
    execsw: list[Callable[..., bool]] = field(default_factory=list)
    """Image activators in the order in which execve asks them; each takes its imgact.ImageParams."""
    elf_brands: list[ElfBrand] = field(default_factory=list)
    """Kinds of ELF program in the order in which they are asked: imgact_elf_brand.elf_insert_brand_entry()."""
    sysvecs: dict[str, SysentVec] = field(default_factory=dict)
    """The ABIs by name, registered at boot."""
    shared_pages: dict[str, VmObject] = field(default_factory=dict)
    """The page that programs of an ABI share with the kernel; see kern_sharedpage."""
    adapters: dict[str, dict[int, Callable[..., SyscallReturn]]] = field(default_factory=dict)
    """By ABI and number, what subr_syscall has made of the rows that were used."""
    tunables: dict[str, int] = field(default_factory=dict)
    """sysctl(8) names that were set, or given when the machine was made."""
    lastpid: int = FIRST_PID - 1
    lastpipe: int = 0
    """Inode number of the newest pipe."""
    shm_dictionary: dict[bytes, Vnode] = field(default_factory=dict)
    """Named shared memory objects."""
    shm_store: ShmStore | None = None
    """What holds the contents of all shared memory objects; None until the first."""

    def __post_init__(self) -> None:
        if self.seed is not None:
            self.rng = seeded_random(self.seed)
            self.clock = SteppedClock()

    @property
    def ktrace(self) -> KTrace:
        """Where events go."""
        return self.vm.ktrace

    @property
    def curthread(self) -> Thread | None:
        """The thread that runs."""
        return cast("Thread | None", self.vm.pcpu.curthread)

    @property
    def release(self) -> Release:
        """The FreeBSD release whose behaviour this kernel has."""
        return self.vm.release

    @property
    def boottime(self) -> int:
        """When the kernel started, nanoseconds since 1970."""
        return self.clock.nanotime() - self.clock.nanouptime()

    def __repr__(self) -> str:
        return f"<Kernel {self.release.name}: {', '.join(map(repr, self.procs.values())) or 'no process'}>"

    def newpid(self) -> int:
        """Hand out the next process or thread id."""
        self.lastpid += 1
        kassert(self.lastpid not in self.procs, "process id %d is taken", self.lastpid)
        return self.lastpid

    def random_bytes(self, count: int) -> bytes:
        """arc4random_buf(9)."""
        return self.rng.randbytes(count)
