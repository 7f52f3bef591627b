"""execve without an engine: the image, the limits, what stays, what dies."""

import os
import struct
from dataclasses import replace

import pytest

from kernel_model import errno as E
from kernel_model.errno import EJUSTRETURN
from kernel_model.errors import SyscallError
from kernel_model.kern import signo
from kernel_model.kern.copyin import copyout
from kernel_model.kern.elf_common import LINUX_AT_NAMES
from kernel_model.kern.imgact import ExecError
from kernel_model.kern.kern_exec import exec_copyin_args
from kernel_model.kern.proc import P_EXITED, P_INEXEC
from kernel_model.kern.signalvar import SigAction, StackT
from kernel_model.kern.vfs_lookup import namei
from kernel_model.ktrace import EXEC, MAP
from kernel_model.release import RELEASES
from kernel_model.rlimit import RLIM_INFINITY, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_VMEM
from kernel_model.vm.vm_map import vm_map_assert_consistent
from kernel_model.vm.vm_map_entry import MAP_ENTRY_COW, MAP_ENTRY_NOCOREDUMP, MAP_WIREFUTURE
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.process import Process
from tests.unit.elf_files import (
    PT_GNU_STACK,
    PT_LOAD,
    Elf,
    R,
    Seg,
    W,
    X,
    freebsd_note,
    gnu_note,
    note,
    static_elf,
)

LD_FREEBSD = b"/libexec/ld-elf.so.1"
LD_LINUX = b"/lib64/ld-linux-x86-64.so.2"
RELEASE_NAMES = [name for name in RELEASES if name != "dragonfly"]
RX, RW, RWX = R | X, R | W, R | W | X
VM_RX, VM_RW, VM_ALL = 5, 3, 7


@pytest.fixture
def process(tmp_path):
    return Process(root=tmp_path)


def refused(process, path, *args, errno, text=""):
    """execve fails before the point of no return, and says why."""
    with pytest.raises(ExecError) as caught:
        process.execve(path, *args)
    assert E.NAMES[caught.value.errno] == E.NAMES[errno]
    assert text in caught.value.reason
    assert "\n" not in caught.value.reason
    assert not process.proc.p_state
    return caught.value.reason


def killed(process, path, *args):
    """execve passes the point of no return and the process dies of SIGABRT."""
    stages = []
    said = []
    process.kernel.ktrace.subscribe(EXEC, stages.append)
    process.kernel.uprintf = said.append
    assert process.execve(path, *args) == EJUSTRETURN
    assert process.proc.p_state == P_EXITED
    assert process.proc.p_xsig == signo.SIGABRT
    assert stages[-1].stage == "failed"
    assert stages[-1].operands["result"] == "SIGABRT"
    assert said == [f"{path.decode()}: {stages[-1].operands['reason']}"]
    return stages[-1].operands


# -- the image ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_a_static_program_is_mapped_as_its_segments_say(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    assert process.execve(process.add("p", static_elf(notes=freebsd_note(1001000)))) == EJUSTRETURN
    text, data, bss = list(process.map)[:3]
    assert (text.start, text.end, text.protection) == (0x400000, 0x401000, VM_RX)
    assert text.eflags & MAP_ENTRY_COW
    assert text.eflags & MAP_ENTRY_NOCOREDUMP
    assert (data.start, data.protection) == (0x401000, VM_RW)
    assert bss.start in (0x404000, 0x7FFFDFFFF000, 0x7FFFFFFDF000)
    assert process.get(0x401000, 256) == b"DATA" * 64
    assert process.get(0x401100, 0x2F00) == bytes(0x2F00)
    assert process.proc.p_osrel == 1001000
    vmspace = process.space
    assert (vmspace.vm_taddr, vmspace.vm_tsize) == (0x400000, 1)
    assert (vmspace.vm_daddr, vmspace.vm_dsize) == (0x401000, 3)
    vm_map_assert_consistent(process.map)


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_file_pages_are_private(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    elf = Elf([Seg(PT_LOAD, RW, 0, 0x400000, filesz=0x2000)], entry=0x400400).build().ljust(0x2000, b"\1")
    path = process.add("p", elf)
    process.execve(path)
    copyout(process.td, 0x401000, b"guest")
    assert process.get(0x401000, 6) == b"guest\1"
    assert (tmp_path / "p").read_bytes() == elf


def test_the_stack_is_what_the_release_maps(tmp_path):
    for release in RELEASE_NAMES:
        process = Process(release=release, root=tmp_path)
        process.execve(process.add("p", static_elf()))
        entries = list(process.map)
        stack = next(entry for entry in entries if entry.start <= 0x7FFFFFFFE000 < entry.end)
        assert (stack.start, stack.end, stack.protection) == (0x7FFFFFFDF000, 0x7FFFFFFFF000, VM_ALL), release
        vmspace = process.space
        assert (vmspace.vm_ssize, vmspace.vm_maxsaddr) == (32, 0x7FFFDFFFF000)
        if process.vm.release.stack_gap:
            gap = next(entry for entry in entries if entry.end == stack.start)
            assert (gap.start, gap.protection) == (0x7FFFDFFFF000, 0)
        else:
            assert stack.avail_ssize == (512 << 20) - 0x20000


def test_the_shared_page_holds_the_trampoline(process):
    process.execve(process.add("p", static_elf()))
    entry = vm_map_lookup_entry(process.map, 0x7FFFFFFFF000)[1]
    assert (entry.start, entry.end, entry.protection, entry.max_protection) == (
        0x7FFFFFFFF000, 0x800000000000, VM_RX, VM_RX,
    )  # fmt: skip
    code = process.proc.p_sysent.sv_sigcode
    assert code
    assert process.get(0x7FFFFFFFF000, len(code)) == code
    again = process.kernel.shared_pages["freebsd"]
    process.execve(b"/p")
    assert process.kernel.shared_pages["freebsd"] is again
    assert again.ref_count == 2


def test_segments_that_share_a_page_share_it(process):
    """As with ld -N or a small p_align: the second begins in the middle of the first one's last page."""
    file = Elf(
        [
            Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x900, memsz=0x900),
            Seg(PT_LOAD, RW, 0x900, 0x400900, data=b"b" * 0x800, memsz=0x1900),
        ],
        entry=0x400400,
    ).build()
    process.execve(process.add("p", file))
    assert not process.proc.p_state
    assert process.get(0x400900, 0x800) == b"b" * 0x800
    assert process.get(0x401100, 0x1100) == bytes(0x1100)
    assert vm_map_lookup_entry(process.map, 0x400000)[1].protection == VM_ALL
    assert vm_map_lookup_entry(process.map, 0x401000)[1].protection == VM_RW


