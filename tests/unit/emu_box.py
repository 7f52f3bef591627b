"""A process whose page table drives an engine: machine code given as bytes, without the machine's run loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emu.engine.cpu import UcCpu
from emu.engine.pmap import UcPmapHardware, mirror_of
from emu.engine.raw import UC_X86_INS_SYSCALL
from kernel_model.kern.machdep import TrapFrame
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_entry import MAP_CREATE_GUARD
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE
from tests.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable

CODE = 0x400000
DATA = 0x10000000
SYSCALL = "0f05"
READ, WRITE, EXECUTE = 1, 2, 4
RW, RX = 3, 5


@dataclass
class Access:
    """A fault as the window reported it."""

    va: int
    access: int
    size: int
    value: int


@dataclass
class FakeFaults:
    """Serves faults as told, and keeps them."""

    exact: bool = False
    seen: list[Access] = field(default_factory=list)
    repair: Callable[[Access], bool] = lambda _access: False

    def page_fault(self, va: int, access: int, size: int, value: int) -> bool:
        fault = Access(va, access, size, value)
        self.seen.append(fault)
        return self.repair(fault)


class Box:
    """One address space on one engine."""

    def __init__(self, release: str = "freebsd-10.1", ram: int = 256 << 20, *, counted: bool = False) -> None:
        process = Process(release=release, ram=ram, hardware=UcPmapHardware, bare=True)
        self.vm, self.space, self.map = process.vm, process.space, process.map
        self.faults = FakeFaults()
        self.hw: UcPmapHardware = mirror_of(self.space.vm_pmap)
        self.engine = self.hw.create_engine(counted=counted)
        self.cpu = UcCpu(self.engine)
        self.hw.start(self.map, self.faults)
        self.vectors: list[int] = []
        self.undefined = 0
        self.on_syscall: Callable[[], object] = self.engine.stop
        self.engine.hook_insn(UC_X86_INS_SYSCALL, lambda: self.on_syscall())
        self.cpu.answer_cpuid()
        self.engine.hook_intr(self._intr)
        self.engine.hook_insn_invalid(self._undefined)

    def _intr(self, vector: int) -> None:
        self.vectors.append(vector)
        self.engine.stop()

    def _undefined(self) -> bool:
        self.undefined += 1
        return False

    def close(self) -> None:
        self.hw.destroy()
        self.vm.phys.close()

    def __enter__(self) -> Box:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def insert(self, start: int, pages: int, prot: int = RW) -> None:
        """Map anonymous memory, or a guard when *prot* is 0."""
        cow = 0 if prot else MAP_CREATE_GUARD
        with self.map.locked():
            rv = vm_map_insert(
                self.map, None, 0, start, start + pages * PAGE_SIZE, prot, VM_PROT_ALL if prot else 0, cow
            )
        assert rv == 0

    def place(self, va: int) -> int:
        """Offset of *va* in the machine's memory; it must be resident."""
        return (self.space.vm_pmap.ptes[va >> PAGE_SHIFT][0].frame << PAGE_SHIFT) + (va & PAGE_MASK)

    def poke(self, va: int, data: bytes) -> None:
        """Write as the kernel does, one page at most; write access is not needed."""
        if va >> PAGE_SHIFT not in self.space.vm_pmap.ptes:
            assert vm_fault(self.map, va, vm_map_lookup_entry(self.map, va)[1].protection & RW) == 0
        place = self.place(va)
        self.vm.phys.mem[place : place + len(data)] = data
        self.hw.code_changed(va, va + len(data))

    def peek(self, va: int, size: int) -> bytes:
        place = self.place(va)
        return bytes(self.vm.phys.mem[place : place + size])

    def run(self, code: str, rip: int = CODE, **registers: int) -> TrapFrame:
        """Execute the bytes *code* at *rip* until SYSCALL, an exception or a refused fault."""
        if not vm_map_lookup_entry(self.map, rip)[0]:
            self.insert(rip & ~PAGE_MASK, 4, VM_PROT_ALL)
        self.poke(rip, bytes.fromhex(code))
        frame = TrapFrame(rip=rip, rsp=CODE + 0x3000, **registers)
        self.cpu.set_frame(frame)
        self.status = self.hw.run(self.cpu.resume_rip())
        return self.cpu.get_frame()
