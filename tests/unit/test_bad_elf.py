"""Files that are broken, absurd or malicious: a clear error or a guest's death, never one of ours."""

import random
import resource
import time

import pytest

from kernel_model import errno as E
from kernel_model.errors import SyscallError
from kernel_model.kern import signo
from kernel_model.kern.copyin import copyin
from kernel_model.kern.imgact import ExecError
from kernel_model.kern.proc import P_EXITED
from kernel_model.ktrace import EXEC
from kernel_model.vm.vm_map import vm_map_assert_consistent
from tests.process import Process
from tests.unit.elf_files import (
    EHDR,
    ET_DYN,
    PHDR,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
    PT_NOTE,
    Elf,
    R,
    Seg,
    W,
    X,
    freebsd_note,
    note,
    static_elf,
)

RELEASES = ["freebsd-9.3", "freebsd-10.1", "freebsd-12.1", "freebsd-15.0"]
LD = b"/libexec/ld-elf.so.1"
RX, RW = R | X, R | W
TOP = 1 << 64


def outcome(process: Process, data: bytes) -> str:
    """Execute *data* in a process that runs something already: ``ran``, ``SIGABRT`` or the errno's name.

    Asserts what must hold however it ends.
    """
    process.proc.p_state = process.proc.p_xsig = 0
    (process.root / "victim").unlink(missing_ok=True)  # a new file: the old one's pages may still be in memory
    path = process.add("victim", data)
    reasons = []

    def listen(event):
        if event.stage == "failed":
            reasons.append(event.operands["reason"])

    process.kernel.ktrace.subscribe(EXEC, listen)
    before = process.entries()
    try:
        process.execve(path)
    except ExecError as error:
        assert process.entries() == before
        assert process.proc.p_state == 0
        assert_clear(error.reason)
        return E.NAMES[error.errno]
    finally:
        process.kernel.ktrace.unsubscribe(EXEC, listen)
    vm_map_assert_consistent(process.map)
    if process.proc.p_state == P_EXITED:
        assert process.proc.p_xsig == signo.SIGABRT
        assert_clear(reasons[0])
        return "SIGABRT"
    assert reasons == []
    fetch(process)
    return "ran"


def assert_clear(reason: str) -> None:
    assert reason
    assert "\n" not in reason
    assert len(reason) < 300
    assert reason.isprintable()


def fetch(process: Process) -> None:
    """Fetch the first instruction and look at the stack, as the processor would: bytes or EFAULT."""
    for va in (process.cpu.frame.rip, process.cpu.frame.rsp):
        try:
            copyin(process.td, va, 8)
        except SyscallError as error:
            assert error.errno == E.EFAULT


@pytest.fixture(params=RELEASES)
def process(request, tmp_path):
    """A process that runs a good program."""
    process = Process(release=request.param, root=tmp_path)
    process.add(LD.decode()[1:], static_elf(pie=True, notes=freebsd_note()))
    process.execve(process.add("good", static_elf(notes=freebsd_note())))
    return process


def whole() -> bytes:
    """A dynamic program with a note, an interpreter, data and bss."""
    return static_elf(notes=freebsd_note(), interp=LD)


