"""Starts a kernel: the one place that knows all its parts, and where they register.

FreeBSD: mi_startup(), proc0_init() and create_init(), sys/kern/init_main.c; what SYSINIT and the linker sets bring
together there is the body of ``boot`` here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64.elf_machdep import FREEBSD_BRANDS
from kernel_model.abi.freebsd64.sysvec import ELF64_FREEBSD_SYSVEC
from kernel_model.abi.linux64.linux_elf import LINUX_BRANDS
from kernel_model.abi.linux64.sysvec import ELF64_LINUX_SYSVEC
from kernel_model.errors import kassert
from kernel_model.host.memory import SwapFile
from kernel_model.kern.imgact_elf import exec_elf_imgact
from kernel_model.kern.imgact_elf_brand import elf_insert_brand_entry
from kernel_model.kern.imgact_shell import exec_shell_imgact
from kernel_model.kern.kern_ktrace import FaultRecorder
from kernel_model.kern.kern_sig import out_of_memory
from kernel_model.kern.proc import Kernel, Proc, Thread
from kernel_model.kern.resourcevar import Plimit
from kernel_model.kern.signalvar import SigActs
from kernel_model.ucred import Ucred
from kernel_model.vm.vm_init import DEFAULT_RAM, Vm
from kernel_model.vm.vm_param import PAGE_SIZE, VM_MAXUSER_ADDRESS
from kernel_model.vm.vm_phys import LARGEST_SPAN
from kernel_model.vm.vmspace import vmspace_alloc

if TYPE_CHECKING:
    from kernel_model.kern.kern_descrip import FileDesc
    from kernel_model.kern.machdep import Cpu
    from kernel_model.kern.proc import SysentVec
    from kernel_model.release import Release

SYSVECS = (ELF64_FREEBSD_SYSVEC, ELF64_LINUX_SYSVEC)
"""The ABIs; each brings its system-call table."""
EXECSW = (exec_elf_imgact, exec_shell_imgact)
"""What can make an image of a file, in the order in which they look at it."""
ELF_BRANDS = FREEBSD_BRANDS + LINUX_BRANDS
"""Kinds of ELF program, in the order in which they are asked."""


def boot(release: Release, ram: int = DEFAULT_RAM, *, span: int = LARGEST_SPAN, seed: int | None = None) -> Kernel:
    """A kernel of *release* with *ram* bytes of memory and no process.  FreeBSD: mi_startup().

    *span* is how much address space of the host frames may take; *seed* makes clock and random numbers repeatable.
    """
    kernel = Kernel(Vm(release, ram, span=span), seed=seed)
    kernel.vm.make_swap = SwapFile
    kernel.vm.on_oom = partial(out_of_memory, kernel)
    kernel.ktrace.make_recorder = partial(FaultRecorder, kernel)
    kernel.sysvecs.update((sysvec.name, sysvec) for sysvec in SYSVECS)
    kernel.execsw.extend(EXECSW)
    for brand in ELF_BRANDS:
        elf_insert_brand_entry(kernel, brand)
    return kernel


def create_init(
    kernel: Kernel,
    cpu: Cpu,
    fd: FileDesc,
    limit: Plimit | None = None,
    *,
    sysent: SysentVec = ELF64_FREEBSD_SYSVEC,
    cred: Ucred | None = None,
    osrel: int = 0,
) -> Thread:
    """The first process, with one thread that runs on *cpu*, before it executes anything.

    *limit* are the machine's own limits when it is None.
    FreeBSD: proc0_init(), create_init().
    """
    kassert(not kernel.procs, "create_init: there is a process already")
    pid = kernel.newpid()
    proc = Proc(
        kernel=kernel,
        p_pid=pid,
        p_vmspace=vmspace_alloc(kernel.vm, PAGE_SIZE, VM_MAXUSER_ADDRESS),
        p_limit=Plimit.initial(kernel.vm) if limit is None else limit,
        p_fd=fd,
        p_sigacts=SigActs(),
        p_sysent=sysent,
        p_ucred=Ucred() if cred is None else cred,
        p_pgid=pid,
        p_sid=pid,
        p_osrel=osrel,
    )
    td = Thread(td_proc=proc, td_tid=pid, td_cpu=cpu)
    proc.p_threads.append(td)
    kernel.procs[pid] = proc
    kernel.vm.pcpu.switch(td)
    return td
