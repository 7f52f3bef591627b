"""The mirror: fills, exact faults, code, regions, promises and the proof."""

from __future__ import annotations

import pytest

from emu.engine.pieces import Piece
from emu.engine.raw import UC_ERR_EXCEPTION, UC_ERR_OK
from kernel_model.errors import MirrorDesync
from kernel_model.kern.machdep import TrapFrame
from kernel_model.vm.pmap import pmap_remove_all
from kernel_model.vm.swap_pager import swap_reserve_by_cred
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_delete import vm_map_remove
from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SHIFT, PAGE_SIZE, SGROWSIZ
from kernel_model.vm.vm_stack import vm_map_stack
from kernel_model.vm.vmspace import vmspace_fork, vmspace_free
from tests.unit.emu_box import CODE, DATA, EXECUTE, READ, RW, RX, WRITE, Access, Box

# mov rdi,DATA; mov rax,[rdi]; inc rsi; syscall
LOAD = "48c7c700000010488b0748ffc60f05"
# mov rdi,DATA; mov [rdi+0x123],rax; inc rsi; syscall
STORE = "48c7c7000000104889872301000048ffc60f05"
INSN_AT = 7
"""Offset of the access in LOAD and STORE."""


def grow(box: Box, release: int = RW) -> None:
    """Repair every fault by mapping its page."""

    def repair(fault: Access) -> bool:
        start = fault.va & -PAGE_SIZE
        if not vm_map_lookup_entry(box.map, start)[0]:
            box.insert(start, 1, release)
        return vm_fault(box.map, fault.va, fault.access) == 0

    box.faults.repair = repair


def test_touch_of_an_entry_needs_no_window() -> None:
    with Box() as box:
        box.insert(DATA, 4)
        # mov rdi,DATA; mov [rdi+8],rdi; mov rax,[rdi+8]; syscall
        assert box.run("48c7c70000001048897f08488b47080f05").rax == DATA
        assert not box.faults.seen
        box.hw.verify()


@pytest.mark.parametrize(("code", "access", "offset", "size"), [(LOAD, READ, 0, 8), (STORE, WRITE, 0x123, 8)])
def test_a_refused_access_stops_precisely(code: str, access: int, offset: int, size: int) -> None:
    with Box() as box:
        frame = box.run(code, rax=0x77)
        assert box.status == UC_ERR_EXCEPTION
        assert (frame.rip, frame.rsi, frame.rax) == (CODE + INSN_AT, 0, 0x77)
        (fault,) = box.faults.seen
        assert (fault.va, fault.access, fault.size) == (DATA + offset, access, size)
        assert fault.value == (0x77 if access == WRITE else 0)


@pytest.mark.parametrize(
    "code",
    [
        "48c7c700000010d9e8db3f48ffc60f05",  # mov rdi,DATA; fld1; fstp tbyte ptr [rdi]; inc rsi; syscall
        "48c7c7000000100fae0748ffc60f05",  # mov rdi,DATA; fxsave [rdi]; inc rsi; syscall
        "48c7c4000000105048ffc60f05",  # mov rsp,DATA; push rax; inc rsi; syscall
    ],
)
def test_a_refused_store_of_a_helper_leaves_nothing_behind(code: str) -> None:
    """Unicorn goes on to the end of the block when its hook says False; the refused second fill is what stops it."""
    with Box() as box:
        frame = box.run(code)
        assert frame.rsi == 0
        assert len(box.faults.seen) == 1
        assert box.status == UC_ERR_EXCEPTION


@pytest.mark.parametrize("va", [DATA, 0x7FFF_FFFF_F000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, 0x8000_0000_0000_0000])
def test_exact_address_for_any_address(va: int) -> None:
    with Box() as box:
        # mov rax,[rbx+0x18]; syscall
        frame = box.run("488b43180f05", rbx=va)
        assert [fault.va for fault in box.faults.seen] == [va + 0x18]
        assert frame.rip == CODE


def test_a_jump_into_nothing_reports_the_fetch() -> None:
    with Box() as box:
        # mov rdi,DATA; jmp rdi
        frame = box.run("48c7c700000010ffe7")
        assert (box.faults.seen[0].va, box.faults.seen[0].access, frame.rip) == (DATA, EXECUTE, DATA)


