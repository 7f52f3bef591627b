"""Unicorn through its own shared library, without the Python binding.

Model only: the binding costs 18 us for a batch of registers where the library needs 1 us, and 35 ms at start.  The
library is the one that the ``unicorn`` distribution installs; nothing of that package is imported.

A hook is a Python function called in the middle of an instruction.  When it raises, the exception is kept, the
engine stops at once and :meth:`Engine.run` raises it again: nothing is swallowed and nothing unwinds through C.

A stop from a hook is :meth:`Engine.stop`; one from another thread is :meth:`Engine.interrupt`, which is neither lost
when it comes before the engine starts nor meets an engine that is being closed.
"""

from __future__ import annotations

import _thread
import ctypes
import functools
import mmap
import os
import time
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, NoReturn

from kernel_model.errors import KernelPanic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

UC_ARCH_X86 = 4
UC_MODE_64 = 8

UC_ERR_OK = 0
UC_ERR_INSN_INVALID = 10
UC_ERR_MAP = 11
UC_ERR_EXCEPTION = 21

UC_MEM_READ = 16
UC_MEM_WRITE = 17
UC_MEM_FETCH = 18
UC_MEM_READ_UNMAPPED = 19
UC_MEM_WRITE_UNMAPPED = 20
UC_MEM_FETCH_UNMAPPED = 21

UC_PROT_READ = 1
UC_PROT_EXEC = 4

UC_HOOK_INTR = 1
UC_HOOK_INSN = 2
UC_HOOK_CODE = 4
UC_HOOK_BLOCK = 8
UC_HOOK_MEM_UNMAPPED = 112
UC_HOOK_INSN_INVALID = 16384
UC_HOOK_TLB_FILL = 131072

UC_X86_INS_CPUID = 113
UC_X86_INS_IN = 218
UC_X86_INS_OUT = 500
UC_X86_INS_RDTSC = 608
UC_X86_INS_RDTSCP = 609
UC_X86_INS_SYSCALL = 699
UC_X86_INS_SYSENTER = 700

_UC_CTL_WRITE = 1 << 30
_UC_CTL_USE_EXITS = 4
_UC_CTL_CPU_MODEL = 7
_UC_CTL_TB_REMOVE_CACHE = 9
_UC_CTL_TLB_FLUSH = 11
_UC_CTL_TLB_TYPE = 12
_UC_CTL_TCG_BUFFER_SIZE = 13
_UC_TLB_VIRTUAL = 1
_ARGS1, _ARGS2 = 1 << 26, 2 << 26

_MAP_NORESERVE = 0x4000
_FLUSH = ctypes.c_int(_UC_CTL_WRITE | _UC_CTL_TLB_FLUSH)

#: Register numbers of uc_x86_reg that this package uses.
REGISTERS: dict[str, int] = {
    "rax": 35, "rbx": 37, "rcx": 38, "rdx": 40, "rsi": 43, "rdi": 39, "rbp": 36, "rsp": 44,
    "r8": 106, "r9": 107, "r10": 108, "r11": 109, "r12": 110, "r13": 111, "r14": 112, "r15": 113,
    "rip": 41, "rflags": 253, "fs_base": 250, "gs_base": 251, "cs": 11, "ss": 49, "ds": 17, "es": 28,
    "fpcw": 246, "fpsw": 31, "fptag": 247, "fop": 258, "fip": 254, "fdp": 256, "mxcsr": 249, "msr": 248,
    "cr0": 50, "cr4": 54,
    **{f"st{i}": 114 + i for i in range(8)},
    **{f"xmm{i}": 122 + i for i in range(16)},
}  # fmt: skip

TRANSLATION_BUFFER = 256 << 20
"""Bytes of address space for translated code; Unicorn's own choice is 1 GiB."""
LIBRARY = "libunicorn.so.2"
SUPPORTED = (2, 1)
"""Major and minor version whose behaviour the mirror was measured on."""
FIRST_PAUSE, LAST_PAUSE = 0.0005, 0.05
"""Seconds between two attempts of an interrupt, which doubles them: Unicorn forgets a stop that comes as it starts."""