def test_a_segment_out_of_step_with_its_page_is_copied(process):
    file = Elf(
        [
            Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x800),
            Seg(PT_LOAD, RX, 0x1234, 0x402ABC, data=b"odd" * 1000, memsz=4000),
        ],
        entry=0x400400,
    ).build()
    process.execve(process.add("p", file))
    assert process.get(0x402ABC, 4000) == (b"odd" * 1000).ljust(4000, b"\0")
    assert vm_map_lookup_entry(process.map, 0x402000)[1].protection == VM_RX


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_a_read_only_segment_may_end_in_zeros(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    file = Elf([Seg(PT_LOAD, RX, 0, 0x400000, data=b"", filesz=0x1100, memsz=0x3000)], entry=0x400400).build()
    process.execve(process.add("p", file.ljust(0x1100, b"t")))
    assert process.get(0x401000, 0x200) == b"t" * 0x100 + bytes(0x100)
    assert {entry.protection for entry in process.map if entry.start < 0x403000} == {VM_RX}


def test_bytes_before_a_segment_without_data_follow_the_release(tmp_path):
    """p_filesz 0 at an odd offset: until 11 the page's beginning was copied, since 12 it is zero."""
    for release, want in (("freebsd-10.1", b"h" * 0x100), ("freebsd-12.1", bytes(0x100))):
        process = Process(release=release, root=tmp_path)
        file = Elf(
            [
                Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x800),
                Seg(PT_LOAD, RW, 0x1100, 0x402100, filesz=0, memsz=0x100),
            ],
            entry=0x400400,
        ).build()
        process.execve(process.add("p", file.ljust(0x1000, b"\0") + b"h" * 0x200))
        assert process.get(0x402000, 0x100) == want, release
        assert process.get(0x402100, 0x100) == bytes(0x100)


def test_a_segment_without_memory_is_skipped(process):
    segs = [Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x800), Seg(PT_LOAD, RW, 1 << 40, 1 << 60, filesz=0, memsz=0)]
    process.execve(process.add("p", Elf(segs, entry=0x400400).build().ljust(0x800, b"\0")))
    assert not process.proc.p_state


# -- programs with an interpreter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_the_run_time_linker_goes_above_the_room_for_data(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    process.add("libexec/ld-elf.so.1", static_elf(pie=True))
    process.execve(process.add("p", static_elf(interp=LD_FREEBSD, notes=freebsd_note())))
    base = 0x401000 + process.proc.p_limit.lim_max(RLIMIT_DATA)
    assert process.cpu.frame.rip == base + 0x400
    auxv = dict(process.stack(process.cpu.frame.rdi)[2])
    assert (auxv[7], auxv[9]) == (base, 0x400400)
    assert vm_map_lookup_entry(process.map, base)[0]
    assert process.proc.p_textvp.v_name == b"p"


