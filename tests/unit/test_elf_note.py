"""ELF notes: what is found, and what ends the search."""

import struct

from kernel_model.abi.linux64.linux_elf import LINUX_BRANDNOTE, linux_trans_osrel
from kernel_model.kern.imgact_elf_brand import (
    FCTL_NOTE,
    FREEBSD_BRANDNOTE,
    KFREEBSD_BRANDNOTE,
    find_note,
    freebsd_trans_osrel,
    kfreebsd_trans_osrel,
)
from tests.unit.elf_files import freebsd_note, gnu_note, note


def test_the_abi_tag_is_found_behind_other_notes():
    notes = note(b"Clang", 5, b"abc") + note(b"FreeBSD", 2, b"\0\0\0\0") + freebsd_note(1001000)
    assert freebsd_trans_osrel(find_note(notes, FREEBSD_BRANDNOTE)) == 1001000


def test_vendor_type_and_size_must_all_match():
    for wrong in (note(b"NetBSD", 1, bytes(4)), note(b"FreeBSD", 9, bytes(4)), note(b"FreeBSD", 1, bytes(8))):
        assert find_note(wrong, FREEBSD_BRANDNOTE) is None


def test_the_feature_note_is_its_own():
    notes = freebsd_note() + note(b"FreeBSD", 4, struct.pack("<I", 5))
    assert find_note(notes, FCTL_NOTE) == struct.pack("<I", 5)


def test_the_gnu_tag_tells_linux_from_kfreebsd():
    linux = find_note(gnu_note(0, (3, 2, 1)), LINUX_BRANDNOTE)
    assert linux_trans_osrel(linux) == 0x30201
    assert kfreebsd_trans_osrel(linux) is None
    kfreebsd = find_note(gnu_note(3, (8, 1, 2)), KFREEBSD_BRANDNOTE)
    assert kfreebsd_trans_osrel(kfreebsd) == 801002
    assert linux_trans_osrel(kfreebsd) is None


def test_a_note_that_is_cut_off_ends_the_search():
    whole = freebsd_note()
    for size in range(21):
        assert find_note(whole[:size], FREEBSD_BRANDNOTE) is None, size
    # The name is there: the descriptor's missing bytes are zeros, as behind the segment in its page.
    assert find_note(whole[:21], FREEBSD_BRANDNOTE) == whole[20:21] + bytes(3)


def test_absurd_sizes_end_the_search():
    for sizes in ((0xFFFFFFFF, 4), (8, 0xFFFFFFFF), (0xFFFFFFFC, 0xFFFFFFFC)):
        head = struct.pack("<III", *sizes, 1)
        assert find_note(head + bytes(64) + freebsd_note(), FREEBSD_BRANDNOTE) is None


def test_only_a_hundred_notes_are_read():
    filler = note(b"x", 0, b"")
    assert find_note(filler * 99 + freebsd_note(), FREEBSD_BRANDNOTE) is not None
    assert find_note(filler * 100 + freebsd_note(), FREEBSD_BRANDNOTE) is None


def test_a_segment_that_is_not_aligned_holds_no_notes():
    assert find_note(b"\0" + freebsd_note(), FREEBSD_BRANDNOTE, 1) is None
    assert find_note(bytes(4) + freebsd_note(), FREEBSD_BRANDNOTE, 4) is not None
