"""vm_map_insert, merging and clipping."""

import pytest

from kernel_model.release import RELEASES
from kernel_model.ucred import Ucred
from kernel_model.vm.vm import OBJ_ONEMAPPING
from kernel_model.vm.vm_map_entry import (
    MAP_ENTRY_COW,
    MAP_ENTRY_GROWS_DOWN,
    MAP_ENTRY_GROWS_UP,
    MAP_ENTRY_GUARD,
    MAP_ENTRY_NEEDS_COPY,
    MAP_ENTRY_NOCOREDUMP,
    MAP_ENTRY_NOFAULT,
    MAP_ENTRY_NOSYNC,
    MAP_ENTRY_VN_EXEC,
    MAP_ENTRY_WRITECNT,
    MAP_WXORX,
)
from kernel_model.vm.vm_map_insert import cow_to_eflags, vm_map_try_merge_entries
from kernel_model.vm.vm_param import (
    KERN_INVALID_ADDRESS,
    KERN_INVALID_ARGUMENT,
    KERN_NO_SPACE,
    KERN_PROTECTION_FAILURE,
    KERN_RESOURCE_SHORTAGE,
    KERN_SUCCESS,
)
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, rig

MAX = 0x20000000
CASES = [
    (0x0, 0x2000, KERN_INVALID_ADDRESS),
    (0xFFF, 0x2000, KERN_INVALID_ADDRESS),
    (MAX - 0x1000, MAX + 0x1000, KERN_INVALID_ADDRESS),
    (MAX, MAX + 0x1000, KERN_INVALID_ADDRESS),
    (0x3000, 0x3000, KERN_INVALID_ADDRESS),
    (0x4000, 0x3000, KERN_INVALID_ADDRESS),
    (0x3000, (1 << 64) - 0x1000, KERN_INVALID_ADDRESS),
    (0x10000, 0x11000, KERN_NO_SPACE),
    (0xF000, 0x11000, KERN_NO_SPACE),
    (0x1F000, 0x21000, KERN_NO_SPACE),
    (0xF000, 0x30000, KERN_NO_SPACE),
]


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(("start", "end", "code"), CASES)
def test_bad_ranges_change_nothing(name, start, end, code):
    """Out of the map or empty: INVALID_ADDRESS, before NO_SPACE for what is taken."""
    process = rig(name, max=MAX)
    process.do("insert", start=0x10000, end=0x20000, prot=1, max=7)
    before = process.dump()
    assert process.do("insert", start=start, end=end, prot=3, max=7) == code
    after = process.dump()
    assert after.pop("timestamp") == before.pop("timestamp") + 1
    assert after == before


COW_BITS = [
    (0x2, MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY, FREEBSD),
    (0x4, MAP_ENTRY_NOFAULT, FREEBSD),
    (0x20, MAP_ENTRY_NOSYNC, FREEBSD),
    (0x100, MAP_ENTRY_NOCOREDUMP, FREEBSD),
    (0x400, MAP_ENTRY_WRITECNT, FREEBSD),
    (0x1000, MAP_ENTRY_GROWS_DOWN, tuple(name for name in FREEBSD if name not in ("freebsd-9.3", "freebsd-10.1"))),
    (0x2000, MAP_ENTRY_GROWS_UP, tuple(name for name in FREEBSD if name not in ("freebsd-9.3", "freebsd-10.1"))),
    (0x80, MAP_ENTRY_GUARD, MODERN),
    (0x10000, 0x40000, MODERN),
    (0x20000, 0x20000, MODERN),
    (0x40000, MAP_ENTRY_VN_EXEC, ("freebsd-12.1", "freebsd-15.0")),
    (0x8 | 0x10 | 0x40 | 0x200 | 0x800 | 0x4000 | 0x8000, 0, FREEBSD),
]


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(("cow", "eflags", "known"), COW_BITS)
def test_cow_bits_become_eflags(name, cow, eflags, known):
    """Each flag of each release; the ones about prefaulting, exclusion and charging leave no trace in the entry."""
    assert cow_to_eflags(RELEASES[name], cow) == (eflags if name in known else 0)


