"""What differs between the releases, as named policy points of one frozen record.

FreeBSD: sys/vm/vm_map.c, vm_object.c, vm_fault.c, vm_mmap.c and kern_exec.c of 9.3, 10.4, 11.0, 12.1-STABLE
and 15.0-CURRENT;
DragonFly: sys/vm/vm_map.c.  Code asks a policy point (``release.stack_gap``), never a version number.
Differs: 10.1 has no source of its own here; it lies between 10.0 and a stable/10 of 2015, whose vm_map.c was
recorded, and each of its points names the one that decides it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from kernel_model.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Release:
    """One kernel's behaviour.

    Model only: the kernel has no such record; each field names the function that it steers.
    """

    name: str
    version: str
    """What uname -r says."""
    osreldate: int

    # vm_map_stack, vm_map_growstack
    stack_gap: bool = False
    """The reserve of a stack is an entry of its own (MAP_ENTRY_GUARD with a STACK_GAP flag); else a number, the
    avail_ssize of its lowest entry.
    """
    stack_guard_page: int
    """Default of security.bsd.stack_guard_page: a count of pages with stack_gap, else a yes or no."""
    stack_guard_saved: bool = False
    """The guard that counts is the one of the day the stack was made, kept in the gap entry; else today's sysctl."""
    stack_prot_saved: bool = False
    """A grown piece gets the protections the stack was made with, kept in the gap's offset; else those of
    its upper neighbour.
    """
    stack_limits_first: bool = False
    """vm_map_stack tests MEMLOCK and VMEM before the range, not after it."""
    stack_merges_neighbour: bool = False
    """GROWS_* flags are put on the entry after vm_map_insert, so the piece may coalesce with the entry below
    it first.
    """
    stack_range_code: Literal["KERN_NO_SPACE", "KERN_INVALID_ADDRESS"] = "KERN_NO_SPACE"
    """For a stack that does not lie in the map (with stack_gap)."""
    stack_checks_end: bool = False
    """A stack that ends above the map or is empty is refused by range (with stack_gap)."""
    stack_tiny_code: Literal["KERN_NO_SPACE", "KERN_INVALID_ARGUMENT"] = "KERN_NO_SPACE"
    """For a stack not larger than its guard."""
    stack_whole_ok: bool = False
    """A stack with no room left for a gap succeeds; else inserting the empty gap fails and undoes all."""
    stack_dragonfly: bool = False
    """Stacks and the search for space are DragonFly's: no guard, grown pieces with all rights, reserves kept free."""
    grow_wire_error: bool = False
    """With MAP_WIREFUTURE the error of wiring the new piece is what vm_map_growstack returns."""
    grow_needs_textvp: bool = False
    procstack_top: Literal["none", "usrstack", "stacktop"] = "usrstack"
    """Upper bound of the addresses to which RLIMIT_STACK applies."""
    stkgap_disable: bool = False
    """PROC_STACKGAP_CTL exists."""

    # vm_map_insert, clip, merge
    size_counts_guards: bool = False
    insert_guards: bool = False
    insert_grows_flags: bool = False
    """The GROWS_* bits of cow become eflags in vm_map_insert itself."""
    prefault_all_or_nothing: bool = False
    """MAP_PREFAULT_PARTIAL maps nothing when more than 96 pages are wanted and resident; else the first 96."""
    insert_wired_second: bool = False
    """Coalescing tests wired_count only before it extends the entry, not before it extends the object."""
    insert_checks_wxorx: bool = False
    nomerge: Literal["submaps", "stacks", "text", "gaps"] = "stacks"
    """Which entries never merge with a neighbour; each kind adds to the one before (vm_map_entry.NOMERGE)."""
    clip_start_simplifies: bool = True
    insert_skips_simplify: bool = False
    """A new entry is not merged with its neighbours; extending the one below still happens."""
    insert_asserts_prot: bool = False
    """vm_map_insert asserts that prot is within max."""
    next_read_is_address: bool = False
    """An entry's next_read, where a sequential fault would be, is an address; before 11, a page index in the object."""

    # vm_map_findspace, vm_map_find, vm_map_fixed
    findspace_returns_address: bool = False
    """vm_map_findspace returns an address, max - length + 1 for none; else 0 or 1."""
    findspace_last_gap_blind: bool = False
    """A search beginning in a too small gap right below the last entry never looks above that entry."""
    find_max_addr: bool = True
    find_alignspace: bool = False
    """vm_map_find settles alignment before it inserts (vm_map_alignspace); else it inserts and tries again."""
    find_stacks: bool = True
    """vm_map_find and vm_map_fixed make stacks when cow has a GROWS_* bit."""
    find_min: bool = True
    cluster_anon: int = 0
    """Default of vm.cluster_anon: 0 no, 1 only without a hint, 2 always."""
    fixed_check_excl: bool = True
    fixed_returns_delete: bool = False
    vmfs_optimal_space: int = 2
    vmfs_super_space: int = 3

    # vm_map_protect, inherit, madvise, wire, sync, submap
    protect_clips_first: bool = True
    protect_waits_busy: bool = False
    protect_flags: bool = False
    """vm_map_protect takes two protections and a set of flags."""
    protect_copies_wired: Literal["cow", "all"] = "all"
    """Which user-wired entries get their pages copied at once when they become writable."""
    protect_guard_first: bool = False
    """Guards are skipped before submaps and rights are looked at."""
    inherit_zero: bool = False
    madvise_returns_errno: bool = False
    madvise_free_skips_shadows: bool = False
    madvise_maps_wired: bool = False
    """MADV_WILLNEED maps pages of wired entries as well."""
    wire_locks_first: bool = False
    """vm_map_wire takes the lock even for an empty range."""
    wire_user_cap: bool = False
    """vm_page_max_user_wired bounds what users have wired, in vm_map_wire; else mlock alone looks at what is wired on
    the whole machine, with EAGAIN.
    """
    submap_checks_first: bool = False
    submap_marks_map: bool = False

    # vm_map_lookup, vmspace_fork
    lookup_grows: bool = False
    """vm_map_lookup itself grows the stack (VM_PROT_FAULT_LOOKUP); else vm_fault calls vm_map_growstack once."""
    lookup_refuses_wired_cow: bool = False
    fork_cow_wired_readonly: bool = True
    """A wired entry without write permission is copied lazily."""
    fork_inherits_flags: bool = False

    # vm_object, vm_page
    coalesce_onemapping: bool = False
    """vm_object_coalesce extends an object with several references when it is OBJ_ONEMAPPING."""
    bypass_swapped: bool = True
    """vm_object_collapse may bypass a backing object that has been paged out; else it gives up on OBJT_SWAP."""
    laundry_queue: bool = False
    """Dirty pages wait for cleaning in a queue of their own (PQ_LAUNDRY)."""

    # vm_fault and signals
    fault_past_object: Literal["protection", "bounds"] = "protection"
    """A page beyond the object: PROTECTION_FAILURE, or OUT_OF_BOUNDS and SIGBUS."""
    cow_invalidates_shared: bool = False
    """Copying a page up also removes the lower page from maps that share the top object.

    Since FreeBSD 13.0 (FreeBSD-SA-21:08.vm); before, a sharer could go on seeing stale memory.
    """
    read_cluster: bool = False
    """A fault that is not sequential reads the 16 pages of its aligned cluster in the object, a sequential one 8 more
    than the last did; before, 8 behind and 7 ahead, and as many ahead as last time with those behind.
    """
    copy_entry_in_place: bool = True
    """Making a wired entry writable copies its pages only if it still needs a copy; else always."""

    # system calls
    mmap_checks_flags: bool = True
    """mmap refuses flags and protections it does not know, and a file mapping that is neither shared nor private."""
    mmap_checks_memlock: bool = True
    """mmap with MAP_WIREFUTURE looks at RLIMIT_MEMLOCK; 9.3 only when RLIMIT_VMEM has refused already."""
    mmap_stack_searches: bool = True
    mmap_prot_max: bool = False
    map_guard: bool = False
    break_below_base: Literal["EINVAL", "unchanged"] = "EINVAL"
    break_wire_undoes: bool = False
    """With MAP_WIREFUTURE a heap that cannot be wired does not grow; else it grows unwired."""
    mprotect_masks_prot: bool = True

    # execve
    exec_stack_after_interpreter: bool = False
    """Segments and interpreter are mapped first, then the stack and the shared page."""
    exec_clears_wirefuture: bool = True
    exec_gnu_stack_size: bool = True
    """PT_GNU_STACK's p_memsz sets the stack's size."""
    exec_raw_stack_error: bool = False
    """A failing vm_map_stack leaves its KERN_* code as the errno."""
    exec_argc_zero_ok: bool = True
    exec_checks_copyout: bool = False
    """A fault while the first stack is written ends the process."""
    exec_checks_fixup: bool = False
    """A fault while argc and the auxiliary vector are written does; before, the program started without them."""
    exec_prefers_interp_brand: bool = True
    exec_checks_palign: bool = False
    exec_rejects_two_interps: bool = True
    exec_checks_interp_size: bool = False
    """PT_INTERP has at least 2 bytes and, in the first page, its NUL."""
    exec_reads_far: bool = True
    """PT_NOTE and PT_INTERP may lie outside the first page of the file."""
    exec_brand_string_exact: bool = False
    """The old brand string ends where the identification ends; before, its beginning counted."""
    exec_empty_filesz: bool = False
    """p_filesz 0 means no file data; before, the bytes in front of p_offset in its page were copied."""
    exec_gnu_stack_rw: bool = False
    """PT_GNU_STACK must have PF_R and PF_W."""
    exec_header_brand: bool = False
    """A brand may claim an image by its headers alone."""
    exec_long_name_errno: Literal["ENAMETOOLONG", "E2BIG"] = "ENAMETOOLONG"
    exec_vn_exec: bool = False
    """Segments are mapped with MAP_VN_EXEC and MAP_CHECK_EXCL."""
    exec_final_prot: bool = False
    """Anonymous tails are inserted with their final protection instead of all rights first."""
    arg_max: int = 262144
    """Bytes of arguments and environment that execve takes: ARG_MAX, sys/sys/syslimits.h."""
    aux_count: int = 24
    aux_zero_fills: bool = False
    """Slots of the auxiliary vector that are not used are written as zeros."""
    aux_ehdrflags: bool = False
    """AT_EHDRFLAGS is there."""
    aux_arguments: bool = False
    """AT_BSDFLAGS to AT_USRSTACKLIM are there."""
    execpath_aligned: bool = True
    maxtsiz: int = 128 << 20
    dfldsiz: int = 128 << 20
    aslr: bool = False
    """ASLR exists."""

    def __repr__(self) -> str:
        return f"Release({self.name!r})"


