"""The process of the tests keeps what its page promises."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.ktrace import SYSCALL
from kernel_model.vm.vm import VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_param import KERN_PROTECTION_FAILURE, PAGE_SIZE
from tests.audit import assert_nothing_left
from tests.process import BAD, SCRATCH, Process

PAGE = Path(__file__).resolve().parents[1] / "README.md"
AT = 0x7000_0000
PROT_READ = VM_PROT_READ


def test_a_page_that_may_only_be_read_refuses_a_store():
    process = Process("linux", release="freebsd-12.1")
    page = process.map_at(0x7000_0000, PAGE_SIZE)
    process.ok("mprotect", page, PAGE_SIZE, PROT_READ)
    assert process.touch(page, VM_PROT_WRITE) == KERN_PROTECTION_FAILURE


def test_the_example_of_the_page_is_a_test():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks == [inspect.getsource(test_a_page_that_may_only_be_read_refuses_a_store)]


def test_the_verbs_of_the_page_exist():
    text = PAGE.read_text(encoding="utf-8")
    verbs = {
        name
        for row in re.findall(r"^\| [^|]+ \| (.*) \|$", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)\(", row)
    }
    assert verbs - {"measure", "assert_nothing_left"} <= set(dir(Process))
    assert len(verbs) > 15


@pytest.mark.parametrize(("abi", "errno"), [("freebsd", E.ENAMETOOLONG), ("linux", 36)])
def test_a_failed_call_is_minus_the_errno_of_its_abi(abi, errno):
    assert Process(abi).call("chdir", "x" * 2000) == -errno


def test_strings_are_in_memory_for_the_time_of_the_call():
    process = Process("linux")
    before = process.at
    process.call("chdir", "/")
    assert (process.at, process.get(before, 2)) == (before, b"/\0")


def test_scratch_memory_ends():
    process = Process()
    with pytest.raises(AssertionError, match="used up"):
        process.alloc(BAD - SCRATCH + 1)


def test_a_bare_process_has_an_empty_map():
    assert Process(bare=True).entries() == []


def test_a_child_has_its_own_copy():
    parent = Process(bare=True)
    parent.map_at(AT, PAGE_SIZE)
    parent.poke(AT, b"old")
    child = parent.fork()
    child.poke(AT, b"new")
    parent.check(child)
    assert (parent.peek(AT, 3), child.peek(AT, 3)) == (b"old", b"new")
    child.exit()
    parent.exit()
    assert_nothing_left(parent.vm)


def test_a_child_that_cannot_be_paid_for_leaves_nothing():
    parent = Process(bare=True)
    parent.map_at(AT, PAGE_SIZE)
    parent.poke(AT, b"x")
    parent.vm.swap_cap = parent.vm.swap_reserved
    with pytest.raises(SyscallError):
        parent.fork()
    parent.exit()
    assert_nothing_left(parent.vm)


def test_a_limit_raises_the_hard_one_with_it():
    process = Process(limits={"nofile": 1 << 20})
    limit = process.proc.p_limit
    assert limit.lim_cur(8) == limit.lim_max(8) == 1 << 20


def test_events_are_those_since_they_were_asked_for():
    process = Process()
    process.ok("getpid")
    seen = process.events(SYSCALL)
    process.ok("getpid")
    assert [(event.phase, event.name) for event in seen] == [("enter", "getpid"), ("return", "getpid")]
    assert process.events(SYSCALL) is seen
