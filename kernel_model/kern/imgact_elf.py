"""ELF programs: what is wrong with the file, for which ABI it is, and how its image is built.

FreeBSD: exec_imgact(), check_header(), load_file(), load_interp() and get_interp(), sys/kern/imgact_elf.c.  That file
answers three questions, each of which has a module here: for whom is the program (imgact_elf_brand), how do its
segments come into memory (imgact_elf_load), and, in this one, in which order all that happens.

Every check stands before ``exec_new_vmspace``: an error there leaves the old image as it was.  After it the process
dies of SIGABRT.
Differs: 64-bit programs for amd64 only; no address-space randomisation; no MAP_WXORX; no RACCT.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError, kassert
from kernel_model.kern.elf_common import (
    EI_CLASS,
    EI_DATA,
    EI_OSABI,
    EI_VERSION,
    ELFCLASS32,
    ELFCLASS64,
    ELFDATA2LSB,
    ELFMAG,
    EM_X86_64,
    ET_DYN,
    ET_EXEC,
    ET_NAMES,
    EV_CURRENT,
    PHDR,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    PT_PHDR,
    Ehdr,
    Phdr,
    machine_name,
    read_ehdr,
    read_phdrs,
)
from kernel_model.kern.imgact import ElfAuxargs, ExecError, ImageParams, path_text
from kernel_model.kern.imgact_elf_brand import BI_CAN_EXEC_DYN, BrandChoice, ElfBrandinfo, get_brandinfo
from kernel_model.kern.imgact_elf_load import enforce_limits, load_sections, trans_prot
from kernel_model.kern.kern_exec import exec_map_stack, exec_new_vmspace, exec_open
from kernel_model.kern.vnode import PATH_MAX
from kernel_model.rlimit import RLIMIT_DATA, RLIMIT_STACK
from kernel_model.vm.vm import VM_PROT_RW
from kernel_model.vm.vm_object import vm_object_deallocate
from kernel_model.vm.vm_param import PAGE_SIZE, WORD_MASK, round_page

if TYPE_CHECKING:
    from kernel_model.kern.proc import SysentVec

ET_DYN_LOAD_ADDR: Final = 0x01021000
PIE_BASE: Final = "kern.elf64.pie_base"
MAX_PALIGN: Final = 1 << 30
"""The largest page size, which bounds p_align."""
NXSTACK: Final = "kern.elf64.nxstack"


def exec_elf_imgact(imgp: ImageParams) -> bool:
    """Make the ELF file *imgp* the image of its process.

    Returns: False with ``refusal`` set when it is no ELF program for this machine; True when the image is there.
    Raises:  ExecError.
    """
    imgp.refusal = header_fault(imgp.image_header)
    if imgp.refusal:
        return False
    ehdr, phdrs = _headers(imgp)
    _check_segments(imgp, phdrs)
    interp = _interp(imgp, phdrs)
    choice = get_brandinfo(imgp, ehdr, phdrs, interp)
    if choice is None:
        raise ExecError(E.ENOEXEC, f"no ABI for ELF programs of brand {ehdr.e_ident[EI_OSABI]}")
    imgp.et_dyn_addr = _et_dyn_addr(imgp, ehdr, phdrs, choice.brand)
    _activate(imgp, ehdr, phdrs, interp, choice)
    return True


# -- checks ---------------------------------------------------------------------------------------------------


def header_fault(header: bytes) -> str:
    """Why FreeBSD's check_header() refuses *header*, in a few words; empty when it is accepted.

    FreeBSD: check_header(), and the e_type test at the top of the ELF activator.
    """
    ehdr = read_ehdr(header)
    if ehdr is None:
        return "not an ELF file" if header[:4] != ELFMAG else "truncated ELF header"
    ident = ehdr.e_ident
    if ident[EI_CLASS] != ELFCLASS64:
        what = "32-bit" if ident[EI_CLASS] == ELFCLASS32 else f"class {ident[EI_CLASS]}"
        machine = f", machine {machine_name(ehdr.e_machine)}" if ident[EI_DATA] == ELFDATA2LSB else ""
        return f"not a 64-bit ELF file: {what}{machine}"
    if ident[EI_DATA] != ELFDATA2LSB:
        return "not a little-endian ELF file"
    if ident[EI_VERSION] != EV_CURRENT or ehdr.e_version != EV_CURRENT:
        return f"ELF version {ehdr.e_version} instead of {EV_CURRENT}"
    if ehdr.e_machine != EM_X86_64:
        return f"not an x86-64 ELF file: machine {machine_name(ehdr.e_machine)}"
    if ehdr.e_phentsize != PHDR.size:
        return f"program headers of {ehdr.e_phentsize} bytes instead of {PHDR.size}"
    if ehdr.e_type not in (ET_EXEC, ET_DYN):
        return f"not an executable ELF file: type {ET_NAMES.get(ehdr.e_type, hex(ehdr.e_type))}"
    return ""


def phdrs_in_page(ehdr: Ehdr, page_size: int) -> bool:
    """Whether the table lies in the first page of the file.  FreeBSD: phdr_in_zero_page()."""
    return ehdr.e_phoff <= page_size and ehdr.e_phnum * ehdr.e_phentsize <= page_size - ehdr.e_phoff


def _headers(imgp: ImageParams) -> tuple[Ehdr, tuple[Phdr, ...]]:
    """The headers, which must lie in the first page and be aligned."""
    ehdr = read_ehdr(imgp.image_header)
    if ehdr is None or not phdrs_in_page(ehdr, PAGE_SIZE):
        raise ExecError(E.ENOEXEC, "program headers are not in the first page of the file")
    if ehdr.e_phoff & 7:
        raise ExecError(E.ENOEXEC, "program headers are not aligned")
    return ehdr, read_phdrs(imgp.image_header, ehdr)


def _check_segments(imgp: ImageParams, phdrs: tuple[Phdr, ...]) -> None:
    """Look at the sizes and at PT_GNU_STACK."""
    release = imgp.release
    mapsz = 0
    for phdr in phdrs:
        if phdr.p_type == PT_LOAD and release.exec_checks_palign:
            if phdr.p_align & (phdr.p_align - 1) or phdr.p_align > MAX_PALIGN:
                raise ExecError(E.ENOEXEC, f"segment alignment {phdr.p_align:#x} is not possible")
            mapsz += phdr.p_memsz
            if mapsz > WORD_MASK:
                raise ExecError(E.ENOEXEC, "segments are larger than 64 bits can say")
        elif phdr.p_type == PT_GNU_STACK:
            if imgp.proc.kernel.tunables.get(NXSTACK, 1):
                imgp.stack_prot = trans_prot(phdr.p_flags)
                if release.exec_gnu_stack_rw and imgp.stack_prot & VM_PROT_RW != VM_PROT_RW:
                    raise ExecError(E.ENOEXEC, "PT_GNU_STACK asks for a stack that cannot be read and written")
            imgp.stack_sz = phdr.p_memsz if release.exec_gnu_stack_size else 0


def _interp(imgp: ImageParams, phdrs: tuple[Phdr, ...]) -> bytes | None:
    """The program interpreter's path without NUL, None when there is none."""
    found: bytes | None = None
    for phdr in phdrs:
        if phdr.p_type != PT_INTERP:
            continue
        if found is not None and imgp.release.exec_rejects_two_interps:
            raise ExecError(E.ENOEXEC, "more than one PT_INTERP")
        found = _get_interp(imgp, phdr)
    return found


