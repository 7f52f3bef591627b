"""Every change of an entry is told to the machine, and to a listener, whatever the operation."""

from collections import Counter
from importlib import import_module

import pytest

from kernel_model.errno import EINVAL
from kernel_model.ktrace import MAP
from kernel_model.vm.pmap import NullHardware
from kernel_model.vm.vm_map_entry import MAP_ENTRY_IN_TRANSITION
from kernel_model.vm.vm_map_tree import vm_map_entry_resize_free
from kernel_model.vm.vm_param import KernReturn
from tests.property.vm_model import PG, Scenario, expand
from tests.replay.world import World

SCENARIOS = 140
STEPS = 60


class Hardware(NullHardware):
    """Keeps the spans that it was told."""

    __slots__ = ("spans",)

    def __init__(self, pmap):
        super().__init__(pmap)
        self.spans = []

    def map_changed(self, start, end):
        assert start < end
        self.spans.append((start, end))


def signature(map_):
    """What a mirror shows, page by page; merges and cuts that change nothing do not count."""
    pages = {}
    for entry in map_:
        for addr in range(entry.start, entry.end, PG):
            backing = (id(entry.object), entry.offset + addr - entry.start) if entry.object is not None else None
            pages[addr] = (entry.protection, entry.max_protection, entry.eflags & ~MAP_ENTRY_IN_TRANSITION, backing)
    return pages


class Watched(Scenario):
    """A scenario whose maps report to Hardware, checked after every step."""

    def __init__(self, seed):
        super().__init__(seed)
        self.world.vm.make_hardware = Hardware
        pmap = self.world.map.pmap
        pmap.hardware = Hardware(pmap)
        self.heard = []
        self.world.vm.ktrace.subscribe(MAP, self.heard.append)
        self.shown = self.everything()
        self.listed = self.pages()

    def everything(self):
        return {
            index: signature(space.vm_map) for index, space in enumerate(self.world.spaces) if space is not None
        }

    def pages(self):
        return {index: expand(space.vm_map) for index, space in enumerate(self.world.spaces) if space is not None}

    def check(self):
        super().check()
        if not hasattr(self, "shown"):
            return
        now = self.everything()
        for index, pages in now.items():
            spans = self.world.spaces[index].vm_pmap.hardware.spans
            before = self.shown.get(index, {})
            for addr in pages.keys() | before.keys():
                if pages.get(addr) != before.get(addr):
                    assert any(start <= addr < end for start, end in spans), f"{addr:#x} changed, told {spans}"
            spans.clear()
        self.shown = now
        self.check_listener()

    def check_listener(self):
        """Pages that came, went or changed their rights are in a MapChange of that kind."""
        listed = self.pages()
        told = {}
        for change in self.heard:
            told.setdefault((id(change.map), change.what), []).append((change.start, change.end))
        for index, pages in listed.items():
            map_ = self.world.spaces[index].vm_map
            before = self.listed.get(index, {})
            for addr in pages.keys() | before.keys():
                old, new = before.get(addr), pages.get(addr)
                kinds = ()
                if old is None or new is None:
                    kinds = ("insert",) if old is None else ("delete",)
                elif (old.prot, old.max) != (new.prot, new.max):
                    kinds = ("protect", "insert")
                if kinds:
                    spans = [span for kind in kinds for span in told.get((id(map_), kind), ())]
                    assert any(start <= addr < end for start, end in spans), f"{addr:#x} {kinds} not in {self.heard}"
        self.heard.clear()
        self.listed = listed


@pytest.mark.parametrize("first", range(0, SCENARIOS, 20))
def test_every_change_is_told(first):
    for seed in range(first, first + 20):
        Watched(5000 + seed).run(STEPS)


def test_an_untold_change_is_caught(monkeypatch):
    """The check can fail: an insertion that extends its neighbour tells nobody."""

    def extend(map_, prev, end):
        if not prev.is_guard or map_.vm.release.size_counts_guards:
            map_.size += end - prev.end
        prev.end = end
        vm_map_entry_resize_free(map_, prev)

    monkeypatch.setattr(import_module("kernel_model.vm.vm_map_insert"), "_extend", extend)
    with pytest.raises(AssertionError, match=r"changed, told|not in"):
        for seed in range(140):
            Watched(seed).run(STEPS)


def test_what_is_told_says_what_happened():
    """One of each kind, with its attributes."""
    scenario = Watched(7001)
    heard = []
    scenario.world.vm.ktrace.subscribe(MAP, heard.append)
    base = 0x10000000
    for op, args in (
        ("insert", {"start": base, "end": base + 4 * PG, "prot": 3, "max": 7}),
        ("protect", {"start": base, "end": base + PG, "prot": 1}),
        ("inherit", {"start": base, "end": base + PG, "inh": 2}),
        ("madvise", {"start": base, "end": base + PG, "behav": 6}),
        ("wire", {"start": base, "end": base + PG, "flags": 1}),
        ("unwire", {"start": base, "end": base + PG, "flags": 1}),
        ("remove", {"start": base, "end": base + 4 * PG}),
    ):
        assert scenario.act(op, **args)[0] == 0
    kinds = Counter(change.what for change in heard)
    assert kinds == {"insert": 1, "protect": 1, "inherit": 1, "advise": 1, "wire": 1, "unwire": 1, "delete": 2}
    protect = next(change for change in heard if change.what == "protect")
    assert (protect.start, protect.end, protect.before_prot, protect.prot) == (base, base + PG, 3, 1)
    assert all(change.map is scenario.world.map for change in heard)


CODES = {
    "fault", "find", "fixed", "growstack", "inherit", "insert", "madvise", "protect", "remove", "stack", "unwire",
    "wire",
}  # fmt: skip


def test_every_verb_answers_with_a_code_that_shows_its_name(monkeypatch):
    """Not with a number of its own; only the errno of madvise since 12 is one."""
    apply = World.apply
    seen = set()

    def watched(world, op, args):
        rv, out = apply(world, op, args)
        if op in CODES and rv != EINVAL:
            seen.add((op, type(rv)))
        return rv, out

    monkeypatch.setattr(World, "apply", watched)
    for seed in range(14):
        Scenario(seed).run(STEPS)
    assert seen == {(op, KernReturn) for op in CODES}
