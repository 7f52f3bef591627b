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
from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS
from tests.unit.kern_host import HANDLER, SCRATCH, STACK, STACK_TOP, KernHost

ABIS = ("freebsd", "linux")
RESTORER = 0x40_2000


def catch(host: KernHost, signo: int, flags: int = SA_SIGINFO, mask: int = 0) -> None:
    host.proc.p_sigacts.ps_sigact[signo] = SigAction(HANDLER, flags, mask, RESTORER)


def fault(signo: int = SIGSEGV, addr: int = 0x1234) -> KSigInfo:
    return KSigInfo(signo, SEGV_MAPERR, ksi_addr=addr, ksi_trapno=12, ksi_err=6)


# -- FreeBSD's calls ----------------------------------------------------------------------------------------


def sigaction(host: KernHost, signo: int, handler: int, flags: int = 0, mask: int = 0) -> int:
    return host.call(416, signo, host.put(struct.pack("<Qi16s4x", handler, flags, mask.to_bytes(16, "little"))), 0)


def test_sigaction_keeps_and_tells() -> None:
    host = KernHost()
    assert sigaction(host, SIGUSR1, HANDLER, SA_SIGINFO | SA_RESTART, sigmask(SIGKILL) | sigmask(SIGUSR2)) == 0
    old = host.put(bytes(32))
    assert host.call(416, SIGUSR1, 0, old) == 0
    handler, flags, mask = struct.unpack("<Qi16s4x", host.get(old, 32))
    assert (handler, flags) == (HANDLER, SA_SIGINFO | SA_RESTART)
    assert int.from_bytes(mask, "little") == sigmask(SIGUSR2), "SIGKILL cannot be blocked"


@pytest.mark.parametrize("signo", [0, -1, NSIG, 4096])
def test_sigaction_of_no_signal(signo: int) -> None:
    assert KernHost().call(416, signo, 0, 0) == -E.EINVAL


def test_sigaction_refuses_kill_stop_and_unknown_flags() -> None:
    host = KernHost()
    assert sigaction(host, SIGKILL, HANDLER) == sigaction(host, SIGSTOP, SIG_IGN) == -E.EINVAL
    assert sigaction(host, SIGKILL, 0) == 0
    assert sigaction(host, SIGUSR1, HANDLER, 0x100) == -E.EINVAL
    assert host.call(416, SIGUSR1, VM_MAXUSER_ADDRESS - 8, 0) == -E.EFAULT


def test_ignoring_drops_what_waits() -> None:
    host = KernHost()
    host.td.td_sigmask = sigmask(SIGUSR1)
    psignal(host.proc, KSigInfo(SIGUSR1))
    assert host.proc.p_sigqueue
    assert sigaction(host, SIGUSR1, SIG_IGN) == 0
    assert not host.proc.p_sigqueue


def test_sigprocmask_and_sigpending() -> None:
    host = KernHost()
    full = host.put(b"\xff" * 16)
    old = host.put(bytes(16))
    assert host.call(340, 1, full, old) == 0
    assert host.get(old, 16) == bytes(16)
    assert not host.td.td_sigmask & (sigmask(SIGKILL) | sigmask(SIGSTOP))
    assert host.call(37, host.proc.p_pid, SIGUSR1) == 0
    assert host.call(343, old) == 0
    assert int.from_bytes(host.get(old, 16), "little") == sigmask(SIGUSR1)
    assert host.call(340, 9, full, 0) == -E.EINVAL
    assert host.call(340, 9, 0, old) == 0, "how counts only with a set"


def test_kill_counts_its_arguments() -> None:
    host = KernHost()
    assert host.call(37, host.proc.p_pid, 0) == 0
    assert host.call(37, 77, 0) == -E.ESRCH
    assert host.call(37, host.proc.p_pid, 129) == host.call(37, host.proc.p_pid, -1) == -E.EINVAL
    assert host.call(433, host.td.td_tid, SIGTERM) == 0
    assert host.td.td_ast
    ast(host.td)
    assert host.proc.wait_status == 128 + SIGTERM


def test_freebsd_queues_each_kill_and_linux_one() -> None:
    for abi, number, expected in (("freebsd", 37, 3), ("linux", 62, 1)):
        host = KernHost(abi)
        host.td.td_sigmask = (1 << 128) - 1
        for _ in range(3):
            assert host.call(number, host.proc.p_pid, 15) == 0
        assert len(host.proc.p_sigqueue) == expected


