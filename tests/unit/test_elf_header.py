"""The header reader against pyelftools, and on files that are no programs."""

import io
import random
import shutil

import pytest
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kernel_model.kern.elf_common import EHDR, PHDR, read_ehdr, read_phdrs
from kernel_model.kern.imgact_elf import header_fault, phdrs_in_page
from tests.unit.elf_files import PT_LOAD, PT_NOTE, Elf, R, Seg, freebsd_note, static_elf

PROGRAMS = [path for name in ("busybox", "bash", "env", "python3", "ld") if (path := shutil.which(name))]


def agrees_with_pyelftools(data: bytes) -> None:
    """Compare every field of both readers on *data*."""
    ours = read_ehdr(data[:4096])
    theirs = ELFFile(io.BytesIO(data))
    assert ours is not None
    for name in EHDR_FIELDS:
        value = theirs.header[name]
        numbers = {"ET_EXEC": 2, "ET_DYN": 3, "EM_X86_64": 62, "EV_CURRENT": 1}
        assert getattr(ours, name) == numbers.get(value, value), name
    segments = [segment.header for segment in theirs.iter_segments()]
    types = {"PT_LOAD": 1, "PT_DYNAMIC": 2, "PT_INTERP": 3, "PT_NOTE": 4, "PT_PHDR": 6, "PT_TLS": 7,
             "PT_GNU_EH_FRAME": 0x6474E550, "PT_GNU_STACK": 0x6474E551, "PT_GNU_RELRO": 0x6474E552,
             "PT_GNU_PROPERTY": 0x6474E553}  # fmt: skip
    mine = read_phdrs(data, ours)
    assert len(mine) == len(segments)
    for got, want in zip(mine, segments, strict=True):
        for name in ("p_flags", "p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz", "p_align"):
            assert getattr(got, name) == want[name]
        assert got.p_type == types.get(want["p_type"], want["p_type"])


EHDR_FIELDS = (
    "e_type", "e_machine", "e_version", "e_entry", "e_phoff", "e_shoff", "e_flags", "e_ehsize", "e_phentsize",
    "e_phnum", "e_shentsize", "e_shnum", "e_shstrndx",
)  # fmt: skip


def test_a_made_file_reads_as_pyelftools_reads_it():
    agrees_with_pyelftools(static_elf(notes=freebsd_note()))


@pytest.mark.parametrize("path", PROGRAMS)
def test_real_programs_read_as_pyelftools_reads_them(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\x7fELF":
        pytest.skip(f"{path} is a script")
    agrees_with_pyelftools(data)


def test_random_headers_read_as_pyelftools_reads_them():
    rng = random.Random(2)
    seen = 0
    for _ in range(400):
        head = bytearray(static_elf())
        for _ in range(3):
            head[rng.randrange(16, EHDR.size + 2 * PHDR.size)] = rng.randrange(256)
        ours = read_ehdr(bytes(head))
        try:
            theirs = ELFFile(io.BytesIO(bytes(head)))
        except (ELFError, AssertionError):
            continue
        assert ours is not None
        assert (ours.e_entry, ours.e_phoff, ours.e_phnum) == tuple(
            theirs.header[name] for name in ("e_entry", "e_phoff", "e_phnum")
        )
        seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    ("elf", "reason"),
    [
        (Elf(machine=40), "not an x86-64 ELF file: machine EM_ARM"),
        (Elf(machine=183), "not an x86-64 ELF file: machine EM_AARCH64"),
        (Elf(machine=999), "not an x86-64 ELF file: machine 999"),
        (Elf(ident_class=1, machine=3), "not a 64-bit ELF file: 32-bit, machine EM_386"),
        (Elf(ident_class=7, ident_data=2), "not a 64-bit ELF file: class 7"),
        (Elf(ident_data=2), "not a little-endian ELF file"),
        (Elf(version=2), "ELF version 2 instead of 1"),
        (Elf(phentsize=32), "program headers of 32 bytes instead of 56"),
        (Elf(type=1), "not an executable ELF file: type ET_REL"),
        (Elf(type=4), "not an executable ELF file: type ET_CORE"),
        (Elf(), ""),
    ],
)
def test_each_refused_header_says_what_is_wrong(elf, reason):
    assert header_fault(elf.build().ljust(4096, b"\0")) == reason


def test_what_is_no_elf_file_is_called_so():
    assert header_fault(b"hello") == "not an ELF file"
    assert header_fault(b"\x7fELF") == "truncated ELF header"
    assert read_ehdr(b"\x7fELF".ljust(63, b"\0")) is None


def test_the_table_must_end_inside_the_page():
    room = (4096 - EHDR.size) // PHDR.size
    assert phdrs_in_page(read_ehdr(Elf(phnum=room).build()), 4096)
    assert not phdrs_in_page(read_ehdr(Elf(phnum=room + 1).build()), 4096)
    assert phdrs_in_page(read_ehdr(Elf(phoff=4096, phnum=0).build()), 4096)
    assert not phdrs_in_page(read_ehdr(Elf(phoff=4097, phnum=0).build()), 4096)
    assert not phdrs_in_page(read_ehdr(Elf(phoff=(1 << 64) - 8, phnum=1).build()), 4096)


def test_segments_keep_their_order():
    elf = Elf([Seg(PT_LOAD, R, 0, 0x1000), Seg(PT_NOTE, R, 8, 16, data=b"x" * 4), Seg(PT_LOAD, R, 0, 0x9000)])
    data = elf.build()
    assert [phdr.p_vaddr for phdr in read_phdrs(data, read_ehdr(data))] == [0x1000, 16, 0x9000]
