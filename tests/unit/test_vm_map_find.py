"""vm_map_findspace, vm_map_find, vm_map_find_min and vm_map_fixed."""

import pytest

from kernel_model.release import RELEASES
from kernel_model.vm.vm import OBJ_COLORED
from kernel_model.vm.vm_map_entry import MAP_ASLR, MAP_ASLR_IGNSTART, vmfs_aligned_space
from kernel_model.vm.vm_map_find import vm_map_findspace
from kernel_model.vm.vm_param import KERN_CODES, KERN_INVALID_ADDRESS, KERN_NO_SPACE, KERN_SUCCESS, NBPDR, WORD_MASK
from tests.conformance.rig import FREEBSD, MODERN, rig

MIN, MAX = 0x10000000, 0x20000000
SINCE_12 = ("freebsd-12.1", "freebsd-15.0")


def with_entries(name, *ranges, **setup):
    process = rig(name, min=MIN, max=MAX, **setup)
    for start, end in ranges:
        assert process.do("insert", start=start, end=end, prot=1, max=7) == KERN_SUCCESS
    return process


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(
    ("start", "length", "found"),
    [
        (0, 0x1000, MIN),
        (MIN + 0x5000, 0x1000, MIN + 0x5000),
        (MIN + 0x10000, 0x1000, MIN + 0x20000),
        (MIN + 0x18000, 0x8000, MIN + 0x20000),
        (MIN, 0x10000, MIN),
        (MIN, 0x11000, MIN + 0x40000),
        (MIN + 0x21000, 0x10000, MIN + 0x40000),
    ],
)
def test_findspace_is_first_fit(name, start, length, found):
    """The lowest gap at or above start; inside an entry the search begins at its end."""
    process = with_entries(name, (MIN + 0x10000, MIN + 0x20000), (MIN + 0x30000, MIN + 0x40000), (MAX - 0x1000, MAX))
    assert process.out("findspace", start=start, len=length) == found
    assert process.map.nentries == 3


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(
    ("start", "length"),
    [(MIN, MAX), (MAX, 0x1000), (MAX - 0x1000, 0x2000), (MIN, WORD_MASK - 0xFFF), (WORD_MASK - 0xFFF, 0x2000)],
)
def test_findspace_without_space(name, start, length):
    """Up to 11 it says 1; since 12 it returns the map's end - length + 1, from which the length does not fit."""
    process = with_entries(name)
    rv, out = process.apply("findspace", {"start": start, "len": length})
    if name in SINCE_12:
        assert (rv, out) == (0, (MAX - length + 1) & WORD_MASK)
    else:
        assert (rv, out) == (1, None)


@pytest.mark.parametrize("name", FREEBSD)
def test_since_12_the_search_is_blind_above_the_last_entry(name):
    """A search that begins in a too small gap right below the last entry does not look above it."""
    process = with_entries(name, (MIN + 0x10000, MIN + 0x20000))
    addr = vm_map_findspace(process.map, MIN + 0x8000, 0x10000)
    assert addr == (None if name in SINCE_12 else MIN + 0x20000)
    assert vm_map_findspace(process.map, MIN + 0x10000, 0x10000) == MIN + 0x20000


@pytest.mark.parametrize("name", FREEBSD)
def test_find_exactly_at_the_address(name):
    """VMFS_NO_SPACE: only there; taken is NO_SPACE, out of the map INVALID_ADDRESS."""
    process = with_entries(name, (MIN + 0x10000, MIN + 0x20000))
    assert process.apply("find", {"addr": MIN + 0x4000, "len": 0x1000, "prot": 1, "max": 7}) == (0, MIN + 0x4000)
    assert process.do("find", addr=MIN + 0x10000, len=0x1000, prot=1, max=7) == KERN_NO_SPACE
    assert process.do("find", addr=MAX, len=0x1000, prot=1, max=7) == KERN_INVALID_ADDRESS
    assert process.do("find", addr=MIN, len=0, prot=1, max=7) == KERN_INVALID_ADDRESS


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize("power", [13, 16, 21])
def test_aligned_space(name, power):
    """VMFS_ALIGNED_SPACE(n): the first place that is a multiple of 2^n and free."""
    process = with_entries(name, (MIN, MIN + 0x1000), (MAX - 0x1000, MAX))
    space = vmfs_aligned_space(power)
    first = process.out("find", addr=MIN, len=0x1000, space=space, prot=1, max=7)
    second = process.out("find", addr=MIN, len=0x1000, space=space, prot=1, max=5)
    assert (first, second) == (MIN + (1 << power), MIN + (2 << power))


