"""A fault decided again on a copy of its map gives the recorded result; changed conditions give the real ones."""

from __future__ import annotations

import pytest

from emu.why.replica import decide, with_guard, with_limit, with_release, without_entry
from kernel_model.ktrace import MAP
from kernel_model.ktrace.snapshot import MapSnapshot
from kernel_model.vm.vm_param import USRSTACK
from tests.why.model import TEXT, Model

STACK = USRSTACK - 0x20000
RELEASES = ["freebsd-9.3", "freebsd-10.1", "freebsd-10.4", "freebsd-11.0", "freebsd-12.1", "freebsd-15.0"]
LOWEST = USRSTACK - (8 << 20)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("addr", [0, 0x18, LOWEST - 1, LOWEST - 0x100000, TEXT, 0x7000_0000_0000, USRSTACK + 8])
def test_the_copy_decides_as_the_original(release, addr):
    event = Model(release).trap(addr)
    assert not event.repaired
    again = decide(event.snapshot, addr, event.access)
    assert (again.result, again.signo, again.code, again.translation) == (
        event.result, event.signo, event.code, event.translation,
    )  # fmt: skip
    assert again.steps == event.steps


@pytest.mark.parametrize("release", RELEASES)
def test_a_limit_is_the_one_that_the_model_itself_obeys(release):
    event = Model(release).trap(LOWEST - 0x1000)
    need = (8 << 20) + 0x1000
    assert not decide(with_limit(event.snapshot, "stack", need - 1), event.addr, 2).repaired
    better = decide(with_limit(event.snapshot, "stack", need), event.addr, 2)
    assert better.repaired
    really = Model(release, {"stack": need})
    assert really.trap(LOWEST - 0x1000).repaired
    assert really.map.size - Model(release).map.size == better.grown


def test_a_copy_survives_a_file():
    event = Model("freebsd-12.1").trap(0x18)
    assert MapSnapshot.from_json(event.snapshot.to_json()) == event.snapshot


@pytest.mark.parametrize("release", ["freebsd-10.4", "freebsd-12.1", "freebsd-15.0"])
def test_guard_page_off(release):
    model = Model(release, {"stack": 1 << 40})
    event = model.trap(USRSTACK - (512 << 20) + 8)
    assert not event.repaired
    assert decide(with_guard(event.snapshot, 0), event.addr, 2).repaired
    assert not decide(with_guard(event.snapshot, 1), event.addr, 2).repaired


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-11.0"])
def test_a_neighbour_took_the_room(release):
    model = Model(release)
    wall = STACK - 0x40000
    model.map_at(wall, 0x1000)
    event = model.trap(wall - 8)
    assert not event.repaired
    assert event.below is None or event.below.end <= wall
    other = model.trap(wall + 0x800)
    assert other.repaired
    assert model.trap(wall + 0x2000).repaired
    below = model.trap(wall - 0x3000)
    assert not below.repaired
    assert not decide(below.snapshot, below.addr, 2).repaired


def test_a_refusal_that_trims_the_reserve_is_recorded_as_it_was_before():
    """Classic: need and guard against a near neighbour set avail_ssize for good."""
    model = Model("freebsd-10.1")
    model.vm.stack_guard_page = 1
    wall = STACK - 0x2000
    model.map_at(wall, 0x1000)
    event = model.trap(wall + 0x1000)
    assert event.result == 5
    assert next(e for e in event.snapshot.entries if e.start == STACK).avail_ssize == 0x1FFE0000
    assert decide(event.snapshot, event.addr, 2).steps == event.steps
    assert decide(with_guard(event.snapshot, 0), event.addr, 2).repaired
    assert decide(without_entry(event.snapshot, wall), event.addr, 2).repaired


@pytest.mark.parametrize(("old", "new"), [("freebsd-10.1", "freebsd-12.1"), ("freebsd-12.1", "freebsd-10.1")])
def test_another_release_refuses_with_its_own_code(old, new):
    event = Model(old).trap(LOWEST - 0x1000)
    other = Model(new).trap(LOWEST - 0x1000)
    again = decide(with_release(event.snapshot, new), event.addr, 2)
    assert (again.result, again.signo, again.code) == (other.result, other.signo, other.code)
    assert (again.result, again.code) != (event.result, event.code)


def test_a_fault_inside_a_call_leaves_the_call_its_cause():
    """Growth by copyout is the fault's; what the same call maps afterwards is the call's."""
    model = Model("freebsd-12.1")
    changes = []
    model.kt.subscribe(MAP, changes.append)
    model.kt.syscall_enter("FreeBSD ELF64", 3, "read", (0, STACK - 8, 8), "fbu", TEXT)
    event = model.trap(STACK - 8)
    model.map_at(0x800000000, 0x1000)
    model.kt.syscall_return(8, 0)
    model.map_at(0x800010000, 0x1000)
    kinds = [(change.what, change.cause.kind, change.cause.seq) for change in changes]
    assert event.syscall is not None
    assert event.syscall.name == "read"
    call = event.syscall.seq
    assert kinds == [
        ("insert", "fault", event.seq),
        ("grow", "fault", event.seq),
        ("insert", "syscall", call),
        ("insert", "kernel", 0),
    ]
    assert model.vm.steps is None