@pytest.mark.parametrize("exact", [False, True])
def test_repair_in_the_window_loses_no_store(exact: bool) -> None:
    with Box() as box:
        box.faults.exact = exact
        grow(box)
        # mov rbx,4096; mov rsi,DATA; 1: mov [rsi],rsi; add rsi,4096; dec rbx; jnz 1b; syscall
        box.run("48c7c30010000048c7c6000000104889364881c60010000048ffcb75f10f05")
        assert box.status == UC_ERR_OK
        for page in range(4096):
            va = DATA + page * PAGE_SIZE
            assert box.peek(va, 8) == va.to_bytes(8, "little")
        box.hw.verify()


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        # mov rdi,DATA+0xffc; mov rbx,0x1122334455667788; mov [rdi],rbx; syscall
        ("48c7c7fc0f001048bb887766554433221148891f0f05", "88776655", "44332211"),
        # mov rdi,DATA+0xff0; mov ecx,0x20; mov al,0x55; rep stosb; syscall
        ("48c7c7f00f0010b920000000b055f3aa0f05", "55555555", "55555555"),
    ],
)
@pytest.mark.parametrize("present", [0, 1, 2])
def test_straddling_stores(code: str, first: str, second: str, present: int) -> None:
    """Page by page: none, the first or the second of the two is there before."""
    with Box() as box:
        if present:
            box.insert(DATA + (present - 1) * PAGE_SIZE, 1)
        grow(box)
        box.run(code)
        assert box.status == UC_ERR_OK
        assert box.peek(DATA + PAGE_SIZE - 4, 4) == bytes.fromhex(first)
        assert box.peek(DATA + PAGE_SIZE, 4) == bytes.fromhex(second)
        box.hw.verify()


def test_locked_instruction_across_two_absent_pages() -> None:
    with Box() as box:
        grow(box)
        # mov rdi,DATA+0xffc; mov eax,0x01010101; lock xadd [rdi],eax; syscall
        box.run("48c7c7fc0f0010b801010101f00fc1070f05")
        assert box.status == UC_ERR_OK
        assert box.peek(DATA + PAGE_SIZE - 4, 4) == b"\1\1\1\1"


def test_rights_lowered_between_runs() -> None:
    with Box() as box:
        box.insert(DATA, 2)
        box.run(STORE)
        assert vm_map_protect(box.map, DATA, DATA + PAGE_SIZE, READ) == 0
        frame = box.run(STORE)
        assert (frame.rip, box.faults.seen[-1].access) == (CODE + INSN_AT, WRITE)
        box.hw.verify()
        assert vm_map_protect(box.map, DATA, DATA + PAGE_SIZE, RW) == 0
        assert box.run(STORE).rsi == 1
        box.hw.verify()


def test_unmapped_between_runs() -> None:
    with Box() as box:
        box.insert(DATA, 3)
        assert box.run(LOAD).rsi == 1
        assert vm_map_remove(box.map, DATA, DATA + PAGE_SIZE) == 0
        assert box.run(LOAD).rsi == 0
        box.hw.verify()


def test_a_program_that_unmaps_its_own_code() -> None:
    """Inside the SYSCALL hook: the block ends there, and the next fetch faults."""
    with Box() as box:
        box.insert(DATA, 1, RX)

        def hook() -> None:
            if vm_map_lookup_entry(box.map, DATA)[0]:
                assert vm_map_remove(box.map, DATA, DATA + PAGE_SIZE) == 0
                box.hw.synchronise()

        box.on_syscall = hook
        box.poke(DATA, bytes.fromhex("0f050f05"))
        frame = box.run("0f050f05", DATA)
        assert (frame.rip, box.faults.seen[-1].access) == (DATA + 2, EXECUTE)


# -- code ---------------------------------------------------------------------------------


def test_code_rewritten_through_the_kernel_is_new() -> None:
    with Box() as box:
        box.insert(DATA, 1, VM_PROT_ALL)
        for number in (1, 2, 3):
            # mov eax,NUMBER; syscall
            assert box.run(f"b8{number:02x}0000000f05", DATA).rax == number


