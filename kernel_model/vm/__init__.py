"""The vm_map(9) family under the manual pages' names.  FreeBSD: sys/vm.

A map is the list of what an address space has mapped: entries, each a range with rights and something behind it.  What
changes a map is a function and takes it first; the answer is a KERN_* code.  Addresses and sizes are bytes::

    >>> from kernel_model import one_map
    >>> from kernel_model.vm import *
    >>> map_ = one_map()
    >>> vm_map_fixed(map_, None, 0, 0x10000, 0x3000, VM_PROT_RW, VM_PROT_ALL, MAP_CHECK_EXCL)
    KERN_SUCCESS
    >>> vm_map_protect(map_, 0x11000, 0x12000, VM_PROT_READ)
    KERN_SUCCESS
    >>> print(map_)
      START      END    SIZE  PRT  MAX  INHERIT  OBJECT   OFFSET  MAP_ENTRY_
    0x10000  0x11000  0x1000  rw-  rwx  copy     default     0x0  -
    0x11000  0x12000  0x1000  r--  rwx  copy     default  0x1000  -
    0x12000  0x13000  0x1000  rw-  rwx  copy     default  0x2000  -
    >>> vm_fault(map_, 0x11008, VM_PROT_READ)            # what a touch of the page does
    KERN_SUCCESS
    >>> vm_fault(map_, 0x11008, VM_PROT_WRITE)
    KERN_PROTECTION_FAILURE
    >>> vm_map_fixed(map_, None, 0, 0x12000, 0x9000, VM_PROT_RW, VM_PROT_ALL, MAP_CHECK_EXCL)
    KERN_NO_SPACE

Some of them want the map locked, and their ``Requires:`` says so; ``with map_.locked():`` holds the lock.  Where C
hands results back through pointers these return a tuple::

    >>> vm_map_find(map_, None, 0, 0x10000, 0x2000, VMFS_ANY_SPACE, VM_PROT_RW, VM_PROT_ALL, 0)
    (KERN_SUCCESS, 77824)
    >>> with map_.locked():
    ...     vm_map_insert(map_, None, 0, 0x40000, 0x41000, VM_PROT_READ, VM_PROT_READ, 0)
    KERN_SUCCESS
    >>> for entry in map_:
    ...     entry
    [0x10000, 0x11000) rw-/rwx default
    [0x11000, 0x12000) r--/rwx default+0x1000
    [0x12000, 0x15000) rw-/rwx default+0x2000
    [0x40000, 0x41000) r--/r--

A stack grows where it is touched below its end; ``map_diff`` says what that changed::

    >>> vm_map_stack(map_, 0x7fff00000000, 0x100000, VM_PROT_RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    KERN_SUCCESS
    >>> before = map_rows(map_)
    >>> vm_fault(map_, 0x7fff00100000 - SGROWSIZ - 8, VM_PROT_WRITE)
    KERN_SUCCESS
    >>> map_diff(before, map_)
    + [0x7fff000c0000, 0x7fff000e0000) rw-/rwx default MAP_ENTRY_GROWS_DOWN may grow 0xc0000
    ~ [0x7fff000e0000, 0x7fff00100000) eflags MAP_ENTRY_GROWS_DOWN -> 0, avail_ssize 0xe0000 -> 0x0
    >>> vm_map_growstack(map_.vm.curproc, 0x7fff00000000 - 8)
    KERN_NO_SPACE

``one_map("freebsd-12.1")`` is the map of another release; ``help(vm_map_stack)`` says what a function wants and what
it answers.  ``FAMILY`` lists the names by manual page.

The names are loaded when the first of them is asked for: a file of this room that needs another imports it by its own
name, ``kernel_model.vm.vm_param``, and pays for nothing else.  Here ``vm_fault`` is the function, not the file.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel_model.vm.pmap import Pmap as Pmap
    from kernel_model.vm.show import kern_name as kern_name
    from kernel_model.vm.show import map_diff as map_diff
    from kernel_model.vm.show import map_html as map_html
    from kernel_model.vm.show import map_rows as map_rows
    from kernel_model.vm.show import map_table as map_table
    from kernel_model.vm.vm import OBJT_DEAD as OBJT_DEAD
    from kernel_model.vm.vm import OBJT_DEFAULT as OBJT_DEFAULT
    from kernel_model.vm.vm import OBJT_DEVICE as OBJT_DEVICE
    from kernel_model.vm.vm import OBJT_MGTDEVICE as OBJT_MGTDEVICE
    from kernel_model.vm.vm import OBJT_PHYS as OBJT_PHYS
    from kernel_model.vm.vm import OBJT_SG as OBJT_SG
    from kernel_model.vm.vm import OBJT_SWAP as OBJT_SWAP
    from kernel_model.vm.vm import OBJT_VNODE as OBJT_VNODE
    from kernel_model.vm.vm import VM_INHERIT_COPY as VM_INHERIT_COPY
    from kernel_model.vm.vm import VM_INHERIT_DEFAULT as VM_INHERIT_DEFAULT
    from kernel_model.vm.vm import VM_INHERIT_NONE as VM_INHERIT_NONE
    from kernel_model.vm.vm import VM_INHERIT_SHARE as VM_INHERIT_SHARE
    from kernel_model.vm.vm import VM_INHERIT_ZERO as VM_INHERIT_ZERO
    from kernel_model.vm.vm import VM_PROT_ALL as VM_PROT_ALL
    from kernel_model.vm.vm import VM_PROT_COPY as VM_PROT_COPY
    from kernel_model.vm.vm import VM_PROT_EXECUTE as VM_PROT_EXECUTE
    from kernel_model.vm.vm import VM_PROT_FAULT_LOOKUP as VM_PROT_FAULT_LOOKUP
    from kernel_model.vm.vm import VM_PROT_NONE as VM_PROT_NONE
    from kernel_model.vm.vm import VM_PROT_READ as VM_PROT_READ
    from kernel_model.vm.vm import VM_PROT_RW as VM_PROT_RW
    from kernel_model.vm.vm import VM_PROT_WRITE as VM_PROT_WRITE
    from kernel_model.vm.vm import prot_string as prot_string
    from kernel_model.vm.vm_fault import vm_fault as vm_fault
    from kernel_model.vm.vm_init import Vm as Vm
    from kernel_model.vm.vm_map import VmMap as VmMap
    from kernel_model.vm.vm_map import vm_map_assert_consistent as vm_map_assert_consistent
    from kernel_model.vm.vm_map import vm_map_create as vm_map_create
    from kernel_model.vm.vm_map import vm_map_entry_submap as vm_map_entry_submap
    from kernel_model.vm.vm_map import vm_map_init as vm_map_init
    from kernel_model.vm.vm_map import vm_map_max as vm_map_max
    from kernel_model.vm.vm_map import vm_map_min as vm_map_min
    from kernel_model.vm.vm_map import vm_map_pmap as vm_map_pmap
    from kernel_model.vm.vm_map_advise import MADV_AUTOSYNC as MADV_AUTOSYNC
    from kernel_model.vm.vm_map_advise import MADV_CORE as MADV_CORE
    from kernel_model.vm.vm_map_advise import MADV_DONTNEED as MADV_DONTNEED
    from kernel_model.vm.vm_map_advise import MADV_FREE as MADV_FREE
    from kernel_model.vm.vm_map_advise import MADV_NOCORE as MADV_NOCORE
    from kernel_model.vm.vm_map_advise import MADV_NORMAL as MADV_NORMAL
    from kernel_model.vm.vm_map_advise import MADV_NOSYNC as MADV_NOSYNC
    from kernel_model.vm.vm_map_advise import MADV_RANDOM as MADV_RANDOM
    from kernel_model.vm.vm_map_advise import MADV_SEQUENTIAL as MADV_SEQUENTIAL
    from kernel_model.vm.vm_map_advise import MADV_WILLNEED as MADV_WILLNEED
    from kernel_model.vm.vm_map_advise import vm_map_inherit as vm_map_inherit
    from kernel_model.vm.vm_map_advise import vm_map_madvise as vm_map_madvise
    from kernel_model.vm.vm_map_advise import vm_map_sync as vm_map_sync
    from kernel_model.vm.vm_map_delete import vm_map_delete as vm_map_delete
    from kernel_model.vm.vm_map_delete import vm_map_remove as vm_map_remove
    from kernel_model.vm.vm_map_entry import MAP_ACC_CHARGED as MAP_ACC_CHARGED
    from kernel_model.vm.vm_map_entry import MAP_ACC_NO_CHARGE as MAP_ACC_NO_CHARGE
    from kernel_model.vm.vm_map_entry import MAP_ASLR as MAP_ASLR
    from kernel_model.vm.vm_map_entry import MAP_ASLR_IGNSTART as MAP_ASLR_IGNSTART
    from kernel_model.vm.vm_map_entry import MAP_ASLR_STACK as MAP_ASLR_STACK
    from kernel_model.vm.vm_map_entry import MAP_BUSY_WAKEUP as MAP_BUSY_WAKEUP
    from kernel_model.vm.vm_map_entry import MAP_CHECK_EXCL as MAP_CHECK_EXCL
    from kernel_model.vm.vm_map_entry import MAP_COPY_ON_WRITE as MAP_COPY_ON_WRITE
    from kernel_model.vm.vm_map_entry import MAP_CREATE_GUARD as MAP_CREATE_GUARD
    from kernel_model.vm.vm_map_entry import MAP_CREATE_STACK_GAP_DN as MAP_CREATE_STACK_GAP_DN
    from kernel_model.vm.vm_map_entry import MAP_CREATE_STACK_GAP_UP as MAP_CREATE_STACK_GAP_UP
    from kernel_model.vm.vm_map_entry import MAP_DISABLE_COREDUMP as MAP_DISABLE_COREDUMP
    from kernel_model.vm.vm_map_entry import MAP_DISABLE_SYNCER as MAP_DISABLE_SYNCER
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_BEHAV_MASK as MAP_ENTRY_BEHAV_MASK
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_BEHAV_NORMAL as MAP_ENTRY_BEHAV_NORMAL
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_BEHAV_RANDOM as MAP_ENTRY_BEHAV_RANDOM
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_BEHAV_RESERVED as MAP_ENTRY_BEHAV_RESERVED
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_BEHAV_SEQUENTIAL as MAP_ENTRY_BEHAV_SEQUENTIAL
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW as MAP_ENTRY_COW
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_DOWN as MAP_ENTRY_GROWS_DOWN
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_GROWS_UP as MAP_ENTRY_GROWS_UP
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_GUARD as MAP_ENTRY_GUARD
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_HEADER as MAP_ENTRY_HEADER
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_IN_TRANSITION as MAP_ENTRY_IN_TRANSITION
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_IS_SUB_MAP as MAP_ENTRY_IS_SUB_MAP
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_NEEDS_COPY as MAP_ENTRY_NEEDS_COPY
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_NEEDS_WAKEUP as MAP_ENTRY_NEEDS_WAKEUP
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_NOCOREDUMP as MAP_ENTRY_NOCOREDUMP
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_NOFAULT as MAP_ENTRY_NOFAULT
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_NOSYNC as MAP_ENTRY_NOSYNC
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_SPLIT_BOUNDARY_MASK as MAP_ENTRY_SPLIT_BOUNDARY_MASK
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_SPLIT_BOUNDARY_SHIFT as MAP_ENTRY_SPLIT_BOUNDARY_SHIFT
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_STACK_GAP_DN as MAP_ENTRY_STACK_GAP_DN
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_STACK_GAP_UP as MAP_ENTRY_STACK_GAP_UP
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_USER_WIRED as MAP_ENTRY_USER_WIRED
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_VN_EXEC as MAP_ENTRY_VN_EXEC
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_WIRE_SKIPPED as MAP_ENTRY_WIRE_SKIPPED
    from kernel_model.vm.vm_map_entry import MAP_ENTRY_WRITECNT as MAP_ENTRY_WRITECNT
    from kernel_model.vm.vm_map_entry import MAP_INHERIT_SHARE as MAP_INHERIT_SHARE
    from kernel_model.vm.vm_map_entry import MAP_IS_SUB_MAP as MAP_IS_SUB_MAP
    from kernel_model.vm.vm_map_entry import MAP_NO_HINT as MAP_NO_HINT
    from kernel_model.vm.vm_map_entry import MAP_NOFAULT as MAP_NOFAULT
    from kernel_model.vm.vm_map_entry import MAP_PREFAULT as MAP_PREFAULT
    from kernel_model.vm.vm_map_entry import MAP_PREFAULT_MADVISE as MAP_PREFAULT_MADVISE
    from kernel_model.vm.vm_map_entry import MAP_PREFAULT_PARTIAL as MAP_PREFAULT_PARTIAL
    from kernel_model.vm.vm_map_entry import MAP_REMAP as MAP_REMAP
    from kernel_model.vm.vm_map_entry import MAP_REPLENISH as MAP_REPLENISH
    from kernel_model.vm.vm_map_entry import MAP_SPLIT_BOUNDARY_MASK as MAP_SPLIT_BOUNDARY_MASK
    from kernel_model.vm.vm_map_entry import MAP_SPLIT_BOUNDARY_SHIFT as MAP_SPLIT_BOUNDARY_SHIFT
    from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_DOWN as MAP_STACK_GROWS_DOWN
    from kernel_model.vm.vm_map_entry import MAP_STACK_GROWS_UP as MAP_STACK_GROWS_UP
    from kernel_model.vm.vm_map_entry import MAP_VN_EXEC as MAP_VN_EXEC
    from kernel_model.vm.vm_map_entry import MAP_WIREFUTURE as MAP_WIREFUTURE
    from kernel_model.vm.vm_map_entry import MAP_WRITECOUNT as MAP_WRITECOUNT
    from kernel_model.vm.vm_map_entry import MAP_WXORX as MAP_WXORX
    from kernel_model.vm.vm_map_entry import VM_FAULT_DIRTY as VM_FAULT_DIRTY
    from kernel_model.vm.vm_map_entry import VM_FAULT_NOFILL as VM_FAULT_NOFILL
    from kernel_model.vm.vm_map_entry import VM_FAULT_NORMAL as VM_FAULT_NORMAL
    from kernel_model.vm.vm_map_entry import VM_FAULT_WIRE as VM_FAULT_WIRE
    from kernel_model.vm.vm_map_entry import VM_MAP_PROTECT_GROWSDOWN as VM_MAP_PROTECT_GROWSDOWN
    from kernel_model.vm.vm_map_entry import VM_MAP_PROTECT_SET_MAXPROT as VM_MAP_PROTECT_SET_MAXPROT
    from kernel_model.vm.vm_map_entry import VM_MAP_PROTECT_SET_PROT as VM_MAP_PROTECT_SET_PROT
    from kernel_model.vm.vm_map_entry import VM_MAP_WIRE_HOLESOK as VM_MAP_WIRE_HOLESOK
    from kernel_model.vm.vm_map_entry import VM_MAP_WIRE_NOHOLES as VM_MAP_WIRE_NOHOLES
    from kernel_model.vm.vm_map_entry import VM_MAP_WIRE_SYSTEM as VM_MAP_WIRE_SYSTEM
    from kernel_model.vm.vm_map_entry import VM_MAP_WIRE_USER as VM_MAP_WIRE_USER
    from kernel_model.vm.vm_map_entry import VM_MAP_WIRE_WRITE as VM_MAP_WIRE_WRITE
    from kernel_model.vm.vm_map_entry import VmMapEntry as VmMapEntry
    from kernel_model.vm.vm_map_entry import entry_text as entry_text
    from kernel_model.vm.vm_map_entry import vmfs_aligned_space as vmfs_aligned_space
    from kernel_model.vm.vm_map_find import VMFS_ANY_SPACE as VMFS_ANY_SPACE
    from kernel_model.vm.vm_map_find import VMFS_NO_SPACE as VMFS_NO_SPACE
    from kernel_model.vm.vm_map_find import vm_map_find as vm_map_find
    from kernel_model.vm.vm_map_find import vm_map_find_min as vm_map_find_min
    from kernel_model.vm.vm_map_find import vm_map_findspace as vm_map_findspace
    from kernel_model.vm.vm_map_find import vm_map_findspace_address as vm_map_findspace_address
    from kernel_model.vm.vm_map_find import vm_map_fixed as vm_map_fixed
    from kernel_model.vm.vm_map_insert import vm_map_clip_end as vm_map_clip_end
    from kernel_model.vm.vm_map_insert import vm_map_clip_start as vm_map_clip_start
    from kernel_model.vm.vm_map_insert import vm_map_insert as vm_map_insert
    from kernel_model.vm.vm_map_insert import vm_map_simplify_entry as vm_map_simplify_entry
    from kernel_model.vm.vm_map_insert import vm_map_submap as vm_map_submap
    from kernel_model.vm.vm_map_lock import vm_map_busy as vm_map_busy
    from kernel_model.vm.vm_map_lock import vm_map_lock as vm_map_lock
    from kernel_model.vm.vm_map_lock import vm_map_lock_downgrade as vm_map_lock_downgrade
    from kernel_model.vm.vm_map_lock import vm_map_lock_read as vm_map_lock_read
    from kernel_model.vm.vm_map_lock import vm_map_lock_upgrade as vm_map_lock_upgrade
    from kernel_model.vm.vm_map_lock import vm_map_locked as vm_map_locked
    from kernel_model.vm.vm_map_lock import vm_map_trylock as vm_map_trylock
    from kernel_model.vm.vm_map_lock import vm_map_trylock_read as vm_map_trylock_read
    from kernel_model.vm.vm_map_lock import vm_map_unbusy as vm_map_unbusy
    from kernel_model.vm.vm_map_lock import vm_map_unlock as vm_map_unlock
    from kernel_model.vm.vm_map_lock import vm_map_unlock_and_wait as vm_map_unlock_and_wait
    from kernel_model.vm.vm_map_lock import vm_map_unlock_read as vm_map_unlock_read
    from kernel_model.vm.vm_map_lock import vm_map_wait_busy as vm_map_wait_busy
    from kernel_model.vm.vm_map_lock import vm_map_wakeup as vm_map_wakeup
    from kernel_model.vm.vm_map_lookup import vm_map_lookup as vm_map_lookup
    from kernel_model.vm.vm_map_lookup import vm_map_lookup_done as vm_map_lookup_done
    from kernel_model.vm.vm_map_lookup import vm_map_lookup_locked as vm_map_lookup_locked
    from kernel_model.vm.vm_map_protect import vm_map_check_protection as vm_map_check_protection
    from kernel_model.vm.vm_map_protect import vm_map_protect as vm_map_protect
    from kernel_model.vm.vm_map_protect import vm_map_protect_flags as vm_map_protect_flags
    from kernel_model.vm.vm_map_tree import vm_map_entry_resize_free as vm_map_entry_resize_free
    from kernel_model.vm.vm_map_tree import vm_map_lookup_entry as vm_map_lookup_entry
    from kernel_model.vm.vm_map_wire import vm_map_unwire as vm_map_unwire
    from kernel_model.vm.vm_map_wire import vm_map_wire as vm_map_wire
    from kernel_model.vm.vm_mmap import MAP_ANON as MAP_ANON
    from kernel_model.vm.vm_mmap import MAP_EXCL as MAP_EXCL
    from kernel_model.vm.vm_mmap import MAP_FIXED as MAP_FIXED
    from kernel_model.vm.vm_mmap import MAP_GUARD as MAP_GUARD
    from kernel_model.vm.vm_mmap import MAP_PRIVATE as MAP_PRIVATE
    from kernel_model.vm.vm_mmap import MAP_SHARED as MAP_SHARED
    from kernel_model.vm.vm_mmap import MAP_STACK as MAP_STACK
    from kernel_model.vm.vm_mmap import PROT_EXEC as PROT_EXEC
    from kernel_model.vm.vm_mmap import PROT_NONE as PROT_NONE
    from kernel_model.vm.vm_mmap import PROT_READ as PROT_READ
    from kernel_model.vm.vm_mmap import PROT_WRITE as PROT_WRITE
    from kernel_model.vm.vm_object import VmObject as VmObject
    from kernel_model.vm.vm_object import vm_object_allocate as vm_object_allocate
    from kernel_model.vm.vm_object import vm_object_deallocate as vm_object_deallocate
    from kernel_model.vm.vm_object import vm_object_reference as vm_object_reference
    from kernel_model.vm.vm_param import KERN_FAILURE as KERN_FAILURE
    from kernel_model.vm.vm_param import KERN_INVALID_ADDRESS as KERN_INVALID_ADDRESS
    from kernel_model.vm.vm_param import KERN_INVALID_ARGUMENT as KERN_INVALID_ARGUMENT
    from kernel_model.vm.vm_param import KERN_NO_ACCESS as KERN_NO_ACCESS
    from kernel_model.vm.vm_param import KERN_NO_SPACE as KERN_NO_SPACE
    from kernel_model.vm.vm_param import KERN_NOT_RECEIVER as KERN_NOT_RECEIVER
    from kernel_model.vm.vm_param import KERN_OUT_OF_BOUNDS as KERN_OUT_OF_BOUNDS
    from kernel_model.vm.vm_param import KERN_PROTECTION_FAILURE as KERN_PROTECTION_FAILURE
    from kernel_model.vm.vm_param import KERN_RESOURCE_SHORTAGE as KERN_RESOURCE_SHORTAGE
    from kernel_model.vm.vm_param import KERN_RESTART as KERN_RESTART
    from kernel_model.vm.vm_param import KERN_SUCCESS as KERN_SUCCESS
    from kernel_model.vm.vm_param import PAGE_MASK as PAGE_MASK
    from kernel_model.vm.vm_param import PAGE_SHIFT as PAGE_SHIFT
    from kernel_model.vm.vm_param import PAGE_SIZE as PAGE_SIZE
    from kernel_model.vm.vm_param import SGROWSIZ as SGROWSIZ
    from kernel_model.vm.vm_param import USRSTACK as USRSTACK
    from kernel_model.vm.vm_param import VM_MAXUSER_ADDRESS as VM_MAXUSER_ADDRESS
    from kernel_model.vm.vm_param import KernReturn as KernReturn
    from kernel_model.vm.vm_param import round_page as round_page
    from kernel_model.vm.vm_param import trunc_page as trunc_page
    from kernel_model.vm.vm_stack import vm_map_growstack as vm_map_growstack
    from kernel_model.vm.vm_stack import vm_map_stack as vm_map_stack
    from kernel_model.vm.vmspace import VmSpace as VmSpace
    from kernel_model.vm.vmspace import vmspace_alloc as vmspace_alloc
    from kernel_model.vm.vmspace import vmspace_exec as vmspace_exec
    from kernel_model.vm.vmspace import vmspace_fork as vmspace_fork
    from kernel_model.vm.vmspace import vmspace_free as vmspace_free
    from kernel_model.vm.vmspace import vmspace_ref as vmspace_ref
    from kernel_model.vm.vmspace import vmspace_unshare as vmspace_unshare

FAMILY = {
    "the structures: vm_map(9), vm_map_entry, vmspace, and what they refer to": """
        VmMap VmMapEntry VmSpace VmObject Pmap Vm KernReturn
    """,
    "vm_map_create(9), vm_map_init(9), vm_map_max(9)": "vm_map_create vm_map_init vm_map_min vm_map_max vm_map_pmap",
    "vm_map_lock(9)": """
        vm_map_lock vm_map_unlock vm_map_lock_read vm_map_unlock_read vm_map_trylock vm_map_trylock_read
        vm_map_lock_upgrade vm_map_lock_downgrade vm_map_locked vm_map_busy vm_map_unbusy vm_map_wait_busy
        vm_map_unlock_and_wait vm_map_wakeup
    """,
    "vm_map_findspace(9), vm_map_find(9), vm_map_insert(9)": """
        vm_map_findspace vm_map_findspace_address vm_map_find vm_map_find_min vm_map_fixed vm_map_insert
    """,
    "vm_map_delete(9), vm_map_remove(9)": "vm_map_delete vm_map_remove",
    "vm_map_protect(9), vm_map_check_protection(9), vm_map_inherit(9), vm_map_madvise(9), vm_map_sync(9)": """
        vm_map_protect vm_map_protect_flags vm_map_check_protection vm_map_inherit vm_map_madvise vm_map_sync
    """,
    "vm_map_wire(9)": "vm_map_wire vm_map_unwire",
    "vm_map_stack(9)": "vm_map_stack vm_map_growstack",
    "vm_map_lookup(9) and vm_fault()": """
        vm_map_lookup vm_map_lookup_locked vm_map_lookup_done vm_map_lookup_entry vm_fault
    """,
    "vm_map_submap(9), vm_map_simplify_entry(9), vm_map_entry_resize_free(9)": """
        vm_map_submap vm_map_entry_submap vm_map_clip_start vm_map_clip_end vm_map_simplify_entry
        vm_map_entry_resize_free vm_map_assert_consistent
    """,
    "struct vmspace": "vmspace_alloc vmspace_ref vmspace_free vmspace_exec vmspace_unshare vmspace_fork",
    "what an entry may be backed by": "vm_object_allocate vm_object_reference vm_object_deallocate",
    "maps as text, and what became of one": "map_table map_html map_rows map_diff entry_text kern_name prot_string",
    "return codes: sys/vm/vm_param.h": """
        KERN_SUCCESS KERN_INVALID_ADDRESS KERN_PROTECTION_FAILURE KERN_NO_SPACE KERN_INVALID_ARGUMENT
        KERN_FAILURE KERN_RESOURCE_SHORTAGE KERN_NOT_RECEIVER KERN_NO_ACCESS KERN_OUT_OF_BOUNDS KERN_RESTART
    """,
    "protection, inheritance, kinds of object: sys/vm/vm.h": """
        VM_PROT_NONE VM_PROT_READ VM_PROT_WRITE VM_PROT_EXECUTE VM_PROT_COPY VM_PROT_FAULT_LOOKUP VM_PROT_RW
        VM_PROT_ALL VM_INHERIT_SHARE VM_INHERIT_COPY VM_INHERIT_NONE VM_INHERIT_ZERO VM_INHERIT_DEFAULT
        OBJT_DEFAULT OBJT_SWAP OBJT_VNODE OBJT_DEVICE OBJT_PHYS OBJT_DEAD OBJT_SG OBJT_MGTDEVICE
    """,
    "cow of vm_map_insert, vm_map_find, vm_map_fixed, vm_map_stack: sys/vm/vm_map.h": """
        MAP_INHERIT_SHARE MAP_COPY_ON_WRITE MAP_NOFAULT MAP_PREFAULT MAP_PREFAULT_PARTIAL MAP_DISABLE_SYNCER
        MAP_CHECK_EXCL MAP_CREATE_GUARD MAP_DISABLE_COREDUMP MAP_PREFAULT_MADVISE MAP_WRITECOUNT MAP_REMAP
        MAP_STACK_GROWS_DOWN MAP_STACK_GROWS_UP MAP_ACC_CHARGED MAP_ACC_NO_CHARGE MAP_CREATE_STACK_GAP_UP
        MAP_CREATE_STACK_GAP_DN MAP_VN_EXEC MAP_SPLIT_BOUNDARY_MASK MAP_SPLIT_BOUNDARY_SHIFT MAP_NO_HINT
    """,
    "entry.eflags": """
        MAP_ENTRY_NOSYNC MAP_ENTRY_IS_SUB_MAP MAP_ENTRY_COW MAP_ENTRY_NEEDS_COPY MAP_ENTRY_NOFAULT
        MAP_ENTRY_USER_WIRED MAP_ENTRY_BEHAV_NORMAL MAP_ENTRY_BEHAV_SEQUENTIAL MAP_ENTRY_BEHAV_RANDOM
        MAP_ENTRY_BEHAV_RESERVED MAP_ENTRY_BEHAV_MASK MAP_ENTRY_IN_TRANSITION MAP_ENTRY_NEEDS_WAKEUP
        MAP_ENTRY_NOCOREDUMP MAP_ENTRY_VN_EXEC MAP_ENTRY_GROWS_DOWN MAP_ENTRY_GROWS_UP MAP_ENTRY_WIRE_SKIPPED
        MAP_ENTRY_WRITECNT MAP_ENTRY_GUARD MAP_ENTRY_STACK_GAP_DN MAP_ENTRY_STACK_GAP_UP MAP_ENTRY_HEADER
        MAP_ENTRY_SPLIT_BOUNDARY_MASK MAP_ENTRY_SPLIT_BOUNDARY_SHIFT
    """,
    "map.flags": """
        MAP_WIREFUTURE MAP_BUSY_WAKEUP MAP_IS_SUB_MAP MAP_ASLR MAP_ASLR_IGNSTART MAP_REPLENISH MAP_WXORX
        MAP_ASLR_STACK
    """,
    "flags of vm_map_find, vm_map_wire, vm_map_protect_flags, vm_fault; advice of vm_map_madvise": """
        VMFS_NO_SPACE VMFS_ANY_SPACE vmfs_aligned_space VM_MAP_WIRE_SYSTEM VM_MAP_WIRE_USER
        VM_MAP_WIRE_NOHOLES VM_MAP_WIRE_HOLESOK VM_MAP_WIRE_WRITE VM_MAP_PROTECT_SET_PROT
        VM_MAP_PROTECT_SET_MAXPROT VM_MAP_PROTECT_GROWSDOWN VM_FAULT_NORMAL VM_FAULT_WIRE VM_FAULT_DIRTY
        VM_FAULT_NOFILL MADV_NORMAL MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED MADV_DONTNEED MADV_FREE
        MADV_NOSYNC MADV_AUTOSYNC MADV_NOCORE MADV_CORE
    """,
    "mmap(2)": """
        PROT_NONE PROT_READ PROT_WRITE PROT_EXEC MAP_SHARED MAP_PRIVATE MAP_FIXED MAP_STACK MAP_ANON MAP_GUARD
        MAP_EXCL
    """,
    "pages, and where user memory lies: sys/amd64/include/vmparam.h": """
        PAGE_SIZE PAGE_SHIFT PAGE_MASK trunc_page round_page VM_MAXUSER_ADDRESS USRSTACK SGROWSIZ
    """,
}
"""What there is, by manual page or header."""
FILES = (
    "vm_param", "vm", "vm_init", "vm_object", "pmap", "vm_map_entry", "vm_map_tree", "show", "vm_map", "vm_map_lock",
    "vm_map_insert", "vm_map_delete", "vm_map_find", "vm_stack", "vm_map_lookup", "vm_fault", "vm_map_protect",
    "vm_map_wire", "vm_map_advise", "vmspace", "vm_mmap",
)  # fmt: skip
"""Where the names are defined."""
OFFERED = tuple(name for names in FAMILY.values() for name in names.split())
if not TYPE_CHECKING:  # who checks types goes by the imports
    __all__ = OFFERED


class FrontDoor(ModuleType):
    """This package: its names come from the files when they are asked for, and win over files that are called so."""

    def __getattr__(self, name: str) -> object:
        """Called for what is not there yet."""
        if name not in OFFERED:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        for file in FILES:
            defined = vars(import_module(f"{self.__name__}.{file}"))
            self.__dict__.update({offered: defined[offered] for offered in OFFERED if offered in defined})
        return self.__dict__[name]

    def __setattr__(self, name: str, value: object) -> None:
        """Python binds each file that is loaded to its package: not where a function has the name."""
        if name not in OFFERED or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        """What help() and completion show."""
        return sorted({*super().__dir__(), *OFFERED})


sys.modules[__name__].__class__ = FrontDoor