def _get_interp(imgp: ImageParams, phdr: Phdr) -> bytes:
    """FreeBSD: get_interp()."""
    release = imgp.release
    size = phdr.p_filesz
    if size > PATH_MAX or (release.exec_checks_interp_size and size < 2):
        raise ExecError(E.ENOEXEC, f"PT_INTERP of {size} bytes")
    end = phdr.p_offset + size
    if end <= PAGE_SIZE:
        text = imgp.image_header[phdr.p_offset : end]
        if release.exec_checks_interp_size and text[-1:] != b"\0":
            raise ExecError(E.ENOEXEC, "PT_INTERP has no end")
        if b"\0" not in text:
            text = imgp.image_header[phdr.p_offset :]
    elif release.exec_reads_far:
        far = imgp.read(phdr.p_offset, size)
        if far is None:
            raise ExecError(E.EIO, "PT_INTERP lies outside the file")
        text = far
    else:
        raise ExecError(E.ENOEXEC, "PT_INTERP is not in the first page of the file")
    return text.partition(b"\0")[0]


def _et_dyn_addr(imgp: ImageParams, ehdr: Ehdr, phdrs: tuple[Phdr, ...], brand: ElfBrandinfo) -> int:
    """How far above its link address a position-independent program is loaded."""
    if ehdr.e_type != ET_DYN:
        return 0
    if not brand.flags & BI_CAN_EXEC_DYN:
        raise ExecError(E.ENOEXEC, f"{brand.name} cannot execute shared objects")
    first = next((phdr for phdr in phdrs if phdr.p_type == PT_LOAD), None)
    if first is not None and first.p_vaddr:
        return 0
    return imgp.proc.kernel.tunables.get(PIE_BASE, ET_DYN_LOAD_ADDR)


# -- the new image ----------------------------------------------------------------------------------------------


