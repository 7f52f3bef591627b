"""Sending, blocking and taking signals, in both ABIs."""

from __future__ import annotations

import struct

import pytest

from kernel_model import errno as E
from kernel_model.kern.kern_sig import ast, interrupted, psignal, tdsendsignal, trapsignal
from kernel_model.kern.signalvar import KSigInfo, SigAction, StackT
from kernel_model.kern.signo import (
    NSIG,
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SA_SIGINFO,
    SEGV_MAPERR,
    SI_USER,
    SIG_IGN,
    SIGABRT,
    SIGBUS,
    SIGCHLD,
    SIGILL,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SIGTERM,
    SIGUSR1,
    SIGUSR2,
    sigmask,
)
from kernel_model.ktrace import SIGNAL
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS
from tests.process import HANDLER, SCRATCH, STACK, STACK_TOP, Process

ABIS = ("freebsd", "linux")
RESTORER = 0x40_2000


def catch(process: Process, signo: int, flags: int = SA_SIGINFO, mask: int = 0) -> None:
    process.proc.p_sigacts.ps_sigact[signo] = SigAction(HANDLER, flags, mask, RESTORER)


def fault(signo: int = SIGSEGV, addr: int = 0x1234) -> KSigInfo:
    return KSigInfo(signo, SEGV_MAPERR, ksi_addr=addr, ksi_trapno=12, ksi_err=6)


# -- FreeBSD's calls ----------------------------------------------------------------------------------------


def sigaction(process: Process, signo: int, handler: int, flags: int = 0, mask: int = 0) -> int:
    return process.call(
        416, signo, process.put(struct.pack("<Qi16s4x", handler, flags, mask.to_bytes(16, "little"))), 0
    )


def test_sigaction_keeps_and_tells() -> None:
    process = Process()
    assert sigaction(process, SIGUSR1, HANDLER, SA_SIGINFO | SA_RESTART, sigmask(SIGKILL) | sigmask(SIGUSR2)) == 0
    old = process.put(bytes(32))
    assert process.call(416, SIGUSR1, 0, old) == 0
    handler, flags, mask = struct.unpack("<Qi16s4x", process.get(old, 32))
    assert (handler, flags) == (HANDLER, SA_SIGINFO | SA_RESTART)
    assert int.from_bytes(mask, "little") == sigmask(SIGUSR2), "SIGKILL cannot be blocked"


@pytest.mark.parametrize("signo", [0, -1, NSIG, 4096])
def test_sigaction_of_no_signal(signo: int) -> None:
    assert Process().call(416, signo, 0, 0) == -E.EINVAL


def test_sigaction_refuses_kill_stop_and_unknown_flags() -> None:
    process = Process()
    assert sigaction(process, SIGKILL, HANDLER) == sigaction(process, SIGSTOP, SIG_IGN) == -E.EINVAL
    assert sigaction(process, SIGKILL, 0) == 0
    assert sigaction(process, SIGUSR1, HANDLER, 0x100) == -E.EINVAL
    assert process.call(416, SIGUSR1, VM_MAXUSER_ADDRESS - 8, 0) == -E.EFAULT


def test_ignoring_drops_what_waits() -> None:
    process = Process()
    process.td.td_sigmask = sigmask(SIGUSR1)
    psignal(process.proc, KSigInfo(SIGUSR1))
    assert process.proc.p_sigqueue
    assert sigaction(process, SIGUSR1, SIG_IGN) == 0
    assert not process.proc.p_sigqueue


def test_sigprocmask_and_sigpending() -> None:
    process = Process()
    full = process.put(b"\xff" * 16)
    old = process.put(bytes(16))
    assert process.call(340, 1, full, old) == 0
    assert process.get(old, 16) == bytes(16)
    assert not process.td.td_sigmask & (sigmask(SIGKILL) | sigmask(SIGSTOP))
    assert process.call(37, process.proc.p_pid, SIGUSR1) == 0
    assert process.call(343, old) == 0
    assert int.from_bytes(process.get(old, 16), "little") == sigmask(SIGUSR1)
    assert process.call(340, 9, full, 0) == -E.EINVAL
    assert process.call(340, 9, 0, old) == 0, "how counts only with a set"


def test_kill_counts_its_arguments() -> None:
    process = Process()
    assert process.call(37, process.proc.p_pid, 0) == 0
    assert process.call(37, 77, 0) == -E.ESRCH
    assert process.call(37, process.proc.p_pid, 129) == process.call(37, process.proc.p_pid, -1) == -E.EINVAL
    assert process.call(433, process.td.td_tid, SIGTERM) == 0
    assert process.td.td_ast
    ast(process.td)
    assert process.proc.wait_status == 128 + SIGTERM