_9_3 = Release(
    name="freebsd-9.3",
    version="9.3-RELEASE",
    osreldate=903000,
    stack_guard_page=0,
    stack_merges_neighbour=True,
    procstack_top="none",
    size_counts_guards=True,
    prefault_all_or_nothing=True,
    nomerge="submaps",
    find_max_addr=False,
    find_stacks=False,
    find_min=False,
    fixed_check_excl=False,
    vmfs_optimal_space=4,
    vmfs_super_space=2,
    protect_copies_wired="cow",
    madvise_maps_wired=True,
    lookup_refuses_wired_cow=True,
    bypass_swapped=False,
    copy_entry_in_place=False,
    fork_cow_wired_readonly=False,
    mmap_checks_flags=False,
    mmap_checks_memlock=False,
    mmap_stack_searches=False,
    exec_clears_wirefuture=False,
    exec_gnu_stack_size=False,
    exec_raw_stack_error=True,
    exec_prefers_interp_brand=False,
    exec_rejects_two_interps=False,
    exec_reads_far=False,
    execpath_aligned=False,
)

# 10.1, of November 2014.  What 10.0 (January 2014, the whole source) and a later tree of the branch have in common,
# 10.1 has too.  The later ones: vm_map.c of stable/10 after June 2015 (recorded: 10-STABLE), the rest of 10.4.
_10_1 = replace(
    _9_3,
    name="freebsd-10.1",
    version="10.1-RELEASE",
    osreldate=1001000,
    # vm_map.c of stable/10, where it says otherwise than 9.3:
    stack_limits_first=True,  # vm_map_stack(): the limits, then vm_map_stack_locked()
    prefault_all_or_nothing=False,  # vm_map_pmap_enter(): threshold, MAX_INIT_PT
    find_max_addr=True,  # vm_map_find(); 10.0 has it
    find_stacks=True,  # vm_map_find(), vm_map_fixed(): vm_map_stack_locked()
    fixed_check_excl=True,  # vm_map_fixed()
    vmfs_optimal_space=2,  # vm_map_find(); 10.0 has it
    vmfs_super_space=3,
    protect_copies_wired="all",  # vm_map_protect() does not ask for copy-on-write
    madvise_maps_wired=False,  # vm_map_madvise(): wired_count == 0
    fork_cow_wired_readonly=True,  # vm_map_copy_entry()
    # vm_fault.c of 10.4; of one piece with protect_copies_wired, so older than the stable/10 of 2015:
    copy_entry_in_place=True,  # vm_fault_copy_entry()
    # vm_mmap.c, both in 10.4 and in a tree of the branch of 2014 that knows MAP_EXCL and no MAP_GUARD:
    mmap_checks_memlock=True,  # vm_mmap(); 10.0 has it
    mmap_stack_searches=True,  # vm_mmap(): MAP_STACK_GROWS_DOWN in docow
    # As 9.3, and not as 11.0: stack_merges_neighbour, procstack_top, insert_grows_flags, nomerge, next_read_is_address
    # and lookup_refuses_wired_cow in the recorded file; bypass_swapped in vm_object.c of 10.0 and of 10.4;
    # mmap_checks_flags in vm_mmap.c of both; exec_raw_stack_error and exec_clears_wirefuture in 10.0 and in 11.0.
    # Came to head after 10.1 was out, and are not in imgact_elf.c of 10.0: exec_gnu_stack_size (r281548, April 2015),
    # exec_reads_far and with it exec_rejects_two_interps (r289324, October 2015), exec_prefers_interp_brand (after
    # r292749, February 2016).
)

