"""What lies on the stack when a handler starts, and what sigreturn makes of it."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from kernel_model import errno as E
from kernel_model.abi.freebsd64 import ucontext as uc
from kernel_model.abi.linux64 import sendsig as linux
from kernel_model.kern.copyin import copyout
from kernel_model.kern.kern_sig import ast, psignal, trapsignal
from kernel_model.kern.machdep import FRAME_REGISTERS, GPR_NAMES, TrapFrame
from kernel_model.kern.signalvar import KSigInfo, SigAction
from kernel_model.kern.signo import (
    FPE_INTDIV,
    SA_SIGINFO,
    SEGV_ACCERR,
    SEGV_MAPERR,
    SI_KERNEL,
    SI_QUEUE,
    SI_USER,
    SIGFPE,
    SIGSEGV,
    SIGUSR1,
    SIGUSR2,
    sigmask,
)
from tests.process import BAD, FPREGS, HANDLER, STACK_TOP, Process

if TYPE_CHECKING:
    from pathlib import Path

RESTORER = 0x40_2000
NONCANONICAL = 0x8000_0000_0000


def registers() -> TrapFrame:
    frame = TrapFrame(**{name: 0x1111_0000 + index for index, name in enumerate(GPR_NAMES)})
    frame.rsp = STACK_TOP - 0x1238
    frame.rip = 0x40_0ABC
    frame.rflags = 0x246
    frame.fs_base, frame.gs_base = 0x5000, 0x6000
    return frame


def deliver(abi: str, ksi: KSigInfo | None = None, mask: int = 0) -> tuple[Process, TrapFrame]:
    process = Process(abi)
    before = registers()
    process.cpu.frame = registers()
    process.td.td_sigmask = mask
    process.proc.p_sigacts.ps_sigact[SIGSEGV] = SigAction(HANDLER, SA_SIGINFO, 0, RESTORER)
    trapsignal(process.td, ksi or KSigInfo(SIGSEGV, SEGV_ACCERR, ksi_addr=0xFEED, ksi_trapno=12, ksi_err=7))
    ast(process.td)
    assert not process.proc.p_state
    return process, before


# -- Linux: judged by the compiler ----------------------------------------------------------------------------

LAYOUT = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <ucontext.h>
#define O(what) printf("%s %zu\n", #what, offsetof(ucontext_t, what))
#define S(what) printf("%s %zu\n", #what, offsetof(siginfo_t, what))
int main(void) {
    O(uc_flags); O(uc_link); O(uc_stack); O(uc_mcontext); O(uc_sigmask); O(uc_mcontext.fpregs);
    O(uc_mcontext.gregs[REG_R8]); O(uc_mcontext.gregs[REG_RDI]); O(uc_mcontext.gregs[REG_RSP]);
    O(uc_mcontext.gregs[REG_RIP]); O(uc_mcontext.gregs[REG_EFL]); O(uc_mcontext.gregs[REG_CSGSFS]);
    O(uc_mcontext.gregs[REG_ERR]); O(uc_mcontext.gregs[REG_TRAPNO]); O(uc_mcontext.gregs[REG_CR2]);
    S(si_signo); S(si_errno); S(si_code); S(si_addr); S(si_pid); S(si_uid); S(si_value); S(si_status);
    printf("sizeof(siginfo_t) %zu\nsizeof(stack_t) %zu\nss_flags %zu\nsizeof(mcontext_t) %zu\n",
           sizeof(siginfo_t), sizeof(stack_t), offsetof(stack_t, ss_flags), sizeof(mcontext_t));
}
"""


