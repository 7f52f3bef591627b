"""Maps, entries and return codes in the interpreter: names, tables, differences."""

import json
import pickle
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.kern.vnode import Vnode
from kernel_model.vm import vm_map_entry, vm_param
from kernel_model.vm.show import (
    HEAD,
    inherit_name,
    kern_name,
    map_diff,
    map_html,
    map_rows,
    map_table,
)
from kernel_model.vm.vm_map import MOST_SHOWN, vm_map_assert_consistent
from kernel_model.vm.vm_map_entry import EFLAG_NAMES, eflag_names, entry_row, entry_text
from kernel_model.vm.vm_map_insert import vm_map_submap
from kernel_model.vm.vm_param import KERN_NAMES, KERN_NO_SPACE, KERN_SUCCESS, KernReturn
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, process_rig, rig

A = 0x10000000
RW, ALL = 3, 7
TABLES = ("KERN_NAMES", "KERN_CODES")
RELEASES = (*FREEBSD, "dragonfly")


def mapped(name="freebsd-10.1", pages=2, **args):
    """A process with one anonymous mapping at A."""
    process = rig(name)
    values = {"start": A, "end": A + pages * PG, "prot": RW, "max": ALL, "cow": 0} | args
    assert process.do("insert", **values) == KERN_SUCCESS
    return process


# return codes


def test_every_code_shows_its_name():
    codes = {name: value for name, value in vars(vm_param).items() if name.startswith("KERN_") and name not in TABLES}
    assert {repr(value) for value in codes.values()} == set(codes) == {f"{value}" for value in codes.values()}
    assert {value: name for name, value in codes.items()} == KERN_NAMES
    assert all(type(value) is KernReturn for value in codes.values())


def test_a_code_is_a_number_in_every_other_way():
    assert KERN_NO_SPACE == 3 == KernReturn(3)
    assert hash(KERN_NO_SPACE) == hash(3)
    assert {3: "here"}[KERN_NO_SPACE] == "here"
    assert not KERN_SUCCESS
    assert KERN_NO_SPACE
    assert f"{KERN_NO_SPACE:#x} {KERN_NO_SPACE:d}" == "0x3 3"
    assert "%d" % KERN_NO_SPACE == "3"  # noqa: UP031  the point is that it is one
    assert json.dumps([KERN_NO_SPACE]) == "[3]"
    assert type(KERN_NO_SPACE + 1) is int
    assert not hasattr(KERN_NO_SPACE, "__dict__")


def test_copies_of_a_code_keep_its_name():
    assert repr(pickle.loads(pickle.dumps(KERN_NO_SPACE))) == "KERN_NO_SPACE"


def test_comparison_and_truth_are_ints_own():
    """No Python code runs for them: the hot paths pay nothing."""
    for method in ("__eq__", "__ne__", "__bool__", "__hash__", "__lt__", "__index__"):
        assert getattr(KernReturn, method) is getattr(int, method)


def test_kern_name():
    assert [kern_name(3), kern_name(KERN_SUCCESS), kern_name(77)] == ["KERN_NO_SPACE", "KERN_SUCCESS", "77"]
    assert repr(KernReturn(77)) == "77"


@pytest.mark.parametrize("name", FREEBSD)
def test_verbs_answer_by_name(name):
    process = mapped(name)
    assert repr(process.do("insert", start=A, end=A + PG, prot=RW, max=ALL, cow=0)) == "KERN_NO_SPACE"
    assert repr(process.do("protect", start=A, end=A + PG, prot=8)) == "KERN_PROTECTION_FAILURE"
    assert repr(process.do("remove", start=A, end=A + PG)) == "KERN_SUCCESS"
    assert repr(process.do("stack", addr=0, size=PG, prot=RW, max=ALL, cow=0x1000)).startswith("KERN_")


# flags


def test_every_entry_flag_has_its_name():
    fields = ("BEHAV", "SPLIT_BOUNDARY")
    flags = {
        name.removeprefix("MAP_ENTRY_"): value
        for name, value in vars(vm_map_entry).items()
        if name.startswith("MAP_ENTRY_") and not any(field in name for field in fields)
    }
    assert {name: value for value, name in EFLAG_NAMES.items()} == flags