class MachineError(KernelPanic):
    """Unicorn refused an operation that the model believes correct, or is not usable at all."""


class TlbEntry(ctypes.Structure):
    """What a fill answers: uc_tlb_entry."""

    _fields_ = (("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32))


class _MemRegion(ctypes.Structure):
    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("perms", ctypes.c_uint32))


_u64, _int, _ptr = ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p
_FILL_CB = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _u64, _int, _ptr)
_INVALID_CB = ctypes.CFUNCTYPE(ctypes.c_bool, _ptr, _int, _u64, _int, ctypes.c_int64)
_INSN_CB = ctypes.CFUNCTYPE(None, _ptr)
_INSN_BOOL_CB = ctypes.CFUNCTYPE(ctypes.c_int, _ptr)
_PORT_CB = ctypes.CFUNCTYPE(ctypes.c_uint32, _ptr, ctypes.c_uint32, _int)
_INTR_CB = ctypes.CFUNCTYPE(None, _ptr, ctypes.c_uint32)
_CODE_CB = ctypes.CFUNCTYPE(None, _ptr, _u64, ctypes.c_uint32)


def library_path() -> str:
    """Where the installed ``unicorn`` distribution keeps its shared library; LIBUNICORN_PATH overrides."""
    override = os.environ.get("LIBUNICORN_PATH")
    if override:
        return os.path.join(override, LIBRARY)
    spec = PathFinder.find_spec("unicorn")
    if spec is None or spec.origin is None:
        raise MachineError("the unicorn package is not installed")
    return os.path.join(os.path.dirname(spec.origin), "lib", LIBRARY)


@functools.cache
def library() -> ctypes.CDLL:
    """The shared library with its prototypes set, and its version checked."""
    path = library_path()
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise MachineError(f"cannot load {path}: {error}") from error
    for name, arguments in {
        "uc_open": (_int, _int, _ptr), "uc_close": (_ptr,),
        "uc_emu_start": (_ptr, _u64, _u64, _u64, ctypes.c_size_t), "uc_emu_stop": (_ptr,),
        "uc_mem_regions": (_ptr, _ptr, _ptr),
        "uc_mem_read": (_ptr, _u64, _ptr, _u64), "uc_mem_write": (_ptr, _u64, ctypes.c_char_p, _u64),
        "uc_reg_read": (_ptr, _int, _ptr), "uc_reg_write": (_ptr, _int, _ptr), "uc_free": (_ptr,),
        "uc_hook_del": (_ptr, _ptr), "uc_context_alloc": (_ptr, _ptr), "uc_context_free": (_ptr,),
        "uc_context_save": (_ptr, _ptr), "uc_context_restore": (_ptr, _ptr),
    }.items():  # fmt: skip
        getattr(lib, name).argtypes = arguments
    lib.uc_strerror.restype = ctypes.c_char_p
    lib.uc_version.restype = ctypes.c_uint32
    major, minor = _int(), _int()
    lib.uc_version(ctypes.byref(major), ctypes.byref(minor))
    if (major.value, minor.value) != SUPPORTED:
        raise MachineError(f"{path} is Unicorn {major.value}.{minor.value}; this needs 2.1")
    return lib


@functools.cache
def _short_calls() -> ctypes.PyDLL:
    """The same library for calls too short to release the interpreter lock for."""
    library()
    lib = ctypes.PyDLL(library_path())
    lib.uc_mem_map_ptr.argtypes = (_ptr, _u64, _u64, ctypes.c_uint32, _u64)
    lib.uc_mem_unmap.argtypes = (_ptr, _u64, _u64)
    lib.uc_mem_protect.argtypes = (_ptr, _u64, _u64, ctypes.c_uint32)
    return lib