def test_freebsd_queues_each_kill_and_linux_one() -> None:
    for abi, number, expected in (("freebsd", 37, 3), ("linux", 62, 1)):
        process = Process(abi)
        process.td.td_sigmask = (1 << 128) - 1
        for _ in range(3):
            assert process.call(number, process.proc.p_pid, 15) == 0
        assert len(process.proc.p_sigqueue) == expected


def test_a_full_queue_never_fails_kill_but_sigqueue() -> None:
    process = Process()
    process.td.td_sigmask = (1 << 128) - 1
    for _ in range(200):
        assert process.call(37, process.proc.p_pid, SIGUSR1) == 0
    assert len(process.proc.p_sigqueue) == 128
    assert process.call(456, process.proc.p_pid, SIGUSR1, 5) == -E.EAGAIN


def test_sigsuspend_restores_the_mask_through_the_frame() -> None:
    process = Process()
    catch(process, SIGUSR1)
    process.td.td_sigmask = sigmask(SIGUSR1) | sigmask(SIGUSR2)
    psignal(process.proc, KSigInfo(SIGUSR1))
    assert process.call(341, process.put(bytes(16))) == -E.EINTR
    ast(process.td)
    saved = int.from_bytes(process.get(process.cpu.frame.rdx, 16), "little")
    assert saved == sigmask(SIGUSR1) | sigmask(SIGUSR2)
    assert process.td.td_sigmask == sigmask(SIGUSR1)


@pytest.mark.parametrize("abi", ABIS)
def test_a_mask_that_cannot_be_read_changes_nothing(abi: str) -> None:
    process = Process(abi)
    process.td.td_sigmask = sigmask(SIGUSR2)
    assert process.call("ppoll", 0, 0, 0, 8, 8) == -E.EFAULT
    assert (process.td.td_sigmask, process.td.td_oldsigmask) == (sigmask(SIGUSR2), None)
    catch(process, SIGUSR1)
    psignal(process.proc, KSigInfo(SIGUSR1))
    suspend = ("rt_sigsuspend", process.put(bytes(8)), 8) if abi == "linux" else ("sigsuspend", process.put(bytes(16)))
    assert process.call(*suspend) == -E.EINTR


def test_sigsuspend_that_nothing_ends_kills_and_says_so() -> None:
    process = Process()
    process.call(341, process.put(bytes(16)))
    assert process.proc.wait_status == 128 + SIGKILL
    assert process.unsupported[-1].what == "deadlock"


def test_sigtimedwait_takes_or_times_out() -> None:
    process = Process()
    process.td.td_sigmask = sigmask(SIGUSR1)
    wanted = process.put(sigmask(SIGUSR1).to_bytes(16, "little"))
    info = process.put(bytes(80))
    assert process.call(345, wanted, info, process.put(struct.pack("<qq", 0, 1000))) == -E.EAGAIN
    assert process.call(37, process.proc.p_pid, SIGUSR1) == 0
    assert process.call(345, wanted, info, 0) == SIGUSR1
    assert struct.unpack_from("<iii", process.get(info, 12)) == (SIGUSR1, 0, SI_USER)
    assert not process.proc.p_sigqueue


def test_sigaltstack() -> None:
    process = Process()
    old = process.put(bytes(24))
    assert process.call(53, process.put(struct.pack("<QQi4x", SCRATCH, 2047, 0)), 0) == -E.ENOMEM
    assert process.call(53, process.put(struct.pack("<QQi4x", SCRATCH, 8192, 3)), 0) == -E.EINVAL
    assert process.call(53, process.put(struct.pack("<QQi4x", SCRATCH, 8192, 0)), old) == 0
    assert struct.unpack("<QQi4x", process.get(old, 24))[2] == 4, "SS_DISABLE before the first"
    process.cpu.frame.rsp = SCRATCH + 100
    assert process.call(53, process.put(struct.pack("<QQi4x", SCRATCH, 8192, 0)), 0) == -E.EPERM
    assert process.call(53, 0, old) == 0
    assert struct.unpack("<QQi4x", process.get(old, 24)) == (SCRATCH, 8192, 1)


# -- taking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", ABIS)
def test_default_actions(abi: str) -> None:
    realtime = 34 if abi == "linux" else 67
    for signo, status in ((SIGTERM, 143), (SIGABRT, 134), (SIGSEGV, 139), (SIGCHLD, None), (67, 128 + realtime)):
        process = Process(abi)
        psignal(process.proc, KSigInfo(signo))
        ast(process.td)
        assert (process.proc.wait_status if process.proc.p_state else None) == status


def test_a_stop_signal_is_reported_and_dropped() -> None:
    process = Process()
    psignal(process.proc, KSigInfo(SIGSTOP))
    ast(process.td)
    assert not process.proc.p_state
    assert process.unsupported[0].name == "SIGSTOP"