@pytest.mark.parametrize("name", FREEBSD)
def test_aligned_space_beyond_the_map(name):
    process = rig(name, min=MIN, max=MIN + 0x20000)
    process.do("insert", start=MIN, end=MIN + 0x1000, prot=1, max=7)
    rv = process.do("find", addr=MIN, len=0x10000, space=vmfs_aligned_space(20), prot=1, max=7)
    assert rv == (KERN_NO_SPACE if name in SINCE_12 else KERN_INVALID_ADDRESS)
    assert process.map.nentries == 1


@pytest.mark.parametrize("name", FREEBSD)
def test_super_space_agrees_with_the_object_offset(name):
    """VMFS_SUPER_SPACE: address and object offset agree modulo 2 MiB, from 2 MiB of whole superpage on."""
    release = RELEASES[name]
    process = with_entries(name, (MIN, MIN + 0x1000), (MAX - 0x1000, MAX))
    obj = process.out("mkobj", type="vnode", size=4096)
    big = 2 * NBPDR + 0x5000
    args = {"obj": obj, "addr": MIN, "space": release.vmfs_super_space, "prot": 1, "max": 7}
    addr = process.out("find", off=0x3000, len=big, **args)
    assert addr & (NBPDR - 1) == 0x3000
    assert addr == MIN + 0x3000
    assert process.out("find", off=0, len=NBPDR, **args) & (NBPDR - 1) == 0
    assert process.out("find", off=0, len=0x1000, **args) == MIN + 0x1000


@pytest.mark.parametrize("name", FREEBSD)
def test_optimal_space_needs_a_coloured_object(name):
    """VMFS_OPTIMAL_SPACE: aligned relative to the object's superpages if it has any, else wherever there is room."""
    release = RELEASES[name]
    process = with_entries(name, (MIN, MIN + 0x1000), (MAX - 0x1000, MAX))
    number = process.out("mkobj", type="vnode", size=4096)
    args = {"obj": number, "addr": MIN, "len": 2 * NBPDR, "space": release.vmfs_optimal_space, "prot": 1, "max": 7}
    assert process.out("find", **args) == MIN + 0x1000
    process.objects[number].flags |= OBJ_COLORED
    process.objects[number].pg_color = 7
    assert process.out("find", **args) & (NBPDR - 1) == 7 * 0x1000


@pytest.mark.parametrize("name", FREEBSD)
def test_optimal_space_falls_back_to_any(name):
    """With no aligned place left the mapping is made anyway; SUPER refuses."""
    release = RELEASES[name]
    process = rig(name, min=MIN + 0x1000, max=MIN + 0x1000 + 2 * NBPDR)
    number = process.out("mkobj", type="vnode", size=4096)
    process.objects[number].flags |= OBJ_COLORED
    args = {"obj": number, "addr": MIN, "len": 2 * NBPDR, "prot": 1, "max": 7}
    code = process.do("find", space=release.vmfs_super_space, **args)
    assert code == (KERN_NO_SPACE if name in SINCE_12 else KERN_INVALID_ADDRESS)
    rv, addr = process.apply("find", {"space": release.vmfs_optimal_space, **args})
    if name in SINCE_12:
        assert (rv, addr) == (KERN_SUCCESS, MIN + 0x1000)
    else:
        assert rv == KERN_INVALID_ADDRESS  # the aligned address passed the end, and only NO_SPACE starts over