def test_a_fixed_run_time_linker_stays_where_it_was_linked(process):
    process.add("libexec/ld-elf.so.1", Elf([Seg(PT_LOAD, RX, 0, 0x10000000, filesz=0x40)], entry=0x10000010).build())
    process.execve(process.add("p", static_elf(interp=LD_FREEBSD)))
    assert process.cpu.frame.rip == 0x10000010
    assert dict(process.stack(process.cpu.frame.rdi)[2])[7] == 0x10000000


@pytest.mark.parametrize(
    ("linker", "text"),
    [
        (None, "no such file"),
        (b"garbage" * 100, "not an ELF file"),
        (Elf(machine=40).build(), "machine EM_ARM"),
        (static_elf(pie=True)[:0x900], "truncated ELF file"),
        (b"#!/bin/sh\n", "not an ELF file"),
    ],
)
def test_a_run_time_linker_that_cannot_be_used_kills(process, linker, text):
    if linker is not None:
        process.add("libexec/ld-elf.so.1", linker)
    operands = killed(process, process.add("p", static_elf(interp=LD_FREEBSD)))
    assert text in operands["reason"]
    assert "ld-elf.so.1" in operands["reason"]


# -- brands ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elf", "abi"),
    [
        (static_elf(osabi=9), "freebsd"),
        (static_elf(osabi=3), "linux"),
        (static_elf(osabi=0), "linux"),
        (static_elf(osabi=0, notes=freebsd_note()), "freebsd"),
        (static_elf(osabi=9, notes=gnu_note()), "linux"),
        (static_elf(osabi=3, notes=freebsd_note()), "freebsd"),
        (static_elf(osabi=0, notes=gnu_note(3)), "freebsd"),
        (static_elf(osabi=0, notes=gnu_note(1)), "linux"),
        (static_elf(osabi=0, interp=LD_FREEBSD), "freebsd"),
        (static_elf(osabi=0, interp=b"/usr/libexec/ld-elf.so.1"), "freebsd"),
        (static_elf(osabi=0, interp=LD_LINUX), "linux"),
        (static_elf(osabi=0, interp=b"/lib/ld-musl-x86_64.so.1"), "linux"),
        (Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x40)], osabi=0, brand=b"FreeBSD").build(), "freebsd"),
        (Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x40)], osabi=0, brand=b"Linux").build(), "linux"),
    ],
)
@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
def test_the_brand_decides_the_abi(tmp_path, elf, abi, release):
    process = Process(release=release, root=tmp_path)
    for name in (LD_FREEBSD, LD_LINUX, b"/usr/libexec/ld-elf.so.1", b"/lib/ld-musl-x86_64.so.1"):
        process.add(name.decode()[1:], static_elf(pie=True))
    process.execve(process.add("p", elf))
    assert not process.proc.p_state
    assert process.proc.p_sysent.name == abi


@pytest.mark.parametrize("abi", ["freebsd", "linux"])
@pytest.mark.parametrize("elf", [static_elf(osabi=9, notes=freebsd_note()), static_elf(osabi=3), static_elf(osabi=0)])
def test_the_abi_can_be_forced(tmp_path, abi, elf):
    process = Process(root=tmp_path)
    process.force_brand(abi)
    process.execve(process.add("p", elf))
    assert process.proc.p_sysent.name == abi


def test_without_a_fallback_an_unbranded_program_is_unknown(process):
    process.kernel.tunables["kern.elf64.fallback_brand"] = -1
    refused(process, process.add("p", static_elf(osabi=0)), errno=E.ENOEXEC, text="no ABI")


def test_a_note_far_from_the_headers_is_found_after_10_1(tmp_path):
    """r289324 of October 2015; imgact_elf.c of 10.0 takes only what the first page holds."""
    far = Seg(4, R, 0x5000, 0x405000, data=freebsd_note(1234), align=4)
    for release, osrel in (("freebsd-9.3", 0), ("freebsd-10.1", 0), ("freebsd-10.4", 1234)):
        process = Process(release=release, root=tmp_path)
        process.execve(process.add("p", static_elf(extra=[far])))
        assert process.proc.p_osrel == osrel


def test_the_feature_note_is_kept_since_12(tmp_path):
    notes = freebsd_note() + note(b"FreeBSD", 4, struct.pack("<I", 5))
    for release, fctl0 in (("freebsd-10.1", 0), ("freebsd-12.1", 5)):
        process = Process(release=release, root=tmp_path)
        process.execve(process.add("p", static_elf(notes=notes)))
        assert process.proc.p_fctl0 == fctl0


# -- Linux ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argc", range(1, 5))
@pytest.mark.parametrize("envc", range(4))
def test_a_linux_program_starts_on_an_aligned_stack(process, argc, envc):
    argv = [b"x" * n for n in range(argc)]
    env = [b"N%d=%s" % (n, b"y" * n * 3) for n in range(envc)]
    process.execve(process.add("p", static_elf(osabi=3)), argv, env)
    frame = process.cpu.frame
    assert frame.rsp % 16 == 0
    assert process.stack(frame.rsp)[:2] == (argv, env)
    assert (frame.rip, frame.rdi, frame.rdx) == (0x400400, 0, 0)