@pytest.mark.parametrize("abi", ABIS)
def test_a_trap_that_is_blocked_or_ignored_kills(abi: str) -> None:
    for prepare in ("mask", "ignore"):
        process = Process(abi)
        catch(process, SIGSEGV)
        if prepare == "mask":
            process.td.td_sigmask = sigmask(SIGSEGV)
        else:
            process.proc.p_sigacts.ps_sigact[SIGSEGV] = SigAction(SIG_IGN)
        trapsignal(process.td, fault())
        ast(process.td)
        assert process.proc.wait_status == 128 + SIGSEGV


@pytest.mark.parametrize("abi", ABIS)
def test_a_sent_signal_that_is_blocked_waits(abi: str) -> None:
    process = Process(abi)
    process.td.td_sigmask = sigmask(SIGSEGV)
    tdsendsignal(process.td, KSigInfo(SIGSEGV))
    ast(process.td)
    assert not process.proc.p_state
    assert len(process.td.td_sigqueue) == 1


@pytest.mark.parametrize("abi", ABIS)
def test_handler_blocks_its_signal_and_its_mask(abi: str) -> None:
    process = Process(abi)
    catch(process, SIGUSR1, SA_SIGINFO, sigmask(SIGUSR2))
    psignal(process.proc, KSigInfo(SIGUSR1))
    ast(process.td)
    assert process.td.td_sigmask == sigmask(SIGUSR1) | sigmask(SIGUSR2)


@pytest.mark.parametrize("abi", ABIS)
def test_nodefer_and_resethand(abi: str) -> None:
    process = Process(abi)
    catch(process, SIGUSR1, SA_NODEFER | SA_RESETHAND)
    psignal(process.proc, KSigInfo(SIGUSR1))
    ast(process.td)
    assert process.td.td_sigmask == 0
    assert process.proc.p_sigacts.ps_sigact[SIGUSR1].sa_handler == 0
    psignal(process.proc, KSigInfo(SIGUSR1))
    ast(process.td)
    assert process.proc.wait_status == 128 + (10 if abi == "linux" else SIGUSR1)


@pytest.mark.parametrize("abi", ABIS)
def test_entry_registers(abi: str) -> None:
    """System V: rsp is 8 above a multiple of 16 when the handler is entered, below the red zone."""
    process = Process(abi)
    catch(process, SIGBUS)
    for rsp in (STACK_TOP - 0x1000, STACK_TOP - 0x1007, STACK_TOP - 0x1008):
        process.cpu.frame.rsp = rsp
        process.td.td_sigmask = 0
        trapsignal(process.td, fault(SIGBUS, 0xABC))
        ast(process.td)
        frame = process.cpu.frame
        entry = frame.rsp if abi == "linux" else frame.rsp - 8
        assert entry % 16 == 8
        assert frame.rsp <= rsp - 128 - 900
        number = 7 if abi == "linux" else SIGBUS
        assert frame.rdi == number
        assert process.get(frame.rsi, 4) == number.to_bytes(4, "little")
        assert not frame.rflags & 0x500, "direction and trace flags are cleared"
        if abi == "linux":
            assert (frame.rip, process.word(frame.rsp)) == (HANDLER, RESTORER)
        else:
            assert (frame.rip, process.word(frame.rsp)) == (process.proc.p_sysent.sv_sigcode_base, HANDLER)


@pytest.mark.parametrize("abi", ABIS)
def test_altstack_is_used_only_with_the_flag(abi: str) -> None:
    for flags, on in ((SA_ONSTACK, True), (0, False)):
        process = Process(abi)
        process.td.td_sigstk = StackT(SCRATCH, 0x4000, 0)
        catch(process, SIGUSR1, flags)
        psignal(process.proc, KSigInfo(SIGUSR1))
        ast(process.td)
        assert (SCRATCH <= process.cpu.frame.rsp < SCRATCH + 0x4000) is on


@pytest.mark.parametrize(("abi", "expected"), [("freebsd", SIGILL), ("linux", SIGSEGV)])
def test_no_room_for_the_frame_kills(abi: str, expected: int) -> None:
    process = Process(abi)
    catch(process, SIGSEGV)
    process.cpu.frame.rsp = STACK + 0x100
    trapsignal(process.td, fault())
    ast(process.td)
    assert process.proc.wait_status == 128 + expected