@pytest.fixture(scope="module")
def c_layout(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    where = tmp_path_factory.mktemp("layout")
    source = where / "layout.c"
    source.write_text(LAYOUT)
    subprocess.run([compiler, "-o", where / "layout", source], check=True)
    out = subprocess.run([where / "layout"], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for name, value in (line.rsplit(" ", 1) for line in out.splitlines())}


def test_linux_frame_is_where_c_looks(c_layout: dict[str, int]) -> None:
    process, before = deliver("linux", mask=sigmask(SIGUSR1))
    frame = process.cpu.frame
    context = frame.rdx
    assert context == frame.rsp + 8

    def word(name: str) -> int:
        return process.word(context + c_layout[name])

    assert word("uc_link") == 0
    assert word("uc_flags") == 6
    for name, register in (("R8", "r8"), ("RDI", "rdi"), ("RSP", "rsp"), ("RIP", "rip"), ("EFL", "rflags")):
        assert word(f"uc_mcontext.gregs[REG_{name}]") == getattr(before, register), name
    assert word("uc_mcontext.gregs[REG_TRAPNO]") == 14
    assert word("uc_mcontext.gregs[REG_ERR]") == 7
    assert word("uc_mcontext.gregs[REG_CR2]") == 0xFEED
    assert word("uc_mcontext.gregs[REG_CSGSFS]") & 0xFFFF == 0x33
    assert word("uc_sigmask") == 1 << 9
    assert process.get(context + c_layout["uc_stack"] + c_layout["ss_flags"], 4) == (2).to_bytes(4, "little")
    fpregs = word("uc_mcontext.fpregs")
    assert fpregs % 64 == 0
    assert process.get(fpregs, 512) == FPREGS
    assert c_layout["sizeof(mcontext_t)"] == linux.SIZEOF_MCONTEXT
    info = frame.rsi
    assert struct.unpack("<iii", process.get(info, 12)) == (11, 0, SEGV_ACCERR)
    assert process.word(info + c_layout["si_addr"]) == 0xFEED
    assert c_layout["sizeof(siginfo_t)"] == linux.SIZEOF_SIGINFO


def test_linux_siginfo_of_kill_and_sigqueue(c_layout: dict[str, int]) -> None:
    for code, shown in ((SI_USER, 0), (SI_QUEUE, -1)):
        info = linux.pack_siginfo(KSigInfo(SIGUSR1, code, ksi_pid=7, ksi_uid=8, ksi_value=9))
        assert len(info) == 128
        assert struct.unpack_from("<iii", info) == (10, 0, shown)
        assert info[c_layout["si_pid"]] == 7
        assert info[c_layout["si_uid"]] == 8
        assert info[c_layout["si_value"]] == 9


def test_linux_codes_differ_where_the_systems_do() -> None:
    assert struct.unpack_from("<iii", linux.pack_siginfo(KSigInfo(SIGFPE, FPE_INTDIV)))[2] == 1
    assert struct.unpack_from("<iii", linux.pack_siginfo(KSigInfo(SIGSEGV, SI_KERNEL)))[2] == 0x80


# -- FreeBSD ------------------------------------------------------------------------------------------------


def test_freebsd_offsets() -> None:
    """From machine/ucontext.h and sys/signal.h: what a program compiled against them uses."""
    assert (uc.SF_UC, uc.SF_SI, uc.SIZEOF_SIGFRAME) == (16, 896, 976)
    assert (uc.UC_MCONTEXT, uc.UC_LINK, uc.UC_STACK, uc.UC_FLAGS) == (16, 816, 824, 848)


def test_freebsd_frame() -> None:
    process, before = deliver("freebsd", mask=sigmask(SIGUSR1))
    frame = process.cpu.frame
    context = frame.rsp + 16
    assert (frame.rdx, frame.rsi, frame.rcx) == (context, frame.rsp + 896, 0xFEED)
    assert process.word(context) == sigmask(SIGUSR1)
    mcontext = context + 16
    places = {"rdi": 8, "rsi": 16, "rdx": 24, "rcx": 32, "r8": 40, "rax": 56, "r15": 120, "rip": 160, "rsp": 184}
    for name, offset in places.items():
        assert process.word(mcontext + offset) == getattr(before, name), name
    assert struct.unpack("<IHHQIHHQ", process.get(mcontext + 128, 32)) == (12, 0x13, 0x1B, 0xFEED, 1, 0x3B, 0x3B, 7)
    assert (process.word(mcontext + 168), process.word(mcontext + 176), process.word(mcontext + 192)) == (
        0x43,
        0x246,
        0x3B,
    )
    assert (process.word(mcontext + 200), process.word(mcontext + 208)) == (800, 0x10002)
    assert process.get(mcontext + 224, 28)[24:] == FPREGS[24:28]
    assert (process.word(mcontext + 736), process.word(mcontext + 744)) == (0x5000, 0x6000)
    assert struct.unpack("<iiiiIiQ", process.get(frame.rsi, 32)) == (11, 0, SEGV_ACCERR, 0, 0, 0, 0xFEED)
    assert process.get(frame.rsi + 40, 4) == (12).to_bytes(4, "little"), "si_trapno"


def test_freebsd_handler_without_siginfo_gets_the_code() -> None:
    process = Process("freebsd")
    process.proc.p_sigacts.ps_sigact[SIGSEGV] = SigAction(HANDLER, 0)
    trapsignal(process.td, KSigInfo(SIGSEGV, SEGV_MAPERR, ksi_addr=0xFEED, ksi_trapno=12))
    ast(process.td)
    frame = process.cpu.frame
    assert (frame.rdi, frame.rsi, frame.rcx) == (SIGSEGV, SEGV_MAPERR, 0xFEED)


def test_the_trampoline_is_what_an_assembler_makes(tmp_path: Path) -> None:
    from kernel_model.abi.freebsd64.sigcode import SIGCODE

    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or shutil.which("objcopy") is None:
        pytest.skip("no assembler")
    text = "call *(%rsp)\nlea 16(%rsp), %rdi\npush $0\nmov $417, %rax\nsyscall\n0: hlt\njmp 0b\n"
    (tmp_path / "tramp.s").write_text(text)
    subprocess.run([compiler, "-c", "-o", tmp_path / "tramp.o", tmp_path / "tramp.s"], check=True)
    command = ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "tramp.o", tmp_path / "tramp.bin"]
    subprocess.run(command, check=True)
    assert SIGCODE.startswith((tmp_path / "tramp.bin").read_bytes())


