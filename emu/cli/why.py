"""``emu why``: the verdict on a fault, of a program that is run now or of a trace.  Model only.

Exit status: 0 when there was something to explain, 1 when no fault was refused, 2 for bad use.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emu.cli.machine import add_machine_arguments, build_machine, chosen_program
from emu.cli.parser import Parser
from emu.cli.tracing import Tracing, add_trace_arguments, note_symbols, refuse_trace_arguments
from emu.cli.values import parse_address, parse_size
from emu.program.files import Output, open_file
from emu.program.symbols import Names, symbols_of, symbols_under
from emu.trace.codec import to_json
from emu.trace.tracefile import TraceReader
from emu.view.trace import outcome
from emu.view.why import what_if_text, why_text
from emu.why.blame import Answer, Blame, Owned, describe_change, history_lines
from emu.why.counterfactual import WHAT_IF, parse_change
from emu.why.replica import decide
from emu.why.verdict import Verdict, headline, judge
from kernel_model.errors import UsageError, some
from kernel_model.kern.signo import signame
from kernel_model.ktrace import EntryState, ExecStage, FaultEvent, MapChange, SignalEvent
from kernel_model.text import printable
from kernel_model.vm.vm import prot_string

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from emu.program.symbols import Symbols
    from emu.why.counterfactual import Change
    from kernel_model.ktrace import Event

EX_NOTHING = 1
"""Exit status when no fault was refused."""


@dataclass
class Account:
    """What a run or a trace left to explain."""

    symbols: Symbols
    blame: Blame = field(default_factory=Blame)
    faults: list[FaultEvent] = field(default_factory=list)
    """Refused faults, and the one asked for by number."""
    repaired: int = 0
    ending: str = ""
    """What ended the process without a fault."""
    fates: dict[int, str] = field(default_factory=dict)
    """What the signals of faults did to the process, by the number of the fault."""
    killed: str = ""
    """How the process was killed; empty when it was not."""
    program: str = ""
    """The name of the program when it was run now."""
    last: int = 0
    """The number of the last event."""

    def add(self, event: Event, wanted: int | None) -> None:
        """Take what matters from one event."""
        self.last = max(self.last, event.seq)
        if isinstance(event, MapChange):
            self.blame(event)
        elif isinstance(event, FaultEvent):
            if not event.repaired or event.seq == wanted:
                self.faults.append(event)
            self.repaired += event.repaired
        elif isinstance(event, SignalEvent):
            self._signal(event)
        elif isinstance(event, ExecStage) and event.stage == "failed":
            reason = event.operands.get("reason", event.operands.get("errno", ""))
            self.ending = f"execve of {event.path} failed: {reason}"

    def _signal(self, event: SignalEvent) -> None:
        """Take what became of the process, if this is about its end or about a fault."""
        fate = _FATES.get(event.action)
        if fate is None:
            return
        handler = f" ({event.handler:#x})" if event.handler else ""
        told = fate.format(signal=signame(event.signo), handler=handler)
        if event.fault:
            self.fates[event.fault] = told
        if event.action in ("kill", "core", "no_frame"):
            at = f" at {event.rip:#x}" if event.rip else ""
            self.ending = self.ending or f"killed by {signame(event.signo)}{at}, which no fault raised"
            self.killed = told


_FATES = {
    "kill": "was killed by {signal}",
    "core": "was killed by {signal}",
    "no_frame": "was killed: no room for the frame of the handler{handler} of {signal}",
    "deliver": "caught {signal} in its handler{handler}",
}
"""What became of a process that got a signal for a fault."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu why``."""
    asked = parser.add_argument_group("what to explain (default: the last fault that was refused)")
    asked.add_argument("--fault", metavar="SEQ", type=int, help="the fault with this event number")
    asked.add_argument("--list", action="store_true", help="one line for each refused fault")
    asked.add_argument("--address", metavar="ADDR", help="who mapped, changed and unmapped this address")
    asked.add_argument("--entry", metavar="ADDR", help="the same for the whole entry that holds this address")
    asked.add_argument("--at", metavar="SEQ", type=int, help="with --address or --entry: as it was then")
    more = parser.add_argument_group("what to do with the verdict")
    more.add_argument("--what-if", metavar="CHANGE", action="append", default=[], help=f"with {WHAT_IF}")
    more.add_argument("--reproduce", metavar="FILE.py", help="write a test that asserts the verdict")
    more.add_argument("--json", action="store_true", help="print JSON; what the program prints goes to standard error")
    more.add_argument("--partial", action="store_true", help="accept a trace that was cut off")
    add_trace_arguments(parser)
    add_machine_arguments(parser)
    parser.usage = f"{parser.prog} [options] PROG [ARG...] | TRACE [options]"


