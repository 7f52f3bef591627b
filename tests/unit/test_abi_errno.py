"""Error numbers of both ABIs."""

from __future__ import annotations

import errno as host

from kernel_model import errno as E


def test_every_freebsd_number_has_a_linux_one() -> None:
    assert set(E.TO_LINUX) == set(E.NAMES)
    assert set(E.NAMES) == set(range(1, 98))


def test_equal_names_translate_to_the_hosts_numbers() -> None:
    for number, name in E.NAMES.items():
        if hasattr(host, name):
            assert E.TO_LINUX[number] == getattr(host, name), name


def test_the_numbers_that_differ_most() -> None:
    assert (E.EAGAIN, E.EDEADLK, E.ENOSYS, E.ELOOP) == (35, 11, 78, 62)
    assert [E.TO_LINUX[n] for n in (E.EAGAIN, E.EDEADLK, E.ENOSYS, E.ELOOP)] == [11, 35, 38, 40]


def test_linux_names_are_the_hosts() -> None:
    for number, name in E.LINUX_NAMES.items():
        assert getattr(host, name) == number


def test_no_result_can_be_mistaken_for_ejustreturn() -> None:
    assert E.EJUSTRETURN > (1 << 64) - 1
