"""Swap: reservations under vm.overcommit and RLIMIT_SWAP, blocks, refusals."""

from __future__ import annotations

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.host.memory import SwapFile
from kernel_model.ucred import Ucred
from kernel_model.vm.swap_pager import (
    SWAP_RESERVE_ALLOW_NONWIRED,
    SWAP_RESERVE_FORCE_ON,
    SWAP_RESERVE_RLIMIT_ON,
    VM_PAGER_ERROR,
    VM_PAGER_FAIL,
    VM_PAGER_OK,
    SwapDevice,
    swap_device,
    swap_pager_freespace,
    swap_pager_getpages,
    swap_pager_putpages,
    swap_release,
    swap_release_by_cred,
    swap_reserve,
    swap_reserve_by_cred,
    swap_reserve_force,
)
from kernel_model.vm.vm import OBJT_DEFAULT, OBJT_SWAP
from kernel_model.vm.vm_object import vm_object_allocate, vm_object_deallocate
from kernel_model.vm.vm_page import vm_page_alloc
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.audit import assert_nothing_left
from tests.process import Process

USER = Ucred(cr_uid=1001, cr_ruid=1001)


def test_without_overcommit_bits_everything_is_granted_and_counted_by_user() -> None:
    process = Process(bare=True)
    process.proc.p_ucred = USER
    assert swap_reserve(process.vm, 1 << 50)
    assert (process.vm.swap_reserved, process.vm.uid_vmsize) == (1 << 50, {1001: 1 << 50})
    swap_reserve_force(process.vm, PAGE_SIZE)
    swap_release(process.vm, PAGE_SIZE)
    swap_release_by_cred(process.vm, 1 << 50, USER)
    assert (process.vm.swap_reserved, process.vm.uid_vmsize) == (0, {1001: 0})
    with pytest.raises(KernelPanic):
        swap_release(process.vm, PAGE_SIZE)
    with pytest.raises(KernelPanic):
        swap_reserve(process.vm, 1)


def test_force_caps_the_total_at_swap_or_with_bit_two_at_swap_and_memory() -> None:
    vm = Process(ram=1 << 24, swap=1 << 20, bare=True).vm
    vm.overcommit = SWAP_RESERVE_FORCE_ON
    assert swap_reserve_by_cred(vm, 1 << 20, USER)
    assert not swap_reserve_by_cred(vm, PAGE_SIZE, USER)
    assert vm.swap_reserved == 1 << 20
    vm.overcommit |= SWAP_RESERVE_ALLOW_NONWIRED
    room = (vm.cnt.v_page_count - vm.cnt.v_free_reserved) * PAGE_SIZE
    assert not swap_reserve_by_cred(vm, room + PAGE_SIZE, USER)
    assert swap_reserve_by_cred(vm, room, USER)
    vm.cnt.v_wire_count = 1
    assert not swap_reserve_by_cred(vm, PAGE_SIZE, USER)
    assert swap_reserve_by_cred(vm, PAGE_SIZE, Ucred()), "the superuser has no quota"


def test_rlimit_swap_is_per_user() -> None:
    process = Process(bare=True)
    process.vm.overcommit = SWAP_RESERVE_RLIMIT_ON
    process.limit("swap", 4 * PAGE_SIZE)
    assert swap_reserve_by_cred(process.vm, 4 * PAGE_SIZE, USER)
    assert not swap_reserve_by_cred(process.vm, PAGE_SIZE, USER)
    assert swap_reserve_by_cred(process.vm, PAGE_SIZE, Ucred(cr_uid=7, cr_ruid=7))


def test_the_cap_is_absolute() -> None:
    vm = Process(bare=True).vm
    vm.swap_cap = 2 * PAGE_SIZE
    assert swap_reserve_by_cred(vm, 2 * PAGE_SIZE, Ucred())
    assert not swap_reserve_by_cred(vm, PAGE_SIZE, Ucred())


def test_a_page_survives_the_device() -> None:
    vm = Process(bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 4)
    m = vm_page_alloc(object_, 2)
    assert m is not None
    vm.phys.page(m.frame)[:] = bytes(range(256)) * 16
    m.dirty = True
    assert swap_pager_putpages(object_, m) == VM_PAGER_OK
    assert (m.dirty, object_.type, object_.swap) == (False, OBJT_SWAP, {2: 0})
    vm.phys.zero(m.frame)
    assert swap_pager_getpages(object_, m) == VM_PAGER_OK
    assert bytes(vm.phys.page(m.frame)) == bytes(range(256)) * 16
    assert swap_pager_putpages(object_, m) == VM_PAGER_OK
    assert swap_device(vm).used == 1, "the block is written again, not another one"
    other = vm_page_alloc(object_, 3)
    assert other is not None
    assert swap_pager_getpages(object_, other) == VM_PAGER_FAIL
    assert (vm.cnt.v_swapin, vm.cnt.v_swapout) == (1, 2)
    swap_pager_freespace(object_, 0, 2)
    assert swap_device(vm).used == 1
    swap_pager_freespace(object_, 0, 1 << 40)
    assert swap_device(vm).used == 0
    vm_object_deallocate(object_)
    assert_nothing_left(vm)


def test_a_full_or_broken_device_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    vm = Process(swap=PAGE_SIZE, bare=True).vm
    object_ = vm_object_allocate(vm, OBJT_DEFAULT, 4)
    first, second = vm_page_alloc(object_, 0), vm_page_alloc(object_, 1)
    assert first is not None
    assert second is not None
    second.dirty = True
    assert swap_pager_putpages(object_, first) == VM_PAGER_OK
    assert swap_pager_putpages(object_, second) == VM_PAGER_FAIL
    assert second.dirty
    swap_pager_freespace(object_, 0, 1)

    monkeypatch.setattr(SwapFile, "write", lambda *_: False)
    assert swap_pager_putpages(object_, second) == VM_PAGER_ERROR
    assert (second.dirty, swap_device(vm).used) == (True, 0)


def test_freed_blocks_are_used_first() -> None:
    device = SwapDevice(3)
    blocks = [device.alloc() for _ in range(4)]
    assert blocks == [0, 1, 2, None]
    device.free(1)
    assert device.alloc() == 1
    assert device.used == 3