def test_inherit_share_is_the_inheritance():
    process = rig("freebsd-10.1")
    process.do("insert", start=0x10000, end=0x11000, prot=1, max=7, cow=1)
    process.do("insert", start=0x20000, end=0x21000, prot=1, max=7)
    assert [entry.inheritance for entry in process.map] == [0, 1]


@pytest.mark.parametrize("name", MODERN)
def test_a_guard_takes_no_object_and_no_rights(name):
    process = rig(name)
    number = process.out("mkobj", type="anon", size=4)
    for args in ({"obj": number, "max": 0}, {"max": 7}, {"max": 7, "prot": 3}):
        rv = process.do("insert", start=0x10000, end=0x14000, cow=0x80, **({"prot": 0} | args))
        assert rv == KERN_INVALID_ARGUMENT
    assert process.objects[number].ref_count == 1
    assert process.do("insert", start=0x10000, end=0x14000, cow=0x80, prot=0, max=0) == KERN_SUCCESS
    assert (process.map.size, process.map.nentries) == (0, 1)
    assert process.vm.swap_reserved == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_adjacent_anonymous_memory_becomes_one_entry(name):
    """Extended in place: nentries stays, the object would grow, the charge is the entry's."""
    process = rig(name)
    for number in range(8):
        assert process.do("insert", start=0x10000 + number * 0x1000, end=0x11000 + number * 0x1000, prot=3, max=7) == 0
    assert process.ranges() == [(0x10000, 0x18000)]
    assert process.vm.swap_reserved == 0x8000


@pytest.mark.parametrize("name", FREEBSD)
def test_insert_in_the_middle_merges_with_both_neighbours(name):
    """simplify_entry merges with either neighbour and with both; the entry passed stays valid."""
    process = rig(name)
    process.do("insert", start=0x10000, end=0x11000, prot=3, max=7)
    process.do("insert", start=0x12000, end=0x13000, prot=3, max=7)
    process.do("insert", start=0x11000, end=0x12000, prot=3, max=7)
    assert process.ranges() == [(0x10000, 0x13000)]
    assert process.map.size == 0x3000


def test_try_merge_says_which_entry_is_left():
    """vm_map_try_merge_entries: the survivor covers the lower entry's range; the header and stack gaps never merge."""
    process = rig("freebsd-15.0")
    process.do("insert", start=0x10000, end=0x12000, prot=3, max=7)
    process.do("clip", addr=0x11000)
    low, high = process.map
    with process.map.locked():
        assert vm_map_try_merge_entries(process.map, process.map.header, low) is process.map.header
        assert vm_map_try_merge_entries(process.map, low, high) is high
        assert vm_map_try_merge_entries(process.map, high, process.map.header) is high
    assert process.ranges() == [(0x10000, 0x12000)]


@pytest.mark.parametrize(
    "change",
    [
        {"prot": 1},
        {"max": 3},
        {"cow": 1},
        {"cow": 0x20},
        {"cow": 0x100},
        {"cow": 0x8000},
    ],
    ids=["prot", "max", "inheritance", "nosync", "nocoredump", "uncharged"],
)
def test_unlike_neighbours_stay_apart(change):
    process = rig("freebsd-10.1")
    process.do("insert", start=0x10000, end=0x11000, prot=3, max=7)
    process.do("insert", **({"start": 0x11000, "end": 0x12000, "prot": 3, "max": 7} | change))
    assert process.ranges() == [(0x10000, 0x11000), (0x11000, 0x12000)]


@pytest.mark.parametrize("name", FREEBSD)
def test_an_extended_object_serves_an_unlike_neighbour(name):
    """The object below can grow but the entry cannot: a new entry refers to the object behind it."""
    process = rig(name)
    process.do("insert", start=0x10000, end=0x12000, prot=3, max=7)
    process.do("fault", addr=0x10000, type=2)
    process.do("insert", start=0x12000, end=0x13000, prot=1, max=7)
    below, above = process.map
    assert below.object is above.object
    assert above.offset == 0x2000
    assert (below.object.size, below.object.ref_count, below.object.charge) == (3, 2, 0x3000)