def _activate(
    imgp: ImageParams, ehdr: Ehdr, phdrs: tuple[Phdr, ...], interp: bytes | None, choice: BrandChoice
) -> None:
    """From the point of no return to the auxiliary vector's contents."""
    proc = imgp.proc
    brand = choice.brand
    imgp.copyout_strings, imgp.setregs = brand.copyout_strings, brand.setregs
    sysent: SysentVec = brand.sysvec
    imgp.stage(
        "activate", brand=brand.name, why=choice.why, entry=ehdr.e_entry, type=ehdr.e_type, bias=imgp.et_dyn_addr,
        interpreter=path_text(interp or b""),
    )  # fmt: skip
    kassert(imgp.proc.kernel.sysvecs.get(sysent.name) is sysent, "ABI %s is not registered", sysent.name)
    exec_new_vmspace(imgp, sysent)
    proc.p_sysent = sysent
    if imgp.release.exec_stack_after_interpreter:
        _check_mapsz(imgp, phdrs, sysent)
    else:
        exec_map_stack(imgp)
    load_sections(imgp, phdrs, imgp.et_dyn_addr)
    enforce_limits(imgp, phdrs)
    imgp.entry_addr = (ehdr.e_entry + imgp.et_dyn_addr) & WORD_MASK
    base = imgp.et_dyn_addr
    addr = round_page(proc.p_vmspace.vm_daddr + proc.p_limit.lim_max(RLIMIT_DATA))
    if imgp.release.aslr:
        proc.p_vmspace.vm_map.anon_loc = addr
    if interp is not None:
        base = _load_interp(imgp, brand, interp, addr)
    if imgp.release.exec_stack_after_interpreter:
        exec_map_stack(imgp)
    imgp.auxargs = _auxargs(imgp, ehdr, phdrs, base, interpreted=interp is not None)
    kassert(imgp.vmspace_destroyed and proc.p_vmspace.vm_ssize > 0, "execve: no stack")
    imgp.interpreted = False
    proc.p_osrel = choice.osrel
    proc.p_fctl0 = choice.fctl0


def _auxargs(
    imgp: ImageParams, ehdr: Ehdr, phdrs: tuple[Phdr, ...], base: int, *, interpreted: bool
) -> ElfAuxargs:
    """What the auxiliary vector will say; *base* is where the interpreter lies, or the program that needs none."""
    return ElfAuxargs(
        phdr=(_proghdr(ehdr, phdrs) + imgp.et_dyn_addr) & WORD_MASK,
        phent=ehdr.e_phentsize,
        phnum=ehdr.e_phnum,
        base=base,
        entry=(ehdr.e_entry + imgp.et_dyn_addr) & WORD_MASK,
        hdr_eflags=ehdr.e_flags,
        interpreted=interpreted,
    )


def _check_mapsz(imgp: ImageParams, phdrs: tuple[Phdr, ...], sysent: SysentVec) -> None:
    """Since FreeBSD 14: all segments together must leave room for the largest stack."""
    mapsz = sum(phdr.p_memsz for phdr in phdrs if phdr.p_type == PT_LOAD)
    proc = imgp.proc
    room = sysent.sv_usrstack - proc.p_limit.lim_max(RLIMIT_STACK) - proc.p_vmspace.vm_map.min_offset
    if mapsz >= room:
        raise ExecError(E.ENOEXEC, f"segments of {mapsz:#x} bytes leave no room for the stack")


def _proghdr(ehdr: Ehdr, phdrs: tuple[Phdr, ...]) -> int:
    """Link address of the program headers: the last of PT_PHDR and the segments that hold them says it."""
    proghdr = 0
    for phdr in phdrs:
        if phdr.p_type == PT_PHDR:
            proghdr = phdr.p_vaddr
        elif phdr.p_type == PT_LOAD and phdr.p_offset == 0 and ehdr.phdrs_end <= phdr.p_filesz:
            proghdr = phdr.p_vaddr + ehdr.e_phoff
    return proghdr


def _load_interp(imgp: ImageParams, brand: ElfBrandinfo, interp: bytes, addr: int) -> int:
    """Load the program interpreter at *addr*; sets ``entry_addr``, returns where its first segment is.

    FreeBSD: load_interp().
    Differs: there is no emul_path; ``--root`` holds the interpreter under the name that the program gives.
    """
    if brand.interp_newpath and (not brand.interp_path or interp == brand.interp_path):
        try:
            return _load_file(imgp, brand.interp_newpath, addr)
        except SyscallError:
            pass
    try:
        return _load_file(imgp, interp, addr)
    except SyscallError as error:
        why = f": {error.reason}" if isinstance(error, ExecError) else ""
        name = path_text(interp)
        raise ExecError(error.errno, f"program interpreter {name} cannot be loaded{why}") from None


def _load_file(imgp: ImageParams, path: bytes, addr: int) -> int:
    """Map a shared object at *addr*, or a program where it wants to be.  FreeBSD: load_file()."""
    imgp.stage("interpreter", file=path_text(path), address=addr)
    interp = exec_open(imgp.td, imgp.args, path)
    try:
        fault = header_fault(interp.image_header)
        if fault:
            raise ExecError(E.ENOEXEC, fault)
        ehdr, phdrs = _headers(interp)
        kassert(imgp.vmspace_destroyed, "load_file: the old image is still there")
        rbase = 0 if ehdr.e_type == ET_EXEC else addr
        base = load_sections(interp, phdrs, rbase)
        imgp.entry_addr = (ehdr.e_entry + rbase) & WORD_MASK
    finally:
        vm_object_deallocate(interp.object)
    return base