def test_a_full_queue_never_fails_kill_but_sigqueue() -> None:
    host = KernHost()
    host.td.td_sigmask = (1 << 128) - 1
    for _ in range(200):
        assert host.call(37, host.proc.p_pid, SIGUSR1) == 0
    assert len(host.proc.p_sigqueue) == 128
    assert host.call(456, host.proc.p_pid, SIGUSR1, 5) == -E.EAGAIN


def test_sigsuspend_restores_the_mask_through_the_frame() -> None:
    host = KernHost()
    catch(host, SIGUSR1)
    host.td.td_sigmask = sigmask(SIGUSR1) | sigmask(SIGUSR2)
    psignal(host.proc, KSigInfo(SIGUSR1))
    assert host.call(341, host.put(bytes(16))) == -E.EINTR
    ast(host.td)
    saved = int.from_bytes(host.get(host.cpu.frame.rdx, 16), "little")
    assert saved == sigmask(SIGUSR1) | sigmask(SIGUSR2)
    assert host.td.td_sigmask == sigmask(SIGUSR1)


def test_sigsuspend_that_nothing_ends_kills_and_says_so() -> None:
    host = KernHost()
    host.call(341, host.put(bytes(16)))
    assert host.proc.wait_status == 128 + SIGKILL
    assert host.unsupported[-1].what == "deadlock"


def test_sigtimedwait_takes_or_times_out() -> None:
    host = KernHost()
    host.td.td_sigmask = sigmask(SIGUSR1)
    wanted = host.put(sigmask(SIGUSR1).to_bytes(16, "little"))
    info = host.put(bytes(80))
    assert host.call(345, wanted, info, host.put(struct.pack("<qq", 0, 1000))) == -E.EAGAIN
    assert host.call(37, host.proc.p_pid, SIGUSR1) == 0
    assert host.call(345, wanted, info, 0) == SIGUSR1
    assert struct.unpack_from("<iii", host.get(info, 12)) == (SIGUSR1, 0, SI_USER)
    assert not host.proc.p_sigqueue


def test_sigaltstack() -> None:
    host = KernHost()
    old = host.put(bytes(24))
    assert host.call(53, host.put(struct.pack("<QQi4x", SCRATCH, 2047, 0)), 0) == -E.ENOMEM
    assert host.call(53, host.put(struct.pack("<QQi4x", SCRATCH, 8192, 3)), 0) == -E.EINVAL
    assert host.call(53, host.put(struct.pack("<QQi4x", SCRATCH, 8192, 0)), old) == 0
    assert struct.unpack("<QQi4x", host.get(old, 24))[2] == 4, "SS_DISABLE before the first"
    host.cpu.frame.rsp = SCRATCH + 100
    assert host.call(53, host.put(struct.pack("<QQi4x", SCRATCH, 8192, 0)), 0) == -E.EPERM
    assert host.call(53, 0, old) == 0
    assert struct.unpack("<QQi4x", host.get(old, 24)) == (SCRATCH, 8192, 1)


# -- taking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abi", ABIS)
def test_default_actions(abi: str) -> None:
    realtime = 34 if abi == "linux" else 67
    for signo, status in ((SIGTERM, 143), (SIGABRT, 134), (SIGSEGV, 139), (SIGCHLD, None), (67, 128 + realtime)):
        host = KernHost(abi)
        psignal(host.proc, KSigInfo(signo))
        ast(host.td)
        assert (host.proc.wait_status if host.proc.p_state else None) == status


def test_a_stop_signal_is_reported_and_dropped() -> None:
    host = KernHost()
    psignal(host.proc, KSigInfo(SIGSTOP))
    ast(host.td)
    assert not host.proc.p_state
    assert host.unsupported[0].name == "SIGSTOP"


@pytest.mark.parametrize("abi", ABIS)
def test_a_trap_that_is_blocked_or_ignored_kills(abi: str) -> None:
    for prepare in ("mask", "ignore"):
        host = KernHost(abi)
        catch(host, SIGSEGV)
        if prepare == "mask":
            host.td.td_sigmask = sigmask(SIGSEGV)
        else:
            host.proc.p_sigacts.ps_sigact[SIGSEGV] = SigAction(SIG_IGN)
        trapsignal(host.td, fault())
        ast(host.td)
        assert host.proc.wait_status == 128 + SIGSEGV