@pytest.mark.parametrize("name", FREEBSD)
def test_onemapping_goes_when_an_object_is_shared(name):
    process = rig(name)
    number = process.out("mkobj", type="anon", size=4)
    obj = process.objects[number]
    assert obj.flags & OBJ_ONEMAPPING
    process.do("insert", obj=number, start=0x10000, end=0x14000, prot=1, max=7)
    assert not obj.flags & OBJ_ONEMAPPING


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(
    ("prot", "cow", "obj", "charge"),
    [
        (3, 0, False, 0x2000),
        (1, 0, False, 0),
        (3, 0x8000, False, 0),
        (3, 2, True, 0x2000),
        (3, 0, True, 0),
        (1, 2, True, 0),
    ],
    ids=["writable", "read-only", "no charge", "private object", "shared object", "read-only private"],
)
def test_what_is_charged(name, prot, cow, obj, charge):
    """Swap is reserved for private memory that may be written, unless MAP_ACC_NO_CHARGE."""
    process = rig(name)
    args = {"obj": process.out("mkobj", type="anon", size=2)} if obj else {}
    assert process.do("insert", start=0x10000, end=0x12000, prot=prot, max=7, cow=cow, **args) == KERN_SUCCESS
    assert process.vm.swap_reserved == charge
    assert (process.entry(0x10000).cred is not None) == bool(charge)


def test_already_charged_memory_reserves_nothing_but_is_marked():
    """MAP_ACC_CHARGED: the caller reserved it."""
    process = rig("freebsd-10.1")
    process.vm.swap_reserved = 0x2000
    process.do("insert", start=0x10000, end=0x12000, prot=1, max=7, cow=0x4000)
    assert process.vm.swap_reserved == 0x2000
    assert process.entry(0x10000).cred is not None
    process.do("remove", start=0x10000, end=0x12000)
    assert process.vm.swap_reserved == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_without_swap_nothing_is_mapped(name):
    process = rig(name)
    process.do("set", name="swap_cap", value=0x1000)
    assert process.do("insert", start=0x10000, end=0x12000, prot=3, max=7) == KERN_RESOURCE_SHORTAGE
    assert process.do("insert", start=0x10000, end=0x12000, prot=1, max=7) == KERN_SUCCESS
    assert process.vm.swap_reserved == 0


def test_rlimit_swap_with_overcommit_bit_1():
    """vm.overcommit bit 1 makes RLIMIT_SWAP count, for ordinary users."""
    process = rig("freebsd-10.1")
    process.owner.proc.p_ucred = Ucred(cr_uid=1001, cr_ruid=1001)
    process.vm.overcommit = 2
    process.owner.limit("swap", 0x3000)
    assert process.do("insert", start=0x10000, end=0x12000, prot=3, max=7) == KERN_SUCCESS
    assert process.do("insert", start=0x20000, end=0x22000, prot=3, max=7) == KERN_RESOURCE_SHORTAGE
    assert process.do("remove", start=0x10000, end=0x12000) == KERN_SUCCESS
    assert process.do("insert", start=0x20000, end=0x22000, prot=3, max=7) == KERN_SUCCESS


def test_a_write_xor_execute_map_refuses_both():
    process = rig("freebsd-15.0")
    process.map.flags |= MAP_WXORX
    assert process.do("insert", start=0x10000, end=0x12000, prot=7, max=7) == KERN_PROTECTION_FAILURE
    assert process.do("insert", start=0x10000, end=0x12000, prot=3, max=7) == KERN_SUCCESS
    assert process.do("insert", start=0x20000, end=0x22000, prot=5, max=7) == KERN_SUCCESS
    assert rig("freebsd-12.1").do("insert", start=0x10000, end=0x12000, prot=7, max=7) == KERN_SUCCESS


