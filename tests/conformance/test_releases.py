"""Classic and modern at a glance: each row of the table of differences, for every release."""

import re
from pathlib import Path

import pytest

from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
    USRSTACK,
)
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, STACK_BOTTOM, process_rig, rig
from tests.replay.pagefree import FaultRecord, page_free

DOWN, UP = 0x1000, 0x2000
READ, WRITE = 1, 2
SINCE_12 = ("freebsd-12.1", "freebsd-15.0")


def reserve(name):
    """What stands for the room below the stack."""
    process = process_rig(name)
    if process.ranges() == [(STACK_BOTTOM, USRSTACK - 0x20000), (USRSTACK - 0x20000, USRSTACK)]:
        return "gap entry"
    return f"avail {process.avail()[0]:#x}"


def reserve_can_be_taken(name):
    process = process_rig(name)
    return process.do("insert", start=STACK_BOTTOM, end=STACK_BOTTOM + PG, prot=3, max=7) == KERN_SUCCESS


def guard_default(name):
    return rig(name).vm.stack_guard_page


def guard_today_or_then(name):
    """A sysctl that is raised after the stack was made: does it count?"""
    process = rig(name, guard=1)
    process.do("insert", start=0xFFFF000, end=0x10000000, prot=1, max=1)
    process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=DOWN)
    process.do("set", name="guard", value=20)
    grown = process.do("growstack", addr=0x10010000) == KERN_SUCCESS
    if not grown:
        return "today"
    low = min(start for start, _ in process.ranges() if start >= 0x10000000 and process.entry(start).protection)
    return {0x10000000: "boolean", 0x10001000: "saved"}[low]


def overflow(name):
    process = process_rig(name, lim_stack=0x20000)
    return process.do("fault", addr=USRSTACK - 0x21000, type=WRITE)


def foreign_growth(name):
    process = process_rig(name)
    process.set_foreign(1)
    return process.do("growstack", addr=USRSTACK - 0x21000)


def no_stack_there(name):
    process = rig(name)
    return process.do("growstack", addr=0x30000000)


def bidirectional(name):
    if not RELEASES[name].stack_gap:
        process = rig(name)
        return process.do("stack", addr=0x10000000, size=0x100000, prot=3, max=7, cow=DOWN | UP)
    return "asserted"


def bad_range(name):
    process = rig(name, max=0x20000000)
    return process.do("stack", addr=0x20000000 - PG, size=0x40000, prot=3, max=7, cow=DOWN)


def tiny(name):
    return rig(name, guard=2).do("stack", addr=0x10000000, size=2 * PG, prot=3, max=7, cow=DOWN)


def growing_pieces(name):
    process = process_rig(name)
    process.do("growstack", addr=USRSTACK - 0x21000)
    return sum(1 for entry in process.map if entry.eflags & DOWN)


def grown_protection(name):
    """The lowest piece was made unreadable; what rights has the next one?"""
    process = process_rig(name)
    process.do("protect", start=USRSTACK - 0x20000, end=USRSTACK - 0x1F000, prot=0)
    process.do("growstack", addr=USRSTACK - 0x21000)
    return process.entry(USRSTACK - 0x21000).protection


def wire_failure_on_growth(name):
    record = FaultRecord()
    with page_free(record):
        process = process_rig(name, lim_memlock=1 << 40)
        process.record = record
        process.do("set", name="wirefuture", value=1)
        process.do("set", name="fault_fail", value=USRSTACK - 0x30000)
        rv = process.do("growstack", addr=USRSTACK - 0x21000)
        assert process.entry(USRSTACK - 0x21000).protection == 7  # the growth stays either way
        return rv


def size_with_reserve(name):
    return process_rig(name).map.size


def size_with_guard(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10010000, prot=0, max=0, cow=0x80)
    return process.map.size


def refused_protect_leaves(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10010000, prot=1, max=1)
    assert process.do("protect", start=0x10004000, end=0x10008000, prot=3) == KERN_PROTECTION_FAILURE
    return len(process.ranges())


def beyond_the_object(name):
    with page_free(FaultRecord()):
        process = rig(name)
        obj = process.out("mkobj", type="vnode", size=1)
        process.do("insert", obj=obj, start=0x10000000, end=0x10004000, prot=1, max=7)
        return process.do("fault", addr=0x10002000, type=READ)


def write_to_user_wired_cow(name):
    process = rig(name)
    obj = process.out("mkobj", type="vnode", size=1)
    process.do("insert", obj=obj, start=0x10000000, end=0x10001000, prot=3, max=7, cow=2)
    process.do("lookup", addr=0x10000000, type=WRITE)
    process.do("wire", start=0x10000000, end=0x10001000, flags=1)
    return process.do("lookup", addr=0x10000000, type=WRITE)


def mmap_stack_placement(name):
    """vm_map_find with a stack flag, where the hint is taken."""
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10001000, prot=3, max=7)
    process.do("find", addr=0x10000000, len=0x40000, space=1, prot=3, max=7, cow=DOWN)
    return any(entry.eflags & DOWN for entry in process.map)


