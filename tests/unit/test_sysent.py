"""Rows of the tables: letters, arity, names."""

from __future__ import annotations

import inspect

import pytest

from kernel_model.abi.freebsd64 import syscalls as freebsd_names
from kernel_model.abi.freebsd64.sysent import table as freebsd_table
from kernel_model.abi.linux64 import syscalls as linux_names
from kernel_model.abi.linux64.sysent import table as linux_table
from kernel_model.kern.subr_syscall import support_table
from kernel_model.kern.sysent import LETTERS, Support, Sysent, adapter, convert

NASTY = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 63, 0xDEAD_BEEF_8000_0001)


def echo(td: object, *args: int) -> int:
    echo.seen = args  # type: ignore[attr-defined]
    return 0


@pytest.mark.parametrize("letter", sorted(LETTERS))
def test_adapter_converts_as_convert_says(letter: str) -> None:
    call = adapter(Sysent("x", letter * 2, Support.FULL, echo))
    for value in NASTY:
        call(None, value, 5, 6, 7, 8, 9)
        assert echo.seen == (convert(letter, value), convert(letter, 5))  # type: ignore[attr-defined]


def test_int_arguments_are_signed_32_bit() -> None:
    assert convert("d", 0xFFFFFFFF) == convert("d", 0xFFFFFFFFFFFFFFFF) == -1
    assert convert("f", 0xDEADBEEF_FFFFFF9C) == -100
    assert convert("l", 0xFFFFFFFFFFFFFFFF) == -1
    assert convert("u", 0xFFFFFFFFFFFFFFFF) == (1 << 64) - 1
    assert convert("x", 0xABCD_0000_0001) == 1


@pytest.mark.parametrize("table", [freebsd_table, linux_table])
def test_every_handler_takes_what_its_letters_say(table) -> None:
    for number, row in table().items():
        assert set(row.letters) <= LETTERS, row
        assert len(row.letters) <= 6, row
        if row.handler is None:
            continue
        parameters = inspect.signature(row.handler).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            continue
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        needed = [p for p in places if p.default is p.empty]
        assert len(needed) <= len(row.letters) + 1 <= len(places), (number, row.name)


def test_names_are_those_of_the_systems() -> None:
    for number, row in freebsd_table().items():
        assert row.name == freebsd_names.SYSCALLS[number][0]
    for number, row in linux_table().items():
        assert row.name == linux_names.SYSCALLS[number]


def test_a_missing_call_is_told_as_none_and_a_stub_says_what_it_lacks() -> None:
    for table in (freebsd_table(), linux_table()):
        rows = {name: (support, caveat) for _, name, support, caveat in support_table(table)}
        assert rows["fork"] == ("none", "no processes yet")
        for name, (support, caveat) in rows.items():
            if support in ("partial", "stub"):
                assert caveat, name


def test_what_is_said_to_be_supported_has_a_handler() -> None:
    for table in (freebsd_table(), linux_table()):
        without = {row.name for row in table.values() if row.handler is None and row.support is not Support.NONE}
        assert without <= {"syscall", "__syscall"}, "those two are replaced by the call they name"
