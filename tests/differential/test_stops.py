"""Programs that are stopped all the time: what they leave behind is what the host's processor leaves.

A stop is asked for inside a fill, while an instruction reaches for its memory, which is when one from another thread
can do harm; the TLB is emptied after each, so that every instruction can be hit.  No clock takes part.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from emu.engine import stops
from emu.engine.fill import Fill
from emu.engine.pmap import mirror_of
from emu.machine import EXITED, Machine
from kernel_model.errors import some
from tests.bench.programs import code, elf

if TYPE_CHECKING:
    from pathlib import Path

    from emu.engine.raw import TlbEntry

# mov r13d,ROUNDS; mov r12d,DATA; xor r14d,r14d
# 1: inc qword [r12]; inc r14; jmp 2f
# 2: mov ecx,3; lock xadd [r12+0x1000],rcx; add r15,rcx; xchg [r12+0x2000],rcx; lea r15,[r15+rcx*2]
# push qword [r12]; pop qword [r12+0x3000]; jmp 3f
# 3: lea rsi,[r12+0x2000]; lea rdi,[r12+0x4000]; movsq; mov ecx,5; rep movsb; xor rax,rsi; lea rdi,[r12+0x5000]; stosq
# mov rax,[r12+0x6000]; mov rdx,[r12+0x6008]; lea rbx,[rax+1]; lea rcx,[rdx+3]; lock cmpxchg16b [r12+0x6000]
# sete al; add r15b,al; fild qword [r12+0x7000]; fld1; faddp; fistp qword [r12+0x7000]
# fld1; fadd qword [r12+0x8000]; fstp qword [r12+0x8000]; jmp 4f
# 4: movq xmm1,r14; movups xmm0,[r12+0x9000]; paddq xmm0,xmm1; movups [r12+0x9000],xmm0
# movss xmm2,[r12+0x9ff0]; addss xmm2,[r12+0x8ff0]; movss [r12+0x9ff0],xmm2
# add qword [r12+0xa000],r14; adc qword [r12+0xa008],1; rol qword [r12+0xa000],3; neg qword [r12+0xb000]
# not dword [r12+0xb004]; btc qword [r12+0xb010],5; sub byte [r12+0xb020],7
# mov rax,[r12+0xc000]; lea rcx,[rax+r14]; cmpxchg [r12+0xc000],rcx; call 5f; jmp 6f
# 5: xor [r12+0xd000],r15; mov rax,[rsp]; add r15,rax; ret
# 6: enter 16,0; add [rbp-8],r15; leave; shld qword [r12+0xd008],r15,5; add r14,[r12+0xd008]; dec r13; jnz 1b
# mov [r12+0xe000],r14; mov [r12+0xe008],r15; write(1, r12, 0xf000); exit_group(0)
KINDS = (
    "41bd1111111141bc000000104531f649ff042449ffc6eb00b903000000f0490fc18c24001000004901cf49878c2400200000"
    "4d8d3c4f41ff3424418f842400300000eb00498db42400200000498dbc240040000048a5b905000000f3a44831f0498dbc24"
    "0050000048ab498b842400600000498b942408600000488d5801488d4a03f0490fc78c24006000000f94c04100c741dfac24"
    "00700000d9e8dec141dfbc2400700000d9e841dc84240080000041dd9c2400800000eb0066490f6ece410f10842400900000"
    "660fd4c1410f11842400900000f3410f109424f09f0000f3410f589424f08f0000f3410f119424f09f00004d01b42400a000"
    "004983942408a000000149c1842400a000000349f79c2400b0000041f7942404b00000490fbabc2410b00000054180ac2420"
    "b0000007498b842400c000004a8d0c30490fb18c2400c00000e802000000eb104d31bc2400d00000488b04244901c7c3c810"
    "00004c017df8c94d0fa4bc2408d00000054d03b42408d0000049ffcd0f858ffeffff4d89b42400e000004d89bc2408e00000"
    "b801000000bf010000004c89e6ba00f000000f05b8e700000031ff0f05"
)
DATA_PAGES = 15
MEETINGS = (1, 7, 3, 11, 5, 2, 13)
"""So many fills pass between two stops, in turn: each instruction is hit, and each block in different places."""


class Stopper:
    """Asks for a stop in the middle of instructions, as another thread would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine: Machine | None = None
        self.stops = 0
        self._left = MEETINGS[0]
        serve = Fill.serve

        def stopping(fill: Fill, page: int, access: int, answer: TlbEntry) -> bool:
            done = serve(fill, page, access, answer)
            if self.machine is not None:
                self._left -= 1
                if self._left == 0:
                    some(mirror_of(self.machine.proc.p_vmspace.vm_pmap).engine, "engine").ask()
            return done

        monkeypatch.setattr(Fill, "serve", stopping)

    def run(self, machine: Machine) -> int:
        """Run the program, stopping it all the time; its status."""
        self.machine = machine
        while machine.step().why != EXITED:
            if self._left <= 0:
                self.stops += 1
                self._left = MEETINGS[self.stops % len(MEETINGS)]
            mirror_of(machine.proc.p_vmspace.vm_pmap).tlb.flush()
        return machine.proc.wait_status


def _both(path: Path, rounds: int, stopper: Stopper, *, counted: bool) -> tuple[bytes, bytes]:
    """What the program writes on the machine, and on the host."""
    program = elf(path / "program", code(KINDS, rounds), DATA_PAGES)
    native = subprocess.run([program], capture_output=True, check=True).stdout
    output = bytearray()
    with Machine(cwd=path, abi="linux", stdin=None, stdout=output, stderr=None, counted=counted) as machine:
        machine.execve(str(program), ["program"], {})
        assert stopper.run(machine) == 0
    return bytes(output), native


@pytest.mark.parametrize(
    "rounds", [3_000, pytest.param(30_000, marks=pytest.mark.slow)], ids=["ten thousand", "hundred thousand"]
)
def test_a_stop_in_the_middle_of_anything_is_not_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    stopper = Stopper(monkeypatch)
    ours, native = _both(tmp_path, rounds, stopper, counted=False)
    assert len(native) == DATA_PAGES * 4096
    assert ours == native
    assert stopper.stops > 3 * rounds


@pytest.mark.parametrize("length", [1, 2, 7, 23, 97])
def test_nor_is_one_at_the_end_of_a_counted_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """The way for a library that is not known; a slice ends in the middle of ``rep movsb`` too."""
    monkeypatch.setattr(stops, "SLICE", length)
    stopper = Stopper(monkeypatch)
    ours, native = _both(tmp_path, 300, stopper, counted=True)
    assert ours == native
    assert stopper.stops > 200
