"""MAP_PREFAULT, MAP_PREFAULT_PARTIAL and madvise's WILLNEED: what is resident gets mapped, nothing else happens."""

import pytest

from tests.conformance.rig import FREEBSD, PG, rig

A, B = 0x10000000, 0x20000000
PREFAULT, PARTIAL = 0x8, 0x10
PAGES = 200


def resident(name, pages=PAGES):
    """An object of which *pages* pages are in memory, mapped at A."""
    process = rig(name)
    number = process.out("mkobj", type="anon", size=PAGES)
    process.do("insert", obj=number, start=A, end=A + PAGES * PG, prot=3, max=7, cow=0x8000)
    for page in range(pages):
        assert process.do("fault", addr=A + page * PG, type=2) == 0
    return process, number


def mapped_pages(process, start=B):
    return [(va - start) // PG for va, _ in process.map.pmap.mappings() if start <= va < start + PAGES * PG]


@pytest.mark.parametrize("name", FREEBSD)
def test_prefault_maps_what_is_resident_without_write_access(name):
    process, number = resident(name, pages=20)
    before = len(process.objects[number].pages)
    process.do("insert", obj=number, off=4 * PG, start=B, end=B + 100 * PG, prot=3, max=7, cow=0x8000 | PREFAULT)
    assert mapped_pages(process) == list(range(16))
    assert {process.map.pmap.lookup(B + page * PG)[1] for page in range(16)} == {1}
    assert len(process.objects[number].pages) == before


@pytest.mark.parametrize("name", FREEBSD)
def test_partial_prefault_stops_at_96_pages(name):
    """9.3 maps nothing when more is wanted and resident."""
    process, number = resident(name)
    process.do("insert", obj=number, start=B, end=B + PAGES * PG, prot=1, max=7, cow=0x8000 | PARTIAL)
    assert mapped_pages(process) == ([] if name == "freebsd-9.3" else list(range(96)))
    process.do("remove", start=B, end=B + PAGES * PG)
    process.do("insert", obj=number, start=B, end=B + 90 * PG, prot=1, max=7, cow=0x8000 | PARTIAL)
    assert mapped_pages(process) == list(range(90))


@pytest.mark.parametrize("name", FREEBSD)
def test_no_prefault_without_the_flag_the_right_or_the_object(name):
    process, number = resident(name, pages=4)
    for cow, prot in ((0, 3), (PREFAULT, 2), (PREFAULT, 0)):
        process.do("insert", obj=number, start=B, end=B + 4 * PG, prot=prot, max=7, cow=0x8000 | cow)
        assert mapped_pages(process) == []
        process.do("remove", start=B, end=B + 4 * PG)
    assert process.do("insert", start=B, end=B + 4 * PG, prot=3, max=7, cow=PREFAULT) == 0
    assert mapped_pages(process) == []


@pytest.mark.parametrize("name", FREEBSD)
def test_willneed_maps_what_is_resident(name):
    """Not where the entry is wired, since 10.1; never while memory is short."""
    process, number = resident(name, pages=4)
    process.do("insert", obj=number, start=B, end=B + 8 * PG, prot=1, max=7, cow=0x8000)
    assert process.do("madvise", start=B + PG, end=B + 8 * PG, behav=3) == 0
    assert mapped_pages(process) == [1, 2, 3]
    process.map.pmap.remove(B, B + 8 * PG)
    process.entry(B).wired_count = 1
    process.do("madvise", start=B, end=B + 8 * PG, behav=3)
    assert mapped_pages(process) == ([0, 1, 2, 3] if name == "freebsd-9.3" else [])


def test_willneed_is_ignored_while_memory_is_short():
    process, number = resident("freebsd-10.1", pages=4)
    process.do("insert", obj=number, start=B, end=B + 8 * PG, prot=1, max=7, cow=0x8000)
    process.vm.cnt.v_free_count = 0
    process.do("madvise", start=B, end=B + 8 * PG, behav=3)
    assert mapped_pages(process) == []