def test_every_truncation(process):
    data = whole()
    seen = {size: outcome(process, data[:size]) for size in range(0, len(data) + 1, 64)}
    assert seen[0] == "ENOEXEC"
    assert seen[len(data) // 64 * 64] == "ran"
    headers = EHDR.size + 4 * PHDR.size
    assert {seen[size] for size in seen if size < EHDR.size} == {"ENOEXEC"}
    assert {seen[size] for size in seen if size >= headers and size < 0x1000 + 256} <= {"SIGABRT", "ENOEXEC"}
    assert set(seen.values()) == {"ENOEXEC", "SIGABRT", "ran"}


def test_two_thousand_mutations(process):
    data = whole()
    rng = random.Random(2024)
    started = time.monotonic()
    seen: dict[str, int] = {}
    for _ in range(500 if process.vm.release.name != "freebsd-10.1" else 2000):
        broken = bytearray(data)
        at = rng.randrange(EHDR.size + 4 * PHDR.size) if rng.random() < 0.8 else rng.randrange(len(data))
        broken[at] = rng.randrange(256)
        result = outcome(process, bytes(broken))
        seen[result] = seen.get(result, 0) + 1
    assert set(seen) <= {"ENOEXEC", "SIGABRT", "ran", "EACCES", "EIO", "ENAMETOOLONG"}
    assert min(seen["ENOEXEC"], seen["SIGABRT"], seen["ran"]) > 30, seen
    assert time.monotonic() - started < 120


def test_many_bytes_wrong_at_once(process):
    data = whole()
    rng = random.Random(7)
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(rng.randrange(2, 40)):
            broken[rng.randrange(4, EHDR.size + 4 * PHDR.size)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        assert outcome(process, bytes(broken)) in ("ENOEXEC", "SIGABRT", "ran", "EIO")


ABSURD = [0, 1, 7, 0xFFF, 0x1001, 1 << 31, 1 << 32, 1 << 46, (1 << 47) - 1, 1 << 47, 1 << 48, 1 << 62, (1 << 63) - 1,
          1 << 63, TOP - 0x1000, TOP - 1]  # fmt: skip


@pytest.mark.parametrize("field", ["offset", "vaddr", "filesz", "memsz", "align"])
@pytest.mark.parametrize("which", [0, 1])
def test_absurd_numbers_in_a_segment(process, field, which):
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for value in ABSURD:
        segs = [
            Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200, memsz=0x200),
            Seg(PT_LOAD, RW, 0x1000, 0x401000, filesz=0x100, memsz=0x2000),
        ]
        setattr(segs[which], field, value)
        data = Elf(segs, entry=0x400100).build().ljust(0x1200, b"\x90")
        assert outcome(process, data) in ("ENOEXEC", "SIGABRT", "ran"), hex(value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 64 << 10


@pytest.mark.parametrize("kind", [PT_NOTE, PT_INTERP, PT_GNU_STACK])
@pytest.mark.parametrize("field", ["offset", "vaddr", "filesz", "memsz", "align"])
def test_absurd_numbers_in_other_headers(process, kind, field):
    for value in ABSURD:
        seg = Seg(kind, RW, 0x180, 0x400180, filesz=0x20, memsz=0 if kind == PT_GNU_STACK else 0x20)
        setattr(seg, field, value)
        segs = [Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200, memsz=0x200), seg]
        data = Elf(segs, entry=0x400100).build().ljust(0x200, b"\0")
        assert outcome(process, data) in ("ENOEXEC", "SIGABRT", "ran", "EIO"), hex(value)


@pytest.mark.parametrize("phnum", [0, 1, 70, 72, 73, 1000, 0xFFFE, 0xFFFF])
def test_absurd_counts_of_headers(process, phnum):
    data = Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200)], phnum=phnum).build().ljust(0x2000, b"\0")
    want = {"ENOEXEC"} if phnum > 72 else {"ran"}
    assert outcome(process, data) in want


@pytest.mark.parametrize("phoff", [0, 1, 56, 63, 65, 4032, 4040, 4096, 4097, 1 << 32, TOP - 56, TOP - 1])
def test_absurd_places_of_the_headers(process, phoff):
    elf = Elf([Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200)]).build().ljust(0x2000, b"\0")
    data = bytearray(elf)
    data[32:40] = phoff.to_bytes(8, "little")
    assert outcome(process, bytes(data)) in ("ENOEXEC", "SIGABRT", "ran")


@pytest.mark.parametrize(
    "second",
    [
        Seg(PT_LOAD, RW, 0, 0x400000, filesz=0x200),
        Seg(PT_LOAD, RW, 0, 0x3FF000, filesz=0x200, memsz=0x3000),
        Seg(PT_LOAD, RW, 0x100, 0x400100, filesz=0x100),
        Seg(PT_LOAD, RW, 0, 0x7FFFFFFDF000, filesz=0x200),
        Seg(PT_LOAD, RW, 0, 0x7FFFFFFFF000, filesz=0x200),
        Seg(PT_LOAD, RW, 0, 0x800000000000, filesz=0x200),
        Seg(PT_LOAD, RW, 0, 0x7FFFFFFFF000, filesz=0x200, memsz=0x2000),
        Seg(PT_LOAD, RW, 0, 0xFFFFFE0000000000, filesz=0x200),
        Seg(PT_LOAD, RW, 0, TOP - 0x1000, filesz=0x200, memsz=0x1000),
        Seg(PT_LOAD, RW, 0, TOP - 0x1000, filesz=0x200, memsz=0x3000),
        Seg(PT_LOAD, RW, 0, 0, filesz=0x200),
        Seg(PT_LOAD, RW, 0, 0x10000, filesz=0x200, memsz=TOP - 0x10000),
    ],
)
def test_segments_that_overlap_or_lie_in_the_kernel(process, second):
    first = Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200, memsz=0x1000)
    result = outcome(process, Elf([first, second], entry=0x400100).build().ljust(0x200, b"\0"))
    on_the_stack = second.vaddr in (0x7FFFFFFDF000, 0x7FFFFFFFF000)
    assert result == "SIGABRT" or (result == "ran" and on_the_stack and process.vm.release.name == "freebsd-15.0")


def test_a_shared_page_in_the_way_is_fatal_only_before_15(tmp_path):
    segs = [Seg(PT_LOAD, RX, 0, 0x400000, filesz=0x200), Seg(PT_LOAD, R, 0, 0x7FFFFFFFF000, filesz=0x200)]
    data = Elf(segs, entry=0x400100).build().ljust(0x200, b"\0")
    for release, want in (("freebsd-12.1", "SIGABRT"), ("freebsd-15.0", "ran")):
        assert outcome(Process(release=release, root=tmp_path), data) == want


