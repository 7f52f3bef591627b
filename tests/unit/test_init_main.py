"""What a kernel knows after boot, and what it lacks without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernel_model import errno as E
from kernel_model.errors import KernelPanic
from kernel_model.fs.hostfs import hostfs_mount
from kernel_model.init_main import ELF_BRANDS, boot, create_init
from kernel_model.kern.imgact import ExecError
from kernel_model.kern.imgact_elf import exec_elf_imgact
from kernel_model.kern.imgact_elf_brand import elf_brand_list, elf_insert_brand_entry
from kernel_model.kern.imgact_shell import exec_shell_imgact
from kernel_model.kern.kern_descrip import FileDesc
from kernel_model.kern.kern_exec import execve
from kernel_model.kern.machdep import ReferenceCpu
from kernel_model.kern.proc import Kernel
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm_init import Vm
from tests.unit.elf_files import static_elf

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = RELEASES[DEFAULT_RELEASE]
RAM = 16 << 20


def test_boot_registers_in_one_order() -> None:
    kernel = boot(RELEASE, RAM)
    assert kernel.execsw == [exec_elf_imgact, exec_shell_imgact]
    assert list(kernel.sysvecs) == ["freebsd", "linux"]
    assert elf_brand_list(kernel) == ELF_BRANDS
    assert [brand.name for brand in kernel.elf_brands] == [
        "FreeBSD", "FreeBSD (old)", "GNU/kFreeBSD", "Linux", "Linux (musl)",
    ]  # fmt: skip
    assert not kernel.procs
    assert kernel.curthread is None


def test_two_kernels_share_nothing() -> None:
    first, second = boot(RELEASE, RAM), boot(RELEASE, RAM)
    second.execsw.clear()
    second.elf_brands.clear()
    assert first.execsw
    assert first.elf_brands


def test_a_brand_registers_once() -> None:
    kernel = boot(RELEASE, RAM)
    with pytest.raises(KernelPanic, match="FreeBSD is there already"):
        elf_insert_brand_entry(kernel, ELF_BRANDS[0])


def test_the_first_process_is_made_once(tmp_path: Path) -> None:
    kernel = boot(RELEASE, RAM)
    rootvp = hostfs_mount(str(tmp_path), rw=False)
    td = create_init(kernel, ReferenceCpu(), FileDesc(rootvp, rootvp))
    proc = td.td_proc
    assert (kernel.curthread, kernel.procs, proc.p_threads) == (td, {proc.p_pid: proc}, [td])
    assert proc.p_pid == proc.p_pgid == proc.p_sid == td.td_tid
    with pytest.raises(KernelPanic, match="a process already"):
        create_init(kernel, ReferenceCpu(), FileDesc(rootvp, rootvp))


@pytest.mark.parametrize("kept", [[], [exec_shell_imgact]])
def test_nothing_runs_what_no_activator_takes(tmp_path: Path, kept: list) -> None:
    """kern_exec knows no format by itself."""
    kernel = boot(RELEASE, RAM)
    kernel.execsw[:] = kept
    (tmp_path / "p").write_bytes(static_elf())
    (tmp_path / "p").chmod(0o755)
    rootvp = hostfs_mount(str(tmp_path), rw=False)
    td = create_init(kernel, ReferenceCpu(), FileDesc(rootvp, rootvp))
    with pytest.raises(ExecError) as refused:
        execve(td, b"/p", [b"p"], [])
    assert refused.value.errno == E.ENOEXEC
    assert not td.td_proc.p_state


def test_an_elf_program_needs_a_brand(tmp_path: Path) -> None:
    kernel = boot(RELEASE, RAM)
    kernel.elf_brands.clear()
    (tmp_path / "p").write_bytes(static_elf())
    (tmp_path / "p").chmod(0o755)
    rootvp = hostfs_mount(str(tmp_path), rw=False)
    td = create_init(kernel, ReferenceCpu(), FileDesc(rootvp, rootvp))
    with pytest.raises(ExecError, match="no ABI"):
        execve(td, b"/p", [b"p"], [])


def test_a_kernel_that_was_not_booted_knows_nothing() -> None:
    kernel = Kernel(Vm(RELEASE, RAM))
    assert (kernel.execsw, kernel.elf_brands, kernel.sysvecs) == ([], [], {})
