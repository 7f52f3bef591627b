"""Blame: who made, changed and removed, at any time."""

from __future__ import annotations

from emu.why.blame import Blame, describe_change
from kernel_model.ktrace import Cause, MapChange


def change(what, start, end, seq, *, prot=3, name="mmap", **more):
    cause = Cause("syscall", name, 477, 0x201000 + seq, seq, 1000)
    return MapChange(what, start, end, prot, 7, cause=cause, seq=seq + 1, pid=1000, **more)


LOG = [
    change("insert", 0x1000, 0x5000, 10),
    change("protect", 0x2000, 0x3000, 20, prot=1, before_prot=3, name="mprotect"),
    change("delete", 0x2000, 0x4000, 30, name="munmap"),
    change("insert", 0x3000, 0x4000, 40, prot=5),
]


def test_an_address_that_was_unmapped_knows_by_whom():
    answer = Blame(LOG).history(0x2FFF)
    assert not answer.mapped
    assert answer.removed is LOG[2]
    assert answer.made is None
    assert answer.changed == (LOG[1],)


def test_an_address_that_was_mapped_again():
    answer = Blame(LOG).history(0x3000)
    assert answer.mapped
    assert answer.made is LOG[3]
    assert answer.changed == ()
    assert answer.history == (LOG[0], LOG[2], LOG[3])


def test_an_address_at_an_earlier_time():
    blame = Blame(LOG)
    assert blame.history(0x2000, seq=9).history == ()
    assert blame.history(0x2000, seq=10).made is LOG[0]
    assert blame.history(0x2000, seq=29).mapped
    assert not blame.history(0x2000, seq=30).mapped


def test_the_whole_map_at_a_time():
    blame = Blame(LOG)
    ranges = [(one.start, one.end, one.made_by) for one in blame.map_at()]
    assert ranges == [(0x1000, 0x2000, LOG[0]), (0x3000, 0x4000, LOG[3]), (0x4000, 0x5000, LOG[0])]
    (before, changed, after) = blame.map_at(20)
    assert (before.start, changed.start, after.start, after.end) == (0x1000, 0x2000, 0x3000, 0x5000)
    assert changed.changes == (LOG[0], LOG[1])


def test_a_growth_is_one_change_and_keeps_its_reserve():
    insert = change("insert", 0x8000, 0x9000, 50)
    grow = change("grow", 0x8000, 0x9000, 50, before_start=0x6000, before_end=0x9000)
    blame = Blame([insert, grow])
    assert blame.changes == [grow]


def test_a_new_image_throws_all_away():
    blame = Blame([LOG[0], change("clear", 0, 1 << 47, 60, name="execve")])
    assert blame.map_at() == []
    assert blame.history(0x1000).removed is not None


def test_other_processes_are_left_out():
    assert Blame(LOG, pid=7).changes == []
    assert len(Blame(LOG, pid=1000).changes) == 4


def test_in_words():
    line = describe_change(LOG[1], lambda rip: "main+0x4")
    assert line == "[0x2000, 0x3000) changed from rw- to r-- by mprotect at event 20 (rip 0x201014, main+0x4)"
