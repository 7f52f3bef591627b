"""A process with a stack and two pages of text, whose faults are recorded: what the tests of verdicts look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.dump import evidence_of, user_callers
from kernel_model.kern.trap import trap_pfault
from kernel_model.ktrace import FAULT, FaultEvent
from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.vm.vm import OBJT_VNODE, VM_PROT_ALL, VM_PROT_RW
from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_object import VmObject
from kernel_model.vm.vm_param import MAXSSIZ, USRSTACK
from kernel_model.vm.vm_stack import vm_map_stack
from tests.process import LIMITS, Process

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXT = 0x200000


class Model(Process):
    """A process with a stack of 512 MiB (128 KiB of it mapped) and two pages of text."""

    def __init__(self, release: str, limits: Mapping[str, int] | None = None) -> None:
        unlimited = dict.fromkeys(LIMITS, RLIM_INFINITY) | {"stack": 8 << 20}
        super().__init__(release=release, limits=unlimited | dict(limits or {}), bare=True)
        self.kt = self.kernel.ktrace
        self.kt.evidence, self.kt.callers = evidence_of, user_callers
        self.frame = self.cpu.frame
        self.frame.rsp, self.frame.rip = USRSTACK - 0x100, TEXT
        self.give_program()
        self.space.vm_maxsaddr = USRSTACK - MAXSSIZ
        self.space.vm_stacktop = USRSTACK
        assert vm_map_stack(self.map, USRSTACK - MAXSSIZ, MAXSSIZ, VM_PROT_RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
        self.space.vm_ssize = 32
        text = VmObject(self.vm, OBJT_VNODE, 2)
        with self.map.locked():
            assert vm_map_insert(self.map, text, 0, TEXT, TEXT + 0x2000, 5, 7, 0) == 0

    def trap(self, va: int, access: int = 2, size: int = 8) -> FaultEvent:
        """The record of a page fault of the program."""
        faults = self.events(FAULT)
        trap_pfault(self.td, va, access, size, 0x11 if access == 2 else None, self.frame.rip)
        return faults[-1]
