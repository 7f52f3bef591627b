"""How the map's verbs grow with the number of entries: ``python -m tests.bench.vm_map [ENTRIES...]``.

Per size: a lookup of a random address, a first-fit search that has to pass most gaps, an insertion at a
random free place and its removal.  The last lines are the ratios from the first size to the last, beside
that of the logarithms.
"""

from __future__ import annotations

import gc
import math
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_delete import vm_map_delete
from kernel_model.vm.vm_map_find import vm_map_findspace
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_alloc
from tests.bench.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernel_model.vm.vm_map import VmMap

TOPIC = "vm_map"

SIZES = (1_000, 10_000, 100_000, 1_000_000)
LIMITS = {"lookup": 4.0, "find": 20.0, "insert": 60.0}
"""Microseconds at the largest size."""
COLUMNS = ("build", "lookup", "find", "insert", "delete", "depth")
SLOT = 4 * PAGE_SIZE
"""Address space per entry: one page mapped, then a gap of one to three."""
BASE = 1 << 32
ROUNDS = 20_000
REPEATS = 5


@dataclass(frozen=True)
class Figures:
    """Microseconds per operation at one size."""

    entries: int
    build: float
    lookup: float
    find: float
    insert: float
    delete: float
    depth: float
    """Entries that a lookup visits, on average: what must grow with the logarithm whatever the caches do."""


def build_map(entries: int, rng: random.Random) -> VmMap:
    """A map of *entries* single pages, one per slot, that cannot merge; every gap is smaller than a slot."""
    vm = Vm(RELEASES[DEFAULT_RELEASE])
    map_ = vmspace_alloc(vm, PAGE_SIZE, 1 << 47).vm_map
    order = list(range(entries))
    rng.shuffle(order)
    map_.lock()
    for slot in order:
        start = BASE + slot * SLOT
        assert vm_map_insert(map_, None, 0, start, start + PAGE_SIZE, 1, 7, 0) == 0
    map_.unlock()
    return map_


def _per_round(begin: float, rounds: int) -> float:
    return (time.process_time() - begin) / rounds * 1e6


def _timed(work: Callable[[int], object], arguments: list[int]) -> float:
    begin = time.process_time()
    for argument in arguments:
        work(argument)
    return _per_round(begin, len(arguments))


def measure_size(entries: int) -> Figures:
    """Build a map and time its verbs: processor time, the best of REPEATS rounds, since other programs run as well."""
    rng = random.Random(entries)
    begin = time.process_time()
    map_ = build_map(entries, rng)
    build = _per_round(begin, entries)
    lookups = [BASE + rng.randrange(entries) * SLOT + rng.randrange(SLOT) for _ in range(ROUNDS)]
    lookup = min(_timed(lambda addr: vm_map_lookup_entry(map_, addr), lookups) for _ in range(REPEATS))

    map_.lock()
    for hole in range(1, 17):  # some larger holes, so that the search has choices
        at = BASE + entries * hole // 18 * SLOT
        vm_map_delete(map_, at, at + 2 * SLOT)
    starts = [BASE + rng.randrange(entries) * SLOT for _ in range(ROUNDS)]
    assert None not in [vm_map_findspace(map_, start, 2 * SLOT) for start in starts]
    find = min(_timed(lambda start: vm_map_findspace(map_, start, 2 * SLOT), starts) for _ in range(REPEATS))

    slots = rng.sample(range(entries), min(ROUNDS, entries // 2))
    gaps = [BASE + slot * SLOT + 2 * PAGE_SIZE for slot in slots]
    inserts, deletes = [], []
    for _ in range(REPEATS):
        inserts.append(_timed(lambda gap: vm_map_insert(map_, None, 0, gap, gap + PAGE_SIZE, 1, 5, 0), gaps))
        assert map_.nentries == entries - 32 + len(gaps)
        deletes.append(_timed(lambda gap: vm_map_delete(map_, gap, gap + PAGE_SIZE), gaps))
    insert, delete = min(inserts), min(deletes)
    map_.unlock()
    vm_map_assert_consistent(map_)
    return Figures(entries, build, lookup, find, insert, delete, _depth(map_, lookups[:2000]))


def _depth(map_: VmMap, addresses: list[int]) -> float:
    steps = 0
    for addr in addresses:
        node = map_.root
        while node is not None:
            steps += 1
            node = node.left if addr < node.start else node.right
    return steps / len(addresses)


def measure() -> list[Figure]:
    """The figures of ``python -m tests.bench``: the largest size, with its limits."""
    gc.disable()
    row = measure_size(SIZES[-1])
    gc.enable()
    return [
        Figure(f"vm_map {name}, {row.entries} entries", getattr(row, name), "us", limit)
        for name, limit in LIMITS.items()
    ]


def main(arguments: list[str]) -> int:
    """Print the table; exit status 1 when the largest size is over a limit that holds for a million entries."""
    sizes = tuple(int(word) for word in arguments) or SIZES
    gc.disable()
    print(f"{'entries':>9}" + "".join(f"{name:>9}" for name in COLUMNS) + "   us per operation, entries visited")
    rows = []
    for size in sizes:
        row = measure_size(size)
        rows.append(row)
        print(f"{row.entries:>9}" + "".join(f"{getattr(row, name):>9.2f}" for name in COLUMNS), flush=True)
    first, last = rows[0], rows[-1]
    logarithm = math.log2(last.entries) / math.log2(first.entries)
    print(f"growth from {first.entries} to {last.entries} entries; the logarithm grows {logarithm:.2f} times")
    failed = False
    for name, limit in LIMITS.items():
        value = getattr(last, name)
        over = value > limit
        failed |= over
        print(
            f"  {name:<7} {value / getattr(first, name):5.2f} times, {value:6.2f} us, limit {limit:.0f} us"
            f"{'  OVER' if over else ''}"
        )
    print(f"  depth   {last.depth / first.depth:5.2f} times, {last.depth:6.2f} entries")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