def test_code_rewritten_by_the_program_is_new() -> None:
    """The write translation of a page that was executed forgets its code, also after an unrelated first store."""
    with Box() as box:
        box.insert(DATA, 1, VM_PROT_ALL)
        box.insert(0x30000000, 2)
        box.poke(DATA, bytes.fromhex("b807000000c3"))
        # mov rdi,DATA; mov byte ptr [rdi+1],9; mov rsp,0x30002000; call rdi
        # mov byte ptr [rdi+0x800],1; mov byte ptr [rdi+1],11; mov ebx,eax; call rdi; syscall
        frame = box.run("48c7c700000010c647010948c7c400200030ffd7c6870008000001c647010b89c3ffd70f05")
        assert (frame.rbx, frame.rax) == (9, 11)


def test_code_rewritten_through_another_address_is_new() -> None:
    """One frame mapped twice: written at 0x20000000, executed at DATA."""
    with Box() as box:
        box.insert(DATA, 1, VM_PROT_ALL)
        box.insert(0x30000000, 2)
        box.poke(DATA, bytes.fromhex("b807000000c3"))
        obj = vm_map_lookup_entry(box.map, DATA)[1].vm_object
        assert obj is not None
        obj.ref_count += 1
        with box.map.locked():
            assert vm_map_insert(box.map, obj, 0, 0x20000000, 0x20001000, RW, RW, 0) == 0
        # mov rsp,0x30002000; mov rdi,DATA; mov rbp,0x20000000; call rdi; mov ebx,eax; mov byte ptr [rbp+1],9
        # call rdi; mov ecx,eax; mov byte ptr [rbp+1],11; call rdi; syscall
        frame = box.run(
            "48c7c40020003048c7c70000001048c7c500000020ffd789c3c6450109ffd789c1c645010bffd70f05"
        )
        assert (frame.rbx, frame.rcx, frame.rax) == (7, 9, 11)
        box.hw.verify()


def test_code_that_changes_its_own_block() -> None:
    with Box() as box:
        # mov byte ptr [rip+1],9; mov eax,7; syscall: the store changes the next instruction
        assert box.run("c6050100000009b8070000000f05").rax == 9


def test_a_recycled_frame_shows_no_old_code() -> None:
    with Box() as box:
        frames = set()
        for number in (3, 4):
            box.insert(DATA, 1, VM_PROT_ALL)
            assert box.run(f"b8{number:02x}0000000f05", DATA).rax == number
            frames.add(box.space.vm_pmap.extract(DATA))
            assert vm_map_remove(box.map, DATA, DATA + PAGE_SIZE) == 0
        assert len(frames) == 1, "the test needs the frame to be used again"


def test_a_frame_that_a_pager_filled_anew_shows_no_old_code() -> None:
    """Nobody says code_changed(): the page at the frame is another one."""
    with Box() as box:
        for number in (3, 4):
            box.insert(DATA, 1, VM_PROT_ALL)
            assert vm_fault(box.map, DATA, WRITE) == 0
            place = box.place(DATA)
            # mov eax,NUMBER; syscall
            box.vm.phys.mem[place : place + 7] = bytes.fromhex(f"b8{number:02x}0000000f05")
            box.cpu.set_frame(TrapFrame(rip=DATA))
            box.hw.run(box.cpu.resume_rip())
            assert box.cpu.get_frame().rax == number
            assert vm_map_remove(box.map, DATA, DATA + PAGE_SIZE) == 0


# -- stale translations -------------------------------------------------------------------


@pytest.mark.parametrize("pages", [1, 4, 100])
def test_write_protection_by_fork_reaches_the_tlb(pages: int) -> None:
    """Regions stay as they are: only the flush keeps the parent out of the page that the child has now."""
    with Box() as box:
        box.insert(DATA, pages)
        # mov [rdi],rax; syscall
        box.run("4889070f05", rdi=DATA, rax=1)
        box.hw.verify()
        child, charge = vmspace_fork(box.space)
        assert box.vm.curproc is not None
        assert swap_reserve_by_cred(box.vm, charge, box.vm.curproc.p_ucred)
        box.cpu.set_frame(TrapFrame(rip=CODE, rdi=DATA, rax=2))
        box.hw.run(box.cpu.resume_rip())
        m = child.vm_pmap.ptes[DATA >> PAGE_SHIFT][0]
        assert box.vm.phys.mem[m.frame << PAGE_SHIFT] == 1
        assert box.peek(DATA, 1) == b"\2"
        vmspace_free(child)


