"""The crash programs: the first line of each verdict names the true cause, and each counterfactual comes true.

A counterfactual is confirmed by running the program again under the changed condition: with the other limit, without
the guard page, with a longer file, or with the map changed by a hook right before the fault is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from emu.api import watch
from emu.machine import Machine
from guest import Guest, guests
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_map_insert import vm_map_insert
from kernel_model.vm.vm_map_protect import vm_map_protect
from kernel_model.vm.vm_map_tree import vm_map_lookup_entry
from kernel_model.vm.vm_param import PAGE_SIZE, trunc_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.api import Process
    from emu.why.counterfactual import Counterfactual
    from emu.why.verdict import Verdict

RELEASES = ("freebsd-10.1", "freebsd-12.1")
CRASHES = [one.name for one in guests() if one.kind == "crash"]
TRUE_CAUSE = {
    "null": ("null", "null pointer: read of 1 byte"),
    "null_field": ("null", "null pointer plus 0x18: read of 4 bytes"),
    "recursion": ("stack-limit", "RLIMIT_STACK of 8,388,608 bytes is used up"),
    "big_frame": ("stack-limit", "one frame of 16,777,"),
    "alloca_loop": ("stack-limit", "a frame that has grown to 8,388,608 bytes"),
    "guard_page": ("guard-page", "into a guard page"),
    "stack_gap": ("below-stack", "1 byte below the stack"),
    "write_rodata": ("read-only-data", "greeting"),
    "write_text": ("write-to-code", "answer+0x1"),
    "jump_data": ("jump-to-data", "table ("),
    "use_after_munmap": ("use-after-munmap", "4,104 bytes into"),
    "past_eof": ("past-eof", "the access is at offset 12,288"),
    "misaligned_sse": ("misaligned", "movaps needs a multiple of 16"),
    "wild": ("wild", "the text 'hello'"),
    "noncanonical": ("non-canonical", "0xdeadbeefcafef00d"),
    "handler_no_stack": ("stack-limit", "no room for the frame of a signal handler: stack overflow"),
    "altstack_overflow": ("altstack-overflow", "below its 16,384 bytes"),
    "neighbour": ("stack-neighbour", "growth stopped by the mapping"),
    "stack_rlimit": ("stack-limit", "RLIMIT_STACK of 524,288 bytes is used up"),
    "vmem_rlimit": ("vmem-limit", "RLIMIT_VMEM of 524,288 bytes leaves no room to grow"),
    "bad_pointer": ("syscall-pointer", "write: argument 2"),
}
"""Program to the kind of its cause and words of the first line, besides the manifest's ``cause``."""
ON_MODERN = {"stack_gap": ("stack-guard", "guard page hit")}
NOTHING_TO_CHANGE = {"null", "null_field", "wild", "noncanonical", "misaligned_sse"}
"""No limit, mapping or right would have helped these."""


@dataclass
class Run:
    """One run of a crash program, observed."""

    guest: Guest
    release: str
    limits: dict[str, int] = field(default_factory=dict)
    guard: int | None = None
    path: str = ""
    prepare: Callable[[Process], None] | None = None
    process: Process | None = None
    status: int = 0

    def go(self) -> Run:
        limits = dict(self.guest.limits) | self.limits
        with Machine(
            release=self.release, limits=limits, stdout=bytearray(), stderr=bytearray(), strict_alignment=True, seed=1
        ) as machine:
            if self.guard is not None:
                machine.vm.stack_guard_page = self.guard
            self.process = watch(machine)
            if self.prepare is not None:
                self.prepare(self.process)
            path = self.path or str(self.guest.path)
            argv = [path if word == str(self.guest.path) else word for word in self.guest.argv]
            machine.execve(path, argv, dict(self.guest.env))
            self.status = machine.run()
        return self

    @property
    def verdict(self) -> Verdict:
        assert self.process is not None
        verdict = self.process.why()
        assert verdict is not None, "no fault was refused"
        return verdict

    def repaired(self, page: int, access: int) -> bool:
        """The first fault for *access* on *page* was repaired."""
        assert self.process is not None
        for event in self.process.faults:
            if trunc_page(event.addr) == page and event.access == access:
                return event.repaired
        return False


def program(name: str, release: str) -> Guest:
    return next(one for one in guests() if one.name == name).on(release)


@pytest.fixture(scope="module", params=[f"{name}@{release}" for name in CRASHES for release in RELEASES])
def crash(request) -> Run:
    name, _, release = request.param.partition("@")
    return Run(program(name, release), release).go()


def plain(run: Run) -> str:
    return run.guest.name.removesuffix("-linux").removesuffix("-stripped")


def test_all_twenty_are_there():
    assert {name for name in CRASHES if "-" not in name} >= set(TRUE_CAUSE)
    assert len(TRUE_CAUSE) >= 20


