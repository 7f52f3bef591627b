"""Programs of a few instructions in FreeBSD ELF files, made without an assembler.

Each text is Intel syntax with the number ROUNDS where the code has 0x11111111; the hexadecimal is what it assembles to.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 0x11111111
TEXT = 0x400000
DATA = 0x10000000
PAGE = 4096
ELFOSABI_FREEBSD = 9

# mov ebx,ROUNDS; xor eax,eax; 1: lea rax,[rax+rbx*2+1]; xor rax,rbx; rol rax,7; add rdx,rax; dec ebx; jnz 1b
COMPUTE = "bb1111111131c0488d4458014831d848c1c0074801c2ffcb75ed"
# mov ebx,ROUNDS; mov r12,rsp; sub r12,0x4000; 2: xor ecx,ecx
# 1: mov [r12+rcx*8],rbx; add qword ptr [r12+rcx*8+8],rcx; mov rax,[r12+rcx*8]; inc ecx; cmp ecx,0x7ff; jnz 1b
# dec ebx; jnz 2b
STORE = "bb111111114989e44981ec0040000031c949891ccc49014ccc08498b04ccffc181f9ff07000075e9ffcb75e3"
# mov ebx,ROUNDS; 1: mov eax,39; syscall; dec ebx; jnz 1b
GETPPID = "bb11111111b8270000000f05ffcb75f5"
# mmap(0, ROUNDS << 12, READ|WRITE, PRIVATE|ANON, -1, 0)
# mov ebx,ROUNDS; 1: mov byte ptr [rax],1; add rax,4096; dec ebx; jnz 1b
TOUCH = (
    "31ffbe1111111148c1e60cba0300000041ba0210000049c7c0ffffffff4531c9b8dd0100000f05"
    "bb11111111c60001480500100000ffcb75f3"
)
# mov ebx,ROUNDS; mov rax,rsp; 1: sub rax,0x20000; mov byte ptr [rax],1; dec ebx; jnz 1b
STACK = "bb111111114889e0482d00000200c60001ffcb75f3"
# mov ebp,50; 1: mmap(0, 4096, ebp & 1 | 2, PRIVATE|ANON, -1, 0); dec ebp; jnz 1b
# mov ebx,ROUNDS; 2: mmap(0, 0x10000, READ|WRITE, ...); mov byte ptr [rax],1; munmap(rax, 0x10000); dec ebx; jnz 2b
MMAP = (
    "bd3200000031ffbe0010000089ea83e20183ca0241ba0210000049c7c0ffffffff4531c9b8dd0100000f05ffcd75d6"
    "bb1111111131ffbe00000100ba0300000041ba0210000049c7c0ffffffff4531c9b8dd0100000f05"
    "c600014889c7be00000100b8490000000f05ffcb75c7"
)
# mov ebx,ROUNDS; mov eax,DATA; 1: mov cl,[rax]; add rax,4096; dec ebx; jnz 1b
READ = "bb11111111b8000000108a08480500100000ffcb75f4"
# mov ebx,ROUNDS; mov eax,DATA; 1: mov [rax],cl; add rax,4096; dec ebx; jnz 1b
WRITE = "bb11111111b8000000108808480500100000ffcb75f4"
# xor edi,edi; mov eax,1; syscall
EXIT = "31ffb8010000000f05"


def code(text: str, rounds: int) -> bytes:
    """The bytes of *text* with the number of rounds put in, and exit(0) behind them."""
    raw = bytes.fromhex(text) + bytes.fromhex(EXIT)
    return raw.replace(ROUNDS.to_bytes(4, "little"), rounds.to_bytes(4, "little"))


def elf(path: Path, body: bytes, data_pages: int = 0) -> Path:
    """Write a static executable: *body* at TEXT, and *data_pages* of initialised data at DATA."""
    headers = [(1, 5, 0, TEXT, 0x1000 + len(body))]
    if data_pages:
        offset = 0x1000 + (len(body) + PAGE - 1) // PAGE * PAGE
        headers.append((1, 6, offset, DATA, data_pages * PAGE))
    ident = b"\x7fELF" + bytes([2, 1, 1, ELFOSABI_FREEBSD]) + bytes(8)
    rest = (2, 62, 1, TEXT + 0x1000, 64, 0, 0, 64, 56, len(headers), 64, 0, 0)
    image = bytearray(ident + struct.pack("<HHIQQQIHHHHHH", *rest))
    for kind, flags, offset, va, size in headers:
        image += struct.pack("<IIQQQQQQ", kind, flags, offset, va, va, size, size, PAGE)
    image = image.ljust(0x1000, b"\0") + body
    if data_pages:
        image = image.ljust(headers[1][2], b"\0")
        for page in range(data_pages):
            image += struct.pack("<Q", page).ljust(PAGE, b"\xaa")
    path.write_bytes(image)
    path.chmod(0o755)
    return path