@pytest.mark.parametrize("abi", ABIS)
def test_a_sent_signal_that_is_blocked_waits(abi: str) -> None:
    host = KernHost(abi)
    host.td.td_sigmask = sigmask(SIGSEGV)
    tdsendsignal(host.td, KSigInfo(SIGSEGV))
    ast(host.td)
    assert not host.proc.p_state
    assert len(host.td.td_sigqueue) == 1


@pytest.mark.parametrize("abi", ABIS)
def test_handler_blocks_its_signal_and_its_mask(abi: str) -> None:
    host = KernHost(abi)
    catch(host, SIGUSR1, SA_SIGINFO, sigmask(SIGUSR2))
    psignal(host.proc, KSigInfo(SIGUSR1))
    ast(host.td)
    assert host.td.td_sigmask == sigmask(SIGUSR1) | sigmask(SIGUSR2)


@pytest.mark.parametrize("abi", ABIS)
def test_nodefer_and_resethand(abi: str) -> None:
    host = KernHost(abi)
    catch(host, SIGUSR1, SA_NODEFER | SA_RESETHAND)
    psignal(host.proc, KSigInfo(SIGUSR1))
    ast(host.td)
    assert host.td.td_sigmask == 0
    assert host.proc.p_sigacts.ps_sigact[SIGUSR1].sa_handler == 0
    psignal(host.proc, KSigInfo(SIGUSR1))
    ast(host.td)
    assert host.proc.wait_status == 128 + (10 if abi == "linux" else SIGUSR1)


@pytest.mark.parametrize("abi", ABIS)
def test_entry_registers(abi: str) -> None:
    """System V: rsp is 8 above a multiple of 16 when the handler is entered, below the red zone."""
    host = KernHost(abi)
    catch(host, SIGBUS)
    for rsp in (STACK_TOP - 0x1000, STACK_TOP - 0x1007, STACK_TOP - 0x1008):
        host.cpu.frame.rsp = rsp
        host.td.td_sigmask = 0
        trapsignal(host.td, fault(SIGBUS, 0xABC))
        ast(host.td)
        frame = host.cpu.frame
        entry = frame.rsp if abi == "linux" else frame.rsp - 8
        assert entry % 16 == 8
        assert frame.rsp <= rsp - 128 - 900
        number = 7 if abi == "linux" else SIGBUS
        assert frame.rdi == number
        assert host.get(frame.rsi, 4) == number.to_bytes(4, "little")
        assert not frame.rflags & 0x500, "direction and trace flags are cleared"
        if abi == "linux":
            assert (frame.rip, host.word(frame.rsp)) == (HANDLER, RESTORER)
        else:
            assert (frame.rip, host.word(frame.rsp)) == (host.proc.p_sysent.sv_sigcode_base, HANDLER)


@pytest.mark.parametrize("abi", ABIS)
def test_altstack_is_used_only_with_the_flag(abi: str) -> None:
    for flags, on in ((SA_ONSTACK, True), (0, False)):
        host = KernHost(abi)
        host.td.td_sigstk = StackT(SCRATCH, 0x4000, 0)
        catch(host, SIGUSR1, flags)
        psignal(host.proc, KSigInfo(SIGUSR1))
        ast(host.td)
        assert (SCRATCH <= host.cpu.frame.rsp < SCRATCH + 0x4000) is on


@pytest.mark.parametrize(("abi", "expected"), [("freebsd", SIGILL), ("linux", SIGSEGV)])
def test_no_room_for_the_frame_kills(abi: str, expected: int) -> None:
    host = KernHost(abi)
    catch(host, SIGSEGV)
    host.cpu.frame.rsp = STACK + 0x100
    trapsignal(host.td, fault())
    ast(host.td)
    assert host.proc.wait_status == 128 + expected


def test_linux_turns_an_unwritable_frame_into_sigsegv_on_the_altstack() -> None:
    host = KernHost("linux")
    catch(host, SIGUSR1)
    catch(host, SIGSEGV, SA_ONSTACK | SA_SIGINFO)
    host.td.td_sigstk = StackT(SCRATCH, 0x4000, 0)
    host.cpu.frame.rsp = STACK + 0x100
    psignal(host.proc, KSigInfo(SIGUSR1))
    ast(host.td)
    assert not host.proc.p_state
    assert host.cpu.frame.rdi == 11
    assert SCRATCH <= host.cpu.frame.rsp < SCRATCH + 0x4000


