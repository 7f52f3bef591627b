"""Which basic blocks ran, as a drcov file that Lighthouse, Cartographer and others read.

Model only: the format is DynamoRIO's drcov, version 2.  Each executed block costs a Python call, so this is only done
when asked for.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emu.program.files import Output
    from kernel_model.ktrace import EntryState

_BLOCK = struct.Struct("<IHH")


class Module(NamedTuple):
    """One file of the process: from its lowest mapping to the end of its highest."""

    base: int
    end: int
    path: str


class Coverage:
    """The blocks of one run."""

    def __init__(self) -> None:
        self.blocks: set[tuple[int, int]] = set()
        """(address, size) of each block that was executed."""

    def hit(self, addr: int, size: int) -> None:
        """A block was entered."""
        self.blocks.add((addr, size))

    def write(self, out: Output, entries: Iterable[EntryState]) -> int:
        """Write *out* for a map of *entries*; returns how many blocks lie in mapped files."""
        modules = modules_of(entries)
        body = bytearray()
        count = 0
        for addr, size in sorted(self.blocks):
            number = next((i for i, module in enumerate(modules) if module.base <= addr < module.end), None)
            if number is None:
                continue
            body += _BLOCK.pack(addr - modules[number].base, min(size, 0xFFFF), number)
            count += 1
        head = [
            "DRCOV VERSION: 2",
            "DRCOV FLAVOR: growstack",
            f"Module Table: version 2, count {len(modules)}",
            "Columns: id, base, end, entry, checksum, timestamp, path",
        ]
        for number, module in enumerate(modules):
            head.append(f"{number:3}, {module.base:#018x}, {module.end:#018x}, 0x0, 0x0, 0x0, {module.path}")
        head.append(f"BB Table: {count} bbs")
        out.write("\n".join(head).encode() + b"\n" + bytes(body))
        return count


def modules_of(entries: Iterable[EntryState]) -> list[Module]:
    """The mapped files, in address order."""
    spans: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.vnode:
            low, high = spans.get(entry.vnode, (entry.start, entry.end))
            spans[entry.vnode] = (min(low, entry.start), max(high, entry.end))
    return sorted(Module(low, high, path) for path, (low, high) in spans.items())


def read_drcov(path: str | Path) -> tuple[list[Module], list[tuple[int, int, int]]]:
    """Modules and (module, offset, size) of a drcov file written here."""
    data = Path(path).read_bytes()
    head, _, rest = data.partition(b"BB Table: ")
    count, _, body = rest.partition(b" bbs\n")
    modules = []
    for line in head.decode().splitlines():
        if line[:4].strip().rstrip(",").isdigit():
            parts = [part.strip() for part in line.split(",", 6)]
            modules.append(Module(int(parts[1], 16), int(parts[2], 16), parts[6]))
    blocks = [(number, start, size) for start, size, number in _BLOCK.iter_unpack(body[: int(count) * _BLOCK.size])]
    return modules, blocks