def test_the_linux_vector(process):
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_ruid=5, cr_rgid=6)
    process.execve(process.add("bin/p", static_elf(osabi=3)), [b"p", b"a"], [b"E=1"])
    auxv = process.stack(process.cpu.frame.rsp)[2]
    assert all(kind in LINUX_AT_NAMES for kind, _ in auxv)
    by_name = {LINUX_AT_NAMES[kind].removeprefix("AT_"): value for kind, value in auxv}
    assert by_name["PHDR"] == 0x400040
    assert (by_name["BASE"], by_name["ENTRY"], by_name["PAGESZ"], by_name["CLKTCK"]) == (0, 0x400400, 4096, 100)
    assert (by_name["UID"], by_name["EUID"], by_name["GID"], by_name["SECURE"]) == (5, 0, 6, 0)
    assert process.string(by_name["EXECFN"]) == b"/bin/p"
    assert process.string(by_name["PLATFORM"]) == b"x86_64"
    assert any(process.get(by_name["RANDOM"], 16))
    assert by_name["MINSIGSTKSZ"] == 2048


def test_linux_strings_lie_as_programs_that_rename_themselves_expect(process):
    process.execve(process.add("bin/p", static_elf(osabi=3)), [b"one", b"two"], [b"E=1", b"F=2"])
    argv0 = process.word(process.cpu.frame.rsp + 8)
    assert process.get(argv0, 16) == b"one\0two\0E=1\0F=2\0"
    assert process.get(argv0 + 16, 7 + 8) == b"/bin/p\0" + bytes(8)
    assert argv0 + 16 + 7 + 8 == 0x7FFFFFFFF000


def test_linux_has_no_shared_page_and_a_stack_without_execution(process):
    process.execve(process.add("p", static_elf(osabi=3)))
    assert not vm_map_lookup_entry(process.map, 0x7FFFFFFFF000)[0]
    assert vm_map_lookup_entry(process.map, 0x7FFFFFFFE000)[1].protection == VM_RW


def test_a_linux_interpreter_is_named_by_at_base(process):
    process.add(LD_LINUX.decode()[1:], static_elf(pie=True, osabi=0))
    process.execve(process.add("p", static_elf(osabi=0, pie=True, interp=LD_LINUX)))
    auxv = dict(process.stack(process.cpu.frame.rsp)[2])
    assert auxv[7] == process.cpu.frame.rip - 0x400
    assert auxv[3] == 0x1021040


# -- scripts ----------------------------------------------------------------------------------------------------------


def test_a_script_runs_its_interpreter(process):
    process.add("bin/sh", static_elf(notes=freebsd_note()))
    process.execve(process.add("tmp/s", b"#!/bin/sh -e\necho\n"), [b"s", b"one"], [b"E=1"])
    argv, env, auxv, _ = process.stack(process.cpu.frame.rdi)
    assert argv == [b"/bin/sh", b"-e", b"/tmp/s", b"one"]
    assert env == [b"E=1"]
    assert process.string(dict(auxv)[15]) == b"/bin/sh"
    assert (process.proc.p_comm, process.proc.p_textvp.v_name) == ("sh", b"sh")


def test_a_linux_script_keeps_its_name(process):
    process.add("bin/sh", static_elf(osabi=3))
    process.execve(process.add("tmp/s", b"#!/bin/sh\n"), [b"s"])
    assert process.proc.p_comm == "s"
    auxv = dict(process.stack(process.cpu.frame.rsp)[2])
    assert process.string(auxv[31]) == b"/tmp/s"


def test_scripts_that_lead_nowhere(process):
    process.add("inner", b"#!/bin/sh\n")
    refused(process, process.add("s1", b"#!/inner\n"), errno=E.ENOEXEC, text="script itself")
    refused(process, process.add("s2", b"#!/bin/nothing -x\n"), errno=E.ENOENT, text="/bin/nothing: no such file")
    refused(process, process.add("s3", b"#!\n"), errno=E.ENOEXEC, text="no interpreter")
    process.add("dir/x", b"")
    refused(process, process.add("s4", b"#!/dir\n"), errno=E.EACCES, text="is a directory")


