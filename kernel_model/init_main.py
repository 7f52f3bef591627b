"""Starts a kernel: the one place that knows all its parts, and where they register.

FreeBSD: mi_startup(), proc0_init() and create_init(), sys/kern/init_main.c; what SYSINIT and the linker sets bring
together there is the body of ``boot`` here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kernel_model.kern.kern_ktrace import FaultRecorder
from kernel_model.kern.proc import Kernel
from kernel_model.vm.vm_init import DEFAULT_RAM, Vm
from kernel_model.vm.vm_phys import LARGEST_SPAN

if TYPE_CHECKING:
    from kernel_model.release import Release


def boot(release: Release, ram: int = DEFAULT_RAM, *, span: int = LARGEST_SPAN, seed: int | None = None) -> Kernel:
    """A kernel of *release* with *ram* bytes of memory and no process.  FreeBSD: mi_startup().

    *span* is how much address space of the host frames may take; *seed* makes clock and random numbers repeatable.
    """
    kernel = Kernel(Vm(release, ram, span=span), seed=seed)
    kernel.ktrace.make_recorder = partial(FaultRecorder, kernel)
    return kernel
