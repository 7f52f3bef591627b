"""A FreeBSD kernel in Python: vm_map, execve, the fault path, system calls and signals.

It never imports an engine and never prints.  FreeBSD: sys/vm, sys/kern, sys/amd64.

One line makes something to try, and ``help(kernel_model.vm)`` says what can be done with it::

    one_map()         the map of a process: vm_map(9), page by page
    one_vmspace()     its address space: the map, the page table and the sizes that limits look at
    one_kernel()      a kernel whose first process has no program yet: ``syscall(kernel, "mmap", ...)`` serves it

Each takes the name of a release.  Two releases side by side: the same stack, made by the same call::

    >>> from kernel_model import one_map
    >>> from kernel_model.vm import MAP_STACK_GROWS_DOWN, VM_PROT_ALL, VM_PROT_RW, vm_map_stack
    >>> for release in ("freebsd-10.1", "freebsd-12.1"):
    ...     map_ = one_map(release)
    ...     vm_map_stack(map_, 0x7fff00000000, 0x100000, VM_PROT_RW, VM_PROT_ALL, MAP_STACK_GROWS_DOWN)
    ...     print(*map_, sep="\\n")
    KERN_SUCCESS
    [0x7fff000e0000, 0x7fff00100000) rw-/rwx MAP_ENTRY_GROWS_DOWN may grow 0xe0000
    KERN_SUCCESS
    [0x7fff00000000, 0x7fff000e0000) ---/--- MAP_ENTRY_GUARD|MAP_ENTRY_STACK_GAP_DN guard 0x1000
    [0x7fff000e0000, 0x7fff00100000) rw-/rwx MAP_ENTRY_GROWS_DOWN

Nothing is loaded before it is needed: importing this package, or one file of it, costs only that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kernel_model.kern.proc import Kernel
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vmspace import VmSpace

__all__ = ["one_map", "one_vmspace", "one_kernel", "syscall"]

ONE_RAM = 1 << 30
"""Bytes of memory of a kernel made here."""
ONE_SPAN = 1 << 38
"""Address space of the host that its frames may take: small, so that many maps can be made."""


def one_map(release: str = "freebsd-10.1", ram: int = ONE_RAM) -> VmMap:
    """The empty map of a process on a kernel of *release* with *ram* bytes of memory.

    ``map_.vm`` is the kernel's memory and ``map_.vm.curproc`` the process, whose limits are the release's defaults::

        >>> from kernel_model.vm import VM_PROT_ALL, VM_PROT_RW, VM_PROT_WRITE, vm_fault, vm_map_fixed
        >>> map_ = one_map()
        >>> vm_map_fixed(map_, None, 0, 0x10000, 0x2000, VM_PROT_RW, VM_PROT_ALL, 0)
        KERN_SUCCESS
        >>> vm_fault(map_, 0x10123, VM_PROT_WRITE)
        KERN_SUCCESS
        >>> [hex(va) for va, page in map_.pmap.mappings()]
        ['0x10000']

    Raises: UsageError for a release that is not in ``kernel_model.release``.
    Model only.
    """
    return one_vmspace(release, ram).vm_map


def one_vmspace(release: str = "freebsd-10.1", ram: int = ONE_RAM) -> VmSpace:
    """The address space of a process: its ``vm_map``, its ``vm_pmap`` and the sizes of text, data and stack::

        >>> from kernel_model.vm import *
        >>> parent = one_vmspace()
        >>> vm_map_fixed(parent.vm_map, None, 0, 0x10000, 0x3000, VM_PROT_RW, VM_PROT_ALL, 0)
        KERN_SUCCESS
        >>> vm_map_inherit(parent.vm_map, 0x12000, 0x13000, VM_INHERIT_SHARE)
        KERN_SUCCESS
        >>> child, charge = vmspace_fork(parent)
        >>> for entry in child.vm_map:
        ...     entry
        [0x10000, 0x12000) rw-/rwx default MAP_ENTRY_COW|MAP_ENTRY_NEEDS_COPY
        [0x12000, 0x13000) rw-/rwx default+0x2000

    Model only.
    """
    kernel = one_kernel(release, ram=ram)
    (proc,) = kernel.procs.values()
    return proc.p_vmspace


def one_kernel(
    release: str = "freebsd-10.1", *, abi: str = "freebsd", root: str = "/", ram: int = ONE_RAM, seed: int | None = None
) -> Kernel:
    """A kernel with one process that runs no program, for its system calls to be made by hand: see ``syscall``.

    ``kernel.curthread`` is its thread.  It speaks *abi*, ``freebsd`` or ``linux``; *root* is the host's directory that
    it sees as ``/``, where it can write nothing; standard input is empty, standard output and error are the host's.
    *seed* makes clock and random numbers repeatable.

    Raises: UsageError for a release, an ABI or a directory that is none.
    Model only.
    """
    from kernel_model.errors import UsageError
    from kernel_model.fs.hostfd import stdio_files
    from kernel_model.fs.rootfs import mount_root
    from kernel_model.init_main import boot, create_init
    from kernel_model.kern.kern_descrip import FileDesc
    from kernel_model.kern.machdep import ReferenceCpu
    from kernel_model.release import release_named

    kernel = boot(release_named(release), ram, span=ONE_SPAN, seed=seed)
    if abi not in kernel.sysvecs:
        raise UsageError(f"no ABI is called {abi!r}")
    rootvp, cdir = mount_root(kernel, root, "/")
    fd = FileDesc(cdir, rootvp, fd_files=stdio_files(b"", 1, 2))
    td = create_init(kernel, ReferenceCpu(), fd, sysent=kernel.sysvecs[abi], osrel=kernel.release.osreldate)
    # A process without a program may not grow a stack since 10.4: the root stands for it.
    rootvp.set_text()
    td.td_proc.p_textvp = rootvp
    return kernel


def syscall(kernel: Kernel, name: str, *args: int) -> int:
    """Make the system call *name* for the thread that runs, with the values of its registers, and deliver signals.

    ::

        >>> kernel = one_kernel("freebsd-12.1", seed=1)
        >>> from kernel_model.vm import MAP_ANON, MAP_PRIVATE, PROT_READ, PROT_WRITE
        >>> addr = syscall(kernel, "mmap", 0, 0x2000, PROT_READ | PROT_WRITE, MAP_ANON | MAP_PRIVATE, -1, 0)
        >>> syscall(kernel, "mprotect", addr, 0x1000, PROT_READ)
        0
        >>> syscall(kernel, "munmap", 0, 0)  # EINVAL
        -22
        >>> for entry in kernel.curthread.td_proc.p_vmspace.vm_map:
        ...     entry
        [0x800000000, 0x800001000) r--/rwx default
        [0x800001000, 0x800002000) rw-/rwx default+0x1000

    Returns: the result (the first, of two), or minus the errno of the ABI.
    Raises:  UsageError for a call that the ABI does not have.
    FreeBSD: amd64_syscall(), ast().
    """
    from kernel_model.errno import EJUSTRETURN
    from kernel_model.errors import UsageError, some
    from kernel_model.kern.kern_sig import ast
    from kernel_model.kern.subr_syscall import bind
    from kernel_model.vm.vm_param import WORD_MASK

    td = some(kernel.curthread, "thread that runs")
    numbers = [number for number, row in td.td_proc.p_sysent.sv_table().items() if row.name == name]
    if not numbers or len(args) > 6:
        raise UsageError(f"no call of {td.td_proc.p_sysent.name} is {name!r} with {len(args)} arguments")
    words = [arg & WORD_MASK for arg in args] + [0] * (6 - len(args))
    result = bind(kernel)(numbers[0], *words)
    if td.td_ast:
        ast(td)
    if isinstance(result, tuple):
        result = result[0]
    if result == EJUSTRETURN:
        return 0
    return result - (1 << 64) if result >= 1 << 63 else result
