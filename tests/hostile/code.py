"""Instruction streams that nobody would write: bytes at random, real instructions at random, damaged programs."""

from __future__ import annotations

import functools
import random
import struct
from pathlib import Path

from tests.hostile.box import CODE, DATA, FREEBSD, LINUX, run_code

MMAP_TOP = 0x7FFF_FFFF_F000
EDGE = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0xFFF,
    0x1000,
    CODE - 1,
    CODE,
    CODE + 0xFFF,
    CODE + 0x1000,
    DATA,
    DATA + 0x3FFFF,
    0x7FFF_FFFF_EFFF,
    0x7FFF_FFFF_F000,
    0x7FFF_FFFF_FFFF,
    1 << 47,
    (1 << 47) + 0x1000,
    1 << 50,
    (1 << 50) + 0x400000,
    (1 << 51) - 1,
    1 << 52,
    1 << 62,
    1 << 63,
    (1 << 64) - (1 << 47),
    (1 << 64) - 0x1000,
    (1 << 64) - 8,
    (1 << 64) - 1,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0xFFFF_8000_0000_0000,
    0xFFFF_FFFF_8000_0000,
    0x5555_5555_5555_5555,
)


def movabs(register: int, value: int) -> bytes:
    """mov r64, imm64"""
    return bytes((0x48 | register >> 3, 0xB8 | register & 7)) + struct.pack("<Q", value & (1 << 64) - 1)


def registers(rng: random.Random, *, keep_stack: bool = True) -> bytes:
    """Give every register a value that might hurt."""
    out = b""
    for number in range(16):
        if number == 4 and keep_stack and rng.random() < 0.8:
            continue
        out += movabs(number, rng.choice(EDGE) + rng.choice((0, 0, 0, 1, -1, 8, 0x800)))
    return out


def soup(number: int) -> int:
    """Bytes at random."""
    rng = random.Random(number)
    code = registers(rng) + rng.randbytes(rng.choice((64, 1000, 4000)))
    return run_code(code, rng.choice((FREEBSD, LINUX)), paranoid=rng.random() < 0.2)


PREFIXES = (
    b"",
    b"",
    b"",
    b"",
    b"\x66",
    b"\xf2",
    b"\xf3",
    b"\xf0",
    b"\x64",
    b"\x65",
    b"\x2e",
    b"\x36",
    b"\x67",
    b"\xf0\xf0",
    b"\x66\xf2\xf3",
)
REX = (b"", b"", *(bytes((0x40 | value,)) for value in range(16)))


