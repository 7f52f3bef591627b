"""What FreeBSD keeps in the globals of sys/vm, gathered in one record per kernel.

FreeBSD: sys/vm/vm_init.c, the tunables of vm_map.c, vm_mmap.c, swap_pager.c and vm_meter.c.
Differs: a global is a field of ``Vm``, so that several machines can live in one Python process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from kernel_model.ktrace import KTrace
from kernel_model.pcpu import Pcpu
from kernel_model.vm.pmap import NullHardware
from kernel_model.vm.swap_store import SwapMemory
from kernel_model.vm.vm_check import unheard
from kernel_model.vm.vm_meter import VmMeter
from kernel_model.vm.vm_page import PageQueue
from kernel_model.vm.vm_param import MAXSSIZ, PAGE_SHIFT, SGROWSIZ, WORD_MASK
from kernel_model.vm.vm_phys import LARGEST_SPAN, VmPhys

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.release import Release
    from kernel_model.ucred import Ucred
    from kernel_model.vm.pmap import Pmap, PmapHardware
    from kernel_model.vm.swap_store import SwapStore
    from kernel_model.vm.vm_check import Check, Listener
    from kernel_model.vm.vm_page import PageOwner

DEFAULT_RAM = 1 << 30
"""Bytes of physical memory of a machine whose owner did not choose."""
DEFAULT_SWAP = 1 << 30
"""Bytes of swap space: sizes vm.swap_total."""


class Limits(Protocol):
    """The one question that the vm layer asks about resource limits: struct plimit."""

    def lim_cur(self, which: int) -> int:
        """The soft limit RLIMIT_*, in bytes."""
        ...


class StackTop(Protocol):
    """Where the process stack of an image type ends: struct sysentvec."""

    @property
    def sv_usrstack(self) -> int:
        """The address above the highest byte of the stack."""
        ...


class VmProcLock(Protocol):
    """PROC_LOCK(9): ``kern.proc.ProcLock``."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def assert_owned(self) -> None:
        """PROC_LOCK_ASSERT(p, MA_OWNED)."""
        ...


class SwapSpace(Protocol):
    """How much room the swap device has; ``swap_pager.swap_device()`` gives the device."""

    @property
    def used(self) -> int:
        """Blocks that hold a page."""
        ...


class VmProc(Protocol):
    """The process whose system call or fault is being served, as far as sys/vm looks at it."""

    @property
    def p_vmspace(self) -> object:
        """Its address space; ``vm_stack_limits.growing_space()`` says what it can do."""
        ...

    @property
    def p_limit(self) -> Limits:
        """Its resource limits."""
        ...

    @property
    def p_flag2(self) -> int:
        """P2_* flags."""
        ...

    @property
    def p_fctl0(self) -> int:
        """NT_FREEBSD_FCTL_* wishes of its image."""
        ...

    @property
    def p_sysent(self) -> StackTop:
        """Its image type."""
        ...

    @property
    def p_textvp(self) -> object | None:
        """The vnode of its program."""
        ...

    @property
    def p_lock(self) -> VmProcLock:
        """The process lock."""
        ...

    @property
    def p_ucred(self) -> Ucred:
        """Whose memory it uses."""
        ...


class Vm:
    """One kernel's virtual memory state."""

    __slots__ = (
        "check", "cluster_anon", "cnt", "in_pageout", "kernel_maps", "ktrace", "make_hardware", "make_swap",
        "max_user_wired",
        "maxssiz", "nofault_depth", "objects", "old_mlock", "old_msync", "on_oom", "overcommit",
        "pagequeues", "pcpu", "phys", "release", "sgrowsiz", "stack_guard_page", "steps", "swap_cap", "swap_device",
        "swap_reserved", "swap_total", "uid_vmsize", "user_wire_count",
    )  # fmt: skip

    def __init__(
        self,
        release: Release,
        ram_bytes: int = DEFAULT_RAM,
        swap_bytes: int = DEFAULT_SWAP,
        span: int = LARGEST_SPAN,
    ) -> None:
        """*span*: bytes of host address space for frames; little is enough where no object is large."""
        self.release = release
        self.pcpu = Pcpu()
        self.ktrace = KTrace(self.pcpu)
        page_count = max(ram_bytes >> PAGE_SHIFT, 64)
        self.pagequeues = (PageQueue(), PageQueue(), PageQueue())
        self.cnt = VmMeter(page_count, self.pagequeues)
        self.phys = VmPhys(page_count, span)
        self.objects: dict[PageOwner, None] = {}
        """Every live object that has pages; ``vm_object.vm_object_list()`` lists them."""
        self.sgrowsiz = SGROWSIZ
        self.maxssiz = MAXSSIZ
        self.stack_guard_page = release.stack_guard_page
        self.old_mlock = False
        self.old_msync = False
        self.overcommit = 0
        self.cluster_anon = release.cluster_anon
        self.max_user_wired = page_count // 3
        self.user_wire_count = 0
        self.swap_reserved = 0
        self.swap_total = swap_bytes
        self.swap_cap = WORD_MASK
        """Model only: no reservation may take swap_reserved above this."""
        self.uid_vmsize: dict[int, int] = {}
        self.swap_device: SwapSpace | None = None
        """None until something is paged out."""
        self.kernel_maps: object | None = None
        """What ``vm_kern.kernel_maps()`` made; None until they are needed."""
        self.nofault_depth = 0
        self.in_pageout = False
        self.make_hardware: Callable[[Pmap], PmapHardware] = NullHardware
        self.make_swap: Callable[[], SwapStore] = SwapMemory
        """What keeps swapped-out pages; the kernel puts a file of the host here."""
        self.on_oom: Callable[[], bool] | None = None
        """Kill the biggest process and say whether memory was freed; the kernel sets it."""
        self.check: Check = unheard
        """Tests a condition and tells the listener: ``if not vm.check("reserve", need <= avail, need=need):``."""
        self.steps: Listener | None = None

    @property
    def curproc(self) -> VmProc | None:
        """The process of the thread that runs, None while there is none: curthread->td_proc."""
        td = self.pcpu.curthread
        return None if td is None else cast("VmProc", td.td_proc)

    def listen(self, listener: Listener | None) -> Listener | None:
        """Let *listener* hear each step of what is decided from now on, or nobody; returns who heard them before."""
        before = self.steps
        self.steps = listener
        self.check = unheard if listener is None else listener.check
        return before

    def nofault(self) -> NoFault:
        """A section in which a fault is refused instead of served: vm_fault_disable_pagefaults()."""
        return NoFault(self)


class NoFault:
    """``with vm.nofault():`` around code that must not sleep on a page."""

    __slots__ = ("vm",)

    def __init__(self, vm: Vm) -> None:
        self.vm = vm

    def __enter__(self) -> None:
        self.vm.nofault_depth += 1

    def __exit__(self, *_: object) -> None:
        self.vm.nofault_depth -= 1
