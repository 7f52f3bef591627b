"""vm_map_lookup and its locked variant."""

import pytest

from kernel_model.vm.vm import VM_PROT_COPY
from kernel_model.vm.vm_check import StepRecorder
from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW, MAP_ENTRY_NEEDS_COPY
from kernel_model.vm.vm_map_lookup import vm_map_lookup, vm_map_lookup_done, vm_map_lookup_locked
from kernel_model.vm.vm_param import (
    KERN_FAILURE,
    KERN_INVALID_ADDRESS,
    KERN_PROTECTION_FAILURE,
    KERN_SUCCESS,
)
from tests.conformance.rig import FREEBSD, PG, rig

A = 0x10000000
READ, WRITE, EXECUTE = 1, 2, 4


def private(name, prot=3):
    """A private mapping of an object: copied on write."""
    process = rig(name)
    number = process.out("mkobj", type="vnode", size=16)
    assert (
        process.do("insert", obj=number, off=2 * PG, start=A, end=A + 8 * PG, prot=prot, max=7, cow=2) == KERN_SUCCESS
    )
    return process, process.objects[number]


@pytest.mark.parametrize("name", FREEBSD)
def test_success_gives_object_index_and_rights_and_keeps_a_read_lock(name):
    """The results hold until vm_map_lookup_done."""
    process, obj = private(name)
    rv, map_, entry, found, pindex, prot, wired = vm_map_lookup(process.map, A + 3 * PG + 5, READ)
    assert (rv, map_, found, pindex, wired) == (KERN_SUCCESS, process.map, obj, 5, False)
    assert entry is process.entry(A)
    assert prot == 1  # a read of copy-on-write memory must not map it writable
    assert process.map.lock_state == 1
    vm_map_lookup_done(map_, entry)
    assert process.map.lock_state == 0


@pytest.mark.parametrize("name", FREEBSD)
@pytest.mark.parametrize(
    ("addr", "type_", "code"),
    [
        (A - 1, READ, KERN_INVALID_ADDRESS),
        (A + 8 * PG, READ, KERN_INVALID_ADDRESS),
        (A, EXECUTE, KERN_PROTECTION_FAILURE),
        (A, READ | EXECUTE, KERN_PROTECTION_FAILURE),
        (A, 0, KERN_SUCCESS),
        (A + 8 * PG - 1, WRITE, KERN_SUCCESS),
        ((1 << 64) - 1, READ, KERN_INVALID_ADDRESS),
    ],
)
def test_codes(name, addr, type_, code):
    """A failing lookup leaves the map unlocked."""
    process, _ = private(name)
    assert process.do("lookup", addr=addr, type=type_) == code
    assert process.map.lock_state == 0


@pytest.mark.parametrize("name", FREEBSD)
def test_no_access_at_all_refuses_even_type_none(name):
    process, _ = private(name, prot=0)
    assert process.do("lookup", addr=A, type=0) == KERN_PROTECTION_FAILURE


@pytest.mark.parametrize("name", FREEBSD)
def test_the_first_write_shadows_once(name):
    """NEEDS_COPY goes, COW stays; the reference moves from the entry to the shadow; one timestamp tick."""
    process, obj = private(name)
    before = process.map.timestamp
    assert process.do("lookup", addr=A, type=WRITE) == KERN_SUCCESS
    entry = process.entry(A)
    assert entry.eflags & (MAP_ENTRY_COW | MAP_ENTRY_NEEDS_COPY) == MAP_ENTRY_COW
    shadow = entry.object
    assert (shadow.backing_object, shadow.backing_object_offset, entry.offset) == (obj, 2 * PG, 0)
    assert (shadow.size, shadow.ref_count, obj.ref_count, obj.shadow_count) == (8, 1, 2, 1)
    assert (shadow.charge, entry.cred) == (8 * PG, None)
    assert process.map.timestamp == before + 1
    assert process.do("lookup", addr=A, type=WRITE) == KERN_SUCCESS
    assert process.entry(A).object is shadow
    assert process.map.timestamp == before + 1


@pytest.mark.parametrize("name", FREEBSD)
def test_an_unshared_object_is_not_shadowed_and_its_reservation_returned(name):
    """After the child of a fork has gone the parent needs no copy; the reserved swap comes back."""
    process = rig(name)
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    process.do("lookup", addr=A, type=WRITE)
    obj = process.entry(A).object
    process.do("exit", vm=process.out("fork")["child"])
    assert process.entry(A).eflags & MAP_ENTRY_NEEDS_COPY
    assert process.do("lookup", addr=A, type=WRITE) == KERN_SUCCESS
    assert process.entry(A).object is obj
    assert process.vm.swap_reserved == obj.charge == 4 * PG


