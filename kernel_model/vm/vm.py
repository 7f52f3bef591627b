"""Protections, inheritance values, object types and pager results, as plain ints.

FreeBSD: sys/vm/vm.h, sys/vm/vm_object.h, sys/vm/vm_pager.h.  IntFlag arithmetic costs twenty times a plain ``&``,
so names are made only where something is printed.
"""

from __future__ import annotations

VM_PROT_NONE = 0
VM_PROT_READ = 1
VM_PROT_WRITE = 2
VM_PROT_EXECUTE = 4
VM_PROT_COPY = 8
VM_PROT_FAULT_LOOKUP = 0x10
VM_PROT_RW = VM_PROT_READ | VM_PROT_WRITE
VM_PROT_ALL = VM_PROT_RW | VM_PROT_EXECUTE

VM_INHERIT_SHARE = 0
VM_INHERIT_COPY = 1
VM_INHERIT_NONE = 2
VM_INHERIT_ZERO = 3
VM_INHERIT_DEFAULT = VM_INHERIT_COPY

OBJT_DEFAULT = 0
OBJT_SWAP = 1
OBJT_VNODE = 2
OBJT_DEVICE = 3
OBJT_PHYS = 4
OBJT_DEAD = 5
OBJT_SG = 6
OBJT_MGTDEVICE = 7

OBJ_FICTITIOUS = 0x1
OBJ_UNMANAGED = 0x2
OBJ_DEAD = 0x8
OBJ_NOSPLIT = 0x10
OBJ_MIGHTBEDIRTY = 0x100
OBJ_COLORED = 0x1000
OBJ_ONEMAPPING = 0x2000

VM_PAGER_OK = 0
VM_PAGER_BAD = 1
VM_PAGER_FAIL = 2
VM_PAGER_ERROR = 4


def prot_string(prot: int) -> str:
    """Show *prot* as procstat -v does: ``rwx``, ``r--``, ``---``."""
    return (
        ("r" if prot & VM_PROT_READ else "-")
        + ("w" if prot & VM_PROT_WRITE else "-")
        + ("x" if prot & VM_PROT_EXECUTE else "-")
    )
