"""Reads recordings and replays them."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO, cast

from kernel_model.errors import KernelPanic
from kernel_model.release import RELEASES
from tests.replay.compare import BACKING, ENTRY_WIDTH, OBJ, OBJECT_WIDTH, Difference, compare_dumps
from tests.replay.pagefree import FaultRecord, page_free
from tests.replay.world import BadStep, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kernel_model.release import Release

LEVELS = "ABC"
JUDGES = {"10-STABLE": "freebsd-10.1"}
"""Recordings of a tree that is none of the releases, and the profile that it judges."""


class BadTrace(Exception):
    """The file is no recording; the text is one line."""


@dataclass
class ScenarioResult:
    """What came of one scenario."""

    name: str
    release: str
    steps: int = 0
    differences: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEVELS, 0))
    """Steps with a difference, by the weightiest level."""
    first: str = ""

    @property
    def clean(self) -> bool:
        return not any(self.differences.values())


def release_of(scenario: dict[str, Any]) -> Release:
    """The profile that replays the scenario: ``11.0-RELEASE-p8`` is freebsd-11.0, ``10-STABLE`` judges freebsd-10.1."""
    text = str(scenario["release"])
    text = JUDGES.get(text, text)
    for name, release in RELEASES.items():
        number = name.removeprefix("freebsd-")
        if text in (name, number) or text.startswith(f"{number}-"):
            return release
    raise ValueError(f"unknown release {text[:60]!r}")


def read_scenarios(path: Path) -> Iterator[dict[str, Any]]:
    """Each line of a recording; raises BadTrace with file and line."""
    number = 0
    try:
        with _open(path) as lines:
            for line in lines:
                number += 1
                if line.strip():
                    scenario = json.loads(line)
                    _check(scenario)
                    yield scenario
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadTrace(f"{path}: {_reason(error)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadTrace(f"{path}:{number}: {_reason(error)}") from None


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def _reason(error: Exception) -> str:
    text = str(error) if not isinstance(error, KeyError) else f"no {error}"
    return " ".join(text.split()) or type(error).__name__


def _check(scenario: Any) -> None:
    """Enough to name what is wrong with a file that only looks like a recording."""
    if not isinstance(scenario, dict):
        raise TypeError("not a JSON object")
    for key, kind in (("release", str), ("name", str), ("setup", dict), ("steps", list)):
        if not isinstance(scenario[key], kind):
            raise TypeError(f"{key} is no {kind.__name__}")
    if not 0 <= scenario["setup"]["min"] <= scenario["setup"]["max"]:
        raise ValueError("setup.min above setup.max")
    release_of(scenario)
    for key, value in scenario["setup"].items():
        if not isinstance(value, int):
            raise TypeError(f"setup.{key} is no number")
    for step in scenario["steps"]:
        _check_step(step)
        _check_dump(step["after"], f"step {step['op']}: after")
    if "initial" in scenario:
        _check_dump(scenario["initial"], "initial")


def _check_step(step: Any) -> None:
    if not isinstance(step, dict) or not hasattr(World, f"op_{step.get('op')}"):
        raise ValueError(f"unknown step {str(step)[:60]}")
    op = step["op"]
    if not isinstance(step.get("rc"), int) or not isinstance(step.get("args"), dict):
        raise TypeError(f"step {op}: rc or args missing")
    for key, value in step["args"].items():
        if not isinstance(value, str if key in ("name", "type") and op in ("set", "mkobj") else int):
            raise TypeError(f"step {op}: bad argument {key}")
    if "child_after" in step:
        _check_dump(step["child_after"], f"step {op}: child_after")


def _check_dump(dump: Any, where: str) -> None:
    if not isinstance(dump, dict):
        raise TypeError(f"{where} is no object")
    for key, width in (("entries", ENTRY_WIDTH), ("objects", OBJECT_WIDTH)):
        rows = dump.get(key)
        if not isinstance(rows, list) or not all(_is_row(row, width) for row in rows):
            raise TypeError(f"{where}.{key} is no list of {width} numbers each")
    objects = len(dump["objects"])
    used = [row[OBJ] for row in dump["entries"]] + [row[BACKING] for row in dump["objects"]]
    if not all(-1 <= number < objects for number in used):
        raise ValueError(f"{where}: an object that is not listed")


def _is_row(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width and all(isinstance(value, int) for value in row)


def replay_scenario(scenario: dict[str, Any]) -> ScenarioResult:
    """Apply every step and compare; a difference does not stop the replay, a panic of the model does."""
    release = release_of(scenario)
    result = ScenarioResult(scenario["name"], release.name)
    record = FaultRecord()
    with page_free(record):
        world = World(release, scenario["setup"], record)
        if "initial" in scenario:
            _note(result, -1, {"op": "initial", "args": {}}, compare_dumps(scenario["initial"], world.dump()), None)
        for index, step in enumerate(scenario["steps"]):
            result.steps += 1
            try:
                rv, out = world.apply(step["op"], step["args"])
                found = _compare_step(step, rv, out, world)
            except BadStep as error:
                raise BadTrace(f"{scenario['name']}, step {index}: {error}") from None
            except KernelPanic as error:
                _note(result, index, step, [("A", f"the model panicked: {error}")], None)
                break
            _note(result, index, step, found, world)
    return result


def _compare_step(step: dict[str, Any], rv: int, out: Any, world: World) -> list[Difference]:
    found: list[Difference] = []
    if rv != step["rc"]:
        found.append(("A", f"rc: recorded {step['rc']}, model {rv}"))
    elif out != step.get("out") and not (rv and step["op"] in ("find", "find_min")):
        level = "B" if step["op"] == "fork" else "A"
        found.append((level, f"out: recorded {step.get('out')}, model {out}"))
    found += compare_dumps(step["after"], world.dump())
    if "child_after" in step and isinstance(out, dict):
        child = world.spaces[out["child"]]
        found += [(level, f"child: {text}") for level, text in compare_dumps(step["child_after"], world.dump(child))]
    return found


def _note(
    result: ScenarioResult, index: int, step: dict[str, Any], found: list[Difference], world: World | None
) -> None:
    if not found:
        return
    level = min(level for level, _ in found)
    result.differences[level] += 1
    if not result.first:
        lines = [f"  step {index}: {step['op']} {_hex(step['args'])}"]
        lines += [f"    {found_level}: {text}" for found_level, text in found]
        if world is not None:
            lines += [f"    model:    {row}" for row in _rows(world.dump()["entries"])]
            lines += [f"    recorded: {row}" for row in _rows(step["after"]["entries"])]
        result.first = "\n".join(lines)


def _hex(args: dict[str, Any]) -> str:
    return " ".join(f"{k}={v:#x}" if isinstance(v, int) and v > 9 else f"{k}={v}" for k, v in args.items())


def _rows(entries: list[list[int]]) -> list[str]:
    return [
        f"[{e[0]:#x},{e[1]:#x}) prot {e[2]}/{e[3]} inherit {e[4]} eflags {e[5]:#x} wired {e[6]} off {e[7]:#x}"
        f" ext {e[9]:#x} obj {e[10]} charged {e[11]}"
        for e in entries
    ]