# -- refusals that leave the old image ------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_a_refused_execve_leaves_everything_as_it_was(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    process.execve(process.add("p", static_elf(notes=freebsd_note(77))))

    def state() -> tuple[object, ...]:
        proc = process.proc
        return (
            process.entries(),
            process.cpu.frame,
            proc.p_comm,
            proc.p_osrel,
            process.map.size,
            process.kernel.ktrace.cause,
        )

    before = state()
    timestamp = process.map.timestamp
    objects = process.proc.p_textvp.v_object.ref_count
    refused(process, process.add("q", b"no program"), errno=E.ENOEXEC)
    refused(process, b"/none", errno=E.ENOENT)
    refused(process, process.add("arm", Elf(machine=40).build()), errno=E.ENOEXEC, text="EM_ARM")
    assert state() == before
    assert process.map.timestamp == timestamp
    assert process.proc.p_textvp.v_object.ref_count == objects
    assert not process.proc.p_flag & P_INEXEC


def test_who_may_be_executed(process):
    refused(process, process.add("f", static_elf(), 0o644), errno=E.EACCES, text="no execute bit")
    refused(process, process.add("empty", b""), errno=E.ENOEXEC, text="empty")
    process.add("d/x", b"")
    refused(process, b"/d", errno=E.EACCES, text="is a directory")
    refused(process, b"/f/x", errno=E.ENOTDIR, text="not a directory")
    refused(process, b"/" + b"x" * 300, errno=E.ENAMETOOLONG)
    path = process.add("busy", static_elf())
    process.execve(process.add("p", static_elf()))
    vp = namei(process.td, path)
    vp.v_writecount = 1
    refused(process, path, errno=E.ETXTBSY, text="open for writing")


def test_execute_permission_is_the_callers(process):
    path = process.add("p", static_elf(), 0o700)
    if os.getuid():
        pytest.skip("the file must belong to somebody else")
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_uid=1234)
    refused(process, path, errno=E.EACCES, text="permission denied")


def test_a_noexec_file_system(process):
    process.kernel.rootvnode.v_mount.mnt_flag |= 0x4
    refused(process, process.add("p", static_elf()), errno=E.EACCES, text="forbids execution")


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_no_arguments(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    path = process.add("p", static_elf())
    if process.vm.release.exec_argc_zero_ok:
        process.execve(path, [])
        assert process.stack(process.cpu.frame.rdi)[0] == []
    else:
        refused(process, path, [], errno=E.EINVAL)


@pytest.mark.parametrize(("release", "arg_max"), [("freebsd-10.1", 262144), ("freebsd-12.1", 524288)])
def test_argument_strings_have_room_for_arg_max(tmp_path, release, arg_max):
    process = Process(release=release, root=tmp_path)
    path = process.add("p", static_elf())
    refused(process, path, [b"x" * arg_max], errno=E.E2BIG)
    refused(process, path, [b"x" * (arg_max - 4)], [b"E=1"], errno=E.E2BIG)
    process.execve(path, [b"x" * (arg_max - 5)], [b"E=1"])
    argv, env, _, _ = process.stack(process.cpu.frame.rdi)
    assert len(argv[0]) == arg_max - 5
    assert env == [b"E=1"]


def test_a_path_too_long_follows_the_release(tmp_path):
    for release, errno in (("freebsd-10.1", E.ENAMETOOLONG), ("freebsd-15.0", E.E2BIG)):
        refused(Process(release=release, root=tmp_path), b"/" + b"x/" * 512, errno=errno)


# -- the system call's own arguments -------------------------------------------------------------------------------


def test_arguments_come_out_of_the_old_image(process):
    process.execve(process.add("p", static_elf()))
    strings = b"/p\0one\0\0E=1\0"
    copyout(process.td, 0x402000, strings)
    copyout(process.td, 0x402FF0, struct.pack("<QQ", 0x402003, 0x402007))
    copyout(process.td, 0x403000, struct.pack("<Q", 0))
    copyout(process.td, 0x403100, struct.pack("<QQ", 0x402008, 0))
    args = exec_copyin_args(process.td, 0x402000, 0x402FF0, 0x403100)
    assert (args.fname, args.argv, args.envv) == (b"/p", [b"one", b""], [b"E=1"])
    for bad in ((0x402000, 0, 0), (0x402000, 0x500000, 0), (0x402000, 0x402FF0, 0x500000), (0x500000, 0x402FF0, 0)):
        with pytest.raises(SyscallError) as caught:
            exec_copyin_args(process.td, *bad)
        assert caught.value.errno == E.EFAULT, bad


def test_a_vector_without_end_is_too_long_or_bad(process):
    process.execve(process.add("p", Elf([Seg(PT_LOAD, RW, 0, 0x400000, filesz=0x78, memsz=8 << 20)]).build()))
    copyout(process.td, 0x402000, b"/p\0")
    copyout(process.td, 0x410000, struct.pack("<Q", 0x402000) * 200000)
    with pytest.raises(ExecError) as caught:
        exec_copyin_args(process.td, 0x402000, 0x410000, 0)
    assert caught.value.errno == E.E2BIG


# -- what outlives the image ----------------------------------------------------------------------------------------


def test_signals_descriptors_and_names_after_execve(process):
    acts = process.proc.p_sigacts
    acts.ps_sigact[2] = SigAction(sa_handler=0x1234, sa_flags=0x40, sa_mask=7)
    acts.ps_sigact[3] = SigAction(sa_handler=1)
    process.td.td_sigstk = StackT(0x1000, 0x4000, 0)
    process.td.td_sigmask = 0b1010
    path = process.add("usr/bin/program-with-a-very-long-name", static_elf())
    process.execve(path, [b"a", b"b"])
    acts = process.proc.p_sigacts
    assert (acts.ps_sigact[2].sa_handler, acts.ps_sigact[3].sa_handler) == (0, 1)
    assert not process.td.td_sigstk.enabled
    assert process.td.td_sigmask == 0b1010
    assert process.proc.p_comm == "program-with-a-very-long-name"[:19]
    assert process.proc.p_args == [b"a", b"b"]
    assert process.proc.p_execpath == "/usr/bin/program-with-a-very-long-name"


def test_a_relative_path_becomes_absolute_for_the_program(process):
    process.add("usr/bin/p", static_elf())
    process.proc.p_fd.fd_cdir = process.kernel.rootvnode.lookup(b"usr")
    process.proc.p_fd.fd_cdir.v_dd = process.kernel.rootvnode
    process.execve(b"bin/p")
    assert process.proc.p_execpath == "/usr/bin/p"


def test_saved_ids_follow(process):
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_svuid=99)
    process.execve(process.add("p", static_elf()))
    assert process.proc.p_ucred.cr_svuid == process.proc.p_ucred.cr_uid


