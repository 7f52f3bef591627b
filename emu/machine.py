"""A whole machine: one kernel, one engine per address space, and the loop that runs the program.

    with Machine(root="/") as machine:
        machine.execve("/bin/busybox", ["busybox", "ls"], {})
        status = machine.run()

Model only.
"""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING, Any, NamedTuple

from emu.engine.cpu import UcCpu
from emu.engine.interrupt import HostSignals, Ticker
from emu.engine.pmap import UcPmapHardware, mirror_of
from emu.engine.raw import (
    UC_ERR_EXCEPTION,
    UC_ERR_INSN_INVALID,
    UC_ERR_MAP,
    UC_ERR_OK,
    UC_X86_INS_RDTSC,
    UC_X86_INS_RDTSCP,
    MachineError,
)
from emu.engine.trap import Traps
from kernel_model.errors import SyscallError, UsageError, panic
from kernel_model.fs.hostfd import HostFdVnode, stdio_files
from kernel_model.fs.rootfs import mount_root
from kernel_model.host.files import umask as host_umask
from kernel_model.init_main import boot, create_init
from kernel_model.kern.imgact_elf_brand import force_brand
from kernel_model.kern.kern_clock import itimers_due
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.kern_exec import execve
from kernel_model.kern.kern_sig import ast, psignal
from kernel_model.kern.machdep import ReferenceCpu
from kernel_model.kern.resourcevar import Plimit
from kernel_model.kern.signalvar import KSigInfo
from kernel_model.kern.vfs_subr import FILEDELAY, Syncer
from kernel_model.release import DEFAULT_RELEASE, release_named
from kernel_model.rlimit import RLIMIT_NAMES
from kernel_model.text import printable_bytes
from kernel_model.ucred import Ucred
from kernel_model.vm.vm_init import DEFAULT_RAM
from kernel_model.vm.vmspace import vmspace_free

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from kernel_model.fs.hostfd import Stream
    from kernel_model.kern.kern_ktrace import Spot
    from kernel_model.kern.proc import Proc, Thread
    from kernel_model.release import Release
    from kernel_model.vm.vm_map import VmMap

EXPECTED = (UC_ERR_OK, UC_ERR_EXCEPTION, UC_ERR_INSN_INVALID, UC_ERR_MAP)
"""How the engine ends when the program stopped for a reason of its own."""
TICK_NS = 5_000_000
"""How long the engine runs at most while the program has a timer."""
MAX_RAM = 1 << 44
"""A quarter of the addresses that the frames have on the host: 16 TiB."""
GC_THRESHOLD = 50_000
"""Allocations between two collections while a program runs."""


def _evidence(td: Thread, rip: int, va: int, spot: Spot) -> dict[str, Any]:
    """``KTrace.evidence``; imported late, because only a refused fault that is recorded needs it."""
    from emu.dump import evidence_of

    return evidence_of(td, rip, va, spot)


def _callers(td: Thread) -> tuple[int, ...]:
    """``KTrace.callers``; imported late, because only recorded map changes need it."""
    from emu.dump import user_callers

    return user_callers(td)


