"""A refused fault as a small pytest that needs no guest program.

Model only.  The file imports nothing but ``kernel_model``: it builds the map around the fault from literals, decides
the access again, and asserts result, signal, code and the check that refused.  So is each counterfactual.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from emu.why.replica import decide
from kernel_model.errors import UsageError, some
from kernel_model.kern.signo import signame
from kernel_model.kern.trap import IDT_PF
from kernel_model.ktrace import EntryState
from kernel_model.rlimit import RLIM_INFINITY
from kernel_model.vm.vm_param import KERN_NAMES, PAGE_SIZE

if TYPE_CHECKING:
    from emu.program.files import Output
    from emu.why.counterfactual import Counterfactual
    from emu.why.verdict import Verdict
    from kernel_model.ktrace.snapshot import MapSnapshot, ObjectState

_TEMPLATE = '''"""{headline}

Made by ``emu why --reproduce`` from fault {seq} of a run on {release}.
"""

from kernel_model.ktrace import EntryState
from emu.why.replica import {functions}
from kernel_model.ktrace.snapshot import MapSnapshot, ObjectState
from kernel_model.vm.vm_param import {result_name}

ADDR = {addr:#x}
ACCESS = {access}  # {access_words}

ENTRIES = (
{entries})

OBJECTS = (
{objects})

MAP = MapSnapshot(
{fields}    entries=ENTRIES,
    objects=OBJECTS,
)


def test_the_access_is_refused():
    decision = decide(MAP, ADDR, ACCESS)
    assert decision.result == {result_name}
    assert (decision.signo, decision.code) == ({signo}, {code})  # {signal}
{refusal}{tests}'''

_ADDRESSES = frozenset(
    {
        "start", "end", "eflags", "offset", "min_offset", "max_offset", "maxsaddr", "stacktop", "size", "avail_ssize",
        "flag2",
    }
)  # fmt: skip


def reproducer(verdict: Verdict) -> str:
    """The text of the test, with no more entries of the map than decide the same."""
    event = verdict.event
    if event.vector != IDT_PF:
        raise UsageError("an exception of the processor is no decision of the kernel: nothing to reproduce")
    snapshot = _smallest(verdict)
    decision = decide(snapshot, event.addr, event.access)
    usable = [one for one in verdict.counterfactuals if one.change.startswith(("limit.", *_CALLS))]
    functions = sorted({"decide", *(_function(one.change) for one in usable)} - {""})
    failed = next((step for step in reversed(decision.steps) if step.kind == "check" and not step.ok), None)
    refusal = ""
    if failed is not None:
        refusal = f'    assert [step.name for step in decision.steps if not step.ok][-1] == "{failed.name}"\n'
    return _TEMPLATE.format(
        headline=verdict.headline.replace("\\", "\\\\").replace('"""', "'''"),
        seq=event.seq,
        release=snapshot.release,
        functions=", ".join(functions),
        result_name=KERN_NAMES[decision.result],
        addr=event.addr,
        access=event.access,
        access_words={1: "read", 2: "write", 4: "execute"}[event.access],
        entries="".join(f"    {_literal(entry)},\n" for entry in snapshot.entries),
        objects="".join(f"    {_literal(obj)},\n" for obj in snapshot.objects),
        fields=_fields(snapshot),
        signo=decision.signo,
        code=decision.code,
        signal=signame(decision.signo) if decision.signo else "EFAULT",
        refusal=refusal,
        tests="".join(_test(number, one) for number, one in enumerate(usable, 1)),
    )


def _smallest(verdict: Verdict) -> MapSnapshot:
    """The snapshot without the entries that do not matter: the decision stays the same, step by step."""
    event = verdict.event
    whole = some(event.snapshot, "snapshot of a refused fault")
    expected = decide(whole, event.addr, event.access)
    index = sum(1 for entry in whole.entries if entry.end <= event.addr)
    finite = {name: value for name, value in whole.limits.items() if value < RLIM_INFINITY}
    for keep in (1, 2, 4, 8, 16):
        kept = whole.entries[max(0, index - keep) : index + keep + 1]
        small = _renumbered(replace(whole, entries=kept, limits=finite, recursion=None, omitted=0))
        again = decide(small, event.addr, event.access)
        same = (again.result, again.signo, again.code, again.steps)
        if same == (expected.result, expected.signo, expected.code, expected.steps):
            return small
    return whole


def _renumbered(snapshot: MapSnapshot) -> MapSnapshot:
    """Only the objects that the entries reach, numbered from 0."""
    order: list[int] = []
    for entry in snapshot.entries:
        number = entry.object
        while number >= 0 and number not in order:
            order.append(number)
            number = snapshot.objects[number].backing
    new = {old: number for number, old in enumerate(order)}
    objects = tuple(replace(snapshot.objects[old], backing=new.get(snapshot.objects[old].backing, -1)) for old in order)
    entries = tuple(entry._replace(object=new.get(entry.object, -1)) for entry in snapshot.entries)
    return replace(snapshot, entries=entries, objects=objects)


def _literal(record: EntryState | ObjectState) -> str:
    """A constructor call with the fields that differ from their defaults."""
    parts = []
    if isinstance(record, EntryState):
        values, defaults = record._asdict(), record._field_defaults
    else:
        values = {one.name: getattr(record, one.name) for one in fields(record)}
        defaults = {one.name: one.default for one in fields(record)}
    for name, value in values.items():
        if name not in defaults or value != defaults[name]:
            parts.append(f"{name}={_value(name, value)}")
    return f"{type(record).__name__}({', '.join(parts)})"


def _value(name: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and name in _ADDRESSES and value >= PAGE_SIZE:
        return f"{value:#x}"
    return repr(value)


def _fields(snapshot: MapSnapshot) -> str:
    lines = []
    for one in fields(snapshot):
        if one.name in ("entries", "objects"):
            continue
        value = getattr(snapshot, one.name)
        if value != one.default:
            lines.append(f"    {one.name}={_value(one.name, value)},\n")
    return "".join(lines)


_CALLS = {
    "guard": ("with_guard", "with_guard(MAP, {value})"),
    "remove": ("without_entry", "without_entry(MAP, {value})"),
}


def _function(change: str) -> str:
    if change.startswith("limit."):
        return "with_limit"
    return _CALLS[change.partition("=")[0]][0]


def _test(number: int, one: Counterfactual) -> str:
    name, _, value = one.change.partition("=")
    if name.startswith("limit."):
        limit = name.removeprefix("limit.")
        return (
            f"\n\ndef test_counterfactual_{number}():\n"
            f'    """It {one.text}; with one byte less it is still refused."""\n'
            f'    assert decide(with_limit(MAP, "{limit}", {value}), ADDR, ACCESS).repaired\n'
            f'    assert not decide(with_limit(MAP, "{limit}", {int(value) - 1}), ADDR, ACCESS).repaired\n'
        )
    call = _CALLS[name][1].format(value=value)
    return (
        f"\n\ndef test_counterfactual_{number}():\n"
        f'    """It {one.text}."""\n'
        f"    assert decide({call}, ADDR, ACCESS).repaired\n"
    )


def write_reproducer(verdict: Verdict, out: Output) -> None:
    """Write the test to *out*; UsageError when that cannot be done."""
    out.write(reproducer(verdict).encode())
