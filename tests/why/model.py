"""A process on the kernel model alone: a map, limits, registers; no engine, no program file."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from emu.dump import evidence_of, user_callers
from kernel_model.abi.freebsd64.sysvec import ELF64_FREEBSD_SYSVEC
from kernel_model.kern.kern_ktrace import FaultRecorder
from kernel_model.kern.machdep import TrapFrame
from kernel_model.kern.proc import ProcLock
from kernel_model.kern.trap import fault_signal
from kernel_model.ktrace import FAULT, FaultEvent
from kernel_model.release import RELEASES
from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_NAMES
from kernel_model.ucred import Ucred
from kernel_model.vm.vm import OBJT_VNODE, VM_PROT_ALL, VM_PROT_RW
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_object import VmObject
from kernel_model.vm.vm_param import MAXSSIZ, USRSTACK, VM_MAXUSER_ADDRESS
from kernel_model.vm.vm_stack import vm_map_stack
from kernel_model.vm.vmspace import vmspace_alloc

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT = 0x200000


class Model:
    """One process with a stack of 512 MiB (128 KiB of it mapped) and two pages of text."""

    def __init__(self, release: str, limits: Mapping[str, int] | None = None) -> None:
        self.limits = dict.fromkeys(RLIMIT_NAMES.values(), RLIM_INFINITY) | {"stack": 8 << 20} | dict(limits or {})
        self.vm = Vm(RELEASES[release], 64 << 20)
        self.kt = self.vm.ktrace
        self.space = vmspace_alloc(self.vm, 0x1000, VM_MAXUSER_ADDRESS)
        self.frame = TrapFrame(rsp=USRSTACK - 0x100, rip=TEXT)
        kernel = SimpleNamespace(vm=self.vm, release=self.vm.release, tunables={}, ktrace=self.kt)
        self.proc: Any = SimpleNamespace(
            kernel=kernel, p_vmspace=self.space, p_pid=1000, p_flag2=0, p_fctl0=0, p_osrel=1001000, p_textvp=object(),
            p_lock=ProcLock(), p_ucred=Ucred(), p_limit=SimpleNamespace(lim_cur=self._limit),
            p_sysent=ELF64_FREEBSD_SYSVEC._replace(name="FreeBSD ELF64"),
        )  # fmt: skip
        self.td: Any = SimpleNamespace(
            td_proc=self.proc, td_tid=100000, td_cpu=SimpleNamespace(get_frame=lambda: self.frame),
            td_sigstk=SimpleNamespace(ss_sp=0, ss_size=0, ss_flags=4),
        )  # fmt: skip
        self.vm.pcpu.switch(self.td)
        self.kt.make_recorder = partial(FaultRecorder, kernel)
        self.kt.evidence, self.kt.callers = evidence_of, user_callers
        self.events: list[FaultEvent] = []
        self.kt.subscribe(FAULT, self.events.append)
        self.map = self.space.vm_map
        self.space.vm_maxsaddr = USRSTACK - MAXSSIZ
        self.space.vm_stacktop = USRSTACK
        assert vm_map_stack(self.map, USRSTACK - MAXSSIZ, MAXSSIZ, VM_PROT_RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
        self.space.vm_ssize = 32
        text = VmObject(self.vm, OBJT_VNODE, 2)
        with self.map.locked():
            assert vm_map_insert(self.map, text, 0, TEXT, TEXT + 0x2000, 5, 7, 0) == 0

    def _limit(self, which: int) -> int:
        return self.limits[RLIMIT_NAMES[which]]

    def touch(self, va: int, access: int = 2, size: int = 8) -> FaultEvent:
        """A fault as trap_pfault() serves it; the record."""
        recorder = self.kt.recorder
        assert recorder is not None
        recorder.begin(self.td, va, access, size, 0x11 if access == 2 else None, self.frame.rip)
        rv = vm_fault(self.map, va, access)
        verdict = fault_signal(self.proc, va, access, rv) if rv else None
        if verdict is None:
            recorder.end(rv)
        else:
            recorder.end(rv, verdict.signo, verdict.code, verdict.why)
        return self.events[-1]

    def map_at(self, start: int, size: int, prot: int = 3) -> None:
        with self.map.locked():
            assert vm_map_insert(self.map, None, 0, start, start + size, prot, 7, 0) == 0
