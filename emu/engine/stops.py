"""How an engine is left exactly: between two instructions, each of them carried out once.

Unicorn looks for a stop after every load and store, with RIP still at the instruction: whoever goes on from there
carries it out again.  A byte of its own record, ``no_exit_request``, leaves these looks out of what is translated
while it is set; then a stop is noticed only at the start of a block.  No call of the API sets it, so it is written

* for a library that is known by its size and build id (``KNOWN``; its sha256 is for ``emu doctor`` and the tests,
  because 24 megabytes take 15 ms),
* after a proof in the running process, on the first engine: the byte is 0, a stop in the middle of a
  read-modify-write is inexact before, and exact afterwards.

In all other cases the engine runs in counted slices (``Engine.slice``), which end between two instructions too.

Differs: a stop in the middle of a block that goes on to CPUID, RDTSC or SYSENTER skips the hook of that instruction:
CPUID tells the engine's own features, RDTSC the host's counter.
Model only: it stands for the processor, which takes interrupts between two instructions.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from emu.engine.cpu import CPU_SKYLAKE_CLIENT
from emu.engine.raw import UC_MEM_FETCH, UC_MEM_WRITE, UC_PROT_EXEC, UC_PROT_READ, Engine, library_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.engine.raw import TlbEntry

SLICE = 500_000
"""Instructions of a counted slice: 4 ms."""
UC_PROT_RW = 3

PT_NOTE = 4
NT_GNU_BUILD_ID = 3

_CODE, _DATA, _SIZE = 0x1000, 0x3000, 0x1000
_READ_MODIFY_WRITE = bytes.fromhex("8a042500300000 48ff042500300000 48ffc3 eb00 ebfe")
"""mov al,[DATA]; inc qword ptr [DATA]; inc rbx; jmp 1f; 1: jmp ."""
_FIRST, _SECOND = 0, 0x100
"""Where its two copies are."""
_AT_INC, _AT_NEXT = 7, 20
"""Where in it the increment stands, and where its second block begins."""


class Build(NamedTuple):
    """One build of Unicorn's library, and where ``no_exit_request`` is in its ``struct uc_struct``."""

    size: int
    build_id: str
    sha256: str
    offset: int
    what: str


KNOWN = (
    Build(
        24_507_432,
        "44285d3e80527122e9e361928189385906ec813e",
        "ddb196ec82b52e502c18e4a34478bf7b9f61c83c2ebaa95c74d8ded45a95da9c",
        2034,
        "unicorn 2.1.4, manylinux x86-64",
    ),
)


def build_id(path: str) -> str:
    """The GNU build id of the ELF file at *path*; empty when it has none."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":
            return ""
        (table,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(table)
        headers = file.read(size * count)
        for at in range(0, len(headers) - 55, size):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", headers, at)
            if kind == PT_NOTE:
                file.seek(offset)
                found = _build_id_among(file.read(length))
                if found:
                    return found
    return ""


def _build_id_among(notes: bytes) -> str:
    at = 0
    while at + 12 <= len(notes):
        names, size, kind = struct.unpack_from("<III", notes, at)
        start = at + 12 + (names + 3 & ~3)
        if kind == NT_GNU_BUILD_ID and notes[at + 12 : at + 12 + names] == b"GNU\0":
            return notes[start : start + size].hex()
        at = start + (size + 3 & ~3)
    return ""


@functools.cache
def known_build() -> Build | None:
    """Which of the known builds is loaded."""
    path = library_path()
    size = os.stat(path).st_size
    for build in KNOWN:
        if build.size == size and build.build_id == build_id(path):
            return build
    return None


def whole_file_is(build: Build) -> bool:
    """Whether the loaded library is *build* to the last byte."""
    import hashlib  # start-up does not pay for what only the doctor asks

    with open(library_path(), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == build.sha256


def leave_exactly(engine: Engine, *, counted: bool) -> None:
    """Make the stops of *engine*, which ran nothing yet, exact; by counting when *counted* or when it must be."""
    build = known_build()
    if counted or build is None or not proved(build):
        engine.slice = SLICE
    else:
        engine.write_state(build.offset, 1)


@functools.cache
def proved(build: Build) -> bool:
    """The self-test, once in a process, on an engine of its own: the byte is what it is taken for."""
    with Engine(CPU_SKYLAKE_CLIENT) as engine:
        if engine.read_state(build.offset) != 0:
            return False
        stop = _stopper(engine)
        before = stop(_FIRST)
        engine.write_state(build.offset, 1)
        # Blocks that are translated keep their looks: the second run is of another copy.
        return before == (_AT_INC, 1, 0) and stop(_SECOND) == (_AT_NEXT, 1, 1)


def _stopper(engine: Engine) -> Callable[[int], tuple[int, int, int]]:
    """A function that runs the code at an offset and stops it while ``inc [DATA]`` is about to store.

    It says where in the code RIP is then, what is in memory, and how often RBX was counted.
    """
    memory = ctypes.create_string_buffer(3 * _SIZE)
    code = (ctypes.addressof(memory) + _SIZE - 1) & -_SIZE
    counter = ctypes.c_uint64.from_buffer(memory, code + _SIZE - ctypes.addressof(memory))
    for offset in (_FIRST, _SECOND):
        ctypes.memmove(code + offset, _READ_MODIFY_WRITE, len(_READ_MODIFY_WRITE))

    def fill(page: int, access: int, answer: TlbEntry) -> bool:
        answer.paddr = page
        answer.perms = UC_PROT_READ | UC_PROT_EXEC if access == UC_MEM_FETCH else UC_PROT_READ
        if access == UC_MEM_WRITE:
            answer.perms = UC_PROT_RW
            engine.stop()
        return page in (_CODE, _DATA)

    engine.mem_map_ptr(_CODE, _SIZE, UC_PROT_READ | UC_PROT_EXEC, code)
    engine.mem_map_ptr(_DATA, _SIZE, UC_PROT_RW, code + _SIZE)
    engine.hook_fill(fill)
    registers = engine.batch("rip", "rbx")

    def run(offset: int) -> tuple[int, int, int]:
        counter.value = 0
        registers.write((0, 0))
        engine.flush_tlb()
        engine.run(_CODE + offset)
        rip, rbx = registers.read()
        return rip - _CODE - offset, counter.value, rbx

    return run
