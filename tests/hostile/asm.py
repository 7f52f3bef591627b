"""As much of an assembler as hostile programs need."""

from __future__ import annotations

import struct

from tests.hostile.box import LINUX

WORD = (1 << 64) - 1
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
ARGUMENTS = (RDI, RSI, RDX, 10, 8, 9)
SYSCALL = b"\x0f\x05"
UD2 = b"\x0f\x0b"
RET = b"\xc3"
INT3 = b"\xcc"

NUMBERS = {
    "linux": {
        "read": 0,
        "write": 1,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "sigaction": 13,
        "sigprocmask": 14,
        "sigreturn": 15,
        "madvise": 28,
        "pause": 34,
        "exit": 231,
        "sigaltstack": 131,
        "memfd": 319,
        "ftruncate": 77,
        "fork": 57,
        "clone": 56,
        "kill": 62,
        "getpid": 39,
        "futex": 202,
        "dup2": 33,
        "pipe": 22,
        "poll": 7,
    },
    "freebsd": {
        "exit": 1,
        "fork": 2,
        "read": 3,
        "write": 4,
        "getpid": 20,
        "kill": 37,
        "sigaltstack": 53,
        "munmap": 73,
        "mprotect": 74,
        "madvise": 75,
        "sigprocmask": 340,
        "sigsuspend": 341,
        "sigaction": 416,
        "mmap": 477,
        "ftruncate": 480,
        "pipe": 542,
        "poll": 209,
        "rfork": 251,
        "vfork": 66,
        "dup2": 90,
        "thr_new": 455,
    },
}


def movabs(register: int, value: int) -> bytes:
    """mov r64, imm64"""
    return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + struct.pack("<Q", value & WORD)


def store(address: int, value: int) -> bytes:
    """mov [address], value; rax and rbx are used."""
    return movabs(RAX, value) + movabs(RBX, address) + bytes.fromhex("488903")


def system(abi: int, name: str, *args: int) -> bytes:
    """A system call with constant arguments."""
    number = NUMBERS["linux" if abi == LINUX else "freebsd"][name]
    return (
        b"".join(movabs(register, value) for register, value in zip(ARGUMENTS, args, strict=False))
        + movabs(RAX, number)
        + SYSCALL
    )


def leave(abi: int, status: int = 0) -> bytes:
    """_exit(status)"""
    return system(abi, "exit", status)


def jump(target: int) -> bytes:
    """jmp to an absolute address; rax is used."""
    return movabs(RAX, target) + bytes.fromhex("ffe0")


def call(target: int) -> bytes:
    """call an absolute address; rax is used."""
    return movabs(RAX, target) + bytes.fromhex("ffd0")


def repeat(times: int, body: bytes) -> bytes:
    """Run *body* so often; r13 counts."""
    head = movabs(13, times)
    loop = body + bytes.fromhex("49ffcd")
    return head + loop + b"\x0f\x85" + struct.pack("<i", -len(loop) - 6)


def action(abi: int, signo: int, handler: int, flags: int, at: int, restorer: int = 0) -> bytes:
    """sigaction(2); the structure is built at *at*."""
    words = (handler, flags | 0x04000000, restorer, 0) if abi == LINUX else (handler, flags, 0, 0)
    out = b"".join(store(at + 8 * index, word) for index, word in enumerate(words))
    return out + system(abi, "sigaction", signo, at, 0, 8)