@pytest.mark.parametrize("name", FREEBSD)
def test_optimal_space_starts_over_when_the_aligned_place_is_taken(name):
    """The only gap fits, but not once it is aligned: the second search takes it as it is."""
    release = RELEASES[name]
    process = with_entries(name, (MIN, MIN + 0x1000), (MIN + 0x1000 + 2 * NBPDR, MAX))
    number = process.out("mkobj", type="vnode", size=4096)
    process.objects[number].flags |= OBJ_COLORED
    args = {"obj": number, "addr": MIN, "len": 2 * NBPDR, "prot": 1, "max": 7}
    assert process.do("find", space=release.vmfs_super_space, **args) == KERN_NO_SPACE
    assert process.out("find", space=release.vmfs_optimal_space, **args) == MIN + 0x1000


@pytest.mark.parametrize("name", FREEBSD)
def test_max_addr_bounds_the_mapping(name):
    """From 10.0 on; 9.3 does not know the argument."""
    process = with_entries(name, (MIN, MIN + 0x10000), (MAX - 0x1000, MAX))
    rv = process.do("find", addr=MIN, len=0x2000, space=1, prot=1, max=7, max_addr=MIN + 0x11000)
    assert rv == (KERN_SUCCESS if name == "freebsd-9.3" else KERN_NO_SPACE)
    assert process.out("find", addr=MIN, len=0x1000, space=1, prot=1, max=5, max_addr=MIN + 0x100000) >= MIN + 0x10000


def test_find_min_tries_again_from_the_default():
    """vm_map_find_min: above the hint first, then from the minimum."""
    process = with_entries("freebsd-12.1", (MIN + 0x8000000, MAX))
    args = {"addr": MIN + 0x9000000, "len": 0x1000, "space": 1, "prot": 1, "max": 7}
    assert process.do("find", **args) == KERN_NO_SPACE
    assert process.out("find_min", min_addr=MIN + 0x4000, **args) == MIN + 0x4000
    assert process.do("find_min", min_addr=MIN + 0xA000000, **args) == KERN_NO_SPACE


def test_remap_replaces_what_is_there():
    """MAP_REMAP with VMFS_NO_SPACE, since 12."""
    process = with_entries("freebsd-12.1", (MIN, MIN + 0x10000))
    args = {"len": 0x2000, "prot": 3, "max": 7, "cow": 0x800}
    assert process.out("find", addr=MIN + 0x4000, **args) == MIN + 0x4000
    assert process.ranges()[1] == (MIN + 0x4000, MIN + 0x6000)
    assert process.do("find", addr=MAX - 0x1000, **args) == KERN_INVALID_ADDRESS
    assert process.do("find", addr=MIN - 0x1000, **args) == KERN_INVALID_ADDRESS


@pytest.mark.parametrize(
    ("mode", "hint", "clustered"), [(0, 0, False), (1, 0, True), (1, MIN + 0x1000, False), (2, MIN + 0x1000, True)]
)
def test_anonymous_clustering(mode, hint, clustered):
    """vm.cluster_anon: 0 no, 1 without a hint, 2 always; the next one goes behind the last one."""
    process = with_entries("freebsd-12.1", (MAX - 0x1000, MAX), cluster_anon=mode)
    process.map.anon_loc = MIN + 0x800000
    addr = process.out("find", addr=hint, len=0x1000, space=1, prot=3, max=7)
    assert (addr == MIN + 0x800000) == clustered
    assert process.map.anon_loc == (MIN + 0x801000 if clustered else MIN + 0x800000)
    if clustered:
        process.do("remove", start=addr, end=addr + 0x1000)
        assert process.map.anon_loc == MIN + 0x800000


@pytest.mark.parametrize("why", [{"max_addr": MAX}, {"cow": 1}, {"prot": 0}, {"space": 0, "addr": MIN}])
def test_what_is_never_clustered(why):
    process = with_entries("freebsd-12.1", (MAX - 0x1000, MAX), cluster_anon=2)
    process.map.anon_loc = MIN + 0x800000
    assert process.out("find", **({"addr": 0, "len": 0x1000, "space": 1, "prot": 3, "max": 7} | why)) == MIN
    assert process.map.anon_loc == MIN + 0x800000