@pytest.mark.parametrize("name", FREEBSD)
def test_an_entry_without_object_gets_one(name):
    """Of the entry's whole size, at offset 0, with the entry's charge."""
    process = rig(name)
    process.do("insert", start=A, end=A + 4 * PG, prot=3, max=7)
    before = process.map.timestamp
    assert process.out("lookup", addr=A + PG, type=READ) == {"prot": 3, "wired": 0, "pindex": 1}
    entry = process.entry(A)
    assert (entry.object.size, entry.offset, entry.object.charge, entry.cred) == (4, 0, 4 * PG, None)
    assert process.map.timestamp == before + 1


@pytest.mark.parametrize("name", FREEBSD)
def test_wired_memory_is_wanted_with_all_its_rights(name):
    """A read of wired copy-on-write memory copies at once."""
    process, _ = private(name)
    process.entry(A).wired_count = 1
    assert process.out("lookup", addr=A, type=READ) == {"prot": 3, "wired": 1, "pindex": 0}
    assert not process.entry(A).eflags & MAP_ENTRY_NEEDS_COPY


@pytest.mark.parametrize("name", FREEBSD)
def test_until_10_1_user_wired_copy_on_write_memory_refuses_writes(name):
    process, _ = private(name)
    process.do("lookup", addr=A, type=WRITE)
    process.do("wire", start=A, end=A + PG, flags=1)
    rv = process.do("lookup", addr=A, type=WRITE)
    assert rv == (KERN_PROTECTION_FAILURE if name in ("freebsd-9.3", "freebsd-10.1") else KERN_SUCCESS)


@pytest.mark.parametrize("name", FREEBSD)
def test_a_debugger_s_copy(name):
    """VM_PROT_COPY: allowed where the maximum has write access or the entry is copy-on-write."""
    process, _ = private(name, prot=1)
    assert process.do("lookup", addr=A, type=READ | VM_PROT_COPY) == KERN_SUCCESS
    assert not process.entry(A).eflags & MAP_ENTRY_NEEDS_COPY
    process.do("insert", start=2 * A, end=2 * A + PG, prot=1, max=1)
    assert process.do("lookup", addr=2 * A, type=READ | VM_PROT_COPY) == KERN_PROTECTION_FAILURE
    process.do("insert", start=3 * A, end=3 * A + PG, prot=1, max=3)
    assert process.do("lookup", addr=3 * A, type=READ | VM_PROT_COPY) == KERN_SUCCESS


@pytest.mark.parametrize("name", FREEBSD)
def test_the_locked_variant_changes_nothing(name):
    """vm_map_lookup_locked: FAILURE where the other would shadow, create or enter a submap."""
    process, obj = private(name)
    process.do("insert", start=2 * A, end=2 * A + PG, prot=3, max=7)
    before = process.dump()
    assert vm_map_lookup_locked(process.map, A, WRITE)[0] == KERN_FAILURE
    assert vm_map_lookup_locked(process.map, 2 * A, READ)[0] == KERN_FAILURE
    assert vm_map_lookup_locked(process.map, A, EXECUTE)[0] == KERN_PROTECTION_FAILURE
    assert vm_map_lookup_locked(process.map, 5 * A, READ)[0] == KERN_INVALID_ADDRESS
    assert vm_map_lookup_locked(process.map, A + PG, READ)[3:] == (obj, 3, 1, False)
    assert process.dump() == before
    process.do("submap", start=2 * A, end=2 * A + PG)
    assert vm_map_lookup_locked(process.map, 2 * A, READ)[0] == KERN_FAILURE


@pytest.mark.parametrize("name", FREEBSD)
def test_every_decision_is_told_to_a_listener(name):
    """The probe hears each check with its operands, and nobody pays when it is None."""
    process, _ = private(name)
    probe = StepRecorder()
    process.vm.listen(probe)
    process.do("lookup", addr=A, type=EXECUTE)
    failed = probe.failed()
    assert failed is not None
    assert (failed.name, failed.operands["access"], failed.operands["prot"]) == ("protection", EXECUTE, 3)
    process.do("lookup", addr=5 * A, type=READ)
    failed = probe.failed()
    assert failed is not None
    assert (failed.name, failed.operands["va"]) == ("mapped", 5 * A)