def _must_fit(size: int) -> None:
    """Refuse where Unicorn would call exit(1): when the host has no room for the translation buffer."""
    try:
        mmap.mmap(-1, 2 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE).close()
    except OSError as error:
        raise MachineError(f"no address space left for translated code: {error}") from error


class RegisterBatch:
    """A fixed list of registers that moves in one call: about 0.5 us for eight."""

    __slots__ = ("_buffer", "_count", "_fn_read", "_fn_write", "_handle", "_ids", "_pointers", "_values")

    def __init__(self, engine: Engine, names: Sequence[str]) -> None:
        lib = _short_calls()
        count = len(names)
        self._handle = ctypes.c_void_p(engine.handle)
        self._buffer = (ctypes.c_uint64 * count)()
        base = ctypes.addressof(self._buffer)
        self._ids = (ctypes.c_int * count)(*(REGISTERS[name] for name in names))
        self._pointers = (ctypes.c_void_p * count)(*(base + 8 * i for i in range(count)))
        self._count = ctypes.c_int(count)
        self._fn_read = lib.uc_reg_read_batch
        self._fn_write = lib.uc_reg_write_batch
        self._values = memoryview(self._buffer).cast("B").cast("Q")

    def read(self) -> list[int]:
        """Read the registers, in the order of their names."""
        self._fn_read(self._handle, self._ids, self._pointers, self._count)
        return self._values.tolist()

    def write(self, values: Sequence[int]) -> None:
        """Write *values*, one for each name."""
        self._buffer[:] = values  # type: ignore[call-overload]  # any sequence will do, and a list costs time
        self._fn_write(self._handle, self._ids, self._pointers, self._count)


