"""Pieces of an address space, and what turns one list of them into another.

A *piece* is a range with one protection whose pages lie in consecutive frames.  Lists of pieces are in address order
and, where it says so, have their neighbours joined.

Model only: FreeBSD's pmap needs no such thing, it has page tables.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterable


class Piece(NamedTuple):
    """Addresses ``[start, end)`` with rights *perms*, the first page in frame *frame*."""

    start: int
    end: int
    perms: int
    frame: int

    def clip(self, low: int, high: int) -> Piece:
        """The part inside ``[low, high)``; it must not be empty."""
        start, end, perms, frame = self
        if start < low:
            frame += (low - start) >> PAGE_SHIFT
            start = low
        return Piece(start, end if end < high else high, perms, frame)

    def joins(self, after: Piece) -> bool:
        """Whether *after* continues this piece."""
        return (
            self.end == after.start
            and self.perms == after.perms
            and self.frame + ((self.end - self.start) >> PAGE_SHIFT) == after.frame
        )

    def __str__(self) -> str:
        rights = "".join(letter if self.perms >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
        return f"[{self.start:#x},{self.end:#x}) {rights} frame {self.frame:#x}"


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """*pieces*, in address order, with neighbours that continue each other joined."""
    result: list[Piece] = []
    for piece in pieces:
        if result and result[-1].joins(piece):
            last = result[-1]
            result[-1] = Piece(last.start, piece.end, last.perms, last.frame)
        else:
            result.append(piece)
    return result


class Changes(NamedTuple):
    """What turns one list of pieces into another."""

    unmap: list[Piece]
    protect: list[Piece]
    map: list[Piece]


def changes(have: list[Piece], want: list[Piece]) -> Changes:
    """The smallest set of operations that turns *have* into *want*; both in address order, neighbours joined."""
    if not have:
        return Changes([], [], want)
    if not want:
        return Changes(joined(have), [], [])
    if len(have) == 1 and len(want) == 1:
        (old,), (new,) = have, want
        if old.start == new.start and old.perms == new.perms and old.frame == new.frame:
            # The most frequent one: something was added or removed at the end.
            if old.end < new.end:
                return Changes([], [], [new.clip(old.end, new.end)])
            return Changes([old.clip(new.end, old.end)], [], [])
    return _sweep(have, want)


def _sweep(have: list[Piece], want: list[Piece]) -> Changes:
    """changes() in general: look at each interval between two borders of either list."""
    borders = sorted({border for piece in (*have, *want) for border in (piece.start, piece.end)})
    result = Changes([], [], [])
    old_pieces, new_pieces = iter(have), iter(want)
    old: Piece | None = next(old_pieces, None)
    new: Piece | None = next(new_pieces, None)
    for low, high in pairwise(borders):
        while old is not None and old.end <= low:
            old = next(old_pieces, None)
        while new is not None and new.end <= low:
            new = next(new_pieces, None)
        before = old.clip(low, high) if old is not None and old.start <= low else None
        after = new.clip(low, high) if new is not None and new.start <= low else None
        if before == after:
            continue
        if before is not None and after is not None and before.frame == after.frame:
            result.protect.append(after)
            continue
        if before is not None:
            result.unmap.append(before)
        if after is not None:
            result.map.append(after)
    return Changes(joined(result.unmap), merged(result.protect), merged(result.map))


def joined(pieces: list[Piece]) -> list[Piece]:
    """Adjacent ranges to unmap as one, whatever they showed."""
    result: list[Piece] = []
    for piece in pieces:
        if result and result[-1].end == piece.start:
            result[-1] = result[-1]._replace(end=piece.end)
        else:
            result.append(piece)
    return result