class ExecFailed(UsageError):
    """The first program could not be executed; ``errno`` is FreeBSD's number."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


EXITED = "exited"
"""The process has ended: it does not run again."""
AST = "ast"
"""A signal waits for the thread."""
REPLACED = "replaced"
"""The kernel gave the thread other registers: execve(2), sigreturn(2)."""
HOST = "host"
"""Somebody on the host wanted a look: a signal came, or a timer may be due."""


class Stop(NamedTuple):
    """Why the engine was left, or not entered."""

    why: str
    """EXITED, AST, REPLACED or HOST."""
    td: Thread
    """Whose turn it was."""


class Machine:
    """One kernel with one process.

    *root* is the directory that is the guest's ``/``; only *cwd* below it may be written unless *rw*.
    *limits* are soft limits by name ("stack"), *ram* bytes of memory, *seed* makes the run repeatable.  *stdin*,
    *stdout* and *stderr* are host descriptors, None for closed, ``bytes`` for input, a bytearray for output.
    *paranoid* proves the mirror after every trap; *strict_alignment* raises #GP as emu.engine.align says;
    *counted* runs the engine in slices instead of switching Unicorn's exit requests off (emu.engine.stops).
    """

    def __init__(
        self,
        release: str | Release = DEFAULT_RELEASE,
        root: str | os.PathLike[str] = "/",
        cwd: str | os.PathLike[str] | None = None,
        *,
        rw: bool = False,
        abi: str = "auto",
        limits: Mapping[str, int] | None = None,
        ram: int | None = None,
        seed: int | None = None,
        stdin: Stream = 0,
        stdout: Stream = 1,
        stderr: Stream = 2,
        paranoid: bool = False,
        strict_alignment: bool = False,
        counted: bool = False,
    ) -> None:
        if ram is not None and ram > MAX_RAM:
            raise UsageError(f"no machine has {ram:#x} bytes of memory: {MAX_RAM:#x} at most")
        self.kernel = boot(release_named(release), ram if ram is not None else DEFAULT_RAM, seed=seed)
        self.vm = self.kernel.vm
        self.vm.make_hardware = UcPmapHardware
        self.kernel.ktrace.evidence = _evidence
        self.kernel.ktrace.callers = _callers
        self._syncer = Syncer(self.vm, self.kernel.clock)
        self.paranoid = paranoid
        self.root = os.fspath(root)
        """The host directory that is the guest's ``/``."""
        self.on_engine: list[Callable[[UcCpu], None]] = []
        """Called with each new engine's CPU, before it runs: where instruction and block hooks are added."""
        self.host_signals: tuple[int, ...] = (signal.SIGINT,)
        """Signals of the host that go to the program instead of to us."""
        self.strict_alignment = strict_alignment
        self.counted = counted
        self._open: list[UcPmapHardware] = []
        self._limits = dict(limits or {})
        force_brand(self.kernel, abi)
        self.proc, self.thread = self._first_process(root, cwd, rw=rw, streams=(stdin, stdout, stderr))

    # making

    def _first_process(
        self, root: str | os.PathLike[str], cwd: str | os.PathLike[str] | None, *, rw: bool, streams: tuple[Stream, ...]
    ) -> tuple[Proc, Thread]:
        kernel = self.kernel
        cred = Ucred(*(os.getuid(),) * 3, *(os.getgid(),) * 3, tuple(os.getgroups()))
        rootvp, cdir = mount_root(kernel, root, None if cwd is None else os.fspath(cwd), rw=rw)
        files = stdio_files(*streams)
        self._streams = list(files.values())
        fd = FileDesc(fd_cdir=cdir, fd_rdir=rootvp, fd_cmask=host_umask(), fd_files=files)
        td = create_init(kernel, ReferenceCpu(), fd, self._plimit(), cred=cred)
        return td.td_proc, td

    def _plimit(self) -> Plimit:
        limit = Plimit.initial(self.vm)
        numbers = {name: number for number, name in RLIMIT_NAMES.items()}
        for name, value in self._limits.items():
            if name not in numbers:
                raise UsageError(f"no resource limit is called {name!r}")
            number = numbers[name]
            limit.set(number, value, max(value, limit.lim_max(number)))
        return limit

    # running

    def execve(self, path: str | bytes, argv: Sequence[str | bytes], env: Mapping[str, str]) -> None:
        """Execute *path* in the machine's process.  Raises ExecFailed before the point of no return."""
        args = [os.fsencode(arg) for arg in argv]
        envv = [os.fsencode(f"{name}={value}") for name, value in env.items()]
        try:
            execve(self.thread, os.fsencode(path), args, envv)
        except SyscallError as error:
            reason = getattr(error, "reason", "") or os.strerror(error.errno)
            raise ExecFailed(f"{printable_bytes(os.fsencode(path))}: {reason}", error.errno) from None

    def run(self) -> int:
        """Run until the process ends; its exit status, or 128 + the signal that killed it."""
        thresholds = gc.get_threshold()
        # Every page is a few objects that live long: looking for cycles so often would be a tenth of each fault.
        gc.set_threshold(max(GC_THRESHOLD, thresholds[0]), *thresholds[1:])
        try:
            # The syncer needs no precision: the engine is left for it now and then.
            with HostSignals(self._stop, self._host_signal, self.host_signals), Ticker(self._stop, FILEDELAY):
                while self.step().why != EXITED:
                    pass
        finally:
            gc.set_threshold(*thresholds)
        return self.proc.wait_status

    def step(self) -> Stop:
        """Let the thread whose turn it is run until something makes the engine stop."""
        td = self._choose()
        if td.td_proc.p_state:
            return Stop(EXITED, td)
        self._syncer.tick()
        self.vm.pcpu.switch(td)
        if td.td_proc.p_itimers:
            self._look_at_timers(td.td_proc)
        hw = self._mirror(td)
        if hw.engine is None:
            self._start(hw, td)
        # From here on an interrupt finds an engine: what it was about is seen now, or leaves run() at once.
        if td.td_ast:
            ast(td)
            if td.td_proc.p_state:
                return Stop(EXITED, td)
        self._enter(td)
        if self.paranoid and not td.td_proc.p_state:
            self._mirror(td).verify()
        return Stop(_reason(td), td)

    def _choose(self) -> Thread:
        """The thread whose turn it is: there is one."""
        return self.thread

    def _enter(self, td: Thread) -> None:
        """Run *td* in the engine of its address space until that stops."""
        hw = self._mirror(td)
        cpu = _processor(td)
        if td.td_proc.p_itimers:
            with Ticker(self._stop, TICK_NS / 1e9):
                status = hw.run(cpu.resume_rip())
        else:
            status = hw.run(cpu.resume_rip())
        if status not in EXPECTED or (status != UC_ERR_OK and not td.td_ast):
            raise MachineError(f"unicorn stopped with error {status} at {cpu.get_frame().rip:#x}")

    def _look_at_timers(self, proc: Proc) -> None:
        """Send the signals of timers that ran out; a stepped clock moves on by what the engine ran for."""
        if not itimers_due(proc) and self.kernel.seed is not None:
            self.kernel.clock.sleep(TICK_NS)

    def _mirror(self, td: Thread) -> UcPmapHardware:
        """The mirror of the address space that *td* is in now."""
        return mirror_of(td.td_proc.p_vmspace.vm_pmap)

    def _start(self, hw: UcPmapHardware, td: Thread) -> None:
        """Give *hw* an engine, and move the registers of *td* into it."""
        before = td.td_cpu
        cpu = UcCpu(hw.create_engine(counted=self.counted))
        traps = Traps(self.kernel, cpu, hw)
        hw.start(td.td_proc.p_vmspace.vm_map, traps)
        traps.attach()
        traps.after = self.verify if self.paranoid else None
        if self.strict_alignment:
            from emu.engine.align import AlignmentCheck

            hw.code.on_code = AlignmentCheck(hw.pmap, cpu, self.vm.pcpu).scan
        cpu.set_fpregs(before.get_fpregs())
        cpu.set_frame(before.get_frame())
        td.td_cpu = cpu
        if self.kernel.seed is not None:
            for insn in (UC_X86_INS_RDTSC, UC_X86_INS_RDTSCP):
                cpu.use_clock(insn, self.kernel.clock.nanouptime)
        self._open.append(hw)
        for hook in self.on_engine:
            hook(cpu)

    def _stop(self) -> None:
        """Leave the engine, from another thread; when none runs the next run returns at once."""
        for hw in tuple(self._open):
            hw.interrupt()

    def _host_signal(self, number: int) -> None:
        """The host's *number* (those of ``host_signals`` are the same everywhere) for the program."""
        psignal(self.proc, KSigInfo(number))

    # looking

    @property
    def limits(self) -> dict[str, int]:
        """The process's soft limits by name."""
        return {name: self.proc.p_limit.lim_cur(number) for number, name in RLIMIT_NAMES.items()}

    @property
    def map(self) -> VmMap:
        """The vm_map of the process."""
        vm_map: VmMap = self.proc.p_vmspace.vm_map
        return vm_map

    def verify(self) -> None:
        """Prove the mirror of the address space that runs; MirrorDesync names the first difference."""
        self._mirror(self.kernel.curthread or self.thread).verify()

    def regions(self) -> list[tuple[int, int, int]]:
        """What Unicorn has mapped for the process: ``(start, end, perms)``, end exclusive."""
        return mirror_of(self.proc.p_vmspace.vm_pmap).regions()

    # ending

    def close(self) -> None:
        """Free the address space, the engine and the machine's memory.

        A program that did not exit by itself leaves its terminal as it found it.
        """
        if self.proc.p_xsig or not self.proc.p_state:
            self._restore_terminals()
        if not self.proc.p_state:
            self.proc.p_fd.free(self.proc)
        vmspace = self.proc.p_vmspace
        if vmspace.vm_refcnt:
            vmspace_free(vmspace)
        for hw in self._open:
            hw.close()
        self._open.clear()
        self.vm.phys.close()

    def _restore_terminals(self) -> None:
        for fp in self._streams:
            if isinstance(fp.f_vnode, HostFdVnode):
                fp.f_vnode.restore()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _processor(td: Thread) -> UcCpu:
    """The registers of *td*, which are in an engine."""
    if not isinstance(td.td_cpu, UcCpu):
        panic("thread %d has no processor", td.td_tid)
    return td.td_cpu


def _reason(td: Thread) -> str:
    """Why the engine was left while *td* ran."""
    if td.td_proc.p_state:
        return EXITED
    if td.td_ast:
        return AST
    return REPLACED if _processor(td).replaced else HOST
