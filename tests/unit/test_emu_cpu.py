"""Registers, floating point, CPUID and privilege."""

import pytest

from emu.engine.cpu import CPUID_LEAVES
from emu.engine.raw import REGISTERS, Engine, MachineError
from kernel_model.kern.machdep import FPSTATE_INIT, FRAME_REGISTERS, TrapFrame
from tests.unit.emu_box import CODE, Box


def test_register_numbers_are_the_bindings() -> None:
    from unicorn import x86_const

    for name, number in REGISTERS.items():
        assert getattr(x86_const, f"UC_X86_REG_{name.upper()}") == number


def test_a_frame_goes_through_the_engine() -> None:
    with Box() as box:
        frame = TrapFrame(*range(0x1000, 0x1000 + len(FRAME_REGISTERS)))
        frame.rflags = 0x246
        frame.fs_base = 0x7FFF_1234_5678
        box.cpu.set_frame(frame)
        assert box.cpu.replaced
        assert box.cpu.resume_rip() == frame.rip
        assert not box.cpu.replaced
        after = box.cpu.get_frame()
        assert [getattr(after, name) for name in FRAME_REGISTERS if name != "rip"] == [
            getattr(frame, name) for name in FRAME_REGISTERS if name != "rip"
        ]


def test_a_frame_inside_a_system_call_is_behind_the_instruction() -> None:
    with Box() as box:
        seen: list[TrapFrame] = []

        def hook() -> None:
            box.cpu.in_syscall = True
            seen.append(box.cpu.get_frame())
            box.cpu.in_syscall = False
            box.engine.stop()

        box.on_syscall = hook
        # mov eax,7; syscall
        box.run("b8070000000f05")
        assert (seen[0].rip, seen[0].rcx, seen[0].rax) == (CODE + 7, CODE + 7, 7)
        assert seen[0].r11 == seen[0].rflags


def test_bases_take_effect_at_once_and_in_a_pending_frame() -> None:
    with Box() as box:
        box.cpu.set_fsbase(0x1234_5000)
        assert box.cpu.get_frame().fs_base == 0x1234_5000
        box.cpu.set_gsbase(0x7000)
        box.cpu.resume_rip()
        assert box.cpu.get_frame().gs_base == 0x7000


def test_fxsave_image_goes_round() -> None:
    with Box() as box:
        # fld1; fldpi; mov rax,0x4000000000000000; movq xmm3,rax; syscall
        box.run("d9e8d9eb48b8000000000000004066480f6ed80f05")
        image = box.cpu.get_fpregs()
        assert image[4] == 0b1100_0000, "two registers of the stack are in use"
        assert image[32:42] == bytes.fromhex("35c26821a2da0fc90040"), "ST0 is pi"
        assert image[160 + 48 : 160 + 56] == bytes.fromhex("0000000000000040")
        box.cpu.set_fpregs(FPSTATE_INIT)
        assert box.cpu.get_fpregs() == FPSTATE_INIT
        box.cpu.set_fpregs(image)
        assert box.cpu.get_fpregs() == image


def test_reserved_mxcsr_bits_are_dropped() -> None:
    with Box() as box:
        image = bytearray(FPSTATE_INIT)
        image[24:28] = b"\xff\xff\xff\xff"
        box.cpu.set_fpregs(bytes(image))
        assert box.cpu.get_fpregs()[24:28] == b"\xff\xff\0\0"


@pytest.mark.parametrize("leaf", [1, 7])
def test_cpuid_is_ours_and_has_no_avx(leaf: int) -> None:
    with Box() as box:
        # mov eax,LEAF; xor ecx,ecx; cpuid; syscall
        frame = box.run(f"b8{leaf:02x}00000031c90fa20f05")
        assert (frame.rax, frame.rbx, frame.rcx, frame.rdx) == CPUID_LEAVES[leaf, 0]
    assert not CPUID_LEAVES[1, 0][2] & (1 << 28 | 1 << 27 | 1 << 26), "AVX, OSXSAVE, XSAVE"
    assert not CPUID_LEAVES[7, 0][1] & (1 << 5 | 1 << 16), "AVX2, AVX-512"


@pytest.mark.parametrize(
    ("code", "vector"),
    [
        ("f4", 13),  # hlt
        ("fa", 13),  # cli
        ("0f20c0", 13),  # mov rax,cr0
        ("0f30", 13),  # wrmsr
        ("0f01f8", 13),  # swapgs
        ("31c9f7f1", 0),  # xor ecx,ecx; div ecx
        ("cc", 3),  # int3
        ("cd80", 0x80),  # int 0x80
    ],
)
def test_exceptions_come_from_level_three(code: str, vector: int) -> None:
    with Box() as box:
        box.run(code)
        assert box.vectors == [vector]


def test_undefined_instruction() -> None:
    with Box() as box:
        frame = box.run("0f0b")
        assert (box.undefined, frame.rip) == (1, CODE)


def test_an_exception_in_a_hook_comes_out_of_run() -> None:
    with Box() as box:

        def hook() -> None:
            raise KeyError("from a hook")

        box.on_syscall = hook
        with pytest.raises(KeyError, match="from a hook"):
            box.run("0f05")
        box.on_syscall = box.engine.stop
        assert box.run("b8070000000f05").rax == 7, "the engine is still good"


def test_close_is_idempotent_and_a_closed_engine_refuses() -> None:
    engine = Engine(21)
    engine.close()
    engine.close()
    with pytest.raises(MachineError):
        Engine(21).mem_map_ptr(0x123, 1, 7, 4096)
