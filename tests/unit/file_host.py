"""A process without a program: its file system calls are made by the test, through the real tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.freebsd64 import sys_file as freebsd
from kernel_model.abi.linux64 import linux_file as linux
from kernel_model.errno import TO_LINUX
from kernel_model.errors import SyscallError
from kernel_model.fs.hostfd import stdio_files
from kernel_model.fs.rootfs import mount_root
from kernel_model.init_main import boot, create_init
from kernel_model.kern.copyin import copyin, copyout
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.resourcevar import Plimit
from kernel_model.kern.sysent import adapter
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm import VM_PROT_ALL
from tests.unit.exec_host import FakeCpu

if TYPE_CHECKING:
    from pathlib import Path

SCRATCH = 0x10_0000
SCRATCH_SIZE = 4 << 20
BAD = SCRATCH + SCRATCH_SIZE
"""The first address after the scratch memory: nothing is mapped there."""


class FileHost:
    """*root* is the guest's /; *abi* chooses table, structures and errno numbers."""

    def __init__(
        self, root: Path | str, *, abi: str = "linux", cwd: str | None = "/", rw: bool = True,
        streams: tuple = (b"", bytearray(), bytearray()), ram: int = 64 << 20,
    ) -> None:  # fmt: skip
        self.kernel = boot(RELEASES[DEFAULT_RELEASE], ram, seed=1)
        self.vm = self.kernel.vm
        self.root, self.cwd = mount_root(self.kernel, root, cwd, rw=rw)
        self.abi = abi
        self.rows = (linux if abi == "linux" else freebsd).FILES_SYSCALLS
        self.names = {row.name: row for row in self.rows.values()}
        self.cpu = FakeCpu()
        fd = FileDesc(self.cwd, self.root, fd_files=stdio_files(*streams))
        self.td = create_init(self.kernel, self.cpu, fd, Plimit(), sysent=self.kernel.sysvecs[abi])
        self.proc = self.td.td_proc
        rv = self.proc.p_vmspace.vm_map.fixed(None, 0, SCRATCH, SCRATCH_SIZE, VM_PROT_ALL, VM_PROT_ALL, 0)
        assert rv == 0
        self.at = SCRATCH

    def put(self, data: bytes, align: int = 16) -> int:
        """Store *data* in fresh scratch memory and return its address."""
        self.at = (self.at + align - 1) & -align
        va = self.at
        assert va + len(data) <= BAD, "scratch memory is used up"
        copyout(self.td, va, data)
        self.at += len(data)
        return va

    def space(self, size: int, align: int = 16) -> int:
        """Fresh scratch memory."""
        self.at = (self.at + align - 1) & -align
        va = self.at
        self.at += size
        assert self.at <= BAD, "scratch memory is used up"
        return va

    def get(self, va: int, size: int) -> bytes:
        """Read the process's memory."""
        return copyin(self.td, va, size)

    def call(self, name: str, *args: int | bytes | str) -> int:
        """Make a system call: strings are stored and their address passed.

        The result is what the program sees; an error is a negative errno of the ABI.
        """
        saved = self.at
        words = []
        for arg in args:
            if isinstance(arg, str):
                arg = arg.encode()
            if isinstance(arg, bytes):
                arg = self.put(arg + b"\0")
            words.append(arg & (1 << 64) - 1)
        row = self.names[name]
        words += [0] * (6 - len(words))
        try:
            result = adapter(row)(self.td, *words[:6])
        except SyscallError as error:
            return -(TO_LINUX[error.errno] if self.abi == "linux" else error.errno)
        finally:
            self.at = saved
        return result if isinstance(result, int) else result[0]

    def ok(self, name: str, *args: int | bytes | str) -> int:
        """A call that must not fail."""
        result = self.call(name, *args)
        assert result >= 0, f"{name}{args} failed with {result}"
        return result

    def read(self, fd: int, count: int = 65536) -> bytes:
        """read(2) until *count* bytes or the end."""
        saved = self.at
        va = self.space(count)
        got = self.ok("read", fd, va, count)
        data = self.get(va, got)
        self.at = saved
        return data

    def write(self, fd: int, data: bytes) -> int:
        """write(2)."""
        saved = self.at
        va = self.put(data)
        self.at = saved
        return self.call("write", fd, va, len(data))
