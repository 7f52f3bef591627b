"""A process without a program, whose system calls go through the real dispatcher of either ABI and any release."""

from __future__ import annotations

from kernel_model.fs.hostfd import stdio_files
from kernel_model.fs.rootfs import mount_root
from kernel_model.init_main import boot, create_init
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.machdep import TrapFrame
from kernel_model.kern.resourcevar import Plimit
from kernel_model.kern.subr_syscall import bind
from kernel_model.ktrace import SIGNAL, UNSUPPORTED
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW
from kernel_model.vm.vm_map_find import vm_map_fixed
from tests.unit.exec_host import FakeCpu

WORD = (1 << 64) - 1
SCRATCH = 0x10_0000
SCRATCH_SIZE = 1 << 20
STACK = 0x7FFF_0000_0000
STACK_SIZE = 0x10000
STACK_TOP = STACK + STACK_SIZE
HANDLER = 0x40_1000


class BaseCpu(FakeCpu):
    """A FakeCpu whose base registers are part of its frame, as on the machine."""

    def set_fsbase(self, base: int) -> None:
        self.frame.fs_base = base

    def set_gsbase(self, base: int) -> None:
        self.frame.gs_base = base


class KernHost:
    """*abi* is linux or freebsd; there is scratch memory, a stack, and a file system at *root*."""

    def __init__(
        self, abi: str = "freebsd", release: str = DEFAULT_RELEASE, root: str = "/nonexistent", ram: int = 64 << 20
    ) -> None:
        self.kernel = boot(RELEASES[release], ram, span=1 << 38, seed=1)
        self.vm = self.kernel.vm
        self.cpu = BaseCpu()
        self.cpu.frame = TrapFrame(rip=0x40_0002, rsp=STACK_TOP - 0x1000, rflags=0x202)
        self.cpu.fpregs = bytes(range(24)) + (0x1F80).to_bytes(4, "little") + bytes(484)
        rootvp, cdir = mount_root(self.kernel, "/", None, rw=False)
        fd = FileDesc(cdir, rootvp, fd_files=stdio_files(b"", bytearray(), bytearray()))
        osrel = self.vm.release.osreldate
        self.td = create_init(self.kernel, self.cpu, fd, Plimit(), sysent=self.kernel.sysvecs[abi], osrel=osrel)
        self.proc = self.td.td_proc
        self.proc.p_vmspace.vm_taddr = 0x40_0000
        self.proc.p_vmspace.vm_daddr = 0x60_0000
        self.syscall = bind(self.kernel)
        self.unsupported: list = []
        self.signals: list = []
        self.kernel.ktrace.subscribe(UNSUPPORTED, self.unsupported.append)
        self.map_at(SCRATCH, SCRATCH_SIZE)
        self.map_at(STACK, STACK_SIZE, VM_PROT_RW)
        self.at = SCRATCH

    @property
    def map(self):
        return self.proc.p_vmspace.vm_map

    def watch_signals(self) -> list:
        self.kernel.ktrace.subscribe(SIGNAL, self.signals.append)
        return self.signals

    def map_at(self, start: int, size: int, prot: int = VM_PROT_ALL) -> None:
        assert vm_map_fixed(self.map, None, 0, start, size, prot, VM_PROT_ALL, 0) == 0

    def put(self, data: bytes) -> int:
        """Store *data* in fresh scratch memory; returns its address."""
        self.at = (self.at + 15) & -16
        va = self.at
        self.at += len(data)
        assert self.at <= SCRATCH + SCRATCH_SIZE, "scratch memory is used up"
        copyout(self.td, va, data)
        return va

    def get(self, va: int, size: int) -> bytes:
        return copyin(self.td, va, size)

    def word(self, va: int) -> int:
        return int.from_bytes(self.get(va, 8), "little")

    def raw(self, number: int, *args: int):
        """What the dispatcher hands to the machine."""
        words = [arg & WORD for arg in args]
        words += [0] * (6 - len(words))
        return self.syscall(number, *words)

    def call(self, number: int, *args: int) -> int:
        """What a C library would see: a result, or minus the ABI's errno."""
        result = self.raw(number, *args)
        if isinstance(result, tuple):
            return result[0]
        if self.proc.p_sysent.name == "linux" and result >= 1 << 63 and result < 1 << 64:
            return result - (1 << 64)
        return result

    def entries(self) -> list[tuple[int, int, int]]:
        return [(entry.start, entry.end, entry.protection) for entry in self.map]