def test_the_second_image_leaves_nothing_of_the_first(process):
    process.execve(process.add("p", static_elf(pie=True)))
    first = process.proc.p_textvp
    resident = process.vm.cnt.v_free_count
    process.execve(process.add("q", static_elf()))
    assert not vm_map_lookup_entry(process.map, 0x1021000)[0]
    assert (first.v_textcount, process.proc.p_textvp.v_textcount > 0) == (0, True)
    vm_map_assert_consistent(process.map)
    process.execve(b"/p")
    process.execve(b"/q")
    assert abs(process.vm.cnt.v_free_count - resident) < 8


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_locking_future_memory_ends_where_the_release_ends_it(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    process.execve(process.add("p", static_elf()))
    process.map.modflags(MAP_WIREFUTURE, 0)
    process.execve(b"/p")
    assert bool(process.map.flags & MAP_WIREFUTURE) != process.vm.release.exec_clears_wirefuture


# -- limits and the stack's size ------------------------------------------------------------------------------


def test_pt_gnu_stack_sets_the_size(tmp_path):
    process = Process(release="freebsd-10.4", root=tmp_path)
    size = 3 << 20
    process.execve(process.add("p", static_elf(extra=[Seg(PT_GNU_STACK, RW, memsz=size + 5, filesz=0)])))
    assert process.space.vm_maxsaddr == 0x7FFFFFFFF000 - size
    assert process.proc.p_limit.lim_cur(RLIMIT_STACK) == 8 << 20
    process.execve(process.add("q", static_elf(extra=[Seg(PT_GNU_STACK, RW, memsz=64 << 20, filesz=0)])))
    assert process.proc.p_limit.lim_cur(RLIMIT_STACK) == 64 << 20
    process.execve(process.add("r", static_elf(extra=[Seg(PT_GNU_STACK, RW, memsz=1 << 40, filesz=0)])))
    assert process.space.vm_maxsaddr == 0x7FFFFFFFF000 - (512 << 20)


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1"])
def test_until_10_1_that_size_is_ignored(tmp_path, release):
    """It came with r281548 of April 2015."""
    process = Process(release=release, root=tmp_path)
    process.execve(process.add("p", static_elf(extra=[Seg(PT_GNU_STACK, RW, memsz=3 << 20, filesz=0)])))
    assert process.space.vm_maxsaddr == 0x7FFFFFFFF000 - (512 << 20)


def test_15_0_wants_a_stack_that_can_be_used(tmp_path):
    file = static_elf(extra=[Seg(PT_GNU_STACK, R | X, memsz=0, filesz=0)])
    process = Process(release="freebsd-15.0", root=tmp_path)
    refused(process, process.add("p", file), errno=E.ENOEXEC, text="PT_GNU_STACK")
    process = Process(release="freebsd-12.1", root=tmp_path)
    killed_or_not = process.execve(b"/p")
    assert killed_or_not == EJUSTRETURN


@pytest.mark.parametrize(
    ("which", "limit", "text"),
    [(RLIMIT_DATA, 0x2000, "data limit"), (RLIMIT_VMEM, 0x3000, "vmem limit")],
)
def test_limits_that_the_image_passes_kill(process, which, limit, text):
    process.proc.p_limit.set(which, limit, RLIM_INFINITY)
    if which == RLIMIT_VMEM:
        process.proc.p_limit.set(which, 0x23000, RLIM_INFINITY)
        file = Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x78, memsz=0x24000)], entry=0x400010).build()
    else:
        file = static_elf()
    operands = killed(process, process.add("p", file))
    assert text in operands["reason"] or "vm" in operands["reason"]


