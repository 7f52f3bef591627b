"""One way for all tests to make a process: the real kernel and a real struct proc, on a processor that runs nothing.

    process = Process("linux", release="freebsd-12.1")
    page = process.map_at(0x7000_0000, PAGE_SIZE)
    process.ok("mprotect", page, PAGE_SIZE, PROT_READ)
    assert process.touch(page, VM_PROT_WRITE) == KERN_PROTECTION_FAILURE

The test is the program: it makes system calls through the dispatcher, touches pages through the page table and looks
at whatever it likes.  ``fork`` makes more processes of the machine; ``check`` asks the auditor (tests/audit.py).
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernel_model.errno import ENOMEM
from kernel_model.errors import SyscallError
from kernel_model.fs.hostfd import stdio_files
from kernel_model.fs.rootfs import mount_root
from kernel_model.init_main import boot, create_init
from kernel_model.kern.copyin import copyin, copyinstr, copyout
from kernel_model.kern.imgact_elf_brand import force_brand
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.kern_exec import execve
from kernel_model.kern.machdep import ReferenceCpu, TrapFrame
from kernel_model.kern.proc import Proc, Thread
from kernel_model.kern.resourcevar import Plimit
from kernel_model.kern.signalvar import SigActs
from kernel_model.kern.subr_syscall import bind
from kernel_model.ktrace import UNSUPPORTED
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.rlimit import RLIMIT_NAMES
from kernel_model.vm.swap_pager import swap_reserve_by_cred, swap_reserve_force
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import DEFAULT_SWAP
from kernel_model.vm.vm_map_find import vm_map_fixed
from kernel_model.vm.vm_param import PAGE_MASK
from kernel_model.vm.vm_phys import LARGEST_SPAN
from kernel_model.vm.vmspace import vmspace_fork, vmspace_free
from tests.audit import check_all
from tests.tlb import TlbHardware, page_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel_model.kern.sysent import Sysent
    from kernel_model.vm.pmap import Pmap, PmapHardware
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vmspace import VmSpace

WORD = (1 << 64) - 1
SCRATCH = 0x10_0000
SCRATCH_SIZE = 4 << 20
BAD = SCRATCH + SCRATCH_SIZE
"""The first address after the scratch memory: nothing is mapped there."""
TEXT, DATA = 0x50_0000, 0x60_0000
HANDLER = TEXT + 0x1000
STACK = 0x7FFF_0000_0000
STACK_SIZE = 0x10000
STACK_TOP = STACK + STACK_SIZE
FPREGS = bytes(range(24)) + (0x1FBF).to_bytes(4, "little") + bytes(484)
"""What the floating-point unit holds at first: an FXSAVE image that no program starts with."""
FRAME = TrapFrame(
    rax=0x1111, rbx=0x2222, rdx=0x3333, rbp=0x5555, rip=TEXT + 2, rsp=STACK_TOP - 0x1000, rflags=0xAD7,
    fs_base=0x6666, gs_base=0x6666,
)  # fmt: skip
"""The registers at first: just behind a SYSCALL, and not as any program starts."""
LIMITS = {name: which for which, name in RLIMIT_NAMES.items()}


class Process:
    """A process on a machine of its own.

    *abi*       "freebsd" or "linux": table, structures and errno numbers
    *root*      the guest's /, writable unless *rw* says otherwise; the host's, read-only, when it is None
    *streams*   standard input, output and error
    *limits*    soft limits by name; the others are the kernel's
    *hardware*  what the page table drives
    *bare*      nothing is mapped: no scratch memory, no stack
    """

    def __init__(
        self,
        abi: str = "freebsd",
        *,
        release: str = DEFAULT_RELEASE,
        root: Path | str | None = None,
        cwd: str | None = "/",
        rw: bool | None = None,
        streams: tuple[Any, ...] = (b"", bytearray(), bytearray()),
        ram: int = 64 << 20,
        swap: int = DEFAULT_SWAP,
        span: int = LARGEST_SPAN,
        limits: Mapping[str, int] | None = None,
        hardware: Callable[[Pmap], PmapHardware] = TlbHardware,
        bare: bool = False,
    ) -> None:
        self.root = Path(root or "/")
        kernel = boot(RELEASES[release], ram, span=span, seed=1)
        kernel.vm.swap_total = swap
        kernel.vm.make_hardware = hardware
        rdir, cdir = mount_root(kernel, self.root, cwd, rw=root is not None if rw is None else rw)
        fd = FileDesc(cdir, rdir, fd_files=stdio_files(*streams))
        cpu = ReferenceCpu(replace(FRAME), FPREGS)
        osrel = kernel.release.osreldate
        self.adopt(create_init(kernel, cpu, fd, Plimit(), sysent=kernel.sysvecs[abi], osrel=osrel))
        for name, value in (limits or {}).items():
            self.limit(name, value)
        if not bare:
            self.space.vm_taddr, self.space.vm_daddr = TEXT, DATA
            self.map_at(SCRATCH, SCRATCH_SIZE, VM_PROT_ALL)
            self.map_at(STACK, STACK_SIZE)

    def adopt(self, td: Thread, scratch: int = SCRATCH, end: int = BAD) -> None:
        """Speak for *td*, whoever made it; [*scratch*, *end*) is memory to put things into."""
        self.td, self.proc = td, td.td_proc
        self.kernel = self.proc.kernel
        self.vm = self.kernel.vm
        self.syscall = bind(self.kernel)
        self.at, self.end = scratch, end
        self.heard: dict[str, list[Any]] = {}
        self.unsupported = self.events(UNSUPPORTED)

    # what it is

    @property
    def abi(self) -> str:
        return self.proc.p_sysent.name

    @property
    def cpu(self) -> Any:
        return self.td.td_cpu

    @property
    def space(self) -> VmSpace:
        return self.proc.p_vmspace

    @property
    def map(self) -> VmMap:
        return self.space.vm_map

    def entries(self) -> list[tuple[int, int, int]]:
        """(start, end, protection) of every entry."""
        return [(entry.start, entry.end, entry.protection) for entry in self.map]

    def events(self, kind: str) -> list[Any]:
        """The events of *kind* since this was asked first."""
        if kind not in self.heard:
            self.heard[kind] = []
            self.kernel.ktrace.subscribe(kind, self.heard[kind].append)
        return self.heard[kind]

    def check(self, *others: Process, shared_inval: bool = True) -> None:
        """Every rule between page tables, pages, objects and counters; *others* are what else the machine has."""
        check_all(self.vm, [self.space, *(other.space for other in others)], shared_inval=shared_inval)

    # what it is made to be

    def limit(self, name: str, soft: int) -> None:
        """Set a soft limit, and raise the hard one if it is lower."""
        which = LIMITS[name]
        self.proc.p_limit.set(which, soft, max(soft, self.proc.p_limit.lim_max(which)))

    def give_program(self) -> None:
        """Have a program file, as one that was executed has: on old releases no other stack grows."""
        self.proc.p_textvp = self.proc.p_fd.fd_rdir

    def map_at(self, start: int, size: int, prot: int = VM_PROT_RW) -> int:
        """Map anonymous memory at *start*; returns that."""
        assert vm_map_fixed(self.map, None, 0, start, size, prot, VM_PROT_ALL, 0) == 0
        return start

    def fork(self) -> Process:
        """A child as fork(2) would make it, which does not run; ENOMEM when its memory can't be reserved."""
        parent = self.proc
        space, charge = vmspace_fork(self.space)
        if not swap_reserve_by_cred(self.vm, charge, parent.p_ucred):
            # What the child's entries say is going to be released, so it must have been reserved.
            swap_reserve_force(self.vm, charge)
            vmspace_free(space)
            raise SyscallError(ENOMEM)
        pid = self.kernel.newpid()
        child = Proc(
            self.kernel, pid, space, parent.p_limit.copy(), parent.p_fd, SigActs(),
            parent.p_sysent, parent.p_ucred, p_ppid=parent.p_pid, p_pgid=parent.p_pgid, p_sid=parent.p_sid,
            p_osrel=parent.p_osrel, p_textvp=parent.p_textvp,
        )  # fmt: skip
        td = Thread(child, pid, ReferenceCpu(replace(self.td.td_cpu.get_frame()), self.td.td_cpu.get_fpregs()))
        child.p_threads.append(td)
        self.kernel.procs[pid] = child
        made = object.__new__(type(self))
        made.adopt(td, self.at, self.end)
        return made

    def run(self) -> None:
        """Be the process that runs."""
        self.vm.pcpu.switch(self.td)

    def exit(self) -> None:
        """Be gone, as far as the vm layer sees it."""
        del self.kernel.procs[self.proc.p_pid]
        vmspace_free(self.space)

    # memory

    def touch(self, va: int, access: int) -> int:
        """What vm_fault() says to an access."""
        return vm_fault(self.map, va, access)

    def poke(self, va: int, data: bytes) -> None:
        """Store within a page, as a program does: through the TLB, with whatever faults that takes."""
        offset = va & PAGE_MASK
        page_of(self.space, va, write=True)[offset : offset + len(data)] = data

    def peek(self, va: int, size: int) -> bytes:
        """Load within a page, as a program does."""
        offset = va & PAGE_MASK
        return bytes(page_of(self.space, va, write=False)[offset : offset + size])

    def get(self, va: int, size: int) -> bytes:
        """Read memory as the kernel does: copyin(9)."""
        return copyin(self.td, va, size)

    def word(self, va: int) -> int:
        return int.from_bytes(self.get(va, 8), "little")

    def string(self, va: int) -> bytes:
        return copyinstr(self.td, va, 1 << 20)

    def alloc(self, size: int, align: int = 16) -> int:
        """Scratch memory that nothing else uses."""
        va = (self.at + align - 1) & -align
        assert va + size <= self.end, "scratch memory is used up"
        self.at = va + size
        return va

    def put(self, data: bytes, align: int = 16) -> int:
        """Store *data* in scratch memory; returns its address."""
        va = self.alloc(len(data), align)
        copyout(self.td, va, data)
        return va

    # system calls

    def raw(self, number: int, *args: int) -> Any:
        """What the dispatcher hands to the machine."""
        words = [arg & WORD for arg in args]
        words += [0] * (6 - len(words))
        return self.syscall(number, *words)

    def number(self, name: str) -> int:
        """The number of the call of this name that is modelled."""
        table = self.proc.p_sysent.sv_table()
        return next(number for number, row in table.items() if row.name == name and row.handler is not None)

    def row(self, name: str) -> Sysent:
        """The row of the call of this name."""
        return self.proc.p_sysent.sv_table()[self.number(name)]

    def call(self, call: str | int, *args: int | bytes | str) -> int:
        """What a C library would see: a result, or minus the ABI's errno.

        A string is put into scratch memory for the time of the call, and its address passed.
        """
        saved = self.at
        words = []
        for arg in args:
            if isinstance(arg, str):
                arg = arg.encode()
            words.append(self.put(arg + b"\0") if isinstance(arg, bytes) else arg)
        result = self.raw(self.number(call) if isinstance(call, str) else call, *words)
        self.at = saved
        if isinstance(result, tuple):
            return result[0]
        return result - (1 << 64) if self.abi == "linux" and result >> 63 == 1 else result

    def ok(self, call: str | int, *args: int | bytes | str) -> int:
        """A call that must not fail."""
        result = self.call(call, *args)
        assert result >= 0, f"{call}{args} failed with {result}"
        return result

    def read(self, fd: int, count: int = 65536) -> bytes:
        """read(2) until *count* bytes or the end."""
        saved = self.at
        va = self.alloc(count)
        data = self.get(va, self.ok("read", fd, va, count))
        self.at = saved
        return data

    def write(self, fd: int, data: bytes) -> int:
        """write(2)."""
        saved = self.at
        va = self.put(data)
        self.at = saved
        return self.call("write", fd, va, len(data))

    # programs

    def add(self, name: str, data: bytes, mode: int = 0o755) -> bytes:
        """Put a file into the root; returns its path there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        return b"/" + name.encode()

    def force_brand(self, abi: str) -> None:
        """Take every ELF program for one of *abi*: --abi of the command line."""
        force_brand(self.kernel, abi)

    def execve(self, path: bytes, argv: list[bytes] | None = None, env: list[bytes] | None = None) -> int:
        """Execute *path* with itself as argv[0] unless told otherwise."""
        return execve(self.td, path, [path] if argv is None else argv, env or [])

    def stack(self, argc_at: int) -> tuple[list[bytes], list[bytes], list[tuple[int, int]], int]:
        """argv, environment and auxiliary vector as a program finds them, and where the vector begins."""
        at = argc_at + 8
        vectors: list[list[bytes]] = []
        for _ in range(2):
            strings = []
            while pointer := self.word(at):
                strings.append(self.string(pointer))
                at += 8
            vectors.append(strings)
            at += 8
        assert len(vectors[0]) == self.word(argc_at)
        auxv_at = at
        auxv = []
        while True:
            entry = struct.unpack("<QQ", self.get(at, 16))
            auxv.append(entry)
            at += 16
            if not entry[0]:
                return vectors[0], vectors[1], auxv, auxv_at
