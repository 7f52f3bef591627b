"""What FreeBSD keeps in globals of sys/kern: one Kernel per machine.

FreeBSD: allproc, rootvnode, hostname, boottime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from kernel_model.host.clock import Clock, HostClock, SteppedClock
from kernel_model.host.memory import SwapFile
from kernel_model.host.random import HostRandom, RandomSource, seeded_random
from kernel_model.kern.kern_ktrace import FaultRecorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.kern.shmfd import ShmStore, ShmVnode
    from kernel_model.kern.sysent import SyscallReturn
    from kernel_model.kern.vnode import Vnode
    from kernel_model.ktrace import KTrace
    from kernel_model.release import Release
    from kernel_model.vm.vm_init import Vm
    from kernel_model.vm.vm_object import VmObject

FIRST_PID = 1000
"""Model only: the first program's pid, the same in every run."""


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
    shared_pages: dict[str, VmObject] = field(default_factory=dict)
    """The page that programs of an ABI share with the kernel; see kern_sharedpage."""
    adapters: dict[str, dict[int, Callable[..., SyscallReturn]]] = field(default_factory=dict)
    """By ABI and number, what subr_syscall has made of the rows that were used."""
    tunables: dict[str, int] = field(default_factory=dict)
    """sysctl(8) names that were set, or given when the machine was made."""
    lastpid: int = FIRST_PID - 1
    lastpipe: int = 0
    """Inode number of the newest pipe."""
    shm_dictionary: dict[bytes, ShmVnode] = field(default_factory=dict)
    """Named shared memory objects."""
    shm_store: ShmStore | None = None
    """What holds the contents of all shared memory objects; None until the first."""

    def __post_init__(self) -> None:
        self.ktrace.make_recorder = partial(FaultRecorder, self)
        self.vm.make_swap = SwapFile
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

    def newpid(self) -> int:
        """Hand out the next process or thread id."""
        self.lastpid += 1
        return self.lastpid

    def random_bytes(self, count: int) -> bytes:
        """arc4random_buf(9)."""
        return self.rng.randbytes(count)
