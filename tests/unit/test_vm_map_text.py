"""How often a file is being run, or mapped for writing, is known at its vnode through every cut, merge and fork."""

import pytest

from tests.conformance.rig import FREEBSD, PG, rig
from tests.memory_vnode import MemoryVnode

A = 0x10000000
VN_EXEC, WRITECOUNT = 0x40000, 0x400
SINCE_12 = ("freebsd-12.1", "freebsd-15.0")


def mapped_file(name, cow, prot=3):
    """A process that maps a file of 16 pages; the vnode."""
    process = rig(name)
    number = process.out("mkobj", type="vnode", size=16)
    vp = MemoryVnode()
    process.objects[number].handle = vp
    assert process.do("insert", obj=number, start=A, end=A + 16 * PG, prot=prot, max=7, cow=cow) == 0
    return process, vp


def entries(process):
    return process.map.nentries


@pytest.mark.parametrize("name", FREEBSD)
def test_writable_mappings_are_counted(name):
    """One per entry: cut in three, merged again, unmapped in part, and gone."""
    process, vp = mapped_file(name, WRITECOUNT | 0x8000)
    assert vp.v_writecount == 1
    process.do("protect", start=A + 4 * PG, end=A + 8 * PG, prot=1)
    assert vp.v_writecount == entries(process) == 3
    process.do("protect", start=A + 4 * PG, end=A + 8 * PG, prot=3)
    assert vp.v_writecount == entries(process) == 1
    process.do("remove", start=A + 4 * PG, end=A + 8 * PG)
    assert vp.v_writecount == entries(process) == 2
    process.do("remove", start=A, end=A + 16 * PG)
    assert vp.v_writecount == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_a_child_that_shares_counts_too(name):
    process, vp = mapped_file(name, WRITECOUNT | 0x8000 | 1)
    child = process.out("fork")["child"]
    assert vp.v_writecount == 2
    process.do("exit", vm=child)
    assert vp.v_writecount == 1


@pytest.mark.parametrize("name", FREEBSD)
def test_a_child_that_copies_ends_the_parent_s_writing(name):
    """Both sides would copy before they write, so nobody writes to the file any more."""
    process, vp = mapped_file(name, WRITECOUNT | 0x8000)
    process.do("fork")
    assert vp.v_writecount == 0
    process.do("remove", start=A, end=A + 16 * PG)
    assert vp.v_writecount == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_running_files_are_counted_since_12(name):
    """MAP_VN_EXEC: also through a shadow object, and such entries never merge."""
    process, vp = mapped_file(name, VN_EXEC | 2, prot=5)
    counted = name in SINCE_12
    assert vp.v_textcount == (1 if counted else 0)
    process.do("protect", start=A, end=A + PG, prot=7)
    assert process.do("lookup", addr=A, type=2) == 0
    process.do("protect", start=A, end=A + PG, prot=5)
    assert vp.v_textcount == (entries(process) if counted else 0)
    child = process.out("fork")["child"]
    assert vp.v_textcount == (2 * entries(process) if counted else 0)
    process.do("exit", vm=child)
    process.do("remove", start=A, end=A + 16 * PG)
    assert vp.v_textcount == 0