def test_a_text_larger_than_maxtsiz_kills(process):
    process.kernel.tunables["kern.maxtsiz"] = 0x1000
    file = Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x78, memsz=0x2000)], entry=0x400010).build()
    assert "maxtsiz" in killed(process, process.add("p", file))["reason"]


@pytest.mark.parametrize("release", ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
def test_strings_larger_than_the_stack_limit(tmp_path, release):
    """Q17: 15.0 kills, 12.1 dies on the auxiliary vector, before the program starts without its strings."""
    process = Process(release=release, root=tmp_path)
    process.proc.p_limit.set(RLIMIT_STACK, 0x20000, 8 << 20)
    path = process.add("p", static_elf())
    argv = [b"x" * 0x30000]
    if process.vm.release.exec_checks_fixup:
        assert killed(process, path, argv)["errno"] == E.EFAULT
        return
    process.execve(path, argv)
    assert not process.proc.p_state
    assert struct.unpack("<QI", process.get(0x7FFFFFFFEFE0, 12))[1] == 1


# -- stages ---------------------------------------------------------------------------------------------------------


def test_every_stage_is_told_and_causes_its_changes(tmp_path):
    for release, order in (
        ("freebsd-10.1", ["activate", "new_vmspace", "shared_page", "stack", "segment", "segment", "interpreter"]),
        ("freebsd-15.0", ["activate", "new_vmspace", "segment", "segment", "interpreter"]),
    ):
        process = Process(release=release, root=tmp_path)
        process.add("libexec/ld-elf.so.1", static_elf(pie=True))
        path = process.add("p", static_elf(interp=LD_FREEBSD))
        stages, changes = [], []
        process.kernel.ktrace.subscribe(EXEC, stages.append)
        process.kernel.ktrace.subscribe(MAP, changes.append)
        process.execve(path)
        names = [event.stage for event in stages]
        assert names[: len(order)] == order
        assert names[-4:] == ["strings", "auxv", "commit", "registers"]
        if release == "freebsd-15.0":
            assert names[-6:-4] == ["stack", "shared_page"]
        assert {change.cause.kind for change in changes} == {"exec"}
        causes = {change.cause.name for change in changes}
        assert {"stack", "shared_page", "segment"} <= causes
        assert process.kernel.ktrace.cause is None


def test_a_shared_address_space_is_left_to_the_others(process):
    process.execve(process.add("p", static_elf()))
    old = process.space
    old.vm_refcnt += 1
    process.execve(b"/p")
    assert process.space is not old
    assert old.vm_map.nentries


def test_arguments_wait_in_exec_map(process):
    from kernel_model.vm.vm_kern import EXEC_MAP_ENTRIES, exec_map_alloc, exec_map_free, kernel_maps

    path = process.add("p", static_elf())
    process.execve(path, [b"a" * 10000])
    free = process.vm.cnt.v_free_count
    assert kernel_maps(process.vm).exec_map.nentries == 0
    process.execve(path, [b"a" * 10000])
    with pytest.raises(ExecError):
        process.execve(b"/none")
    assert kernel_maps(process.vm).exec_map.nentries == 0
    assert process.vm.cnt.v_free_count == free
    held = [exec_map_alloc(process.vm) for _ in range(EXEC_MAP_ENTRIES)]
    refused(process, path, errno=E.ENOMEM, text="no kernel address space")
    exec_map_free(process.vm, held.pop())
    process.execve(path)


@pytest.mark.parametrize("release", RELEASE_NAMES)
def test_the_first_program_of_all_may_have_long_arguments(tmp_path, release):
    process = Process(release=release, root=tmp_path)
    long = b"x" * (RELEASES[release].arg_max * 3 // 4)  # more than the stack has before it grows
    process.execve(process.add("p", static_elf()), [long, b"end"])
    assert process.stack(process.cpu.frame.rdi)[0][1] == b"end"


def test_objects_have_one_reference_for_each_entry_that_shows_them(process):
    process.add("libexec/ld-elf.so.1", static_elf(pie=True))
    path = process.add("p", static_elf(interp=LD_FREEBSD))
    for _ in range(3):
        process.execve(path)
        entries = list(process.map)
        for start in (0x400000, process.cpu.frame.rip - 0x400):
            obj = vm_map_lookup_entry(process.map, start)[1].vm_object
            shown = sum(entry.vm_object is obj for entry in entries)
            assert obj.ref_count == shown + obj.shadow_count


def test_the_old_address_space_of_a_sharer_loses_one_reference(process):
    process.execve(process.add("p", static_elf()))
    old = process.space
    old.vm_refcnt += 1
    process.execve(b"/p")
    assert (old.vm_refcnt, process.space.vm_refcnt) == (1, 1)


def test_a_shared_object_linked_somewhere_stays_there(process):
    segs = [Seg(PT_LOAD, RX, 0, 0x600000, filesz=0x800)]
    process.execve(process.add("p", Elf(segs, type=3, entry=0x600400).build().ljust(0x800, b"\0")))
    assert process.cpu.frame.rip == 0x600400


def test_a_static_position_independent_linux_program_has_no_base(process):
    process.execve(process.add("p", static_elf(osabi=3, pie=True)))
    auxv = dict(process.stack(process.cpu.frame.rsp)[2])
    assert (auxv[7], auxv[9]) == (0, 0x1021400)


def test_zeros_behind_a_segment_that_shares_a_page(process):
    file = Elf(
        [
            Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x900, memsz=0x900),
            Seg(PT_LOAD, RW, 0x900, 0x400900, filesz=0x100, memsz=0x400),
        ],
        entry=0x400400,
    ).build()
    process.execve(process.add("p", file.ljust(0x2000, b"f")))
    assert process.get(0x400900, 0x400) == b"f" * 0x100 + bytes(0x300)
    assert process.get(0x400D00, 0x300) == b"f" * 0x300


def test_a_segment_with_more_file_than_memory(process):
    file = Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x900, memsz=0x800)]).build().ljust(0x900, b"\0")
    operands = killed(process, process.add("p", file))
    assert operands["errno"] == E.ENOEXEC
    assert "more bytes in the file" in operands["reason"]


