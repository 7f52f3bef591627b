"""The first stack of a FreeBSD program, byte for byte, on every release.

V8 is the worked vector for argv = {"/bin/true"}, envp = {"A=B"}: execpath "/bin/true", stack top 0x7ffffffff000.
"""

import struct

import pytest

from kernel_model.kern.elf_common import FREEBSD_AT_NAMES
from kernel_model.kern.machdep import PSL_USERINIT
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from tests.process import Process
from tests.unit.elf_files import PT_GNU_STACK, R, Seg, W, X, freebsd_note, static_elf

CLASSIC = {
    "execpath": 0x7FFFFFFFEFD6, "canary": 0x7FFFFFFFEF96, "pagesizes": 0x7FFFFFFFEF78, "strings": 0x7FFFFFFFEF68,
    "auxv": 0x7FFFFFFFEDE8, "argv": 0x7FFFFFFFEDC8, "rdi": 0x7FFFFFFFEDC0, "rsp": 0x7FFFFFFFEDB8, "count": 24,
}  # fmt: skip
V8 = {
    "freebsd-9.3": CLASSIC,
    "freebsd-10.1": CLASSIC,
    "freebsd-10.4": CLASSIC,
    "freebsd-11.0": CLASSIC,
    "freebsd-12.1": {
        "execpath": 0x7FFFFFFFEFD0, "canary": 0x7FFFFFFFEF90, "pagesizes": 0x7FFFFFFFEF78, "strings": 0x7FFFFFFFEF68,
        "auxv": 0x7FFFFFFFEDB8, "argv": 0x7FFFFFFFED98, "rdi": 0x7FFFFFFFED90, "rsp": 0x7FFFFFFFED88, "count": 27,
    },
    "freebsd-15.0": {
        "execpath": 0x7FFFFFFFEFD0, "canary": 0x7FFFFFFFEF90, "pagesizes": 0x7FFFFFFFEF78, "strings": 0x7FFFFFFFEF68,
        "auxv": 0x7FFFFFFFED18, "argv": 0x7FFFFFFFECF8, "rdi": 0x7FFFFFFFECF0, "rsp": 0x7FFFFFFFECE8, "count": 37,
    },
}  # fmt: skip

ORDER_9 = (
    "PHDR PHENT PHNUM PAGESZ FLAGS ENTRY BASE EXECPATH OSRELDATE CANARY CANARYLEN NCPUS PAGESIZES"
    " PAGESIZESLEN TIMEKEEP STACKPROT NULL"
)
ORDER_12 = ORDER_9.replace("BASE EXECPATH", "BASE EHDRFLAGS EXECPATH")
ORDER_15 = ORDER_12.replace("NULL", "BSDFLAGS ARGC ARGV ENVC ENVV PS_STRINGS USRSTACKBASE USRSTACKLIM NULL")


@pytest.fixture(params=sorted(V8))
def process(request, tmp_path):
    """A process that has executed /bin/true on one release."""
    process = Process(release=request.param, root=tmp_path)
    process.execve(process.add("bin/true", static_elf(notes=freebsd_note())), env=[b"A=B"])
    process.v8 = V8[request.param]
    return process


def auxv_of(process):
    return dict(process.stack(process.cpu.frame.rdi)[2])