class Engine:
    """One x86-64 Unicorn instance in virtual-TLB mode."""

    __slots__ = (
        "__weakref__", "_asked", "_closing", "_context", "_emu_start", "_entries", "_handle", "_hooks", "_left", "_lib",
        "_rip", "_running", "_short", "_stop_fn", "_uc_ctl", "exception", "handle", "slice",
    )  # fmt: skip

    def __init__(self, cpu_model: int) -> None:
        self._lib = library()
        self._short = _short_calls()
        handle = ctypes.c_void_p()
        self._hooks: list[tuple[int, object]] = []
        self._entries: dict[int, TlbEntry] = {}
        self.exception: BaseException | None = None
        self.slice = 0
        """Instructions after which the engine looks whether somebody wants it to stop; 0 when it may be stopped."""
        self._running = False
        self._asked = False
        """Another thread wants the engine to stop, and it has not since."""
        self._left = False
        """A hook stopped the engine."""
        self._closing = _thread.allocate_lock()
        """Held while another thread uses the handle, and to take it away."""
        self._context: ctypes.c_void_p | None = None
        self.handle: int = 0
        self._check(self._lib.uc_open(UC_ARCH_X86, UC_MODE_64, ctypes.byref(handle)), "open")
        self.handle = handle.value or 0
        self._emu_start = self._lib.uc_emu_start
        self._stop_fn = functools.partial(self._lib.uc_emu_stop, self.handle)
        self._ctl("cpu model", _UC_CTL_WRITE | _ARGS1 | _UC_CTL_CPU_MODEL, ctypes.c_int(cpu_model))
        _must_fit(TRANSLATION_BUFFER)
        self._ctl("buffer", _UC_CTL_WRITE | _ARGS1 | _UC_CTL_TCG_BUFFER_SIZE, ctypes.c_uint32(TRANSLATION_BUFFER))
        self._ctl("tlb mode", _UC_CTL_WRITE | _ARGS1 | _UC_CTL_TLB_TYPE, ctypes.c_int(_UC_TLB_VIRTUAL))
        # An empty set of exits instead of one "until" address: no guest address is special, and
        # leaving the engine does not look up the page of the exit.
        self._ctl("exits", _UC_CTL_WRITE | _ARGS1 | _UC_CTL_USE_EXITS, ctypes.c_int(1))
        self._rip = RegisterBatch(self, ("rip",))
        self._handle = ctypes.c_void_p(self.handle)
        self._uc_ctl = self._short.uc_ctl

    def close(self) -> None:
        """Free the instance and everything it translated; a second call does nothing."""
        if self.handle:
            if self._context is not None:
                self._lib.uc_context_free(self._context)
                self._context = None
            with self._closing:
                handle, self.handle = self.handle, 0
            self._check(self._lib.uc_close(handle), "close")
            self._hooks.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, status: int, what: str) -> None:
        if status:
            self._refuse(status, what)

    def _refuse(self, status: int, what: str) -> NoReturn:
        text = self._lib.uc_strerror(status)
        raise MachineError(f"unicorn: {what}: {text.decode() if text else status}")

    def _ctl(self, what: str, control: int, *arguments: object) -> None:
        control = control - (1 << 32) if control >> 31 else control
        self._check(self._short.uc_ctl(ctypes.c_void_p(self.handle), control, *arguments), what)

    # running

    def run(self, rip: int) -> int:
        """Run from *rip* until something stops the engine; returns a UC_ERR_* code.

        Raises: the first exception that a hook raised.
        """
        self._left = False
        self._running = True
        try:
            # What was asked for before this line returns here; what comes later finds the engine running.
            if self._asked:
                self._rip.write((rip,))
                status = UC_ERR_OK
            elif self.slice:
                status = self._run_slices(rip)
            else:
                status = self._emu_start(self.handle, rip, 0, 0, 0)
        finally:
            self._running = False
            self._asked = False
        if self.exception is not None:
            error, self.exception = self.exception, None
            raise error
        return status

    def _run_slices(self, rip: int) -> int:
        """Run *slice* instructions at a time, until a hook or another thread wants the engine to stop."""
        while True:
            status: int = self._emu_start(self.handle, rip, 0, 0, self.slice)
            if status or self._left or self._asked:
                return status
            rip = self.read_rip()

    def stop(self) -> None:
        """Leave :meth:`run` after the current instruction, from a hook that ends a block or is about to fail."""
        self._left = True
        self._stop_fn()

    def interrupt(self) -> None:
        """Leave :meth:`run`, or the next one when the engine does not run; from another thread.

        Returns when the engine was left, is not running, or is closed.
        """
        pause = FIRST_PAUSE
        self.ask()
        while self._running and self._asked and self.handle:
            time.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)
            self.ask()

    def ask(self) -> None:
        """Ask once for what :meth:`interrupt` waits for; Unicorn forgets it when the engine is just being started."""
        self._asked = True
        with self._closing:
            if self.handle and not self.slice:
                self._stop_fn()

    def fail(self, error: BaseException) -> None:
        """Keep the first exception of a hook and stop."""
        if self.exception is None:
            self.exception = error
        self.stop()

    def read_state(self, offset: int) -> int:
        """A byte of Unicorn's own record of the engine, which no call of the API shows."""
        return ctypes.c_ubyte.from_address(self.handle + offset).value

    def write_state(self, offset: int, value: int) -> None:
        """Change a byte of Unicorn's own record: emu.engine.stops says which, and when that is safe."""
        ctypes.c_ubyte.from_address(self.handle + offset).value = value

    # memory

    def mem_map_ptr(self, address: int, size: int, perms: int, host: int) -> None:
        """Map ``[address, address + size)`` onto host memory; flushes the TLB."""
        status = self._short.uc_mem_map_ptr(self.handle, address, size, perms, host)
        if status:
            self._refuse(status, f"map {address:#x}+{size:#x}")

    def mem_unmap(self, address: int, size: int) -> None:
        """Remove the regions of ``[address, address + size)``; each page costs a TLB look-up."""
        status = self._short.uc_mem_unmap(self.handle, address, size)
        if status:
            self._refuse(status, f"unmap {address:#x}+{size:#x}")

    def mem_protect(self, address: int, size: int, perms: int) -> None:
        """Change the rights of mapped memory; the TLB keeps what it has."""
        status = self._short.uc_mem_protect(self.handle, address, size, perms)
        if status:
            self._refuse(status, f"protect {address:#x}+{size:#x}")

    def mem_regions(self) -> Iterator[tuple[int, int, int]]:
        """Every region as ``(start, end, perms)``, end exclusive, in address order."""
        regions, count = ctypes.POINTER(_MemRegion)(), ctypes.c_uint32()
        status = self._lib.uc_mem_regions(self.handle, ctypes.byref(regions), ctypes.byref(count))
        self._check(status, "regions")
        rows = [(r.begin, r.end + 1, r.perms) for r in regions[: count.value]]
        self._lib.uc_free(regions)
        yield from rows

    def mem_read(self, address: int, size: int) -> bytes:
        """Read *physical* memory, as the engine's own mappings show it."""
        data = ctypes.create_string_buffer(size)
        self._check(self._lib.uc_mem_read(self.handle, address, data, size), f"read {address:#x}")
        return data.raw

    def flush_tlb(self) -> None:
        """Forget every cached translation; a TLB that was more than 70 % full doubles."""
        self._uc_ctl(self._handle, _FLUSH)

    def remove_cache(self, start: int, end: int) -> None:
        """Forget the translated code of virtual ``[start, end)``, within one page."""
        self._ctl(
            "remove cache", _UC_CTL_WRITE | _ARGS2 | _UC_CTL_TB_REMOVE_CACHE, _u64(start), _u64(end)
        )

    # registers and contexts

    def save_context(self) -> None:
        """Remember the whole processor as it is now, for :meth:`restore_context`."""
        if self._context is None:
            context = ctypes.c_void_p()
            self._check(self._lib.uc_context_alloc(self.handle, ctypes.byref(context)), "context")
            self._context = context
        self._check(self._lib.uc_context_save(self.handle, self._context), "context save")

    def restore_context(self) -> None:
        """Make the processor what it was at :meth:`save_context`, what no register shows included."""
        self._check(self._lib.uc_context_restore(self.handle, self._context), "context restore")

    def batch(self, *names: str) -> RegisterBatch:
        """Prepare a list of registers that moves in one call."""
        return RegisterBatch(self, names)

    def reg_write_bytes(self, name: str, value: bytes) -> None:
        """Write a register of any width."""
        data = ctypes.create_string_buffer(value, 16)
        self._lib.uc_reg_write(self.handle, REGISTERS[name], data)

    def read_rip(self) -> int:
        """RIP alone; exact inside a fill hook."""
        return self._rip.read()[0]

    def read_registers_at(self, ids: object, pointers: object, count: object) -> None:
        """Read registers of any width into the places that *pointers* name."""
        self._short.uc_reg_read_batch(ctypes.c_void_p(self.handle), ids, pointers, count)

    def write_registers_at(self, ids: object, pointers: object, count: object) -> None:
        """Write registers of any width from the places that *pointers* name."""
        self._short.uc_reg_write_batch(ctypes.c_void_p(self.handle), ids, pointers, count)

    def write_msr(self, number: int, value: int) -> None:
        """Write a model-specific register as the kernel would."""
        self.reg_write_bytes("msr", number.to_bytes(8, "little") + value.to_bytes(8, "little"))

    # hooks

    def _hook(self, kind: int, callback: object, begin: int = 1, end: int = 0, *extra: int) -> int:
        handle = ctypes.c_void_p()
        status = self._lib.uc_hook_add(
            ctypes.c_void_p(self.handle), ctypes.byref(handle), kind, callback, None,
            _u64(begin), _u64(end), *(ctypes.c_int(value) for value in extra),
        )  # fmt: skip
        self._check(status, f"hook {kind:#x}")
        self._hooks.append((handle.value or 0, callback))
        return handle.value or 0

    def remove_hook(self, handle: int) -> None:
        """Take a hook away; code translated with it is forgotten."""
        self._check(self._lib.uc_hook_del(self.handle, handle), "hook del")

    def tlb_entry(self, address: int) -> TlbEntry:
        """The answer record of a fill hook at host *address*; they are few, and kept."""
        entry = self._entries.get(address)
        if entry is None:
            entry = self._entries[address] = TlbEntry.from_address(address)
        return entry

    def hook_fill(self, function: Callable[[int, int, TlbEntry], bool]) -> int:
        """Call ``function(page, UC_MEM_READ|WRITE|FETCH, answer)`` when a translation is missing."""
        entries, tlb_entry, fail = self._entries, self.tlb_entry, self.fail

        def callback(_uc: int, page: int, access: int, answer: int) -> bool:
            try:
                return function(page, access, entries.get(answer) or tlb_entry(answer))
            except BaseException as error:  # noqa: BLE001 - a raw callback must not raise; run() does
                fail(error)
                return False

        return self._hook(UC_HOOK_TLB_FILL, _FILL_CB(callback))

    def hook_invalid(
        self, function: Callable[[int, int, int, int], bool], begin: int, end: int
    ) -> None:
        """Call ``function(UC_MEM_*_UNMAPPED, paddr, size, value)`` for accesses to nothing in a range."""
        fail = self.fail

        def callback(_uc: int, kind: int, paddr: int, size: int, value: int) -> bool:
            try:
                return function(kind, paddr, size, value)
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)
                return False

        self._hook(UC_HOOK_MEM_UNMAPPED, _INVALID_CB(callback), begin, end)

    def hook_insn(self, insn: int, function: Callable[[], None]) -> None:
        """Call *function* for SYSCALL or SYSENTER; RIP is still at the instruction."""
        fail = self.fail

        def callback(_uc: int) -> None:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)

        self._hook(UC_HOOK_INSN, _INSN_CB(callback), 1, 0, insn)

    def _hook_code(
        self, kind: int, function: Callable[[int, int], None], begin: int = 1, end: int = 0
    ) -> None:
        fail = self.fail

        def callback(_uc: int, address: int, size: int) -> None:
            try:
                function(address, size)
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)

        self._hook(kind, _CODE_CB(callback), begin, end)

    def hook_code(self, function: Callable[[int, int], None], begin: int, end: int) -> None:
        """Call ``function(rip, size)`` before each instruction in [begin, end], both inclusive."""
        self._hook_code(UC_HOOK_CODE, function, begin, end)

    def hook_block(self, function: Callable[[int, int], None]) -> None:
        """Call ``function(address, size)`` before each basic block."""
        self._hook_code(UC_HOOK_BLOCK, function)

    def hook_port(self, insn: int, function: Callable[[], None]) -> None:
        """Call *function* for IN or OUT, whatever the port; RIP is still at the instruction."""
        fail = self.fail

        def callback(_uc: int, _port: int, _size: int) -> int:
            try:
                function()
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)
            return 0

        self._hook(UC_HOOK_INSN, _PORT_CB(callback), 1, 0, insn)

    def hook_insn_skip(self, insn: int, function: Callable[[], bool]) -> None:
        """Call *function* for CPUID, RDTSC or RDTSCP; True means that it did the instruction's work."""
        fail = self.fail

        def callback(_uc: int) -> int:
            try:
                return function()
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)
                return 1

        self._hook(UC_HOOK_INSN, _INSN_BOOL_CB(callback), 1, 0, insn)

    def hook_intr(self, function: Callable[[int], None]) -> None:
        """Call ``function(vector)`` for every exception and software interrupt."""
        fail = self.fail

        def callback(_uc: int, vector: int) -> None:
            try:
                function(vector)
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)

        self._hook(UC_HOOK_INTR, _INTR_CB(callback))

    def hook_insn_invalid(self, function: Callable[[], bool]) -> None:
        """Call *function* for an undefined instruction."""
        fail = self.fail

        def callback(_uc: int) -> bool:
            try:
                return function()
            except BaseException as error:  # noqa: BLE001 - as above
                fail(error)
                return False

        self._hook(UC_HOOK_INSN_INVALID, _INSN_BOOL_CB(callback))
