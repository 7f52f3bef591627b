"""A map as a dictionary of pages, and the checks that hold in every state of the real one."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from kernel_model.release import RELEASES, Release
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_entry import (
    MAP_COPY_ON_WRITE,
    MAP_CREATE_GUARD,
    MAP_DISABLE_COREDUMP,
    MAP_DISABLE_SYNCER,
    MAP_ENTRY_BEHAV_MASK,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_STACK_GAP_DN,
    MAP_ENTRY_USER_WIRED,
    MAP_INHERIT_SHARE,
    MAP_STACK_GROWS_DOWN,
)
from tests.replay.pagefree import FaultRecord
from tests.replay.world import World

PG = 0x1000
PAGES = 192
BASE = 0x10000000
TOP = BASE + PAGES * PG
SHOWN = (
    MAP_ENTRY_BEHAV_MASK
    | MAP_ENTRY_NOSYNC
    | MAP_ENTRY_NOCOREDUMP
    | MAP_ENTRY_GUARD
    | MAP_ENTRY_STACK_GAP_DN
    | MAP_ENTRY_USER_WIRED
)
"""The eflags that the model keeps; the others are about objects."""
NAMES = tuple(RELEASES)


@dataclass(frozen=True)
class Page:
    """What one page's entry says."""

    prot: int
    max: int
    inherit: int
    eflags: int = 0
    saved: tuple[int, int] = (0, 0)
    """Protections that a stack gap remembers (15.0)."""


Space = dict[int, Page]
"""Page address -> Page."""


def pages_of(start: int, end: int) -> range:
    return range(start, end, PG)


def expand(map_: Any) -> Space:
    """The map as the model writes it."""
    space = {}
    saves = map_.vm.release.stack_prot_saved
    for entry in map_:
        eflags = entry.eflags & SHOWN
        saved = (0, 0)
        if saves and eflags & MAP_ENTRY_STACK_GAP_DN:
            saved = (entry.offset & 7, entry.offset >> 16)
        page = Page(entry.protection, entry.max_protection, entry.inheritance, eflags, saved)
        for addr in pages_of(entry.start, entry.end):
            space[addr] = page
    return space