def test_linux_turns_an_unwritable_frame_into_sigsegv_on_the_altstack() -> None:
    process = Process("linux")
    catch(process, SIGUSR1)
    catch(process, SIGSEGV, SA_ONSTACK | SA_SIGINFO)
    process.td.td_sigstk = StackT(SCRATCH, 0x4000, 0)
    process.cpu.frame.rsp = STACK + 0x100
    psignal(process.proc, KSigInfo(SIGUSR1))
    ast(process.td)
    assert not process.proc.p_state
    assert process.cpu.frame.rdi == 11
    assert SCRATCH <= process.cpu.frame.rsp < SCRATCH + 0x4000


def test_linux_never_leaves_the_altstack_downwards() -> None:
    process = Process("linux")
    catch(process, SIGUSR1, SA_ONSTACK | SA_NODEFER)
    process.td.td_sigstk = StackT(SCRATCH + 0x8000, 2048, 0)
    for _ in range(3):
        psignal(process.proc, KSigInfo(SIGUSR1))
        ast(process.td)
    assert process.proc.wait_status == 128 + SIGSEGV, "the second frame does not fit"


def test_a_handler_that_faults_on_entry_does_not_loop() -> None:
    """Each delivery faults again: the signal is blocked in its own handler, so the second one kills."""
    for abi in ABIS:
        process = Process(abi)
        catch(process, SIGSEGV)
        for _ in range(2):
            trapsignal(process.td, fault())
            ast(process.td)
        assert process.proc.wait_status == 128 + SIGSEGV


def test_nodefer_faults_until_the_stack_is_used_up() -> None:
    for abi in ABIS:
        process = Process(abi)
        catch(process, SIGSEGV, SA_NODEFER | SA_SIGINFO)
        count = 0
        while not process.proc.p_state and count < 1000:
            trapsignal(process.td, fault())
            ast(process.td)
            count += 1
        assert 40 < count < 80


def test_interrupted_by_restart_flag() -> None:
    process = Process()
    assert interrupted(process.td) == 0
    psignal(process.proc, KSigInfo(SIGUSR1))
    assert interrupted(process.td) == E.EINTR
    catch(process, SIGUSR1, SA_RESTART)
    assert interrupted(process.td) == E.ERESTART
    process.td.td_sigmask = sigmask(SIGUSR1)
    assert interrupted(process.td) == 0


def test_order_thread_trap_first_then_number() -> None:
    process = Process()
    signals = process.events(SIGNAL)
    for signo in (SIGUSR2, SIGUSR1, SIGTERM):
        catch(process, signo)
        psignal(process.proc, KSigInfo(signo))
    catch(process, SIGSEGV)
    trapsignal(process.td, fault())
    ast(process.td)
    assert [event.signo for event in signals] == [SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2]
    assert {event.action for event in signals} == {"deliver"}


# -- Linux's calls ------------------------------------------------------------------------------------------


def test_rt_sigaction_round_trip() -> None:
    process = Process("linux")
    act = struct.pack("<QQQQ", HANDLER, 0x0C000004, RESTORER, 1 << 9 | 1 << 8)
    assert process.call(13, 10, process.put(act), 0, 8) == 0
    assert process.proc.p_sigacts.ps_sigact[SIGUSR1].sa_handler == HANDLER
    old = process.put(bytes(32))
    assert process.call(13, 10, 0, old, 8) == 0
    assert process.get(old, 32) == struct.pack("<QQQQ", HANDLER, 0x0C000004, RESTORER, 1 << 9)
    assert (
        process.call(13, 10, 0, old, 4)
        == process.call(13, 65, 0, old, 8)
        == process.call(13, 9, process.put(act), 0, 8)
        == -22
    )


def test_rt_sigprocmask_translates() -> None:
    process = Process("linux")
    mask = process.put((1 << 9).to_bytes(8, "little"))
    assert process.call(14, 0, mask, 0, 8) == 0
    assert process.td.td_sigmask == sigmask(SIGUSR1)
    old = process.put(bytes(8))
    assert process.call(14, 2, mask, old, 8) == 0
    assert process.get(old, 8) == (1 << 9).to_bytes(8, "little")
    assert process.call(14, 3, mask, 0, 8) == -22


def test_every_linux_signal_has_its_own_number() -> None:
    from kernel_model.abi.linux64.signo import TO_BSD, TO_LINUX, mask_to_bsd, mask_to_linux

    assert len(set(TO_BSD)) == 65
    assert all(TO_LINUX[TO_BSD[n]] == n for n in range(1, 65))
    everything = (1 << 64) - 1
    assert mask_to_linux(mask_to_bsd(everything)) == everything


def test_tgkill() -> None:
    process = Process("linux")
    pid = process.proc.p_pid
    assert process.call(234, pid, pid, 0) == 0
    assert process.call(234, pid, 99, 0) == process.call(234, 99, pid, 0) == -3
    assert process.call(234, pid, pid, 65) == process.call(234, 0, pid, 0) == process.call(234, pid, -1, 0) == -22
