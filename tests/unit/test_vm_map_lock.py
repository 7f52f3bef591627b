"""The map's lock, its timestamp, and the busy counter."""

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.kern.resourcevar import Plimit
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map import vm_map_create, vm_map_init, vm_map_max, vm_map_min, vm_map_pmap
from kernel_model.vm.vm_map_delete import vm_map_delete, vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_BUSY_WAKEUP, MAP_ENTRY_IN_TRANSITION, MAP_WIREFUTURE
from kernel_model.vm.vm_map_find import vm_map_find
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_param import KERN_NO_SPACE, KERN_SUCCESS, USRSTACK
from tests.conformance.rig import FREEBSD, MODERN, PG, process_rig, rig


@pytest.fixture
def map_():
    return rig("freebsd-12.1").map


def test_create_makes_an_empty_map(map_):
    """Bounds, pmap, no entries, timestamp 0; the ring is the header alone."""
    new = vm_map_create(map_.vm, map_.pmap, 0x1000, 0x9000)
    assert (vm_map_min(new), vm_map_max(new)) == (0x1000, 0x9000)
    assert vm_map_pmap(new) is map_.pmap
    assert (new.nentries, new.size, new.timestamp, new.flags, new.busy, new.root) == (0, 0, 0, 0, 0, None)
    assert (new.needs_wakeup, new.system_map) == (False, False)
    assert new.header.next is new.header.prev is new.header
    assert (new.header.end, new.header.start) == (0x1000, 0x9000)
    assert list(new) == []


def test_init_gives_an_empty_map_new_bounds(map_):
    map_.lock()
    map_.unlock()
    vm_map_init(map_, map_.pmap, 0x4000, 0x8000)
    assert (map_.min_offset, map_.max_offset, map_.timestamp) == (0x4000, 0x8000, 0)
    with map_.locked():
        assert vm_map_insert(map_, None, 0, 0x4000, 0x8000, 3, 7, 0) == KERN_SUCCESS
    with pytest.raises(KernelPanic, match="in use"):
        vm_map_init(map_, map_.pmap, 0, 0x1000)


def test_exclusive_acquisitions_count(map_):
    map_.lock()
    assert map_.timestamp == 1
    assert map_.xlocked
    assert not map_.trylock()
    assert not map_.trylock_read()
    map_.unlock()
    assert map_.trylock()
    assert map_.timestamp == 2
    map_.unlock()


def test_read_locks_do_not_count_and_are_shared(map_):
    map_.lock_read()
    assert map_.trylock_read()
    assert not map_.trylock()
    map_.unlock_read()
    map_.unlock_read()
    assert map_.timestamp == 0


def test_upgrade_counts_once_and_downgrade_not(map_):
    map_.lock_read()
    assert map_.lock_upgrade() is False
    assert map_.xlocked
    assert map_.timestamp == 1
    map_.lock_downgrade()
    assert not map_.xlocked
    map_.unlock_read()
    assert map_.timestamp == 1


def test_a_failing_call_counts_as_well(map_):
    assert vm_map_find(map_, None, 0, 0, 1 << 60, 1, 3, 7, 0)[0] == KERN_NO_SPACE
    assert map_.timestamp == 1


def test_the_timestamp_is_an_unsigned_int(map_):
    map_.timestamp = 0xFFFFFFFF
    with map_.locked():
        assert map_.timestamp == 0


@pytest.mark.parametrize(
    "misuse",
    [
        lambda m: m.unlock(),
        lambda m: m.unlock_read(),
        lambda m: m.lock_upgrade(),
        lambda m: m.lock_downgrade(),
        lambda m: vm_map_insert(m, None, 0, 0x1000, 0x2000, 3, 7, 0),
        lambda m: vm_map_delete(m, 0x1000, 0x2000),
        lambda m: m.set_busy(),
        lambda m: m.unbusy(),
        lambda m: m.wait_busy(),
        lambda m: (m.lock(), m.lock()),
        lambda m: (m.lock(), m.lock_read()),
        lambda m: (m.lock(), m.unbusy()),
    ],
)
def test_misuse_panics(map_, misuse):
    """vm_map_insert, vm_map_delete and the rest assert the lock that they need."""
    with pytest.raises(KernelPanic):
        misuse(map_)


