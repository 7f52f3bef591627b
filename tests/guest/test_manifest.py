"""The bundled programs as files: sources, brands, notes, manifest rows.  Nothing is run."""

from __future__ import annotations

import re
import tomllib
from io import BytesIO

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import NoteSection

from guest import HERE, Guest, guest, guests
from kernel_model.release import RELEASES

KEYS = {"kind", "builds", "teaches", "expect", "growths", "argv", "env", "stdin", "limits", "cause"}
KEYS |= {"strict_alignment", "on"}
SIGNALS = {"SIGSEGV", "SIGBUS", "SIGILL"}
CODES = {"SEGV_MAPERR", "SEGV_ACCERR", "BUS_OBJERR", "BUS_ADRERR", None}
ADDRESS_RULES = {"printed", "stack", "rip", "any", None}
ROWS = tomllib.loads((HERE / "manifest.toml").read_text(encoding="utf-8"))
SOURCES = sorted([*(HERE / "src").iterdir(), *(HERE / "crash").iterdir()])

every_guest = pytest.mark.parametrize("one", guests(), ids=lambda one: one.name)


def _elf(one: Guest) -> ELFFile:
    return ELFFile(BytesIO(one.path.read_bytes()))


def test_the_numbers_the_project_promises() -> None:
    plain = [one for one in guests() if one.kind == "check"]
    crashes = {one.source for one in guests() if one.kind == "crash"}
    assert len(plain) >= 16
    assert len(crashes) >= 20
    assert sum(one.abi == "linux" for one in guests()) >= 6
    assert sum(one.stripped for one in guests()) >= 3


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_source_is_short_opens_with_what_it_shows_and_has_a_row(path) -> None:
    lines = path.read_text(encoding="ascii").splitlines()
    assert len(lines) < 80
    assert re.match(r"/\* \w.* ", lines[0]), "the first line says what the program shows"
    assert path.suffix in {".c", ".S"}
    assert path.stem in ROWS


def test_every_program_and_listing_belongs_to_a_row() -> None:
    names = {one.name for one in guests()}
    assert {path.name for path in (HERE / "bin").iterdir()} == names | {"TOOLCHAIN"}
    assert {path.stem for path in (HERE / "listing").iterdir()} == names


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_complete(name: str) -> None:
    row = ROWS[name]
    assert set(row) <= KEYS
    assert len(row["teaches"]) > 20
    for where, other in row.get("on", {}).items():
        assert where in {"classic", "modern", "linux", *RELEASES}
        assert set(other) <= KEYS - {"kind", "builds", "teaches", "on"}
        assert all(other[key] != row.get(key) for key in other), "an override that changes nothing"
    if row.get("kind") == "crash":
        assert row["cause"]


@every_guest
@pytest.mark.parametrize("release", RELEASES)
def test_an_expectation_is_an_exit_or_a_signal(one: Guest, release: str) -> None:
    expect = one.on(release).expect
    assert (expect.exit is None) != (expect.signal is None)
    assert expect.signal in SIGNALS | {None}
    assert expect.code in CODES
    assert isinstance(expect.addr, int) or expect.addr in ADDRESS_RULES
    if one.kind == "check":
        assert expect.exit == 0


@every_guest
def test_the_image_has_its_brand(one: Guest) -> None:
    elf = _elf(one)
    freebsd = one.abi == "freebsd"
    brand = elf.header.e_ident["EI_OSABI"]
    assert brand == ("ELFOSABI_FREEBSD" if freebsd else "ELFOSABI_SYSV")
    assert elf.header.e_type == ("ET_DYN" if one.build == "pie" else "ET_EXEC")
    notes = [note for segment in elf.iter_segments("PT_NOTE") for note in segment.iter_notes()]
    tags = [note for note in notes if note.n_name == "FreeBSD"]
    assert len(tags) == freebsd
    if freebsd:
        assert tags[0].n_type in (1, "NT_GNU_ABI_TAG")
        assert int.from_bytes(tags[0].n_descdata, "little") >= 700004, "protection faults would be SIGBUS"


@every_guest
def test_the_image_carries_nothing_of_where_it_was_made(one: Guest) -> None:
    elf = _elf(one)
    assert not any(isinstance(section, NoteSection) and "build-id" in section.name for section in elf.iter_sections())
    image = one.path.read_bytes()
    assert str(HERE.parent).encode() not in image


@every_guest
def test_symbols_and_lines_unless_stripped(one: Guest) -> None:
    elf = _elf(one)
    assert elf.has_dwarf_info() != one.stripped
    assert (elf.get_section_by_name(".symtab") is None) == one.stripped
    if not one.stripped:
        units = list(elf.get_dwarf_info().iter_CUs())
        name = units[0].get_top_DIE().attributes["DW_AT_name"].value.decode()
        assert name == f"guest/{one.source.parent.name}/{one.source.name}"


def test_releases_change_a_row_where_they_differ() -> None:
    stack_limit = guest("recursion")
    assert stack_limit.on("freebsd-10.1").expect.code == "SEGV_MAPERR"
    assert stack_limit.on("freebsd-12.1").expect.code == "SEGV_ACCERR"
    assert guest("past_eof-linux").on("freebsd-10.1").expect.signal == "SIGBUS"


def test_an_unknown_guest_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        guest("no such program")