@pytest.mark.parametrize(
    ("eflags", "names"),
    [
        (0, []),
        (0x4 | 0x8, ["COW", "NEEDS_COPY"]),
        (0x40, ["BEHAV_SEQUENTIAL"]),
        (0x80, ["BEHAV_RANDOM"]),
        (0xC0, ["BEHAV_RESERVED"]),
        (0x10000 | 0x20000, ["GUARD", "STACK_GAP_DN"]),
        (0x100000, ["SPLIT_BOUNDARY(1)"]),
        (0x300004, ["COW", "SPLIT_BOUNDARY(3)"]),
        (0x400000, ["0x400000"]),
        (0x1 | 0x800000, ["NOSYNC", "0x800000"]),
    ],
)
def test_eflag_names(eflags, names):
    assert eflag_names(eflags) == names


def test_inherit_names():
    assert [inherit_name(value) for value in (0, 1, 2, 3, 4, -1)] == ["share", "copy", "none", "zero", "4", "-1"]


# entries


def test_entry_text_of_anonymous_memory():
    process = mapped()
    assert entry_text(process.entry(A)) == "[0x10000000, 0x10002000) rw-/rwx"


def test_entry_text_names_the_object_its_offset_and_flags():
    process = rig("freebsd-10.1")
    number = process.out("mkobj", type="vnode", size=16)
    args = {"start": A, "end": A + PG, "prot": 5, "max": ALL, "cow": 2, "off": 3 * PG}
    assert process.do("insert", obj=number, **args) == KERN_SUCCESS
    flags = "MAP_ENTRY_COW|MAP_ENTRY_NEEDS_COPY"
    assert entry_text(process.entry(A)) == f"[0x10000000, 0x10001000) r-x/rwx vnode+0x3000 {flags}"
    process.objects[number].handle = vnode("cat")
    assert entry_text(process.entry(A)) == f"[0x10000000, 0x10001000) r-x/rwx vnode /cat+0x3000 {flags}"


def vnode(name):
    """What full_path() asks of a vnode, and nothing else."""
    return SimpleNamespace(v_name=name.encode(), v_dd=None)


def test_the_fake_vnode_is_like_the_real_one():
    assert {"v_name", "v_dd"} <= set(dir(Vnode))


def test_a_shadow_names_the_file_below():
    process = rig("freebsd-10.1")
    number = process.out("mkobj", type="vnode", size=16)
    assert process.do("insert", obj=number, start=A, end=A + PG, prot=RW, max=ALL, cow=2) == KERN_SUCCESS
    process.objects[number].handle = vnode("lib")
    assert process.do("lookup", addr=A, type=2) == 0
    assert entry_row(process.entry(A)).object == "default over vnode /lib"


def test_wirings_are_told():
    process = mapped()
    assert process.do("wire", start=A, end=A + 2 * PG, flags=1) == KERN_SUCCESS
    assert entry_text(process.entry(A)).endswith("MAP_ENTRY_USER_WIRED wired 1")


@pytest.mark.parametrize("name", CLASSIC)
def test_a_classic_stack_tells_its_reserve(name):
    (stack,) = process_rig(name).map
    assert "MAP_ENTRY_GROWS_DOWN" in entry_text(stack)
    assert entry_text(stack).endswith(f"may grow {stack.avail_ssize:#x}")


@pytest.mark.parametrize("name", MODERN)
def test_a_gap_tells_its_guard(name):
    gap, stack = process_rig(name).map
    assert "MAP_ENTRY_GUARD|MAP_ENTRY_STACK_GAP_DN" in entry_text(gap)
    assert entry_text(gap).endswith(f"guard {gap.next_read:#x}") == bool(gap.next_read)
    assert "guard" not in entry_text(stack)
    assert "may grow" not in entry_text(stack)


def test_next_read_is_no_guard_outside_a_gap():
    process = mapped()
    process.entry(A).next_read = 7
    assert entry_row(process.entry(A)).next_read == 0