@pytest.mark.parametrize(
    ("start", "end", "index", "code"),
    [
        (0x400000, 0x800000, 1, KERN_SUCCESS),
        (0x401000, 0x800000, 1, KERN_INVALID_ARGUMENT),
        (0x400000, 0x7FF000, 1, KERN_INVALID_ARGUMENT),
        (0x40000000, 0x80000000, 2, KERN_SUCCESS),
        (0x400000, 0x800000, 2, KERN_INVALID_ARGUMENT),
        (0x400000, 0x800000, 3, KERN_INVALID_ARGUMENT),
    ],
)
def test_split_boundary_needs_the_page_size(start, end, index, code):
    """MAP_SPLIT_BOUNDARY (13 and later): the edges and every later cut lie on large pages."""
    process = rig("freebsd-15.0")
    assert process.do("insert", start=start, end=end, prot=1, max=7, cow=index << 19) == code
    if code == KERN_SUCCESS:
        assert process.do("remove", start=start, end=start + 0x1000) == KERN_INVALID_ARGUMENT
        assert process.do("protect", start=start, end=start + 0x1000, prot=0) == KERN_INVALID_ARGUMENT
        assert process.ranges() == [(start, end)]


@pytest.mark.parametrize("name", FREEBSD)
def test_clipping_gives_both_halves_one_object(name):
    """An entry without object gets one of its whole size first; the charge moves there."""
    process = rig(name)
    process.do("insert", start=0x10000, end=0x18000, prot=3, max=7)
    process.do("clip", addr=0x12000)
    process.do("clip", addr=0x16000, endp=1)
    low, middle, high = process.map
    assert low.object is middle.object is high.object
    assert [entry.offset for entry in (low, middle, high)] == [0, 0x2000, 0x6000]
    assert (low.object.size, low.object.ref_count, low.object.charge) == (8, 3, 0x8000)
    assert low.cred is None
    process.do("simplify", addr=0x14000)
    assert process.ranges() == [(0x10000, 0x18000)]
    assert next(iter(process.map)).object.ref_count == 1


@pytest.mark.parametrize("name", MODERN)
def test_guards_are_never_given_an_object(name):
    process = rig(name)
    process.do("insert", start=0x10000, end=0x18000, prot=0, max=0, cow=0x80)
    process.do("clip", addr=0x12000)
    assert [entry.object for entry in process.map] == [None, None]


@pytest.mark.parametrize("name", CLASSIC)
def test_classic_releases_know_no_guards(name):
    process = rig(name)
    process.do("insert", start=0x10000, end=0x18000, prot=0, max=0, cow=0x80)
    assert (process.entry(0x10000).eflags, process.map.size) == (0, 0x8000)


def test_a_new_entry_has_the_fields_of_the_page():
    """Every field of vm_map(9)'s struct vm_map_entry, as vm_map_insert leaves it."""
    process = rig("freebsd-10.1")
    process.do("insert", start=0x10000, end=0x12000, prot=1, max=5)
    entry = process.entry(0x10000)
    assert (entry.start, entry.end, entry.avail_ssize, entry.adj_free) == (0x10000, 0x12000, 0, (1 << 47) - 0x12000)
    assert (entry.protection, entry.max_protection, entry.inheritance, entry.wired_count) == (1, 5, 1, 0)
    assert (entry.object, entry.offset, entry.eflags, entry.read_ahead) == (None, 0, 0, 15)
    assert entry.prev is entry.next is process.map.header
    assert (entry.left, entry.right, entry.max_free) == (None, None, entry.adj_free)
    assert entry.lastr == entry.next_read == 0
    assert process.map.root is entry


def test_the_kernel_map_grows_its_page_tables():
    """An insertion into a system map calls pmap_growkernel."""
    process = rig("freebsd-10.1")
    process.map.system_map = True
    process.do("insert", start=0x10000, end=0x12345000, prot=3, max=7)
    assert process.map.pmap.kernel_end >= 0x12345000
