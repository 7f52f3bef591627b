"""The first stack of a FreeBSD program.

    stack top   ps_strings                     32 bytes
                path of the program            for the run-time linker
                canary                         64 random bytes
                page sizes                     3 words
                argument strings, environment strings
                auxiliary vector               AT_COUNT pairs
                environment pointers, 0
                argument pointers, 0
    rdi ->      argc
    rsp ->      (unused word when argc's address is a multiple of 16)

FreeBSD: exec_copyout_strings(), sys/kern/kern_exec.c; freebsd_fixup() and freebsd_copyout_auxargs(),
sys/kern/imgact_elf.c.
Differs: the trampoline is always in the shared page, so none is written here; there is no gap of ASLR; there is
no vdso and no FXRNG page, so AT_KPRELOAD and AT_FXRNG are absent; kern.elf64.sigfastblock is 0 unless it is set,
because sigfastblock(2) is not there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert, some
from kernel_model.kern.copyin import copyout
from kernel_model.kern.elf_common import (
    AT_ARGC,
    AT_ARGV,
    AT_BASE,
    AT_BSDFLAGS,
    AT_CANARY,
    AT_CANARYLEN,
    AT_EHDRFLAGS,
    AT_ENTRY,
    AT_ENVC,
    AT_ENVV,
    AT_EXECPATH,
    AT_FLAGS,
    AT_NCPUS,
    AT_NULL,
    AT_OSRELDATE,
    AT_PAGESIZES,
    AT_PAGESIZESLEN,
    AT_PAGESZ,
    AT_PHDR,
    AT_PHENT,
    AT_PHNUM,
    AT_PS_STRINGS,
    AT_STACKPROT,
    AT_TIMEKEEP,
    AT_USRSTACKBASE,
    AT_USRSTACKLIM,
    AUXENT,
    ELF_BSDF_SIGFASTBLK,
    ELF_BSDF_VMNOOVERCOMMIT,
    AuxEntry,
    pack_auxv,
)
from kernel_model.kern.imgact import MAXPAGESIZES, ExecError, StackItem
from kernel_model.kern.kern_sharedpage import timekeep_base
from kernel_model.rlimit import RLIMIT_STACK
from kernel_model.vm.vm_param import PAGE_MASK, PAGE_SIZE, round_page

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams

PS_STRINGS: Final = struct.Struct("<QI4xQI4x")
CANARY_SIZE: Final = 64
SIGFASTBLOCK: Final = "kern.elf64.sigfastblock"
PAGESIZES: Final = (PAGE_SIZE, 2 << 20, 0)


def exec_copyout_strings(imgp: ImageParams) -> int:
    """Write the first stack; returns the address of argc."""
    release = imgp.release
    args = imgp.args
    strings = b"".join(string + b"\0" for string in (*args.argv, *args.envv))
    at = imgp.ps_strings = _psstrings(imgp)
    at = _put_execpath(imgp, at)
    at = _put_canary(imgp, at)
    at = _put_pagesizes(imgp, at)
    at = (at - len(strings)) & ~7
    strings_at = at
    at -= release.aux_count * AUXENT.size
    aux_at = at
    at -= 8 * (len(args.argv) + 1 + len(args.envv) + 1)
    imgp.argv = at
    imgp.envv = at + 8 * (len(args.argv) + 1)
    imgp.stage(
        "strings", argv=imgp.argv, envv=imgp.envv, strings=strings_at, pagesizes=imgp.pagesizes, canary=imgp.canary,
        execpath=imgp.execpathp, ps_strings=imgp.ps_strings,
    )  # fmt: skip
    _put(imgp, strings_at, strings, "strings")
    _put_vectors(imgp, strings_at)
    imgp.stage("auxv", address=aux_at, slots=release.aux_count)
    _put_auxv(imgp, aux_at)
    stack_base = at - 8
    _put(imgp, stack_base, struct.pack("<Q", len(args.argv)), "argc", release.exec_checks_fixup)
    return stack_base


def _psstrings(imgp: ImageParams) -> int:
    """Where ps_strings lies; since 15.0 below the top of this process's stack (PROC_PS_STRINGS)."""
    if imgp.release.exec_stack_after_interpreter:
        return imgp.proc.p_vmspace.vm_stacktop - PS_STRINGS.size
    return some(imgp.sysent, "sysent").sv_psstrings


def _put(imgp: ImageParams, va: int, data: bytes, what: str, checked: bool | None = None) -> None:
    """Copy *data* out; whether a fault matters depends on the release (``exec_checks_copyout`` by default)."""
    if not data:
        return
    try:
        copyout(imgp.td, va, data)
    except SyscallError:
        if imgp.release.exec_checks_copyout if checked is None else checked:
            raise ExecError(E.EFAULT, f"the first stack does not fit: {what} at {va:#x}") from None
    imgp.stack_items.append(StackItem(va, len(data), what))