def test_a_cluster_without_room_starts_over_at_the_hint():
    process = with_entries("freebsd-12.1", (MAX - 0x1000, MAX), cluster_anon=2)
    process.map.anon_loc = MAX - 0x2000
    assert process.out("find", addr=MIN + 0x4000, len=0x4000, space=1, prot=3, max=7) == MIN + 0x4000
    assert process.map.anon_loc == MIN + 0x8000


def test_randomized_addresses_need_a_source_of_randomness():
    """MAP_ASLR draws a multiple of the page size above the first fit; without a source addresses stay predictable."""
    process = with_entries("freebsd-15.0", (MAX - 0x1000, MAX), cluster_anon=0)
    process.map.flags |= MAP_ASLR
    assert process.out("find", addr=MIN, len=0x1000, space=1, prot=1, max=7) == MIN
    process.map.random = lambda bound: bound - 1
    assert process.out("find", addr=MIN, len=0x1000, space=1, prot=3, max=7) == MIN + 0x1000 + 0xFF * 0x1000
    process = with_entries("freebsd-15.0", (MAX - 0x1000, MAX), cluster_anon=0)
    process.map.flags |= MAP_ASLR | MAP_ASLR_IGNSTART
    process.map.random = lambda bound: bound - 1
    assert process.out("find", addr=0, len=MAX - MIN - 0x80000, space=1, prot=5, max=7) == MIN  # no room to be random


@pytest.mark.parametrize("name", FREEBSD)
def test_fixed_replaces_and_clamps(name):
    """What is there goes first; a range beyond the map is cut, not refused."""
    process = with_entries(name, (MIN, MIN + 0x10000))
    assert process.do("fixed", start=MIN + 0x4000, len=0x2000, prot=3, max=7) == KERN_SUCCESS
    assert process.ranges()[:3] == [(MIN, MIN + 0x4000), (MIN + 0x4000, MIN + 0x6000), (MIN + 0x6000, MIN + 0x10000)]
    assert process.do("fixed", start=MAX - 0x1000, len=0x5000, prot=3, max=7) == KERN_SUCCESS
    assert process.ranges()[-1] == (MAX - 0x1000, MAX)
    assert process.do("fixed", start=MIN, len=WORD_MASK - 0xFFF, prot=3, max=7) == KERN_INVALID_ADDRESS


@pytest.mark.parametrize("name", FREEBSD)
def test_fixed_exclusive(name):
    """MAP_CHECK_EXCL (from 10.1 on) refuses instead of replacing."""
    process = with_entries(name, (MIN, MIN + 0x10000))
    rv = process.do("fixed", start=MIN + 0x4000, len=0x2000, prot=3, max=7, cow=0x40)
    assert rv == (KERN_SUCCESS if name == "freebsd-9.3" else KERN_NO_SPACE)
    assert len(process.ranges()) == (3 if name == "freebsd-9.3" else 1)


@pytest.mark.parametrize("name", FREEBSD)
def test_an_object_reference_is_taken_over_only_on_success(name):
    process = with_entries(name, (MIN, MIN + 0x10000))
    number = process.out("mkobj", type="anon", size=16)
    args = {"obj": number, "len": 0x2000, "prot": 1, "max": 7}
    assert process.do("find", addr=MIN, **args) == KERN_NO_SPACE
    assert process.objects[number].ref_count == 1
    assert process.do("find", addr=MIN, space=1, **args) == KERN_SUCCESS
    assert process.objects[number].ref_count == 2


@pytest.mark.parametrize("name", MODERN)
def test_an_aligned_stack_below_its_guard_ends(name):
    """10.4 would loop for ever; the model says NO_SPACE."""
    process = with_entries(name, (MAX - 0x1000, MAX), guard=4)
    rv = process.do("find", addr=MIN, len=0x2000, space=vmfs_aligned_space(16), prot=3, max=7, cow=0x1000)
    assert rv == KERN_CODES[RELEASES[name].stack_tiny_code]


def test_find_holds_the_lock_and_lets_it_go():
    """One exclusive acquisition per call, also when it fails."""
    process = with_entries("freebsd-10.1")
    before = process.map.timestamp
    process.do("find", addr=MIN, len=MAX, space=1, prot=1, max=7)
    assert process.map.timestamp == before + 1
    assert process.map.lock_state == 0
