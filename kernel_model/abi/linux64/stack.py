"""The first stack of a Linux program.

    stack top   8 zero bytes
                the path given to execve       AT_EXECFN
                environment strings, argument strings (below them), the first argument lowest
                "x86_64"                       AT_PLATFORM
                16 random bytes                AT_RANDOM
                auxiliary vector, ending in AT_NULL
                environment pointers, 0
                argument pointers, 0
    rsp ->      argc                           always a multiple of 16

System V ABI, AMD64 supplement, 3.4.1.
Model only: FreeBSD's own Linux ABI (linux_copyout_strings(), sys/compat/linux/linux_elf.c) puts the same things in
FreeBSD's order; here the order is Linux's, because programs that overwrite their arguments rely on it.
Differs: no vdso, so AT_SYSINFO_EHDR is absent; AT_BASE is 0 without a program interpreter, as on Linux.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.abi.linux64.sendsig import LINUX_MINSIGSTKSZ
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.kern.copyin import copyout
from kernel_model.kern.elf_common import (
    AT_BASE,
    AT_ENTRY,
    AT_FLAGS,
    AT_NULL,
    AT_PAGESZ,
    AT_PHDR,
    AT_PHENT,
    AT_PHNUM,
    AUXENT,
    LINUX_AT_CLKTCK,
    LINUX_AT_EGID,
    LINUX_AT_EUID,
    LINUX_AT_EXECFN,
    LINUX_AT_GID,
    LINUX_AT_HWCAP,
    LINUX_AT_HWCAP2,
    LINUX_AT_MINSIGSTKSZ,
    LINUX_AT_PLATFORM,
    LINUX_AT_RANDOM,
    LINUX_AT_SECURE,
    LINUX_AT_UID,
    AuxEntry,
    pack_auxv,
)
from kernel_model.kern.imgact import ExecError, StackItem
from kernel_model.vm.vm_param import PAGE_SIZE

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams

RANDOM_SIZE: Final = 16
PLATFORM: Final = b"x86_64\0"
HWCAP: Final = 0x078BFBFD
"""EDX of CPUID 1 on the processor that Unicorn plays."""
CLKTCK: Final = 100


def linux_copyout_strings(imgp: ImageParams) -> int:
    """Write the first stack; returns the address of argc, which is rsp.

    Everything up to the vectors is one block that ends at the stack's top, so it is put together here and copied
    once.
    """
    args = imgp.args
    top = some(imgp.sysent, "sysent").sv_usrstack
    strings = b"".join(string + b"\0" for string in (*args.argv, *args.envv))
    execfn_at = top - 8 - len(args.path) - 1
    strings_at = execfn_at - len(strings)
    platform_at = (strings_at & ~0xF) - len(PLATFORM)
    imgp.canary = (platform_at - RANDOM_SIZE) & ~0xF
    imgp.canarylen = RANDOM_SIZE
    imgp.execpathp = execfn_at
    auxv = pack_auxv(auxargs(imgp, platform_at))
    words = 1 + len(args.argv) + 1 + len(args.envv) + 1
    stack = (imgp.canary - len(auxv) - 8 * words) & ~0xF
    kassert(stack & 0xF == 0, "first stack at %#x", stack)
    imgp.argv = stack + 8
    imgp.envv = imgp.argv + 8 * (len(args.argv) + 1)
    aux_at = imgp.envv + 8 * (len(args.envv) + 1)
    imgp.stage(
        "strings", argv=imgp.argv, envv=imgp.envv, random=imgp.canary, platform=platform_at, strings=strings_at,
        execfn=execfn_at,
    )  # fmt: skip
    _put(imgp, execfn_at, args.path + b"\0" + bytes(8), "execfn")
    _put(imgp, strings_at, strings, "strings")
    _put(imgp, platform_at, PLATFORM, "platform")
    _put(imgp, imgp.canary, imgp.proc.kernel.random_bytes(RANDOM_SIZE), "random")
    imgp.stage("auxv", address=aux_at, slots=len(auxv) // AUXENT.size)
    _put(imgp, aux_at, auxv, "auxv")
    _put(imgp, stack, _vectors(imgp, strings_at), "argc, argv, envp")
    return stack


def _put(imgp: ImageParams, va: int, data: bytes, what: str) -> None:
    if not data:
        return
    try:
        copyout(imgp.td, va, data)
    except SyscallError:
        raise ExecError(E.EFAULT, f"the first stack does not fit: {what} at {va:#x}") from None
    imgp.stack_items.append(StackItem(va, len(data), what))


def _vectors(imgp: ImageParams, strings_at: int) -> bytes:
    """argc and both pointer vectors."""
    words = [len(imgp.args.argv)]
    for vector in (imgp.args.argv, imgp.args.envv):
        for string in vector:
            words.append(strings_at)
            strings_at += len(string) + 1
        words.append(0)
    return struct.pack(f"<{len(words)}Q", *words)


def auxargs(imgp: ImageParams, platform_at: int) -> list[AuxEntry]:
    """The auxiliary vector in Linux's order."""
    args = some(imgp.auxargs, "auxargs")
    cred = imgp.newcred or imgp.proc.p_ucred
    return [
        (LINUX_AT_MINSIGSTKSZ, LINUX_MINSIGSTKSZ),
        (LINUX_AT_HWCAP, HWCAP),
        (AT_PAGESZ, PAGE_SIZE),
        (LINUX_AT_CLKTCK, CLKTCK),
        (AT_PHDR, args.phdr),
        (AT_PHENT, args.phent),
        (AT_PHNUM, args.phnum),
        (AT_BASE, args.base if args.interpreted else 0),
        (AT_FLAGS, args.flags),
        (AT_ENTRY, args.entry),
        (LINUX_AT_UID, cred.cr_ruid),
        (LINUX_AT_EUID, cred.cr_uid),
        (LINUX_AT_GID, cred.cr_rgid),
        (LINUX_AT_EGID, cred.cr_gid),
        (LINUX_AT_SECURE, int(imgp.credential_setid)),
        (LINUX_AT_RANDOM, imgp.canary),
        (LINUX_AT_HWCAP2, 0),
        (LINUX_AT_EXECFN, imgp.execpathp),
        (LINUX_AT_PLATFORM, platform_at),
        (AT_NULL, 0),
    ]