def test_a_file_that_the_host_does_not_let_us_read(process, monkeypatch):
    from kernel_model.fs.hostfs import HostVnode

    def forbidden(self, buf, offset):
        raise SyscallError(E.EACCES)

    path = process.add("secret", static_elf(), 0o711)
    monkeypatch.setattr(HostVnode, "v_pread_into", forbidden)
    refused(process, path, errno=E.EACCES, text="permission denied")


def test_set_user_id_counts_only_where_the_file_system_lets_it(process):
    from kernel_model.kern.imgact import ImageArgs, ImageParams
    from kernel_model.kern.kern_exec import _prepare_credentials
    from kernel_model.kern.vnode import VREG, Vattr

    for flag, want in ((0x8, 1000), (0, 0)):
        process.kernel.rootvnode.v_mount.mnt_flag = flag
        process.proc.p_ucred = replace(process.proc.p_ucred, cr_uid=1000, cr_svuid=1000)
        attr = Vattr(VREG, 0o4755, va_uid=0)
        imgp = ImageParams(process.td, ImageArgs(b"/su"), process.kernel.rootvnode, attr)
        _prepare_credentials(imgp)
        cred = imgp.newcred or process.proc.p_ucred
        assert (cred.cr_uid, cred.cr_svuid) == (want, want)
        assert imgp.credential_setid == (want == 0)


def test_a_program_that_wants_no_new_privileges_gets_none():
    from kernel_model.kern.imgact import ImageArgs, ImageParams
    from kernel_model.kern.kern_exec import _prepare_credentials
    from kernel_model.kern.vnode import VREG, Vattr

    process = Process("linux")
    set_it, get_it = 38, 39
    assert process.call("prctl", get_it, 0, 0, 0, 0) == 0
    assert process.call("prctl", set_it, 0, 0, 0, 0) == -E.EINVAL
    assert process.call("prctl", set_it, 1, 0, 0, 0) == 0
    assert process.call("prctl", get_it, 0, 0, 0, 0) == 1
    process.kernel.rootvnode.v_mount.mnt_flag = 0
    process.proc.p_ucred = replace(process.proc.p_ucred, cr_uid=1000, cr_svuid=1000)
    imgp = ImageParams(process.td, ImageArgs(b"/su"), process.kernel.rootvnode, Vattr(VREG, 0o4755, va_uid=0))
    _prepare_credentials(imgp)
    assert imgp.newcred is None
    assert not imgp.credential_setid


def test_anonymous_memory_starts_where_a_run_time_linker_would_since_12(tmp_path):
    above = 0x401000 + (32 << 30)
    for release, want in (("freebsd-11.0", 0), ("freebsd-12.1", above), ("freebsd-15.0", above)):
        process = Process(release=release, root=tmp_path)
        process.execve(process.add("p", static_elf()))
        assert process.map.anon_loc == want


def test_15_0_looks_at_all_sizes_together(tmp_path):
    segs = [Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x100, memsz=1 << 47)]
    process = Process(release="freebsd-15.0", root=tmp_path)
    assert "no room for the stack" in killed(process, process.add("p", Elf(segs).build().ljust(0x100, b"\0")))["reason"]