def _put_execpath(imgp: ImageParams, at: int) -> int:
    if not imgp.execpath:
        return at
    at -= len(imgp.execpath) + 1
    if imgp.release.execpath_aligned:
        at &= ~7
    imgp.execpathp = at
    _put(imgp, at, imgp.execpath + b"\0", "execpath")
    return at


def _put_canary(imgp: ImageParams, at: int) -> int:
    at -= CANARY_SIZE
    imgp.canary, imgp.canarylen = at, CANARY_SIZE
    _put(imgp, at, imgp.proc.kernel.random_bytes(CANARY_SIZE), "canary")
    return at


def _put_pagesizes(imgp: ImageParams, at: int) -> int:
    data = struct.pack(f"<{MAXPAGESIZES}Q", *PAGESIZES)
    at = (at - len(data)) & ~7
    imgp.pagesizes, imgp.pagesizeslen = at, len(data)
    _put(imgp, at, data, "pagesizes")
    return at


def _put_vectors(imgp: ImageParams, strings_at: int) -> None:
    """Both pointer vectors, and ps_strings which tells ps(1) where they are."""
    args = imgp.args
    pointers: list[int] = []
    for vector in (args.argv, args.envv):
        for string in vector:
            pointers.append(strings_at)
            strings_at += len(string) + 1
        pointers.append(0)
    info = PS_STRINGS.pack(imgp.argv, len(args.argv), imgp.envv, len(args.envv))
    _put(imgp, imgp.ps_strings, info, "ps_strings")
    data = struct.pack(f"<{len(pointers)}Q", *pointers)
    split = 8 * (len(args.argv) + 1)
    _put_words(imgp, imgp.argv, data[:split], "argv")
    _put_words(imgp, imgp.envv, data[split:], "envp")


def _put_words(imgp: ImageParams, va: int, data: bytes, what: str) -> None:
    """Words are stored one by one: where the lower pages cannot be written, those above still are."""
    done = 0
    while done < len(data):
        count = min(len(data) - done, PAGE_SIZE - (va + done & PAGE_MASK))
        _put(imgp, va + done, data[done : done + count], what)
        done += count


def _put_auxv(imgp: ImageParams, aux_at: int) -> None:
    release = imgp.release
    entries = auxargs(imgp)
    data = pack_auxv(entries, release.aux_count if release.aux_zero_fills else 0)
    if release.exec_checks_fixup:
        _put(imgp, aux_at, data, "auxv", True)
    else:
        _put_words(imgp, aux_at, data, "auxv")


def auxargs(imgp: ImageParams) -> list[AuxEntry]:
    """The auxiliary vector of *imgp* in FreeBSD's order.  FreeBSD: freebsd_copyout_auxargs(), freebsd_fixup()."""
    args = some(imgp.auxargs, "auxargs")
    release = imgp.release
    stack_prot = imgp.stack_prot or some(imgp.sysent, "sysent").sv_stackprot
    entries = [
        (AT_PHDR, args.phdr),
        (AT_PHENT, args.phent),
        (AT_PHNUM, args.phnum),
        (AT_PAGESZ, PAGE_SIZE),
        (AT_FLAGS, args.flags),
        (AT_ENTRY, args.entry),
        (AT_BASE, args.base),
    ]
    if release.aux_ehdrflags:
        entries.append((AT_EHDRFLAGS, args.hdr_eflags))
    if imgp.execpathp:
        entries.append((AT_EXECPATH, imgp.execpathp))
    entries += [
        (AT_OSRELDATE, release.osreldate),
        (AT_CANARY, imgp.canary),
        (AT_CANARYLEN, imgp.canarylen),
        (AT_NCPUS, 1),
        (AT_PAGESIZES, imgp.pagesizes),
        (AT_PAGESIZESLEN, imgp.pagesizeslen),
        (AT_TIMEKEEP, timekeep_base(some(imgp.sysent, "sysent"))),
        (AT_STACKPROT, stack_prot),
    ]
    if release.aux_arguments:
        entries += _argument_entries(imgp)
    entries.append((AT_NULL, 0))
    kassert(len(entries) <= release.aux_count, "too many auxargs: %d", len(entries))
    return entries


def _argument_entries(imgp: ImageParams) -> list[AuxEntry]:
    """What FreeBSD 13 and newer tell besides."""
    proc = imgp.proc
    kernel = proc.kernel
    flags = ELF_BSDF_SIGFASTBLK if kernel.tunables.get(SIGFASTBLOCK, 0) else 0
    if kernel.vm.overcommit & 3:
        flags |= ELF_BSDF_VMNOOVERCOMMIT
    return [
        (AT_BSDFLAGS, flags),
        (AT_ARGC, len(imgp.args.argv)),
        (AT_ARGV, imgp.argv),
        (AT_ENVC, len(imgp.args.envv)),
        (AT_ENVV, imgp.envv),
        (AT_PS_STRINGS, imgp.ps_strings),
        (AT_USRSTACKBASE, round_page(proc.p_vmspace.vm_stacktop)),
        (AT_USRSTACKLIM, proc.p_limit.lim_cur(RLIMIT_STACK)),
    ]