_11_0 = replace(
    _10_1,
    name="freebsd-11.0",
    version="11.0-RELEASE",
    osreldate=1100122,
    stack_merges_neighbour=False,
    procstack_top="usrstack",
    insert_grows_flags=True,
    next_read_is_address=True,
    nomerge="stacks",
    lookup_refuses_wired_cow=False,
    bypass_swapped=True,
    read_cluster=True,
    mmap_checks_flags=True,
    exec_gnu_stack_size=True,
    exec_prefers_interp_brand=True,
    exec_rejects_two_interps=True,
    exec_reads_far=True,
)

_10_4 = replace(
    _11_0,
    name="freebsd-10.4",
    version="10.4-RELEASE",
    osreldate=1004000,
    mmap_checks_flags=False,
    stack_gap=True,
    stack_guard_page=1,
    grow_needs_textvp=True,
    protect_guard_first=True,
    size_counts_guards=False,
    insert_guards=True,
    insert_asserts_prot=True,
    next_read_is_address=False,
    read_cluster=False,
    find_min=True,
    inherit_zero=True,
    lookup_grows=True,
    bypass_swapped=False,
    map_guard=True,
    exec_clears_wirefuture=True,
    exec_raw_stack_error=False,
)

_12_1 = replace(
    _10_4,
    name="freebsd-12.1",
    version="12.1-STABLE",
    osreldate=1201517,
    stack_guard_saved=True,
    stack_range_code="KERN_INVALID_ADDRESS",
    stack_checks_end=True,
    stack_tiny_code="KERN_INVALID_ARGUMENT",
    stack_whole_ok=True,
    grow_wire_error=True,
    stkgap_disable=True,
    insert_wired_second=True,
    next_read_is_address=True,
    read_cluster=True,
    nomerge="text",
    findspace_returns_address=True,
    findspace_last_gap_blind=True,
    find_alignspace=True,
    cluster_anon=1,
    protect_waits_busy=True,
    madvise_returns_errno=True,
    madvise_free_skips_shadows=True,
    wire_locks_first=True,
    wire_user_cap=True,
    submap_marks_map=True,
    fault_past_object="bounds",
    coalesce_onemapping=True,
    bypass_swapped=True,
    laundry_queue=True,
    mmap_checks_flags=True,
    break_below_base="unchanged",
    break_wire_undoes=True,
    exec_checks_interp_size=True,
    exec_header_brand=True,
    exec_vn_exec=True,
    exec_final_prot=True,
    exec_checks_fixup=True,
    exec_brand_string_exact=True,
    exec_empty_filesz=True,
    execpath_aligned=True,
    arg_max=524288,
    aux_count=27,
    aux_zero_fills=True,
    aux_ehdrflags=True,
    maxtsiz=32 << 30,
    dfldsiz=32 << 30,
    aslr=True,
)

