"""Maps the PT_LOAD segments of an ELF file and checks their sizes.

    file   |....text....|..data..|            vaddr        vaddr+filsz      vaddr+memsz
    memory        [ private copy-on-write file pages )[ copied tail | zeros )

FreeBSD: load_section(), load_sections() and enforce_limits(), sys/kern/imgact_elf.c.
Differs: addresses that overflow 64 bits are refused as out of range instead of wrapping; a segment that begins in
the page where the one before it ends is copied into that page, and one whose address and file offset differ
within the page is copied into anonymous memory (FreeBSD has map_partial() for both but reaches it only where
pages are larger than the alignment; without them it answers EINVAL or maps such a segment askew).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model import errno as E
from kernel_model.errors import kassert
from kernel_model.kern.copyin import copyout
from kernel_model.kern.elf_common import PF_R, PF_W, PF_X, PT_LOAD, Phdr
from kernel_model.kern.imgact import ExecError, path_text
from kernel_model.kern.proc import P_INEXEC
from kernel_model.rlimit import RLIMIT_DATA, RLIMIT_VMEM
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE
from kernel_model.vm.vm_map_entry import (
    MAP_CHECK_EXCL,
    MAP_COPY_ON_WRITE,
    MAP_DISABLE_COREDUMP,
    MAP_PREFAULT,
    MAP_VN_EXEC,
)
from kernel_model.vm.vm_map_find import vm_map_fixed
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_object import vm_object_deallocate, vm_object_reference
from kernel_model.vm.vm_param import (
    KERN_SUCCESS,
    PAGE_MASK,
    PAGE_SHIFT,
    PAGE_SIZE,
    round_page,
    trunc_page,
)

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams
    from kernel_model.vm.vm_object import VmObject

COPY_STEP: Final = 64 << 10


def trans_prot(flags: int) -> int:
    """PF_* to VM_PROT_*."""
    return (
        (VM_PROT_READ if flags & PF_R else 0)
        | (VM_PROT_WRITE if flags & PF_W else 0)
        | (VM_PROT_EXECUTE if flags & PF_X else 0)
    )


def load_sections(imgp: ImageParams, phdrs: tuple[Phdr, ...], rbase: int) -> int:
    """Map every PT_LOAD of *imgp*'s file, *rbase* bytes above its link address.

    Returns: the page where the first segment begins, 0 when there is none.
    Raises:  ENOEXEC for a segment that the file does not hold; EINVAL for one that overlaps or is out of range.
    """
    base_addr: int | None = None
    last_end = 0
    for phdr in phdrs:
        if phdr.p_type != PT_LOAD or phdr.p_memsz == 0:
            continue
        vaddr = phdr.p_vaddr + rbase
        imgp.stage(
            "segment", vaddr=vaddr, filesz=phdr.p_filesz, memsz=phdr.p_memsz, offset=phdr.p_offset,
            prot=trans_prot(phdr.p_flags), file=path_text(imgp.execpath),
        )  # fmt: skip
        load_section(imgp, phdr, vaddr, last_end)
        last_end = vaddr + phdr.p_memsz
        if base_addr is None:
            base_addr = trunc_page(vaddr)
    return base_addr or 0


def load_section(imgp: ImageParams, phdr: Phdr, vaddr: int, last_end: int) -> None:
    """Map one segment at *vaddr*; *last_end* is where the bytes of the one before it end."""
    offset, filsz, memsz = phdr.p_offset, phdr.p_filesz, phdr.p_memsz
    if filsz > memsz:
        raise ExecError(E.ENOEXEC, f"segment at {vaddr:#x} has more bytes in the file than in memory")
    if (filsz or not imgp.release.exec_empty_filesz) and offset + filsz > imgp.attr.va_size:
        raise ExecError(E.ENOEXEC, f"truncated ELF file: segment at {vaddr:#x} ends after the file")
    prot = trans_prot(phdr.p_flags)
    if vaddr & PAGE_MASK and last_end and trunc_page(last_end - 1) == trunc_page(vaddr) and last_end <= vaddr:
        done = min(round_page(vaddr) - vaddr, memsz)
        _fill_shared_page(imgp, vaddr, done, offset, min(done, filsz), prot)
        vaddr, offset = vaddr + done, offset + done
        filsz, memsz = max(filsz - done, 0), memsz - done
        if not memsz:
            return
    if filsz and (vaddr - offset) & PAGE_MASK:
        _copy_section(imgp, vaddr, memsz, offset, filsz, prot)
    else:
        _map_section(imgp, vaddr, memsz, offset, filsz, prot)


def _map_section(imgp: ImageParams, vaddr: int, memsz: int, offset: int, filsz: int, prot: int) -> None:
    """The usual case: whole pages straight from the file, the last file page copied, zeros after it."""
    map_addr = trunc_page(vaddr)
    file_addr = trunc_page(offset)
    empty = not filsz and imgp.release.exec_empty_filesz
    if empty:
        map_len = 0
    elif memsz > filsz:
        map_len = trunc_page(offset + filsz) - file_addr
    else:
        map_len = round_page(offset + filsz) - file_addr
    if map_len:
        cow = MAP_COPY_ON_WRITE | MAP_PREFAULT | (0 if prot & VM_PROT_WRITE else MAP_DISABLE_COREDUMP)
        _insert(imgp, imgp.object, file_addr, map_addr, map_len, prot, cow)
        if memsz == filsz:
            return
    copy_len = 0 if empty else (offset + filsz) & PAGE_MASK
    map_addr = trunc_page(vaddr + filsz)
    map_len = round_page(vaddr + memsz) - map_addr
    if map_len:
        _insert(imgp, None, 0, map_addr, map_len, _filling_prot(imgp, prot, copy_len), 0)
    if copy_len:
        _copy(imgp, map_addr, trunc_page(offset + filsz), copy_len)
    _settle(imgp, map_addr, map_len, prot, copy_len)


def _copy_section(imgp: ImageParams, vaddr: int, memsz: int, offset: int, filsz: int, prot: int) -> None:
    """Address and offset disagree within the page: no page of the file can be mapped."""
    map_addr = trunc_page(vaddr)
    map_len = round_page(vaddr + memsz) - map_addr
    _insert(imgp, None, 0, map_addr, map_len, _filling_prot(imgp, prot, filsz), 0)
    _copy(imgp, vaddr, offset, filsz)
    _settle(imgp, map_addr, map_len, prot, filsz)


def _fill_shared_page(imgp: ImageParams, vaddr: int, size: int, offset: int, filsz: int, prot: int) -> None:
    """Write the beginning of a segment into the page that the one before it already has."""
    vm_map = imgp.proc.p_vmspace.vm_map
    page = trunc_page(vaddr)
    found, entry = vm_map_lookup_entry(vm_map, page)
    if not found:
        raise ExecError(E.EINVAL, f"segment at {vaddr:#x} begins in a page that is not there")
    prot |= entry.protection
    if not entry.protection & VM_PROT_WRITE:
        vm_map_protect(vm_map, page, page + PAGE_SIZE, prot | VM_PROT_WRITE)
    if filsz:
        _copy(imgp, vaddr, offset, filsz)
    if size > filsz:
        copyout(imgp.td, vaddr + filsz, bytes(size - filsz))
    vm_map_protect(vm_map, page, page + PAGE_SIZE, prot)


def _filling_prot(imgp: ImageParams, prot: int, copy_len: int) -> int:
    """With which rights zero-filled memory is inserted while it is being filled."""
    if not imgp.release.exec_final_prot:
        return VM_PROT_ALL
    return prot | VM_PROT_WRITE if copy_len else prot


def _settle(imgp: ImageParams, start: int, size: int, prot: int, copy_len: int) -> None:
    """Give memory that was filled its final rights.

    Until 11 this is always done, which separates the entry from a neighbour it could have merged with.
    """
    if size and (not imgp.release.exec_final_prot or (copy_len and not prot & VM_PROT_WRITE)):
        vm_map_protect(imgp.proc.p_vmspace.vm_map, start, start + size, prot)


def _insert(
    imgp: ImageParams, obj: VmObject | None, offset: int, start: int, size: int, prot: int, cow: int
) -> None:
    """Put ``[start, start + size)`` into the map; EINVAL when something is there or it is out of range.

    FreeBSD: map_insert().
    """
    vm_map = imgp.proc.p_vmspace.vm_map
    kassert((start | size | offset) & PAGE_MASK == 0, "map_insert: %#x, %#x bytes at %#x", start, size, offset)
    kassert(imgp.td.td_proc.p_flag & P_INEXEC, "map_insert: process %d is not in execve", imgp.proc.p_pid)
    if obj is not None:
        vm_object_reference(obj)
    if start < vm_map.min_offset or start + size > vm_map.max_offset:
        rv = -1
    elif imgp.release.exec_vn_exec:
        cow |= MAP_CHECK_EXCL | (MAP_VN_EXEC if obj is not None else 0)
        rv = vm_map_fixed(vm_map, obj, offset, start, size, prot, VM_PROT_ALL, cow)
    else:
        with vm_map.locked():
            rv = vm_map_insert(vm_map, obj, offset, start, start + size, prot, VM_PROT_ALL, cow)
    if rv != KERN_SUCCESS:
        if obj is not None:
            vm_object_deallocate(obj)
        raise ExecError(E.EINVAL, f"segment at {start:#x} overlaps another or lies outside user memory")


def _copy(imgp: ImageParams, va: int, offset: int, size: int) -> None:
    """Copy *size* bytes of the file at *offset* to *va*."""
    while size:
        step = min(size, COPY_STEP)
        data = imgp.read(offset, step)
        if data is None:
            raise ExecError(E.EIO, "the file could not be read")
        copyout(imgp.td, va, data)
        va, offset, size = va + step, offset + step, size - step


def enforce_limits(imgp: ImageParams, phdrs: tuple[Phdr, ...]) -> None:
    """Set text and data of the vmspace, unless a limit forbids the image: ENOMEM.

    Text is the largest executable segment, data the last of the others; break(2) begins where data ends.
    """
    text_size = data_size = total_size = text_addr = data_addr = 0
    for phdr in phdrs:
        if phdr.p_type != PT_LOAD or phdr.p_memsz == 0:
            continue
        vaddr = phdr.p_vaddr + imgp.et_dyn_addr
        seg_addr = trunc_page(vaddr)
        seg_size = round_page(phdr.p_memsz + vaddr - seg_addr)
        if phdr.p_flags & PF_X and text_size < seg_size:
            text_size, text_addr = seg_size, seg_addr
        else:
            data_size, data_addr = seg_size, seg_addr
        total_size += seg_size
    if data_addr == 0 and data_size == 0:
        data_addr, data_size = text_addr, text_size
    _check_limits(imgp, text_size, data_size, total_size)
    vmspace = imgp.proc.p_vmspace
    vmspace.vm_tsize = text_size >> PAGE_SHIFT
    vmspace.vm_taddr = text_addr
    vmspace.vm_dsize = data_size >> PAGE_SHIFT
    vmspace.vm_daddr = data_addr


def _check_limits(imgp: ImageParams, text_size: int, data_size: int, total_size: int) -> None:
    limit = imgp.proc.p_limit
    maxtsiz = imgp.proc.kernel.tunables.get("kern.maxtsiz", imgp.release.maxtsiz)
    if data_size > limit.lim_cur(RLIMIT_DATA):
        raise ExecError(E.ENOMEM, f"data segment of {data_size:#x} bytes is over the data limit")
    if text_size > maxtsiz:
        raise ExecError(E.ENOMEM, f"text segment of {text_size:#x} bytes is over kern.maxtsiz")
    if total_size > limit.lim_cur(RLIMIT_VMEM):
        raise ExecError(E.ENOMEM, f"segments of {total_size:#x} bytes are over the vmem limit")