def test_busy_holds_off_protect_and_fork():
    """With nobody to end it the wait would last for ever: it panics instead of hanging."""
    process = rig("freebsd-12.1")
    process.do("insert", start=0x10000, end=0x20000, prot=3, max=7)
    with process.map.locked():
        process.map.set_busy()
    with pytest.raises(KernelPanic, match="for ever"):
        process.do("fork")
    assert process.map.flags & MAP_BUSY_WAKEUP
    assert process.map.needs_wakeup


def test_unbusy_clears_the_waiters_flag(map_):
    with map_.locked():
        map_.set_busy()
        map_.flags |= MAP_BUSY_WAKEUP
        map_.unbusy()
        assert (map_.busy, map_.flags) == (0, 0)
        before = map_.timestamp
        map_.wait_busy()
        assert map_.timestamp == before + 1


def test_an_entry_in_transition_is_waited_for(map_):
    """Nobody can end the transition, so deleting panics instead of hanging."""
    with map_.locked():
        assert vm_map_insert(map_, None, 0, 0x10000, 0x20000, 3, 7, 0) == KERN_SUCCESS
    next(iter(map_)).eflags |= MAP_ENTRY_IN_TRANSITION
    with pytest.raises(KernelPanic, match="for ever"):
        vm_map_remove(map_, 0x10000, 0x20000)


def test_objects_of_deleted_entries_live_until_unlock():
    """Deferred: while the map is locked the object still has the reference."""
    process = rig("freebsd-12.1")
    number = process.out("mkobj", type="anon", size=4)
    obj = process.objects[number]
    process.do("insert", obj=number, start=0x10000, end=0x14000, prot=3, max=7, cow=0x8000)
    assert obj.ref_count == 2
    process.map.lock()
    assert vm_map_delete(process.map, 0x10000, 0x14000) == KERN_SUCCESS
    assert obj.ref_count == 2
    process.map.unlock()
    assert obj.ref_count == 1


@pytest.mark.parametrize("name", FREEBSD)
def test_the_process_lock_is_held_while_a_stack_is_made_and_grown(name, monkeypatch):
    """vm_map_stack(9): both acquire the process lock for the duration of the call; limits assert it."""
    process = process_rig(name)
    lock = process.owner.proc.p_lock
    held = []
    lim_cur = Plimit.lim_cur
    monkeypatch.setattr(Plimit, "lim_cur", lambda limit, which: (held.append(lock.held), lim_cur(limit, which))[1])
    assert process.do("growstack", addr=USRSTACK - 0x21000) == KERN_SUCCESS
    assert process.do("stack", addr=0x10000000, size=0x40000, prot=3, max=7, cow=0x1000) == KERN_SUCCESS
    assert held
    assert all(held)
    assert lock.held == 0


def test_reading_a_limit_without_the_process_lock_panics():
    from kernel_model.vm.vm_stack_gap import lim_cur

    process = rig("freebsd-10.1")
    with pytest.raises(KernelPanic, match="process lock"):
        lim_cur(process.owner.proc, 3)


@pytest.mark.parametrize("name", MODERN)
def test_a_stack_is_never_made_with_wirefuture(name):
    process = rig(name)
    process.do("set", name="wirefuture", value=1)
    assert process.map.flags & MAP_WIREFUTURE
    with pytest.raises(KernelPanic):
        process.do("stack", addr=0x10000000, size=64 * PG, prot=3, max=7, cow=0x1000)


def test_machines_do_not_share_state():
    one, two = rig("freebsd-10.1"), rig("freebsd-10.1")
    one.do("insert", start=0x10000, end=0x20000, prot=3, max=7)
    assert two.map.nentries == 0
    assert isinstance(one.vm, Vm)
    assert one.vm is not two.vm