# -- and back -----------------------------------------------------------------------------------------------


def go_back(process: Process, abi: str) -> int:
    """What the trampoline, or the restorer, does when the handler has returned."""
    frame = process.cpu.frame
    if abi == "freebsd":
        return process.raw(417, frame.rsp + 16)
    frame.rsp += 8
    return process.raw(15)


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_round_trip(abi: str) -> None:
    process, before = deliver(abi, mask=sigmask(SIGUSR1))
    assert process.cpu.fpregs != FPREGS, "a handler starts with a fresh FPU"
    assert process.td.td_sigmask == sigmask(SIGUSR1) | sigmask(SIGSEGV)
    process.cpu.frame.rax = 0xBAD
    assert go_back(process, abi) == E.EJUSTRETURN
    ast(process.td)
    for name in FRAME_REGISTERS:
        assert getattr(process.cpu.frame, name) == getattr(before, name), name
    assert process.cpu.fpregs == FPREGS
    assert process.td.td_sigmask == sigmask(SIGUSR1)


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_nested_signals_unwind_in_order(abi: str) -> None:
    process = Process(abi)
    process.cpu.frame = registers()
    for signo in (SIGUSR1, SIGUSR2):
        process.proc.p_sigacts.ps_sigact[signo] = SigAction(HANDLER, SA_SIGINFO, 0, RESTORER)
    psignal(process.proc, KSigInfo(SIGUSR1))
    ast(process.td)
    psignal(process.proc, KSigInfo(SIGUSR2))
    ast(process.td)
    go_back(process, abi)
    assert process.td.td_sigmask == sigmask(SIGUSR1)
    process.cpu.frame.rsp -= 0
    go_back(process, abi)
    assert process.cpu.frame.rip == registers().rip
    assert process.td.td_sigmask == 0


def poke(process: Process, va: int, value: int, size: int = 8) -> None:
    copyout(process.td, va, value.to_bytes(size, "little"))


def test_freebsd_refuses_privileged_flags() -> None:
    for flags in (0x246 | 0x3000, 0x46, 0x246 | 0x20000, 0x246 | 1 << 40):
        process, _ = deliver("freebsd")
        poke(process, process.cpu.frame.rsp + 16 + 16 + 176, flags)
        assert go_back(process, "freebsd") == -E.EINVAL