def instruction(rng: random.Random) -> bytes:
    """Something with the shape of an instruction: prefixes, REX, opcode, ModRM, SIB, displacement, immediate."""
    maps = (b"", b"", b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a")
    opcode = rng.choice(maps) + bytes((rng.randrange(256),))
    head = rng.choice(PREFIXES) + rng.choice(REX) + opcode
    if rng.random() < 0.05:
        head = rng.choice((b"\xc5", b"\xc4", b"\x62", b"\x8f")) + rng.randbytes(3) + bytes((rng.randrange(256),))
    modrm = rng.randrange(256)
    out = head + bytes((modrm,))
    mod, rm = modrm >> 6, modrm & 7
    if mod != 3 and rm == 4:
        out += bytes((rng.randrange(256),))
    if mod == 1:
        out += bytes((rng.randrange(256),))
    elif mod == 2 or (mod == 0 and rm == 5):
        out += struct.pack("<i", rng.choice((0, 1, -1, 64, 0x1000, -0x1000, 0x7FFFFFFF, -0x80000000)))
    return out + rng.randbytes(rng.choice((0, 0, 1, 4)))


def stream(number: int) -> int:
    """Instructions at random over registers that point at data, code and nothing."""
    rng = random.Random(number)
    code = registers(rng)
    while len(code) < 3000:
        code += instruction(rng)
        if rng.random() < 0.2:
            code += movabs(rng.randrange(16), rng.choice(EDGE))
        if rng.random() < 0.05:
            code += b"\x0f\x05"
    return run_code(code, rng.choice((FREEBSD, LINUX)), paranoid=rng.random() < 0.2)


INSTRUCTIONS = """
48cf cf 66cf 480f07 0f07 0f34 0f35 480f35 cd00 cd01 cd03 cd04 cd06 cd08 cd0d cd0e cd12 cd13 cd20 cd80 cdff cc
f1 ce f4 e400 e500 e600 e700 ec ed ee ef 6c 6d 6e 6f f36c f36e 0f20c0 0f20d8 0f22c0 0f22d8 0f22e0 440f20c0
440f22c0 0f21c0 0f21f8 0f23c0 0f23f8 0f30 0f32 0f33 0f31 0f01f9 0f01f8 0f0110 0f0118 0f0100 0f0108 0f0138
0f0130 0f01e0 0f0000 0f0008 0f0010 0f0018 0f0020 0f0028 0f00d0 0f00d8 0f01d0 0f01d1 0f01c1 0f01d9 0f01c8
0f01c9 0f01ca 0f01cb 0f01d4 0f01d5 0f01d8 0f01da 0f01db 0f01dc 0f01dd 0f01de 0f01df 0f01c2 0f01c3 0f01c4 0f06
0f08 0f09 f30f09 0faa fa fb fc fd 9b d9d0 0fae00 0fae08 0fae10 0fae18 0fae20 0fae28 0fae30 0fae38 480fae00
480fae08 480fae20 480fae28 660fae30 660fae38 f30faec0 f30faec8 f3480faec0 f3480faed0 f3480faed8 0fc720
480fc720 0fc728 0fc730 0fc738 660fc730 f30fc730 0fc7f0 0fc7f8 480fc708 f30fc7f8 9d 9c 669d 8ed8 8ec0 8ed0 8ee0
8ee8 8ec8 8e18 0fb200 0fb400 0fb500 ff28 48ff28 ff18 48ff18 cb 48cb ca0800 c20800 48ca0800 ea c8ffff1f
c8ffffff c9 c8000000 62f17c4858c0 c5fc58c0 c4e27d18c0 c5f877 c5fc77 660f3a44c0ff 0f38c8c1 0f3acc0001 0f0b 0fb9
0fff f0f0 f00fc708 f0480fc708 f083 f08300 f0830001 f090 f390 66 0f1f00 0f1fff 0f1ac0 f30f1bc0 f30f1efa
f30f1efb 0f18 0f1800 0f1808 0f0d00 0f0d08 0fa2 d6 27 2f 37 3f 60 61 62 82 9a a6 f3a6 f2ae f3a4 f348ab f3aa
f26f dbe3 d9e8 def9 dbe2 dfe0 9bdfe0 d928 d930 dd20 dd30 d920 9bd930 db28 db38 df20 df30 d9f8 d9f5 d9fe d9ff
d9fb d9f2 d9f3 d9f1 d9f9 d9fd d9f4 0f77 0fae10 0fae18 660f6f00 0f2800 0f2900 0f5e c3 c2ffff f20f c7f800000000
c6f800 0fc7 0f05 0f05 0f05 63c0 d7 48d7 e0fe e1fe e2fe e3fe
"""
SPECIAL = tuple(map(bytes.fromhex, INSTRUCTIONS.split()))
"""Privileged, reserved, far, flag-changing, floating-point, vector: what a processor treats as special."""


def special(number: int) -> int:
    """Privileged, reserved, far, flag-changing and floating-point instructions, each with hostile registers."""
    rng = random.Random(number)
    handler = rng.random() < 0.5
    code = b""
    osabi = rng.choice((FREEBSD, LINUX))
    if handler:
        code += catch_all(osabi, rng.choice(EDGE) if rng.random() < 0.1 else CODE + 0x2000)
    code += registers(rng, keep_stack=rng.random() < 0.7)
    if rng.random() < 0.3:
        # popf with every flag a program may ask for
        code += (
            b"\x68"
            + struct.pack("<i", rng.choice((-1, 0x7FFFFFFF, 0x100, 0x4000, 0x40000, 0x3000, 0x20000, 0x10000)))
            + b"\x9d"
        )
    if rng.random() < 0.3:
        # unmask every floating-point exception
        code += bytes.fromhex("6a00 d92c24 0fae1424 4883c408")
    for _ in range(rng.choice((1, 3, 30))):
        if rng.random() < 0.4:
            code += movabs(rng.randrange(16), rng.choice(EDGE))
        code += rng.choice(SPECIAL)
        if rng.random() < 0.2:
            code += instruction(rng)
    code = code.ljust(0x2000, rng.choice((b"\xcc", b"\x90", b"\x00", b"\xc3", b"\xf4")))
    # the handler: skip bytes, or return with whatever the frame has now
    code += rng.choice((b"\xc3", bytes.fromhex("ff82b0000000 c3"), instruction(rng) + b"\xc3", b"\xf4", b"\x0f\x0b"))
    return run_code(code, osabi, paranoid=rng.random() < 0.2)


def catch_all(osabi: int, handler: int) -> bytes:
    """sigaction(2) for every signal; the structure is built at the start of the data."""
    out = b""
    base = DATA + 0x100
    if osabi == LINUX:
        words = (handler, 0x04000000 | 0x40000000 | 4, CODE + 0x3F00, 0)
    else:
        words = (handler, 0x40 | 0x10, 0, 0)
    for index, word in enumerate(words):
        out += movabs(0, word) + movabs(3, base + 8 * index) + bytes.fromhex("488903")
    for signo in range(1, 32):
        out += movabs(7, signo) + movabs(6, base) + movabs(2, 0) + movabs(10, 8)
        out += movabs(0, 13 if osabi == LINUX else 416) + b"\x0f\x05"
    return out


@functools.cache
def busybox() -> bytes:
    return Path("/bin/busybox").read_bytes()


def damaged(number: int) -> int:
    """busybox with bytes of its text changed."""
    import os

    from emu.machine import Machine
    from tests.hostile.box import root, run_machine

    rng = random.Random(number)
    image = bytearray(busybox())
    shnum = 200 if rng.random() < 0.8 else 5000
    for _ in range(shnum):
        at = rng.randrange(0x1000, len(image) * 3 // 4)
        image[at] = rng.randrange(256) if rng.random() < 0.5 else image[at] ^ 1 << rng.randrange(8)
    path = root() / f"bb{number}"
    path.write_bytes(image)
    path.chmod(0o755)
    loop = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo $i; done"
    words = rng.choice(
        (
            ["sh", "-c", loop],
            ["ls", "-l", "/"],
            ["sha256sum", f"/bb{number}"],
            ["awk", "BEGIN{for(i=0;i<99;i++)print i/7}"],
        )
    )
    try:
        with Machine(root=root(), stdin=b"", stdout=bytearray(), stderr=bytearray(), ram=64 << 20) as machine:
            machine.execve(f"/bb{number}", words, {})
            return run_machine(machine, 0.2)
    finally:
        os.unlink(path)
