"""A kernel with one process and no processor, to execute programs in without an engine."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.fs.hostfs import hostfs_mount
from kernel_model.init_main import boot, create_init
from kernel_model.kern.copyin import copyin, copyinstr
from kernel_model.kern.imgact_elf_brand import force_brand
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.kern_exec import execve
from kernel_model.kern.machdep import TrapFrame
from kernel_model.kern.resourcevar import Plimit
from kernel_model.release import DEFAULT_RELEASE, RELEASES

if TYPE_CHECKING:
    from pathlib import Path


class FakeCpu:
    """Registers and nothing that runs."""

    def __init__(self) -> None:
        self.frame = TrapFrame(rax=0x1111, rbx=0x2222, rdx=0x3333, rsp=0x4444, rbp=0x5555, rflags=0xAD7)
        self.fpregs = b"\xff" * 512
        self.fsbase = self.gsbase = 0x6666

    def get_frame(self) -> TrapFrame:
        return self.frame

    def set_frame(self, frame: TrapFrame) -> None:
        self.frame = frame

    def get_fpregs(self) -> bytes:
        return self.fpregs

    def set_fpregs(self, image: bytes) -> None:
        self.fpregs = image

    def set_fsbase(self, base: int) -> None:
        self.fsbase = base

    def set_gsbase(self, base: int) -> None:
        self.gsbase = base


class ExecHost:
    """A machine's kernel half: *root* is the guest's /."""

    def __init__(self, root: Path, release: str = DEFAULT_RELEASE, abi: str = "auto", ram: int = 64 << 20) -> None:
        self.root = root
        self.kernel = boot(RELEASES[release], ram, seed=1)
        self.vm = self.kernel.vm
        force_brand(self.kernel, abi)
        rootvp = hostfs_mount(str(root), rw=True)
        self.kernel.rootvnode = rootvp
        self.cpu = FakeCpu()
        self.td = create_init(self.kernel, self.cpu, FileDesc(rootvp, rootvp), Plimit())
        self.proc = self.td.td_proc

    def add(self, name: str, data: bytes, mode: int = 0o755) -> bytes:
        """Put a file into the root; returns its path inside."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        return b"/" + name.encode()

    def execve(self, path: bytes, argv: list[bytes] | None = None, env: list[bytes] | None = None) -> int:
        """Execute *path* with itself as argv[0] unless told otherwise."""
        return execve(self.td, path, [path] if argv is None else argv, env or [])

    @property
    def map(self):
        return self.proc.p_vmspace.vm_map

    def entries(self) -> list[tuple[int, int, int]]:
        """(start, end, protection) of every entry."""
        return [(entry.start, entry.end, entry.protection) for entry in self.map]

    def read(self, va: int, size: int) -> bytes:
        return copyin(self.td, va, size)

    def word(self, va: int) -> int:
        return int.from_bytes(self.read(va, 8), "little")

    def string(self, va: int) -> bytes:
        return copyinstr(self.td, va, 1 << 20)

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
            entry = struct.unpack("<QQ", self.read(at, 16))
            auxv.append(entry)
            at += 16
            if not entry[0]:
                return vectors[0], vectors[1], auxv, auxv_at