def run(options: argparse.Namespace) -> int:
    """Explain, and return the exit status."""
    trace = trace_of(options, add_arguments)
    asked = _asked(options)
    try:
        account = _read(trace, options) if trace is not None else _run(options)
        return _answer(account, options, asked)
    finally:
        if asked.out is not None:
            asked.out.discard()


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, understood before anything runs or is read."""

    address: int | None
    changes: list[Change]
    out: Output | None
    """Where the reproducer goes: opened, so that the program cannot put something else in its place."""


def _asked(options: argparse.Namespace) -> Asked:
    """UsageError for a value that is none."""
    where = options.entry if options.entry is not None else options.address
    if options.at is not None and where is None:
        raise UsageError("--at needs --address or --entry")
    if (options.reproduce or options.what_if) and (options.list or where is not None):
        raise UsageError("--what-if and --reproduce are about one fault: not with --list, --address or --entry")
    words = [word for text in options.what_if for word in text.split(",") if word]
    changes = [parse_change(word, parse_size) for word in words]
    address = None if where is None else parse_address(where)
    return Asked(address, changes, Output(options.reproduce) if options.reproduce else None)


def _answer(account: Account, options: argparse.Namespace, asked: Asked) -> int:
    """Print what was asked for; the exit status."""
    if asked.address is not None:
        return _history(account, options, asked.address)
    if options.list:
        return _list(account, options)
    fault = _choose(account, options)
    if fault is None and account.ending:
        print(printable(account.ending))
        return 0
    if fault is None:
        print(f"no fault was refused ({account.repaired:,} were repaired)", file=sys.stderr)
        return EX_NOTHING
    if fault.repaired:
        _print_repaired(fault)
        return 0
    _print_rule(account, fault, options)
    verdict = judge(fault, account.symbols, account.blame)
    if asked.changes:
        _what_if(verdict, options, asked.changes)
    elif options.json:
        print(json.dumps(verdict_json(verdict), indent=1))
    elif asked.out is None:
        print(why_text(verdict, account.fates.get(fault.seq, "")), end="")
    if asked.out is not None:
        from emu.why.reproducer import write_reproducer

        write_reproducer(verdict, asked.out)
        said = f"wrote {printable(options.reproduce)}: {verdict.headline}"
        print(said, file=sys.stderr if options.json else sys.stdout)
    return 0


def _print_rule(account: Account, fault: FaultEvent, options: argparse.Namespace) -> None:
    """Set what is printed now off from what the program printed."""
    if not account.program or options.json or options.reproduce:
        return
    met = account.fates.get(fault.seq) or f"was refused an access: {fault.translation}"
    if account.killed and met != account.killed:
        met += f", and in the end {account.killed}"
    print(f"\n--- emu why: {account.program} (pid {fault.pid}) {met}")


def trace_of(options: argparse.Namespace, add: Callable[[argparse.ArgumentParser], None]) -> Path | None:
    """The trace file that was named instead of a program; what follows it are options of ours.

    (What follows a program is the program's.)  *add* gives the command's arguments to a parser.
    """
    words = options.program[1:] if options.program[:1] == ["--"] else options.program
    if options.guest or not words:
        return None
    path = Path(words[0])
    try:
        start = open_file(path).read_at(0, 4)
    except (OSError, ValueError):
        return None  # the machine has better words for what it cannot execute
    if start == b"\x7fELF" or start[:2] == b"#!":
        return None
    if words[1:]:
        parser = Parser(prog="emu")
        add(parser)
        parser.parse_args([*words[1:], "--", words[0]], options)
    refuse_trace_arguments(options)
    return path


def _read(path: Path, options: argparse.Namespace) -> Account:
    reader = TraceReader(path, partial=options.partial)
    account = Account(symbols_under(reader.header.root, note_symbols))
    for event in reader:
        account.add(event, options.fault)
    return account


def _run(options: argparse.Namespace) -> Account:
    """Run the program with every fault recorded; its output and input are its own."""
    from kernel_model.ktrace import EXEC, FAULT, MAP, SIGNAL

    program = chosen_program(options)
    with build_machine(options) as machine:
        account = Account(symbols_of(machine.map, machine.kernel.ktrace, note_symbols))
        for kind in (FAULT, MAP, SIGNAL, EXEC):
            machine.kernel.ktrace.subscribe(kind, lambda event: account.add(event, options.fault))
        account.program = printable(Path(program.path).name)
        with Tracing(options, machine, program) as tracing:
            tracing.run()
    sys.stdout.flush()
    return account


def _choose(account: Account, options: argparse.Namespace) -> FaultEvent | None:
    if options.fault is None:
        return next((fault for fault in reversed(account.faults) if not fault.repaired), None)
    for fault in account.faults:
        if fault.seq == options.fault:
            return fault
    raise UsageError(f"--fault {options.fault}: no fault has this number")


def _list(account: Account, options: argparse.Namespace) -> int:
    if options.json:
        verdicts = (judge(fault, account.symbols, account.blame) for fault in account.faults)
        print(json.dumps([verdict_json(verdict) for verdict in verdicts], indent=1))
        return 0 if account.faults else EX_NOTHING
    for fault in account.faults:
        print(f"{fault.seq:<8} {outcome(fault)}{headline(fault, account.symbols, account.blame)}")
    return 0 if account.faults else EX_NOTHING


def _print_repaired(fault: FaultEvent) -> None:
    from emu.view.why import access_line, decision_lines

    print(f"repaired: {headline(fault)}\n\nfault {fault.seq}  {access_line(fault)}  rip {fault.rip:#x}\n\ndecision")
    for line in decision_lines(fault.steps, repaired=True):
        print(f"  {line}")


def check_moment(at: int | None, last: int) -> None:
    """UsageError unless event number *at* is one of those up to *last*."""
    if at is not None and not 0 < at <= last:
        raise UsageError(f"--at {at}: the events have numbers from 1 to {last}")


def _history(account: Account, options: argparse.Namespace, addr: int) -> int:
    """Who made, changed and removed what is, or was, at an address."""
    check_moment(options.at, account.last)
    if not account.blame.changes:
        raise UsageError("no map changes were recorded: trace with --trace map, or run the program")
    answer = account.blame.history(addr, options.at)
    owned = next((one for one in account.blame.map_at(options.at) if one.start <= addr < one.end), None)
    when = f" at event {options.at}" if options.at is not None else ""
    if options.json:
        print(json.dumps(_history_json(addr, answer, owned), indent=1))
        return 0
    if owned is None:
        gone = answer.removed
        print(f"{addr:#x}: nothing is mapped{when}{', since it was unmapped' if gone is not None else ''}")
    else:
        print(f"{addr:#x}: in [{owned.start:#x}, {owned.end:#x}){when}, made by the first line")
    changes = owned.changes if owned is not None and options.entry is not None else answer.history
    for line in history_lines(changes, _names(account)):
        print(f"  {line}")
    return 0 if changes else EX_NOTHING


def _names(account: Account) -> Names:
    """Names for instruction addresses, by what was mapped from files."""
    entries = tuple(
        EntryState(one.start, one.end, one.made_by.prot, 7, offset=one.made_by.offset + one.start - one.made_by.start,
                   vnode=one.made_by.vnode)
        for one in account.blame.map_at()
    )  # fmt: skip
    return Names(account.symbols, entries)


def _what_if(verdict: Verdict, options: argparse.Namespace, changes: list[Change]) -> None:
    """The recorded decision beside the one under the changed conditions."""
    event = verdict.event
    if event.vector != 14:
        raise UsageError("--what-if: an exception of the processor is no decision of the kernel")
    snapshot, addr = some(event.snapshot, "snapshot of a refused fault"), event.addr
    for change in changes:
        snapshot, addr = change(snapshot, addr)
    words = ",".join(options.what_if)
    decision = decide(snapshot, addr, event.access)
    if options.json:
        said = {"what_if": [word for word in words.split(",") if word]}
        print(json.dumps({**said, "repaired": decision.repaired, "result": decision.result}, indent=1))
        return
    print(f"{verdict.headline}\n")
    print(what_if_text(f"with {words.replace(',', ', ')}", event, decision), end="")
    grown = f", after growing by {decision.grown:,} bytes" if decision.grown else ""
    print(f"\n{'the access succeeds' + grown if decision.repaired else 'it is still refused: ' + decision.translation}")


def verdict_json(verdict: Verdict) -> dict[str, object]:
    """A verdict as a JSON object; ``fault`` obeys the trace schema."""
    place = verdict.case.place(verdict.event.rip)
    insn = verdict.case.instruction
    return {
        "headline": verdict.headline,
        "cause": verdict.kind,
        "at": None if place is None else str(place),
        "instruction": None if insn is None else str(insn),
        "counterfactuals": [
            {
                "change": one.change, "text": one.text, "value": one.value, "how": one.how,
                "orientation": one.orientation,
            }
            for one in verdict.counterfactuals
        ],
        "blame": [describe_change(change) for change in (verdict.case.answer.history if verdict.case.answer else ())],
        "fault": to_json(verdict.event),
    }


def _history_json(addr: int, answer: Answer, owned: Owned | None) -> dict[str, object]:
    return {
        "address": addr,
        "mapped": answer.mapped,
        "entry": None if owned is None else [owned.start, owned.end, prot_string(owned.changes[-1].prot)],
        "changes": [to_json(change) for change in answer.history],
    }