def test_linux_never_leaves_the_altstack_downwards() -> None:
    host = KernHost("linux")
    catch(host, SIGUSR1, SA_ONSTACK | SA_NODEFER)
    host.td.td_sigstk = StackT(SCRATCH + 0x8000, 2048, 0)
    for _ in range(3):
        psignal(host.proc, KSigInfo(SIGUSR1))
        ast(host.td)
    assert host.proc.wait_status == 128 + SIGSEGV, "the second frame does not fit"


def test_a_handler_that_faults_on_entry_does_not_loop() -> None:
    """Each delivery faults again: the signal is blocked in its own handler, so the second one kills."""
    for abi in ABIS:
        host = KernHost(abi)
        catch(host, SIGSEGV)
        for _ in range(2):
            trapsignal(host.td, fault())
            ast(host.td)
        assert host.proc.wait_status == 128 + SIGSEGV


def test_nodefer_faults_until_the_stack_is_used_up() -> None:
    for abi in ABIS:
        host = KernHost(abi)
        catch(host, SIGSEGV, SA_NODEFER | SA_SIGINFO)
        count = 0
        while not host.proc.p_state and count < 1000:
            trapsignal(host.td, fault())
            ast(host.td)
            count += 1
        assert 40 < count < 80


def test_interrupted_by_restart_flag() -> None:
    host = KernHost()
    assert interrupted(host.td) == 0
    psignal(host.proc, KSigInfo(SIGUSR1))
    assert interrupted(host.td) == E.EINTR
    catch(host, SIGUSR1, SA_RESTART)
    assert interrupted(host.td) == E.ERESTART
    host.td.td_sigmask = sigmask(SIGUSR1)
    assert interrupted(host.td) == 0


def test_order_thread_trap_first_then_number() -> None:
    host = KernHost()
    signals = host.watch_signals()
    for signo in (SIGUSR2, SIGUSR1, SIGTERM):
        catch(host, signo)
        psignal(host.proc, KSigInfo(signo))
    catch(host, SIGSEGV)
    trapsignal(host.td, fault())
    ast(host.td)
    assert [event.signo for event in signals] == [SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2]
    assert {event.action for event in signals} == {"deliver"}


# -- Linux's calls ------------------------------------------------------------------------------------------


def test_rt_sigaction_round_trip() -> None:
    host = KernHost("linux")
    act = struct.pack("<QQQQ", HANDLER, 0x0C000004, RESTORER, 1 << 9 | 1 << 8)
    assert host.call(13, 10, host.put(act), 0, 8) == 0
    assert host.proc.p_sigacts.ps_sigact[SIGUSR1].sa_handler == HANDLER
    old = host.put(bytes(32))
    assert host.call(13, 10, 0, old, 8) == 0
    assert host.get(old, 32) == struct.pack("<QQQQ", HANDLER, 0x0C000004, RESTORER, 1 << 9)
    assert host.call(13, 10, 0, old, 4) == host.call(13, 65, 0, old, 8) == host.call(13, 9, host.put(act), 0, 8) == -22


def test_rt_sigprocmask_translates() -> None:
    host = KernHost("linux")
    mask = host.put((1 << 9).to_bytes(8, "little"))
    assert host.call(14, 0, mask, 0, 8) == 0
    assert host.td.td_sigmask == sigmask(SIGUSR1)
    old = host.put(bytes(8))
    assert host.call(14, 2, mask, old, 8) == 0
    assert host.get(old, 8) == (1 << 9).to_bytes(8, "little")
    assert host.call(14, 3, mask, 0, 8) == -22


def test_every_linux_signal_has_its_own_number() -> None:
    from kernel_model.abi.linux64.signo import TO_BSD, TO_LINUX, mask_to_bsd, mask_to_linux

    assert len(set(TO_BSD)) == 65
    assert all(TO_LINUX[TO_BSD[n]] == n for n in range(1, 65))
    everything = (1 << 64) - 1
    assert mask_to_linux(mask_to_bsd(everything)) == everything


def test_tgkill() -> None:
    host = KernHost("linux")
    pid = host.proc.p_pid
    assert host.call(234, pid, pid, 0) == 0
    assert host.call(234, pid, 99, 0) == host.call(234, 99, pid, 0) == -3
    assert host.call(234, pid, pid, 65) == host.call(234, 0, pid, 0) == host.call(234, pid, -1, 0) == -22