def test_freebsd_refuses_a_kernel_code_segment_with_sigbus() -> None:
    process, _ = deliver("freebsd")
    poke(process, process.cpu.frame.rsp + 16 + 16 + 168, 0x20)
    assert go_back(process, "freebsd") == -E.EINVAL
    assert process.td.td_sigqueue[0].ksi_signo == 10


def test_freebsd_refuses_unknown_fpu_formats() -> None:
    for offset, value in ((208, 1), (216, 0x30000), (144, 0x80)):
        process, _ = deliver("freebsd")
        poke(process, process.cpu.frame.rsp + 32 + offset, value, 4 if offset == 144 else 8)
        assert go_back(process, "freebsd") == -E.EINVAL


@pytest.mark.parametrize(("abi", "signo"), [("freebsd", 10), ("linux", 11)])
def test_a_noncanonical_rip_is_a_signal_and_no_crash(abi: str, signo: int) -> None:
    process, _ = deliver(abi)
    offset = 32 + 160 if abi == "freebsd" else 8 + 40 + 16 * 8
    poke(process, process.cpu.frame.rsp + offset, NONCANONICAL)
    go_back(process, abi)
    assert process.td.td_sigqueue[0].ksi_signo == signo
    ast(process.td)


def test_mxcsr_with_reserved_bits() -> None:
    process, _ = deliver("freebsd")
    poke(process, process.cpu.frame.rsp + 32 + 224 + 24, 0xFFFFFFFF, 4)
    assert go_back(process, "freebsd") == E.EJUSTRETURN
    assert process.cpu.fpregs[24:28] == (0xFFFF).to_bytes(4, "little"), "FreeBSD masks them"
    process, _ = deliver("linux")
    fpstate = process.word(process.cpu.frame.rsp + 8 + 40 + 184)
    poke(process, fpstate + 24, 0xFFFFFFFF, 4)
    go_back(process, "linux")
    assert process.td.td_sigqueue[0].ksi_signo == SIGSEGV, "Linux does not believe the frame"


def test_linux_keeps_iopl_and_interrupts() -> None:
    process, _ = deliver("linux")
    poke(process, process.cpu.frame.rsp + 8 + 40 + 17 * 8, 0x3000)
    go_back(process, "linux")
    assert process.cpu.frame.rflags == 0x202


def test_sigreturn_from_nowhere() -> None:
    process = Process("freebsd")
    for va in (0, 0xFFFF_FFFF_FFFF_FFF0, NONCANONICAL, BAD - 8):
        assert process.raw(417, va) == -E.EFAULT
    process = Process("linux")
    process.cpu.frame.rsp = 0x10
    process.raw(15)
    assert process.td.td_sigqueue[0].ksi_signo == SIGSEGV


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
def test_random_contexts_never_break_the_kernel(abi: str) -> None:
    rng = random.Random(7)
    for _ in range(60):
        process, _ = deliver(abi)
        at = process.cpu.frame.rsp
        for _ in range(rng.randrange(1, 6)):
            poke(process, at + 8 * rng.randrange(0, 118 if abi == "freebsd" else 54), rng.getrandbits(64))
        go_back(process, abi)
        ast(process.td)


def test_getcontext_setcontext() -> None:
    process = Process("freebsd")
    process.cpu.frame = registers()
    process.td.td_sigmask = sigmask(SIGUSR2)
    ucp = process.put(bytes(880))
    assert process.raw(421, ucp) == 0
    process.cpu.frame = TrapFrame(rflags=0x202)
    process.td.td_sigmask = 0
    assert process.raw(422, ucp) == E.EJUSTRETURN
    assert (process.cpu.frame.rip, process.cpu.frame.rbx, process.cpu.frame.rax) == (0x40_0ABC, registers().rbx, 0)
    assert process.td.td_sigmask == sigmask(SIGUSR2)
    assert process.raw(422, 0) == -E.EINVAL
    poke(process, ucp + 16 + 200, 4)
    assert process.raw(422, ucp) == -E.EINVAL, "mc_len"