def test_programs_of_other_machines_say_which(process):
    cases = {
        "EM_ARM": Elf(machine=40),
        "EM_AARCH64": Elf(machine=183),
        "EM_RISCV": Elf(machine=243),
        "EM_386": Elf(machine=3, ident_class=1),
        "little-endian": Elf(ident_data=2),
    }
    for text, elf in cases.items():
        with pytest.raises(ExecError) as caught:
            process.execve(process.add("other", elf.build()))
        assert caught.value.errno == E.ENOEXEC
        assert text in caught.value.reason


def test_a_shared_object_without_segments_and_a_core_file(process):
    assert outcome(process, Elf([], type=ET_DYN).build()) == "ran"
    assert outcome(process, Elf([], type=4).build()) == "ENOEXEC"
    assert outcome(process, Elf([], type=1).build()) == "ENOEXEC"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\0", b"\x7fEL", b"#!", b"#! \n", b"#!/good", b"#!/good\n", b"#!/\n", b"#!/none\n", b"#!\0\n",
        b"#!" + b"/" * 1000, b"MZ" + bytes(100), b"\xca\xfe\xba\xbe" * 9, bytes(20480), b"\x7fELF" + b"\xff" * 4092,
    ],
)  # fmt: skip
def test_files_that_are_no_elf(process, text):
    want = {b"#!/good\n": "ran", b"#!/\n": "EACCES", b"#!/none\n": "ENOENT"}.get(text, "ENOEXEC")
    assert outcome(process, text) == want


def test_interpreters_in_circles_and_of_the_wrong_kind(process):
    process.add("a", b"#!/b\n")
    process.add("b", b"#!/a\n")
    assert outcome(process, b"#!/a\n") == "ENOEXEC"
    assert outcome(process, b"#!/victim\n") == "ENOEXEC"
    assert outcome(process, static_elf(interp=b"/victim", osabi=9)) == "SIGABRT"
    assert outcome(process, static_elf(interp=b"/a", osabi=9)) == "SIGABRT"
    assert outcome(process, static_elf(interp=b"", osabi=9)) in ("SIGABRT", "ENOEXEC")
    assert outcome(process, static_elf(interp=b"/" + b"x" * 900, osabi=9)) == "SIGABRT"


def test_two_interpreters(process):
    extra = [Seg(PT_INTERP, R, 0x780, 0x400780, data=LD + b"\0", align=1)]
    want = "ENOEXEC" if process.vm.release.exec_rejects_two_interps else "ran"
    assert outcome(process, static_elf(interp=LD, extra=extra)) == want


def test_an_interpreter_far_out(process):
    far = Seg(PT_INTERP, R, 0x5000, 0x405000, data=LD + b"\0", align=1)
    want = "ran" if process.vm.release.exec_reads_far else "ENOEXEC"
    assert outcome(process, static_elf(extra=[far])) == want


def test_an_interpreter_without_end(process):
    data = static_elf(extra=[Seg(PT_INTERP, R, 0x700, 0x400700, data=LD, align=1)])
    want = "ENOEXEC" if process.vm.release.exec_checks_interp_size else "ran"
    assert outcome(process, data) == want


@pytest.mark.parametrize("align", [3, 0x1801, (1 << 30) + 1, 1 << 31, 1 << 63])
def test_alignments_are_looked_at_since_15(process, align):
    data = static_elf(extra=[Seg(PT_LOAD, R, 0, 0x500000, filesz=0x100, align=align)])
    assert outcome(process, data) == ("ENOEXEC" if process.vm.release.exec_checks_palign else "ran")


def test_sizes_that_overflow_together(process):
    segs = [Seg(PT_LOAD, RX, 0, 0x400000 + (n << 60), filesz=0x100, memsz=1 << 63) for n in range(2)]
    data = Elf(segs).build().ljust(0x100, b"\0")
    assert outcome(process, data) == ("ENOEXEC" if process.vm.release.exec_checks_palign else "SIGABRT")


def test_notes_that_never_end(process):
    endless = note(b"x", 0, b"") * 200
    assert outcome(process, static_elf(osabi=0, notes=endless[:256])) == "ran"
    tiny = Seg(PT_NOTE, R, 0x600, 0x400600, data=b"\xff" * 64, align=4)
    assert outcome(process, static_elf(extra=[tiny] * 20)) == "ran"


def test_a_giant_bss_takes_no_memory(tmp_path):
    process = Process(release="freebsd-12.1", root=tmp_path)
    process.proc.p_limit.set(2, 1 << 62, 1 << 62)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = Elf([Seg(PT_LOAD, RW, 0, 0x400000, filesz=0x100, memsz=1 << 45)], entry=0x400040).build()
    assert outcome(process, file.ljust(0x100, b"\0")) == "ran"
    assert process.get(0x400000 + (1 << 44), 8) == bytes(8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < 16 << 10


def test_the_process_goes_on_after_all_of_it(process):
    outcome(process, b"nothing")
    process.execve(b"/good")
    assert process.cpu.frame.rip == 0x400400
    assert process.get(0x401000, 4) == b"DATA"