def test_v8_registers(process):
    frame = process.cpu.frame
    assert hex(frame.rdi) == hex(process.v8["rdi"])
    assert hex(frame.rsp) == hex(process.v8["rsp"])
    assert frame.rip == 0x400400
    assert frame.rflags == PSL_USERINIT
    others = [getattr(frame, name) for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rbp", "r8", "r9", "r10", "r11")]
    assert not any(others)
    assert (frame.fs_base, frame.gs_base) == (0, 0)
    assert struct.unpack_from("<H", process.cpu.fpregs, 0) == (0x37F,)
    assert struct.unpack_from("<I", process.cpu.fpregs, 24) == (0x1F80,)
    assert len(process.cpu.fpregs) == 512


def test_v8_addresses(process):
    v8 = process.v8
    argv, env, _, auxv_at = process.stack(v8["rdi"])
    assert (argv, env) == ([b"/bin/true"], [b"A=B"])
    assert hex(auxv_at) == hex(v8["auxv"])
    assert hex(process.word(v8["argv"])) == hex(v8["strings"])
    assert process.word(v8["argv"] + 16) == v8["strings"] + len(b"/bin/true\0")
    auxv = auxv_of(process)
    assert {name: hex(auxv[kind]) for kind, name in ((15, "execpath"), (16, "canary"), (20, "pagesizes"))} == {
        name: hex(v8[name]) for name in ("execpath", "canary", "pagesizes")
    }
    assert process.string(v8["execpath"]) == b"/bin/true"
    assert process.get(v8["strings"], 14) == b"/bin/true\0A=B\0"


def test_ps_strings_names_both_vectors(process):
    argv = process.v8["argv"]
    assert struct.unpack("<QI4xQI4x", process.get(0x7FFFFFFFEFE0, 32)) == (argv, 1, argv + 16, 1)


def test_the_vector_has_the_releases_entries_in_order(process):
    auxv = process.stack(process.v8["rdi"])[2]
    names = " ".join(FREEBSD_AT_NAMES[kind].removeprefix("AT_") for kind, _ in auxv)
    assert names == {24: ORDER_9, 27: ORDER_12, 37: ORDER_15}[process.v8["count"]]


def test_the_vector_tells_the_truth(process):
    auxv = auxv_of(process)
    assert auxv[3] == 0x400040
    assert (auxv[4], auxv[5], auxv[6], auxv[7], auxv[8], auxv[9]) == (56, 3, 4096, 0, 0, 0x400400)
    assert (auxv[17], auxv[21]) == (64, 24)
    assert auxv[18] == process.vm.release.osreldate
    assert struct.unpack("<3Q", process.get(auxv[20], 24))[:2] == (4096, 2 << 20)
    assert any(process.get(auxv[16], 64))
    assert auxv[23] == 7
    assert 0x7FFFFFFFF000 < auxv[22] < 0x800000000000
    if 35 in auxv:
        assert (auxv[28], auxv[30]) == (1, 1)
        assert (auxv[29], auxv[31]) == (process.v8["argv"], process.v8["argv"] + 16)
        assert (auxv[32], auxv[35], auxv[36]) == (0x7FFFFFFFEFE0, 0x7FFFFFFFF000, 8 << 20)


def test_the_rest_of_the_vectors_room_is_zero(process):
    auxv = process.stack(process.v8["rdi"])[2]
    used = 16 * len(auxv)
    room = 16 * process.v8["count"]
    assert not any(process.get(process.v8["auxv"] + used, room - used))


def test_the_canary_is_random_and_repeatable_by_seed(tmp_path):
    def canary(seed):
        process = Process(root=tmp_path)
        process.kernel.rng.seed(seed)
        process.execve(process.add("p", static_elf()))
        return process.get(auxv_of(process)[16], 64)

    assert canary(1) == canary(1) != canary(2)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
@pytest.mark.parametrize("argc", range(4))
@pytest.mark.parametrize("envc", range(3))
def test_rsp_is_eight_more_than_a_multiple_of_sixteen_for_every_count(tmp_path, release, argc, envc):
    if argc == 0 and release == "freebsd-15.0":
        pytest.skip("argc 0 is EINVAL there")
    process = Process(release=release, root=tmp_path)
    process.execve(
        process.add("p", static_elf()), [b"a" * (n + 1) for n in range(argc)], [b"E=%d" % n for n in range(envc)]
    )
    frame = process.cpu.frame
    argv, env, auxv, _ = process.stack(frame.rdi)
    assert (len(argv), len(env)) == (argc, envc)
    assert auxv[-1] == (0, 0)
    assert frame.rsp % 16 == 8
    assert frame.rdi - frame.rsp in (0, 8)


@pytest.mark.parametrize("flags", [R | W, R | W | X])
def test_stackprot_is_what_pt_gnu_stack_asks_for(tmp_path, flags):
    process = Process(root=tmp_path)
    process.execve(process.add("p", static_elf(extra=[Seg(PT_GNU_STACK, flags, memsz=0, filesz=0)])))
    assert auxv_of(process)[23] == (3 if flags == R | W else 7)
    assert vm_map_lookup_entry(process.map, process.cpu.frame.rsp)[1].protection == auxv_of(process)[23]


def test_a_position_independent_program_is_told_its_bias(tmp_path):
    process = Process(root=tmp_path)
    process.execve(process.add("p", static_elf(pie=True)))
    auxv = auxv_of(process)
    assert (auxv[3], auxv[7], auxv[9]) == (0x1021040, 0x1021000, 0x1021400)
    assert process.cpu.frame.rip == 0x1021400