def test_a_submap_shows_its_bounds():
    process = mapped(pages=4)
    sub = rig("freebsd-10.1", min=A, max=A + 4 * PG).map
    assert repr(vm_map_submap(process.map, A, A + 4 * PG, sub)) == "KERN_SUCCESS"
    assert entry_text(process.entry(A)) == (
        "[0x10000000, 0x10004000) rw-/rwx map [0x10000000, 0x10004000) MAP_ENTRY_IS_SUB_MAP"
    )


# tables


def test_the_table_is_aligned():
    process = mapped()
    process.do("insert", start=0x7FFF00000000, end=0x7FFF00001000, prot=1, max=1, cow=0x100)
    assert map_table(process.map) == (
        "         START             END    SIZE  PRT  MAX  INHERIT  OBJECT  OFFSET  MAP_ENTRY_\n"
        "    0x10000000      0x10002000  0x2000  rw-  rwx  copy     -            -  -\n"
        "0x7fff00000000  0x7fff00001000  0x1000  r--  r--  copy     -            -  NOCOREDUMP"
    )


def test_an_empty_map_has_a_head():
    assert map_table(rig("freebsd-10.1").map).split() == [name for name in HEAD if name]


@pytest.mark.parametrize("name", RELEASES)
def test_a_line_for_each_entry_on_every_release(name):
    process = process_rig(name)
    process.do("insert", start=A, end=A + PG, prot=RW, max=ALL, cow=0)
    lines = map_table(process.map).splitlines()
    assert len(lines) == process.map.nentries + 1
    ends = {len(line[: line.index(word)]) for line, word in zip(lines, ["PRT", *_rights(process.map)], strict=True)}
    assert len(ends) == 1, "the column of rights begins at one place"
    assert [int(line.split()[0], 16) for line in lines[1:]] == [row.start for row in map_rows(process.map)]


def _rights(map_):
    return [line.split()[3] for line in map_table(map_).splitlines()[1:]]


class _Cells(HTMLParser):
    """The texts of a table's cells, row by row; every element that is opened is closed again."""

    def __init__(self):
        super().__init__()
        self.rows, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_has_the_cells_of_the_table_and_escapes_them():
    process = process_rig("freebsd-12.1")
    number = process.out("mkobj", type="vnode", size=16)
    process.do("insert", obj=number, start=A, end=A + PG, prot=1, max=ALL, cow=2)
    process.objects[number].handle = vnode("<b>&amp;")
    cells = _Cells()
    cells.feed(map_html(process.map))
    assert cells.open == []
    assert cells.rows[0] == list(HEAD)
    assert len(cells.rows) == process.map.nentries + 1
    assert cells.rows[1][6] == "vnode /<b>&amp;"
    assert "<b>" not in map_html(process.map)
    text = map_table(process.map)
    assert all(cell in text for row in cells.rows for cell in row)


def test_a_map_and_its_entries_show_themselves():
    process = process_rig("freebsd-12.1")
    gap, stack = process.map
    assert repr(process.map) == str(process.map) == map_table(process.map)
    assert process.map._repr_html_() == map_html(process.map)
    assert [repr(gap), repr(stack)] == [entry_text(gap), entry_text(stack)]


def test_a_large_map_shows_its_ends():
    process = rig("freebsd-10.1")
    for index in range(MOST_SHOWN + 7):
        at = A + 2 * index * PG
        assert process.do("insert", start=at, end=at + PG, prot=RW, max=ALL, cow=0) == KERN_SUCCESS
    whole = str(process.map).splitlines()
    shown = repr(process.map).splitlines()
    assert (len(whole), len(shown)) == (1 + MOST_SHOWN + 7, 1 + MOST_SHOWN + 1)
    half = MOST_SHOWN // 2
    assert shown == [*whole[: 1 + half], "... 7 more", *whole[-half:]]
    html = process.map._repr_html_()
    assert html.count("<tr>") == 1 + MOST_SHOWN + 1
    assert ">... 7 more</td>" in html


def test_a_panic_about_a_map_is_one_line():
    process = mapped(pages=4)
    process.do("protect", start=A, end=A + PG, prot=1)
    process.entry(A).end += PG
    with pytest.raises(KernelPanic) as panic:
        vm_map_assert_consistent(process.map)
    assert str(panic.value) == "map at 0x1000: overlap at [0x10001000, 0x10004000) rw-/rwx default+0x1000"