def test_the_first_line_names_the_true_cause(crash: Run):
    kind, words = TRUE_CAUSE[plain(crash)]
    if crash.release == "freebsd-12.1":
        kind, words = ON_MODERN.get(plain(crash), (kind, words))
    if crash.guest.stripped or crash.guest.abi == "linux":
        words = words.removeprefix("greeting").removeprefix("answer+0x1").removeprefix("table (")
    line = crash.verdict.headline
    assert crash.verdict.kind == kind, line
    assert crash.guest.cause in line
    assert words in line
    assert "\n" not in line


def test_names_come_from_symbols_where_there_are_any(crash: Run):
    functions = {
        "null": "length", "null_field": "weigh", "recursion": "depth_of", "big_frame": "sum_table",
        "alloca_loop": "collect", "use_after_munmap": "use", "wild": "store", "handler_no_stack": "descend",
    }  # fmt: skip
    expected = functions.get(plain(crash))
    if expected is not None:
        assert (f" in {expected}" in crash.verdict.headline) == (not crash.guest.stripped)


def test_every_counterfactual_comes_true(crash: Run, tmp_path):
    found = crash.verdict.counterfactuals
    assert bool(found) == (plain(crash) not in NOTHING_TO_CHANGE)
    for one in found:
        confirm(crash, one, tmp_path)


def confirm(crash: Run, one: Counterfactual, tmp_path) -> None:
    """Run the program again under the condition of *one*; the access must succeed."""
    event = crash.verdict.event
    page, access = trunc_page(event.addr), event.access
    name, _, value = one.change.partition("=")
    again = Run(crash.guest, crash.release)
    if name.startswith("limit."):
        limit = name.removeprefix("limit.")
        again.limits = {limit: one.value}
        assert again.go().repaired(page, access), one.text
        less = Run(crash.guest, crash.release, limits={limit: one.value - 1}).go()
        assert not less.repaired(page, access), f"one byte less than: {one.text}"
        return
    match name:
        case "guard":
            again.guard = int(value)
        case "remove":
            again.prepare = lambda process: never_mapped(process, one.value)
        case "addr":
            assert really_decides(crash, page + int(value, 0), access), one.text
            return
        case "undo":
            gone = next(change for change in crash.process.blame.changes if change.seq == one.value)
            again.prepare = lambda process: before(process, page, access, lambda map_: put_back(map_, gone))
        case "prot":
            again.prepare = lambda process: before(process, page, access, lambda map_: allow(map_, page, one.value))
        case "filesize":
            longer = tmp_path / crash.guest.path.name
            data = crash.guest.path.read_bytes()
            longer.write_bytes(data + bytes(one.value - len(data)))
            longer.chmod(0o755)
            again.path = str(longer)
            # The page may come in with its neighbours, without a fault of its own: it is enough to get past it.
            assert trunc_page(again.go().verdict.event.addr) > page, one.text
            return
        case _:
            pytest.fail(f"nobody knows how to confirm {one.change}")
    assert again.go().repaired(page, access), one.text


def before(process: Process, page: int, access: int, change: Callable[[object], None]) -> None:
    """Call *change* with the map right before a fault on *page* is decided."""

    def hook(td, va: int, wanted: int) -> None:
        if trunc_page(va) == page and wanted == access:
            change(td.td_proc.p_vmspace.vm_map)

    process.before_fault(hook)


def allow(map_, page: int, prot: int) -> None:
    assert vm_map_protect(map_, page, page + PAGE_SIZE, prot, False) == 0


def put_back(map_, gone) -> None:
    if vm_map_lookup_entry(map_, gone.start)[0]:
        return
    with map_.locked():
        assert vm_map_insert(map_, None, 0, gone.start, gone.end, gone.prot, gone.max_prot, 0) == 0


def never_mapped(process: Process, start: int) -> None:
    """Make the mmap of *start* fail, by a limit that lasts as long as the call."""
    limits = process.proc.p_limit
    vmem = 10
    saved = (limits.lim_cur(vmem), limits.lim_max(vmem))

    def enter(event) -> None:
        if event.name == "mmap" and event.args[0] == start:
            limits.set(vmem, process.machine.map.size, saved[1])

    def leave(event) -> None:
        if event.name == "mmap":
            limits.set(vmem, *saved)

    process.before_syscall(enter)
    process.on_syscall(leave)


def really_decides(crash: Run, addr: int, access: int) -> bool:
    """Run again; ask the kernel about *addr* in the live map at the moment of the refusal."""
    answers: list[int] = []
    first = crash.verdict.event

    def prepare(process: Process) -> None:
        def hook(event) -> None:
            if not event.repaired and event.addr == first.addr:
                answers.append(vm_fault(process.machine.map, addr, access))

        process.on_fault(hook)

    Run(crash.guest, crash.release, prepare=prepare).go()
    return answers[-1:] == [0]
