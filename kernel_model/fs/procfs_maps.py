"""/proc/<pid>/maps and map: the vm_map as text, in Linux's and in FreeBSD's layout.

FreeBSD: linprocfs_doprocmaps(), sys/compat/linprocfs/linprocfs.c; procfs_doprocmap(), sys/fs/procfs/procfs_map.c.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kernel_model.errors import kassert
from kernel_model.kern.vfs_lookup import vn_globalpath
from kernel_model.kern.vnode import Vnode
from kernel_model.vm.vm import (
    OBJT_DEFAULT,
    OBJT_DEVICE,
    OBJT_PHYS,
    OBJT_SWAP,
    OBJT_VNODE,
    prot_string,
)
from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW, MAP_ENTRY_GUARD, MAP_ENTRY_IS_SUB_MAP, MAP_ENTRY_NEEDS_COPY
from kernel_model.vm.vm_object import VmObject, bottom_object
from kernel_model.vm.vm_param import PAGE_SHIFT

if TYPE_CHECKING:
    from kernel_model.kern.proc import Proc
    from kernel_model.vm.vm_map_entry import VmMapEntry

_TYPES = {OBJT_DEFAULT: "default", OBJT_SWAP: "swap", OBJT_VNODE: "vnode", OBJT_DEVICE: "device", OBJT_PHYS: "phys"}


def entry_vnode(entry: VmMapEntry) -> tuple[Vnode | None, int]:
    """The file that the entry maps, and its offset there in bytes."""
    if not isinstance(entry.object, VmObject):
        return None, 0
    bottom, offset = bottom_object(entry.object, entry.offset)
    if bottom.type != OBJT_VNODE:
        return None, 0
    vp = bottom.handle
    kassert(isinstance(vp, Vnode), "vnode object with handle %r", vp)
    return (vp, offset) if isinstance(vp, Vnode) else (None, 0)


def proc_maps(proc: Proc) -> bytes:
    """One line for each entry that is no guard, as Linux prints them."""
    lines: list[bytes] = []
    for entry in proc.p_vmspace.vm_map:
        if entry.eflags & (MAP_ENTRY_GUARD | MAP_ENTRY_IS_SUB_MAP):
            continue
        vp, offset = entry_vnode(entry)
        shared = not entry.eflags & MAP_ENTRY_COW and isinstance(entry.object, VmObject) and vp is not None
        dev = inode = 0
        name = _special(proc, entry)
        if vp is not None:
            vap = vp.getattr()
            dev, inode = vap.va_fsid, vap.va_fileid
            name = vn_globalpath(vp)
        head = (
            f"{entry.start:08x}-{entry.end:08x} {prot_string(entry.protection)}{'s' if shared else 'p'} "
            f"{offset:08x} {os.major(dev):02x}:{os.minor(dev):02x} {inode} "
        )
        line = head.encode()
        lines.append((line.ljust(73) + name if name else line) + b"\n")
    return b"".join(lines)


def _special(proc: Proc, entry: VmMapEntry) -> bytes:
    """``[heap]`` or ``[stack]`` for what a program recognizes by that name."""
    vmspace = proc.p_vmspace
    td = proc.p_threads[0] if proc.p_threads else None
    stack = vmspace.vm_maxsaddr
    if stack and entry.start >= stack and entry.end <= proc.p_sysent.sv_usrstack:
        return b"[stack]"
    if td is not None and entry.start <= td.td_cpu.get_frame().rsp < entry.end:
        return b"[stack]"
    low = vmspace.vm_daddr
    if low and low <= entry.start < low + (vmspace.vm_dsize << PAGE_SHIFT):
        return b"[heap]"
    return b""


def proc_map(proc: Proc) -> bytes:
    """One line for each entry, as FreeBSD's procfs(5) prints them."""
    lines: list[str] = []
    for entry in proc.p_vmspace.vm_map:
        if entry.eflags & MAP_ENTRY_IS_SUB_MAP:
            continue
        vp, _ = entry_vnode(entry)
        top = entry.object if isinstance(entry.object, VmObject) else None
        kind = "none" if top is None else _TYPES.get(bottom_object(top)[0].type, "unknown")
        path = "-" if vp is None else vn_globalpath(vp).decode(errors="replace")
        lines.append(
            f"{entry.start:#x} {entry.end:#x} {0 if top is None else len(top.pages)} 0 0 "
            f"{prot_string(entry.protection)} "
            f"{0 if top is None else top.ref_count} {0 if top is None else top.shadow_count} {0:#x} "
            f"{'COW' if entry.eflags & MAP_ENTRY_COW else 'NCOW'} "
            f"{'NC' if entry.eflags & MAP_ENTRY_NEEDS_COPY else 'NNC'} {kind} {path} NCH -1\n"
        )
    return "".join(lines).encode(errors="replace")