# differences


def diff(process, *operations):
    """The lines of what the operations change."""
    before = map_rows(process.map)
    for operation, args in operations:
        process.do(operation, **args)
    return str(map_diff(before, process.map)).splitlines()


def test_no_difference():
    process = mapped()
    same = map_diff(process.map, process.map)
    assert not same
    assert str(same) == repr(same) == "no difference"


def test_added_removed_changed():
    assert diff(mapped(), ("insert", {"start": 2 * A, "end": 2 * A + PG, "prot": 1, "max": 1, "cow": 0})) == [
        "+ [0x20000000, 0x20001000) r--/r--"
    ]
    assert diff(mapped(), ("remove", {"start": A, "end": A + 2 * PG})) == ["- [0x10000000, 0x10002000) rw-/rwx"]
    assert diff(mapped(), ("protect", {"start": A, "end": A + 2 * PG, "prot": 1})) == [
        "~ [0x10000000, 0x10002000) protection rw- -> r--"
    ]


def test_a_cut_entry_is_its_lower_part():
    lines = diff(mapped(pages=4), ("protect", {"start": A + 2 * PG, "end": A + 4 * PG, "prot": 1}))
    assert lines[0] == "~ [0x10000000, 0x10004000) end 0x10004000 -> 0x10002000, object none -> default"
    assert lines[1] == "+ [0x10002000, 0x10004000) r--/rwx default+0x2000"
    assert len(lines) == 2


def test_the_upper_part_that_is_left_is_the_old_entry():
    (line,) = diff(mapped(pages=4), ("remove", {"start": A, "end": A + PG}))
    assert line.startswith("~ [0x10000000, 0x10004000) start 0x10000000 -> 0x10001000, ")


@pytest.mark.parametrize(
    ("op", "args", "expected"),
    [
        ("inherit", {"inh": 0}, "inheritance copy -> share"),
        ("wire", {"flags": 1}, "eflags 0 -> MAP_ENTRY_USER_WIRED, wired_count 0 -> 1"),
        ("madvise", {"behav": 1}, "eflags 0 -> MAP_ENTRY_BEHAV_RANDOM"),
    ],
)
def test_each_field_in_its_own_words(op, args, expected):
    (line,) = diff(mapped(), (op, {"start": A, "end": A + 2 * PG} | args))
    assert expected in line


@pytest.mark.parametrize("name", CLASSIC)
def test_growth_of_a_classic_stack_is_one_entry_more_which_takes_the_reserve(name):
    process = process_rig(name)
    (stack,) = process.map
    reserve = stack.avail_ssize
    new, old = diff(process, ("growstack", {"addr": stack.start - 8}))
    assert new.startswith(f"+ [{stack.start - 0x20000:#x}, {stack.start:#x}) rwx/rwx")
    assert new.endswith(f" may grow {reserve - 0x20000:#x}")
    assert old.endswith(f"avail_ssize {reserve:#x} -> 0x0")


def test_growth_of_a_modern_stack_takes_from_the_gap():
    process = process_rig("freebsd-12.1")
    gap, stack = process.map
    start = stack.start
    lines = diff(process, ("growstack", {"addr": start - 8}))
    assert lines[0] == f"~ [{gap.start:#x}, {start:#x}) end {start:#x} -> {start - 0x20000:#x}"
    assert len(lines) == 2


def test_the_records_say_what_the_text_says():
    process = mapped()
    before = map_rows(process.map)
    process.do("protect", start=A, end=A + 2 * PG, prot=1)
    (change,) = map_diff(before, process.map).changes
    assert change.fields == ("protection",)
    assert (change.before.protection, change.after.protection) == (3, 1)
    backwards = map_diff(process.map, before)
    assert backwards.changes[0].before == change.after


def test_two_processes():
    one, other = mapped(), mapped(pages=3)
    assert str(map_diff(one.map, other.map)) == "~ [0x10000000, 0x10002000) end 0x10002000 -> 0x10003000"
