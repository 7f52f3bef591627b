"""Compares two dumps at the levels of the recordings' README: A, B, C."""

from __future__ import annotations

from typing import Any

Dump = dict[str, Any]
Difference = tuple[str, str]
"""Level and text."""

OBJ, CHARGED, HAS_OBJECT, OFFSET = 10, 11, 8, 7
_COLUMNS = (
    "start", "end", "prot", "max_prot", "inheritance", "eflags", "wired_count", "offset", "has_object", "ext", "obj",
    "charged",
)  # fmt: skip
_OBJECT_COLUMNS = (
    "size", "ref_count", "shadow_count", "type", "onemapping", "backing", "backing_offset", "has_cred", "charge",
)  # fmt: skip
ENTRY_WIDTH, OBJECT_WIDTH, BACKING = len(_COLUMNS), len(_OBJECT_COLUMNS), 5
_LEVEL_A = ("nentries", "size", "timestamp", "flags", "ssize", "wired_pages")
_LEVEL_B = ("swap", "anon_loc", "user_wired")


def compare_dumps(want: Dump, got: Dump) -> list[Difference]:
    """What differs, the weightiest level first."""
    found: list[Difference] = []
    for key in _LEVEL_A:
        if key in want and want[key] != got[key]:
            found.append(("A", f"{key}: recorded {want[key]}, model {got[key]}"))
    found += _compare_entries(want["entries"], got["entries"])
    for key in _LEVEL_B:
        if key in want and want[key] != got[key]:
            found.append(("B", f"{key}: recorded {want[key]}, model {got[key]}"))
    if not any(level == "A" for level, _ in found):
        found += _compare_objects(want, got)
    return sorted(found, key=lambda item: item[0])


def _compare_entries(want: list[list[int]], got: list[list[int]]) -> list[Difference]:
    if [row[:2] for row in want] != [row[:2] for row in got]:
        return [("A", f"entries: recorded {_ranges(want)}, model {_ranges(got)}")]
    found: list[Difference] = []
    for theirs, ours in zip(want, got, strict=True):
        for column, name in enumerate(_COLUMNS):
            if column == OBJ or (column == OFFSET and not (theirs[HAS_OBJECT] and ours[HAS_OBJECT])):
                continue
            if theirs[column] != ours[column]:
                level = "B" if column == CHARGED else "A"
                where = f"[{theirs[0]:#x},{theirs[1]:#x})"
                found.append((level, f"entry {where} {name}: recorded {theirs[column]:#x}, model {ours[column]:#x}"))
    return found


def _compare_objects(want: Dump, got: Dump) -> list[Difference]:
    """Identity only: follow both chains from the same entries."""
    pairs: dict[int, int] = {}
    backwards: dict[int, int] = {}
    found: list[Difference] = []
    for theirs, ours in zip(want["entries"], got["entries"], strict=True):
        where = f"[{theirs[0]:#x},{theirs[1]:#x})"
        one, two = theirs[OBJ], ours[OBJ]
        depth = 0
        while one != -1 or two != -1:
            if one == -1 or two == -1:
                found.append(("C", f"entry {where} depth {depth}: recorded object {one}, model {two}"))
                break
            if pairs.setdefault(one, two) != two or backwards.setdefault(two, one) != one:
                found.append(("C", f"entry {where} depth {depth}: another object is shared"))
                break
            row, mine = want["objects"][one], got["objects"][two]
            for column, name in enumerate(_OBJECT_COLUMNS):
                if name == "backing" or (name == "backing_offset" and row[5] == -1):
                    continue
                if row[column] != mine[column]:
                    text = f"object of {where} depth {depth} {name}: recorded {row[column]:#x}, model {mine[column]:#x}"
                    if ("C", text) not in found:
                        found.append(("C", text))
            one, two = row[5], mine[5]
            depth += 1
    return found


def _ranges(entries: list[list[int]]) -> str:
    return " ".join(f"[{row[0]:#x},{row[1]:#x})" for row in entries) or "none"