_15_0 = replace(
    _12_1,
    name="freebsd-15.0",
    version="15.0-CURRENT",
    osreldate=1500012,
    stack_prot_saved=True,
    procstack_top="stacktop",
    insert_checks_wxorx=True,
    nomerge="gaps",
    clip_start_simplifies=False,
    fixed_returns_delete=True,
    protect_clips_first=False,
    protect_guard_first=False,
    protect_flags=True,
    submap_checks_first=True,
    fork_inherits_flags=True,
    cow_invalidates_shared=True,
    mmap_prot_max=True,
    mprotect_masks_prot=False,
    exec_stack_after_interpreter=True,
    exec_argc_zero_ok=False,
    exec_checks_copyout=True,
    exec_checks_palign=True,
    exec_long_name_errno="E2BIG",
    exec_gnu_stack_rw=True,
    aux_count=37,
    aux_arguments=True,
)

_DRAGONFLY = replace(
    _9_3,
    name="dragonfly",
    version="DragonFly 6.5",
    osreldate=600500,
    stack_dragonfly=True,
    insert_grows_flags=True,
    insert_skips_simplify=True,
)

RELEASES: dict[str, Release] = {
    release.name: release for release in (_9_3, _10_1, _10_4, _11_0, _12_1, _15_0, _DRAGONFLY)
}
DEFAULT_RELEASE = "freebsd-10.1"


def release_named(release: str | Release) -> Release:
    """The release of that name; one of the releases itself is taken as well.  UsageError for all others.

    Model only.  A record that was changed by hand is refused: traces and verdicts know a release by its name alone.
    """
    name = release.name if isinstance(release, Release) else release
    found = RELEASES.get(name)
    if found is None:
        raise UsageError(f"no release is called {name!r}: choose one of {', '.join(RELEASES)}")
    if isinstance(release, Release) and release is not found:
        raise UsageError(f"this is not the release {name!r} but another record of that name: give the name")
    return found
