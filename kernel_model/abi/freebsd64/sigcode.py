"""The signal trampoline, in the page that every FreeBSD process shares with the kernel.

FreeBSD: sigcode, sys/amd64/amd64/sigtramp.S; its place is sv_sigcode_base, at the start of the shared page.
"""

from __future__ import annotations

SYS_sigreturn = 417

SIGCODE = bytes.fromhex(
    "ff1424"  # call *SIGF_HANDLER(%rsp)
    "488d7c2410"  # lea SIGF_UC(%rsp), %rdi
    "6a00"  # push $0, in place of a return address
    "48c7c0a1010000"  # mov $SYS_sigreturn, %rax
    "0f05"  # syscall
    "f4"  # 0: hlt, which traps
    "ebfd"  # jmp 0b
).ljust(32, b"\x90")
"""The handler is called with %rsp 8 above a multiple of 16, as by any CALL."""