def inherit_zero(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10001000, prot=3, max=7)
    return process.do("inherit", start=0x10000000, end=0x10001000, inh=3)


def protect_ticks(name):
    process = rig(name)
    process.do("insert", start=0x10000000, end=0x10001000, prot=3, max=7)
    before = process.map.timestamp
    process.do("protect", start=0x10000000, end=0x10001000, prot=1)
    return process.map.timestamp - before


def unknown_advice(name):
    return rig(name).do("madvise", start=0x1000, end=0x2000, behav=99)


def findspace_none(name):
    process = rig(name, max=0x20000000)
    return process.apply("findspace", {"start": 0x10000000, "len": 0x20000000})


def policy(field):
    def probe(name):
        return getattr(RELEASES[name], field)

    probe.__name__ = field
    return probe


def by(classic, modern):
    return dict.fromkeys(CLASSIC, classic) | dict.fromkeys(MODERN, modern)


NONE_12 = (0, 0x20000000 - 0x20000000 + 1)
TABLE = [
    (reserve, by("avail 0x1ffe0000", "gap entry")),
    (reserve_can_be_taken, by(True, False)),
    (guard_default, by(0, 1)),
    (guard_today_or_then, by("boolean", "saved") | {"freebsd-10.4": "today"}),
    (overflow, by(KERN_FAILURE, KERN_PROTECTION_FAILURE)),
    (policy("lookup_grows"), by(False, True)),
    (foreign_growth, by(KERN_SUCCESS, KERN_FAILURE)),
    (no_stack_there, by(KERN_SUCCESS, KERN_FAILURE)),
    (bidirectional, by(KERN_SUCCESS, "asserted")),
    (bad_range, by(KERN_INVALID_ADDRESS, KERN_INVALID_ADDRESS)),
    (tiny, by(KERN_SUCCESS, KERN_INVALID_ARGUMENT) | {"freebsd-10.4": KERN_NO_SPACE}),
    (growing_pieces, by(1, 2)),
    (grown_protection, by(0, 0) | {"freebsd-15.0": 7}),
    (
        wire_failure_on_growth,
        by(KERN_SUCCESS, KERN_FAILURE) | {"freebsd-10.4": KERN_SUCCESS},
    ),
    (size_with_reserve, by(0x20000, 0x20000)),
    (size_with_guard, by(0x10000, 0)),
    (refused_protect_leaves, by(2, 2) | {"freebsd-15.0": 1}),
    (beyond_the_object, by(KERN_PROTECTION_FAILURE, 9) | {"freebsd-10.4": KERN_PROTECTION_FAILURE}),
    (write_to_user_wired_cow, by(KERN_PROTECTION_FAILURE, KERN_SUCCESS) | {"freebsd-11.0": KERN_SUCCESS}),
    (policy("bypass_swapped"), by(False, True) | {"freebsd-10.4": False, "freebsd-11.0": True}),
    (policy("exec_gnu_stack_size"), by(False, True) | {"freebsd-11.0": True}),
    (policy("exec_prefers_interp_brand"), by(False, True) | {"freebsd-11.0": True}),
    (mmap_stack_placement, by(True, True) | {"freebsd-9.3": False}),
    (policy("exec_stack_after_interpreter"), by(False, False) | {"freebsd-15.0": True}),
    (policy("exec_clears_wirefuture"), by(False, True)),
    (inherit_zero, by(KERN_INVALID_ARGUMENT, KERN_SUCCESS)),
    (protect_ticks, by(1, 2) | {"freebsd-10.4": 1}),
    (unknown_advice, by(KERN_INVALID_ARGUMENT, 22) | {"freebsd-10.4": KERN_INVALID_ARGUMENT}),
    (findspace_none, by((1, None), NONE_12) | {"freebsd-10.4": (1, None)}),
]


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(("probe", "expected"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_difference_between_releases(probe, expected, name):
    assert probe(name) == expected[name]


def test_every_release_of_the_issue_is_there():
    assert DEFAULT_RELEASE == "freebsd-10.1"
    assert set(RELEASES) == {*FREEBSD, "dragonfly"}


def test_no_code_asks_for_a_version():
    """Policy points only: nothing compares a release's name or number."""
    root = Path(__file__).resolve().parents[2] / "kernel_model" / "vm"
    asks = re.compile(r"release\.(name|osreldate|version)\s*(==|<|>|!=|in\b)")
    assert [path.name for path in root.glob("*.py") if asks.search(path.read_text(encoding="utf-8"))] == []


def test_shortage_code_is_the_same_everywhere():
    for name in FREEBSD:
        process = rig(name)
        process.do("set", name="swap_cap", value=0)
        assert process.do("insert", start=0x10000000, end=0x10001000, prot=3, max=7) == KERN_RESOURCE_SHORTAGE
        assert process.ranges() == []