class Scenario:
    """Random operations on one process family, each checked against the pages."""

    def __init__(self, seed: int, name: str | None = None) -> None:
        self.rng = random.Random(seed)
        self.release: Release = RELEASES[name or NAMES[seed % len(NAMES)]]
        setup = {"min": BASE, "max": TOP, "usrstack": TOP, "maxsaddr": TOP, "sgrowsiz": 4 * PG, "cluster_anon": 0}
        self.world = World(self.release, setup | {"guard": self.release.stack_guard_page}, FaultRecord())
        self.spaces: list[Space | None] = [{}]
        self.log: list[str] = []
        # The page that every process has at the top; without it 12.1's search has a blind spot.
        self.act("insert", start=TOP - PG, end=TOP, prot=5, max=5)
        self.space[TOP - PG] = Page(5, 5, 1)
        self.act("mkobj", type="anon", size=PAGES)
        self.act("mkobj", type="anon", size=PAGES)
        self.check()

    @property
    def space(self) -> Space:
        space = self.spaces[self.world.current]
        assert space is not None
        return space

    def act(self, op: str, **args: Any) -> tuple[int, Any]:
        shown = " ".join(
            f"{key}={value:#x}" if isinstance(value, int) else f"{key}={value}" for key, value in args.items()
        )
        self.log.append(f"{op} {shown}")
        return self.world.apply(op, args)

    def run(self, steps: int) -> None:
        """Do *steps* random operations; a failure shows the release and all operations."""
        try:
            for _ in range(steps):
                getattr(self, f"do_{self.rng.choices(OPERATIONS, WEIGHTS)[0]}")()
                self.check()
        except Exception as error:
            error.add_note("\n".join([self.release.name, *self.log]))
            raise

    # choices

    def extent(self, longest: int = 24) -> tuple[int, int]:
        start = BASE + self.rng.randrange(PAGES - 1) * PG
        return start, min(start + self.rng.randint(1, longest) * PG, TOP - PG)

    def rights(self) -> tuple[int, int]:
        max_ = self.rng.choice((7, 7, 7, 5, 3, 1))
        return self.rng.choice((3, 7, 1, 5, 2, 0)) & max_, max_

    def free(self, start: int, end: int) -> bool:
        return not any(addr in self.space for addr in pages_of(start, end))

    def spared(self, end: int) -> bool:
        """DragonFly's search leaves the reserve of a stack alone."""
        if not self.release.stack_dragonfly:
            return True
        above = next(entry for entry in self.world.map if entry.start >= end)
        return not above.eflags & 0x1000 or above.start - above.avail_ssize >= end

    def cow(self) -> tuple[int, int, int]:
        """A cow argument, and the eflags and inheritance that it means."""
        cow = eflags = 0
        inherit = 1
        if self.rng.random() < 0.15:
            cow |= MAP_DISABLE_SYNCER
            eflags |= MAP_ENTRY_NOSYNC
        if self.rng.random() < 0.15:
            cow |= MAP_DISABLE_COREDUMP
            eflags |= MAP_ENTRY_NOCOREDUMP
        if self.rng.random() < 0.15:
            cow |= MAP_INHERIT_SHARE
            inherit = 0
        return cow, eflags, inherit

    def fill(self, start: int, end: int, page: Page) -> None:
        for addr in pages_of(start, end):
            self.space[addr] = page

    # operations

    def do_insert(self) -> None:
        start, end = self.extent()
        prot, max_ = self.rights()
        cow, eflags, inherit = self.cow()
        args = {}
        if self.rng.random() < 0.3:
            args = {"obj": self.rng.randint(1, 2), "off": self.rng.randrange(PAGES - (end - start) // PG) * PG}
            if self.rng.random() < 0.6:
                cow |= MAP_COPY_ON_WRITE
        elif self.rng.random() < 0.15 and self.release.insert_guards:
            cow, eflags, prot, max_, inherit = MAP_CREATE_GUARD, MAP_ENTRY_GUARD, 0, 0, 1
        if args and not cow & MAP_COPY_ON_WRITE:
            cow |= 0x8000  # somebody else pays for a shared object
        rv, _ = self.act("insert", start=start, end=end, prot=prot, max=max_, cow=cow, **args)
        if start >= end:
            assert rv == 1
        elif not self.free(start, end):
            assert rv == 3
        else:
            assert rv == 0
            self.fill(start, end, Page(prot, max_, inherit, eflags))

    def do_find(self) -> None:
        hint = BASE + self.rng.randrange(PAGES) * PG
        length = self.rng.randint(1, 20) * PG
        prot, max_ = self.rights()
        rv, addr = self.act("find", addr=hint, len=length, space=1, prot=prot, max=max_)
        fits = [
            at for at in range(hint, TOP - length + 1, PG) if self.free(at, at + length) and self.spared(at + length)
        ]
        if not fits:
            assert rv == 3
            return
        assert (rv, addr) == (0, fits[0])
        self.fill(addr, addr + length, Page(prot, max_, 1))

    def do_fixed(self) -> None:
        start, end = self.extent()
        if start >= end:
            return
        prot, max_ = self.rights()
        rv, _ = self.act("fixed", start=start, len=end - start, prot=prot, max=max_)
        assert rv == 0
        self.fill(start, end, Page(prot, max_, 1))

    def do_remove(self) -> None:
        start, end = self.extent(40)
        assert self.act("remove", start=start, end=end)[0] == 0
        for addr in pages_of(start, end):
            self.space.pop(addr, None)

    def do_protect(self) -> None:
        start, end = self.extent()
        prot = self.rng.choice((0, 1, 3, 5, 7))
        set_max = int(self.rng.random() < 0.15)
        inside = [addr for addr in pages_of(start, end) if addr in self.space]
        if prot & 2 and any(self.space[addr].eflags & MAP_ENTRY_USER_WIRED for addr in inside):
            return  # 10.4 and 11.0 assert here; copying wired pages has its own tests
        rv, _ = self.act("protect", start=start, end=end, prot=prot, set_max=set_max)
        if start < end and any(prot & ~self._maximum(self.space[addr]) for addr in inside):
            assert rv == 2
            return
        assert rv == 0
        for addr in inside:
            self.space[addr] = self._protected(self.space[addr], prot, set_max)

    def _maximum(self, page: Page) -> int:
        if page.eflags & MAP_ENTRY_STACK_GAP_DN and self.release.stack_prot_saved:
            return page.saved[1]
        return 7 if page.eflags & MAP_ENTRY_GUARD else page.max

    def _protected(self, page: Page, prot: int, set_max: int) -> Page:
        if page.eflags & MAP_ENTRY_STACK_GAP_DN and self.release.stack_prot_saved:
            return replace(page, saved=(page.saved[0] & prot, prot) if set_max else (prot, page.saved[1]))
        if page.eflags & MAP_ENTRY_GUARD:
            return page
        return replace(page, prot=page.prot & prot, max=prot) if set_max else replace(page, prot=prot)

    def do_inherit(self) -> None:
        start, end = self.extent()
        value = self.rng.randint(0, 4)
        rv, _ = self.act("inherit", start=start, end=end, inh=value)
        if value > (3 if self.release.inherit_zero else 2):
            assert rv == 4
            return
        assert rv == 0
        for addr in pages_of(start, end):
            page = self.space.get(addr)
            if page is not None and not (value == 3 and page.eflags & MAP_ENTRY_GUARD):
                self.space[addr] = replace(page, inherit=value)

    def do_madvise(self) -> None:
        start, end = self.extent()
        behav = self.rng.randrange(10)
        assert self.act("madvise", start=start, end=end, behav=behav)[0] == 0
        change = {0: (0, 0xC0), 1: (0x80, 0xC0), 2: (0x40, 0xC0), 6: (1, 0), 7: (0, 1), 8: (0x400, 0), 9: (0, 0x400)}
        set_, clear = change.get(behav, (0, 0))
        for addr in pages_of(start, end):
            page = self.space.get(addr)
            if page is not None:
                self.space[addr] = replace(page, eflags=page.eflags & ~clear | set_)

    def do_wire(self) -> None:
        start, end = self.extent(6)
        rv, _ = self.act("wire", start=start, end=end, flags=1)
        pages = [self.space.get(addr) for addr in pages_of(start, end)]
        if any(page is None or not page.prot & 5 for page in pages):
            assert rv == 1
            return
        assert rv == 0
        for addr in pages_of(start, end):
            self.space[addr] = replace(self.space[addr], eflags=self.space[addr].eflags | MAP_ENTRY_USER_WIRED)

    def do_unwire(self) -> None:
        start, end = self.extent(10)
        holes_ok = self.rng.choice((0, 2))
        rv, _ = self.act("unwire", start=start, end=end, flags=1 | holes_ok)
        if not holes_ok and not all(addr in self.space for addr in pages_of(start, end)):
            assert rv == 1
            return
        assert rv == 0
        for addr in pages_of(start, end):
            if addr in self.space:
                page = self.space[addr]
                self.space[addr] = replace(page, eflags=page.eflags & ~MAP_ENTRY_USER_WIRED)

    def do_stack(self) -> None:
        start, end = self.extent(20)
        prot, max_ = self.rights()
        rv, _ = self.act("stack", addr=start, size=end - start, prot=prot, max=max_, cow=MAP_STACK_GROWS_DOWN)
        if rv != 0:
            return  # the codes have their own tables
        guard = self.release.stack_guard_page * PG if self.release.stack_gap else 0
        init = min(end - start - guard, 4 * PG)
        bottom = end - init
        assert self.free(bottom, end)
        self.fill(bottom, end, Page(prot, max_, 1))
        if self.release.stack_gap:
            assert self.free(start, bottom)
            saved = (prot, max_) if self.release.stack_prot_saved else (0, 0)
            self.fill(start, bottom, Page(0, 0, 1, MAP_ENTRY_GUARD | MAP_ENTRY_STACK_GAP_DN, saved))

    def do_fault(self) -> None:
        addr = BASE + self.rng.randrange(PAGES) * PG
        type_ = self.rng.choice((1, 2, 4))
        page = self.space.get(addr)
        before = dict(self.space)
        rv, _ = self.act("fault", addr=addr, type=type_)
        if page is not None and not page.eflags & MAP_ENTRY_STACK_GAP_DN:
            refused = self.release.lookup_refuses_wired_cow and type_ == 2 and page.eflags & MAP_ENTRY_USER_WIRED
            if not refused:
                assert rv == (0 if page.prot & type_ else 2)
            return
        self.grown(before, addr, rv)

    def do_growstack(self) -> None:
        addr = BASE + self.rng.randrange(PAGES) * PG
        before = dict(self.space)
        rv, _ = self.act("growstack", addr=addr)
        self.grown(before, addr, rv)

    def grown(self, before: Space, addr: int, rv: int) -> None:
        """Growth only turns reserve into stack, in one run that ends below a mapped page."""
        now = expand(self.world.map)
        new = sorted(at for at in now if now[at] != before.get(at))
        assert all(at in now for at in before)
        if new:
            gap = MAP_ENTRY_STACK_GAP_DN
            assert new == list(pages_of(new[0], new[-1] + PG))
            assert all(at not in before or before[at].eflags & gap for at in new)
            assert new[-1] + PG in before
            assert new[0] <= addr
            assert not any(now[at].eflags & gap for at in new)
            if not self.release.lookup_grows or rv == 0:
                assert addr in now
        self.spaces[self.world.current] = now

    def do_fork(self) -> None:
        if len(self.spaces) > 4:
            return
        _, out = self.act("fork")
        child: Space = {}
        for addr, page in self.space.items():
            if page.inherit != 2:
                eflags = page.eflags & ~MAP_ENTRY_USER_WIRED
                child[addr] = replace(page, eflags=eflags)
        self.spaces.append(child)
        assert out["child"] == len(self.spaces) - 1

    def do_use(self) -> None:
        alive = [index for index, space in enumerate(self.spaces) if space is not None]
        self.act("use", vm=self.rng.choice(alive))

    def do_exit(self) -> None:
        alive = [index for index, space in enumerate(self.spaces) if space is not None and index != self.world.current]
        if alive:
            index = self.rng.choice(alive)
            self.act("exit", vm=index)
            self.spaces[index] = None

    # what always holds

    def check(self) -> None:
        """The pages, the structure of every map, the references and the charges."""
        for space, model in zip(self.world.spaces, self.spaces, strict=True):
            if space is not None:
                vm_map_assert_consistent(space.vm_map)
                assert expand(space.vm_map) == model
        check_objects(self.world)


def check_objects(world: World) -> None:
    """Reference counts, shadow counts and swap charges, counted anew over everything that is reachable."""
    references: Counter[Any] = Counter(obj for obj in world.objects if obj is not None)
    charged = 0
    for space in world.spaces:
        if space is None:
            continue
        assert space.vm_map.deferred == []
        for entry in space.vm_map:
            if entry.vm_object is not None:
                references[entry.vm_object] += 1
            if entry.cred is not None:
                charged += entry.end - entry.start
    todo = list(references)
    known = set(todo)
    shadows: Counter[Any] = Counter()
    while todo:
        obj = todo.pop()
        backing = obj.backing_object
        if backing is not None:
            references[backing] += 1
            shadows[backing] += 1
            if backing not in known:
                known.add(backing)
                todo.append(backing)
    for obj in known:
        assert obj.ref_count == references[obj], f"{obj}: {references[obj]} references"
        assert obj.shadow_count == shadows[obj] == len(obj.shadow_head), f"{obj}: {shadows[obj]} shadows"
        assert (obj.cred is not None) or obj.charge == 0, f"{obj}: charge {obj.charge:#x} of nobody"
        if obj.cred is not None:
            charged += obj.charge
    assert world.vm.swap_reserved == charged, f"{world.vm.swap_reserved:#x} reserved, {charged:#x} charged"


OPERATIONS = (
    "insert", "find", "fixed", "remove", "protect", "inherit", "madvise", "wire", "unwire", "stack", "fault",
    "growstack", "fork", "use", "exit",
)  # fmt: skip
WEIGHTS = (14, 8, 5, 10, 12, 5, 6, 4, 4, 5, 14, 5, 3, 3, 2)
