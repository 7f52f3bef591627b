"""The ring of bytes that a pipe keeps in kernel memory."""

from __future__ import annotations

import random

from kernel_model.vm.vm import VM_PROT_WRITE
from kernel_model.vm.vm_kern import NoWait, PipeBuffer, kernel_maps
from kernel_model.vm.vm_pageout import vm_pageout_scan
from kernel_model.vm.vm_param import PAGE_SIZE
from tests.process import Process

BASE = 0x10_0000


def test_bytes_come_out_in_order_around_the_end_of_the_ring() -> None:
    vm = Process(bare=True).vm
    ring = PipeBuffer(vm, 3 * PAGE_SIZE)
    rng = random.Random(1)
    expected = bytearray()
    for _ in range(400):
        data = rng.randbytes(rng.randrange(6000))
        put = ring.put(data)
        assert put == min(len(data), ring.size - len(expected))
        expected += data[:put]
        target = bytearray(rng.randrange(6000))
        got = ring.take(memoryview(target))
        assert target[:got] == expected[:got]
        assert got == min(len(target), len(expected))
        del expected[:got]
        assert len(ring) == len(expected)
    ring.free()
    assert (vm.cnt.v_free_count, vm.swap_reserved) == (vm.cnt.v_page_count, 0)
    ring.free()


def test_nothing_is_taken_before_the_first_store_and_a_full_map_refuses() -> None:
    vm = Process(ram=1 << 22, bare=True).vm
    rings = []
    while True:
        ring = PipeBuffer(vm, 1 << 16)
        assert ring.buffer is None
        if not ring.alloc():
            break
        rings.append(ring)
    pipe_map = kernel_maps(vm).pipe_map
    assert len(rings) == (pipe_map.max_offset - pipe_map.min_offset) >> 16
    assert ring.put(b"x") == 0
    rings[0].free()
    assert ring.put(b"x") == 1


def test_what_waits_in_a_pipe_can_be_paged_out() -> None:
    vm = Process(ram=256 * PAGE_SIZE, bare=True).vm
    ring = PipeBuffer(vm, 1 << 16)
    data = bytes(range(256)) * 100
    assert ring.put(data) == len(data)
    vm.cnt.v_free_target = vm.cnt.v_page_count
    vm_pageout_scan(vm)
    assert vm.cnt.v_swappgsout == 7
    target = bytearray(len(data))
    assert ring.take(memoryview(target)) == len(data)
    assert target == data


def test_a_store_never_pages_out_and_uses_the_reserve() -> None:
    process = Process(ram=128 * PAGE_SIZE, bare=True)
    process.map_at(BASE, 200 * PAGE_SIZE)
    ring = PipeBuffer(process.vm, 1 << 16)
    assert ring.put(b"first") == 5
    page = 0
    while process.vm.cnt.v_free_count > process.vm.cnt.v_free_reserved:
        process.poke(BASE + page * PAGE_SIZE, b"x")
        page += 1
    scans = process.vm.cnt.v_pdwakeups
    reserve = process.vm.cnt.v_free_reserved
    assert ring.put(bytes(1 << 16)) == (1 + reserve) * PAGE_SIZE - 5, "the page it has, and those of the reserve"
    assert (process.vm.cnt.v_pdwakeups, process.vm.cnt.v_free_count, process.vm.cnt.v_free_reserved) == (
        scans,
        0,
        reserve,
    )
    with NoWait(process.vm):
        assert process.touch(BASE + 199 * PAGE_SIZE, VM_PROT_WRITE) != 0
    assert process.touch(BASE + 199 * PAGE_SIZE, VM_PROT_WRITE) == 0
    assert len(ring) == (1 + reserve) * PAGE_SIZE
