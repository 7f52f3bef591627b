"""The kernel map and its submaps."""

from __future__ import annotations

from kernel_model.vm.vm_kern import (
    EXEC_MAP_ENTRIES,
    EXEC_MAP_ENTRY_SIZE,
    LEAST_PIPE_KVA,
    exec_map_alloc,
    exec_map_free,
    kernel_maps,
    kmem_read,
    kmem_views,
    kmem_write,
    pipe_map_alloc,
    pipe_map_free,
)
from kernel_model.vm.vm_map import vm_map_entry_submap
from kernel_model.vm.vm_map_entry import MAP_ENTRY_IS_SUB_MAP
from kernel_model.vm.vm_param import PAGE_SIZE, VM_MAX_KERNEL_ADDRESS, VM_MIN_KERNEL_ADDRESS
from tests.process import Process


def test_submaps_are_entries_of_the_kernel_map_which_grew_for_them() -> None:
    vm = Process(bare=True).vm
    maps = kernel_maps(vm)
    assert kernel_maps(vm) is maps
    entries = list(maps.kernel_map)
    assert [bool(entry.eflags & MAP_ENTRY_IS_SUB_MAP) for entry in entries] == [False, True, True]
    assert [vm_map_entry_submap(entry) for entry in entries[1:]] == [maps.exec_map, maps.pipe_map]
    assert maps.exec_map.max_offset - maps.exec_map.min_offset == EXEC_MAP_ENTRIES * EXEC_MAP_ENTRY_SIZE
    assert maps.pipe_map.max_offset - maps.pipe_map.min_offset >= LEAST_PIPE_KVA
    assert VM_MIN_KERNEL_ADDRESS < maps.kernel_map.pmap.kernel_end < VM_MAX_KERNEL_ADDRESS
    assert maps.kernel_map.pmap.kernel_end >= maps.pipe_map.max_offset
    assert maps.map_of(VM_MIN_KERNEL_ADDRESS) is maps.kernel_map


def test_exec_space_holds_strings_and_is_given_back() -> None:
    vm = Process(bare=True).vm
    addr = exec_map_alloc(vm)
    assert addr is not None
    text = bytes(range(256)) * 40
    assert kmem_write(vm, addr + 4000, text)
    assert kmem_read(vm, addr + 4000, len(text)) == text
    assert kmem_read(vm, addr + 100_000, 10) == bytes(10)
    assert vm.swap_reserved == EXEC_MAP_ENTRY_SIZE
    exec_map_free(vm, addr)
    assert (vm.swap_reserved, vm.cnt.v_free_count) == (0, vm.cnt.v_page_count)
    again = exec_map_alloc(vm)
    assert again == addr
    assert kmem_read(vm, addr + 4000, 10) == bytes(10), "what is handed out again is zero"


def test_only_so_many_at_once() -> None:
    vm = Process(bare=True).vm
    held = [exec_map_alloc(vm) for _ in range(EXEC_MAP_ENTRIES)]
    assert None not in held
    assert exec_map_alloc(vm) is None
    assert vm.swap_reserved == EXEC_MAP_ENTRIES * EXEC_MAP_ENTRY_SIZE
    assert held[3] is not None
    exec_map_free(vm, held[3])
    assert exec_map_alloc(vm) == held[3]


def test_pipe_buffers_of_any_size_until_the_map_is_full() -> None:
    vm = Process(ram=1 << 22, bare=True).vm
    small = pipe_map_alloc(vm, 100)
    large = pipe_map_alloc(vm, 1 << 16)
    assert small is not None
    assert large == small + PAGE_SIZE
    assert pipe_map_alloc(vm, 1 << 30) is None
    assert kmem_write(vm, large, b"through the pipe")
    for view in kmem_views(vm, large, 16):
        assert bytes(view) == b"through the pipe"
    pipe_map_free(vm, small, 100)
    pipe_map_free(vm, large, 1 << 16)
    assert (vm.swap_reserved, vm.cnt.v_free_count) == (0, vm.cnt.v_page_count)


def test_swap_can_refuse_and_memory_can_run_out() -> None:
    vm = Process(ram=128 * PAGE_SIZE, swap=0, bare=True).vm
    addr = exec_map_alloc(vm)
    assert addr is not None
    assert kmem_write(vm, addr, b"x" * 100 * PAGE_SIZE)
    vm.cnt.v_free_reserved = vm.cnt.v_free_count
    assert not kmem_write(vm, addr + 100 * PAGE_SIZE, b"x")
    vm.swap_cap = vm.swap_reserved
    assert exec_map_alloc(vm) is None
    exec_map_free(vm, addr)
    assert vm.cnt.v_free_count == vm.cnt.v_page_count