def test_a_page_taken_away_reaches_the_tlb() -> None:
    with Box() as box:
        box.insert(DATA, 1)
        box.run("4889070f05", rdi=DATA, rax=1)
        m = box.space.vm_pmap.ptes[DATA >> PAGE_SHIFT][0]
        pmap_remove_all(m)
        faults = box.vm.cnt.v_vm_faults
        box.cpu.set_frame(TrapFrame(rip=CODE, rdi=DATA, rax=2))
        box.hw.run(box.cpu.resume_rip())
        assert box.vm.cnt.v_vm_faults > faults
        assert box.peek(DATA, 1) == b"\2"


def test_regions_that_lag_behind_refuse_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With many regions they follow only when somebody looks; a store must not meet the old right of one."""
    with Box() as box:
        box.insert(DATA, 4, READ)
        assert box.run(LOAD).rsi == 1
        monkeypatch.setattr("emu.engine.regions.MANY_REGIONS", 0)
        assert vm_map_protect(box.map, DATA, DATA + 4 * PAGE_SIZE, RW) == 0
        assert box.run(STORE).rsi == 1
        assert box.status == UC_ERR_OK
        assert box.hw.mapped.dirty
        box.hw.verify()
        assert not box.hw.mapped.dirty


def test_many_changes_are_kept_as_few_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with Box() as box:
        monkeypatch.setattr("emu.engine.regions.MANY_REGIONS", 0)
        monkeypatch.setattr("emu.engine.pmap.LAG", 4)
        monkeypatch.setattr("emu.engine.regions.LAZY_SPANS", 8)
        for index in range(100):
            box.insert(DATA + index * 0x4000, 1, READ)
            box.hw.settle()
        assert len(box.hw.mapped.dirty) <= 8
        box.hw.verify()


# -- regions ------------------------------------------------------------------------------


def test_regions_follow_clips_and_protections() -> None:
    with Box() as box:
        box.insert(DATA, 16)
        box.hw.synchronise()
        assert vm_map_protect(box.map, DATA + 0x3000, DATA + 0x5000, READ) == 0
        assert vm_map_remove(box.map, DATA + 0x8000, DATA + 0x9000) == 0
        box.insert(DATA + 0x20000, 2, 0)
        assert box.hw.regions() == [
            (DATA, DATA + 0x3000, RW),
            (DATA + 0x3000, DATA + 0x5000, READ),
            (DATA + 0x5000, DATA + 0x8000, RW),
            (DATA + 0x9000, DATA + 0x10000, RW),
        ]
        box.hw.verify()


def test_one_protection_over_two_regions() -> None:
    with Box() as box:
        box.insert(DATA, 2)
        box.insert(DATA + 0x2000, 2, READ)
        box.hw.synchronise()
        assert vm_map_protect(box.map, DATA, DATA + 0x4000, RX) == 0
        box.hw.verify()


def test_an_entry_that_outgrows_its_promise_moves_as_a_whole() -> None:
    with Box() as box:
        box.insert(DATA, 22)
        box.hw.synchronise()
        box.insert(DATA + 22 * PAGE_SIZE, 11)
        box.hw.verify()
        assert len(box.hw.regions()) == 1


def test_a_stack_stays_one_region() -> None:
    with Box() as box:
        size = 16 << 20
        top = DATA + size
        assert vm_map_stack(box.map, DATA, size, RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
        for step in range(1, 40):
            assert vm_fault(box.map, top - step * SGROWSIZ - 8, WRITE) == 0
            box.hw.synchronise()
        assert box.map.nentries >= 40
        assert len(box.hw.regions()) <= 16
        box.hw.verify()
        assert vm_map_remove(box.map, DATA, top) == 0
        assert vm_map_stack(box.map, DATA, size, RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN) == 0
        assert vm_fault(box.map, top - 3 * SGROWSIZ, WRITE) == 0
        box.hw.verify()


def test_changes_that_cancel_out_cost_nothing() -> None:
    with Box() as box:
        box.insert(DATA, 16)
        box.hw.synchronise()
        operations: list[str] = []
        for name in ("mem_map_ptr", "mem_unmap", "mem_protect"):
            _count(box, name, operations)
        assert vm_map_protect(box.map, DATA + 0x3000, DATA + 0x5000, READ) == 0
        assert vm_map_protect(box.map, DATA + 0x3000, DATA + 0x5000, RW) == 0
        box.hw.synchronise()
        assert operations == []


def _count(box: Box, name: str, operations: list[str]) -> None:
    """Replace an operation of the engine by one that is noted first."""
    engine = box.engine

    class Counting:
        def __getattr__(self, attribute: str) -> object:
            if attribute in ("mem_map_ptr", "mem_unmap", "mem_protect"):
                operations.append(attribute)
            return getattr(engine, attribute)

    box.hw.mapped.engine = Counting()  # type: ignore[assignment]


def test_promised_frames_become_the_objects() -> None:
    with Box() as box:
        box.insert(DATA, 8)
        box.hw.synchronise()
        (shown,) = [piece for piece in box.hw.mapped.table if piece.start == DATA]
        box.run(STORE)
        obj = vm_map_lookup_entry(box.map, DATA)[1].vm_object
        assert obj is not None
        assert obj.run is not None
        assert obj.run.base == shown.frame
        assert box.hw.mapped.table.at(DATA) == shown, "the touch moved no region"
        box.hw.verify()


def test_frames_return_when_everything_is_gone() -> None:
    box = Box()
    before = box.vm.phys.reserved_frames()
    box.insert(DATA, 8)
    box.insert(DATA + 0x100000, 300)
    box.run(STORE)
    assert vm_map_remove(box.map, PAGE_SIZE, 1 << 46) == 0
    box.hw.synchronise()
    assert box.vm.phys.reserved_frames() == before
    box.close()


# -- the proof ----------------------------------------------------------------------------


def test_verify_finds_a_region_too_few() -> None:
    with Box() as box:
        box.insert(DATA, 4)
        box.hw.verify()
        box.engine.mem_unmap(DATA + 0x1000, 0x1000)
        with pytest.raises(MirrorDesync, match="0x10000000: end differs"):
            box.hw.verify()


def test_verify_finds_a_wrong_right() -> None:
    with Box() as box:
        box.insert(DATA, 4)
        box.hw.verify()
        box.engine.mem_protect(DATA, 0x4000, READ)
        with pytest.raises(MirrorDesync, match="perms differs"):
            box.hw.verify()


def test_verify_finds_a_wrong_host_pointer() -> None:
    with Box() as box:
        box.insert(DATA, 4)
        box.hw.verify()
        box.engine.mem_unmap(DATA, 0x4000)
        box.engine.mem_map_ptr(DATA, 0x4000, RW, box.vm.phys.host_base)
        with pytest.raises(MirrorDesync, match="does not show frame"):
            box.hw.verify()


def test_verify_finds_a_forgotten_change() -> None:
    with Box() as box:
        box.insert(DATA, 4)
        box.hw.verify()
        vm_map_lookup_entry(box.map, DATA)[1].protection = READ
        with pytest.raises(MirrorDesync, match="perms differs"):
            box.hw.verify()


def test_verify_finds_a_page_that_is_allowed_too_much() -> None:
    with Box() as box:
        box.insert(DATA, 4, READ)
        box.run(LOAD)
        box.hw.verify()
        m, _, wired = box.space.vm_pmap.ptes[DATA >> PAGE_SHIFT]
        box.space.vm_pmap.ptes[DATA >> PAGE_SHIFT] = (m, RW, wired)
        with pytest.raises(MirrorDesync, match="page table allows"):
            box.hw.verify()


def test_pieces_clip_and_join() -> None:
    piece = Piece(0x1000, 0x5000, RW, 10)
    assert piece.clip(0x2000, 0x3000) == Piece(0x2000, 0x3000, RW, 11)
    assert piece.joins(Piece(0x5000, 0x6000, RW, 14))
    assert not piece.joins(Piece(0x5000, 0x6000, RW, 15))
    assert not piece.joins(Piece(0x5000, 0x6000, RX, 14))
