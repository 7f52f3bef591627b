"""Ask the tests whether they would notice: ``python -m tests.mutate [MODULE...]``.

A mutant is a module with one small thing wrong: ``<`` for ``<=``, ``-`` for ``+``, ``or`` for ``and``, a condition
turned round, a number off by one, a statement left out.  Each is tried in a copy of the tree, never in place, with the
tests that concern its module; one that no test notices has survived, and shows a line that nothing holds.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("kernel_model/vm", "emu/engine")
NOT_COPIED = ("__pycache__", ".git", ".venv", ".*_cache", ".hypothesis", "build", "dist", "*.egg-info")
RULES = ("lint", "sources", "layering", "habits", "recipes", "readme", "dist", "mutate")
"""Tests of how things are written, not of what they do: they judge no mutant."""

JUDGES: dict[str, tuple[str, ...]] = {
    "kernel_model/vm": (
        "tests/unit/test_vm_*.py",
        "tests/unit/test_pmap.py",
        "tests/unit/test_*_pager.py",
        "tests/conformance",
        "tests/property/test_vm_map*.py",
        "tests/property/test_shadow_chains.py",
    ),
    "kernel_model/ktrace": ("tests/unit/test_ktrace.py", "tests/why"),
    "kernel_model/host": ("tests/unit/test_hostfs.py", "tests/hostile/test_host.py"),
    "kernel_model/kern": ("tests/unit", "tests/property/test_file_calls.py"),
    "kernel_model/fs": (
        "tests/unit/test_hostfs.py",
        "tests/unit/test_devfs_procfs.py",
        "tests/property/test_file_calls.py",
    ),
    "kernel_model/abi": (
        "tests/unit",
        "tests/property/test_linux_mman.py",
        "tests/property/test_file_call_arguments.py",
    ),
    "kernel_model": ("tests/unit", "tests/conformance"),
    "emu/engine": ("tests/unit/test_emu_*.py", "tests/differential/test_mirror.py", "tests/guest/test_run.py"),
    "emu/trace": ("tests/why", "tests/unit/test_ktrace.py"),
    "emu": ("tests/why", "tests/unit/test_emu_*.py", "tests/unit/test_cli_use.py", "tests/guest/test_run.py"),
}
"""Who judges the modules of a folder, beside tests that bear a module's name or import it; the longest name counts."""

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.In: ("in", "not in"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
"""The word of an operator and what is put in its place."""
UNREACHED = ("kassert", "panic")
"""Calls that are left alone: what they guard against never happens, so nothing can tell whether they are right."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module."""

    path: str
    line: int
    function: str
    kind: str
    """``< for <=``, ``without not``, ``3 for 4``, ``dropped``."""
    begin: int
    end: int
    """What is replaced: characters of the file."""
    text: str
    """By what."""

    def apply(self, source: str) -> str:
        """The module with the change in it."""
        return source[: self.begin] + self.text + source[self.end :]

    def diff(self, source: str) -> str:
        """The line before and after; of a dropped statement all its lines, and ``pass``."""
        first, last = source.rfind("\n", 0, self.begin) + 1, source.find("\n", self.end)
        last = len(source) if last < 0 else last
        after = source[first : self.begin] + self.text + source[self.end : last]
        old = [f"-{line}" for line in source[first:last].splitlines()]
        return "\n".join([*old, *(f"+{line}" for line in after.splitlines())])


@dataclass(frozen=True, slots=True)
class Result:
    """What the tests said to a mutant."""

    mutant: Mutant
    noticed: bool
    how: str
    """The first test that failed, ``time``, or ``survived``."""
    seconds: float
    diff: str


class MutateError(Exception):
    """Bad use, or tests that fail without any mutant."""


# making mutants


class _Places:
    """Where the nodes and the words of a module are, as character offsets."""

    def __init__(self, source: str) -> None:
        self.lines = source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        self.words = [(self.starts[t.start[0] - 1] + t.start[1], t.string) for t in tokens if t.string.strip()]

    def offset(self, line: int, column: int) -> int:
        """ast counts columns in UTF-8 bytes."""
        text = self.lines[line - 1]
        return self.starts[line - 1] + len(text.encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end = self.offset(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return self.offset(node.lineno, node.col_offset), end

    def word(self, begin: int, end: int, word: str) -> int | None:
        """Where *word* stands first in a range, as a word of its own."""
        for at, string in self.words[bisect_left(self.words, (begin, "")) :]:
            if at >= end:
                return None
            if string == word:
                return at
        return None


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Every mutant of one module, in the order of its text; only functions are changed."""
    source = (root / path).read_text(encoding="utf-8")
    places = _Places(source)
    found: list[Mutant] = []
    for name, function in _functions(ast.parse(source), ""):
        for statement in function.body:
            found += [Mutant(path, line, name, *rest) for line, *rest in _changes(statement, places)]
    return sorted(set(found), key=_order)


def _order(mutant: Mutant) -> tuple[int, int, str]:
    return mutant.begin, mutant.end, mutant.text


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods but for those that only show something."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.FunctionDef):
            if inner.name not in ("__repr__", "__str__"):
                yield prefix + inner.name, inner
        elif isinstance(inner, ast.ClassDef):
            yield from _functions(inner, f"{prefix}{inner.name}.")


Change = tuple[int, str, int, int, str]


def _changes(node: ast.AST, places: _Places) -> Iterator[Change]:
    """What can be done to *node* and to what is in it; annotations and texts are left alone."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) in UNREACHED:
        return
    match node:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for before, op, after in zip([left, *comparators], ops, comparators, strict=False):
                yield from _operator(op, before, after, places)
        case ast.BinOp(left=left, op=op, right=right):
            yield from _operator(op, left, right, places)
        case ast.BoolOp(op=op, values=values):
            for before, after in pairwise(values):
                yield from _operator(op, before, after, places)
        case ast.AugAssign(target=target, op=op, value=value):
            yield from _operator(op, target, value, places, "=")
            yield from _drop(node, places)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            begin, end = places.span(node)
            yield node.lineno, "without not", begin, places.span(operand)[0], ""
        case ast.Constant(value=bool(value)):
            yield node.lineno, f"{not value} for {value}", *places.span(node), str(not value)
        case ast.Constant(value=int(value)):
            for other in (value + 1, value - 1) if value else (1,):
                yield node.lineno, f"{other} for {value}", *places.span(node), str(other)
        case ast.Expr(value=ast.Constant(value=str())) | ast.JoinedStr():
            return  # a docstring; and in f-strings Python 3.11 does not know where things are
        case ast.Expr(value=ast.Call(func=func)) if ast.unparse(func) in UNREACHED:
            return
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            yield from _drop(node, places)
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.UnaryOp | ast.Constant):
        begin, end = places.span(node.test)
        text = "".join(places.lines)[begin:end]
        yield node.test.lineno, "condition turned round", begin, end, f"(not ({text}))"
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST):
                    yield from _changes(inner, places)


def _operator(
    op: ast.AST, before: ast.expr, after: ast.expr, places: _Places, suffix: str = ""
) -> Iterator[Change]:
    begin, end = places.span(before)[1], places.span(after)[0]
    if isinstance(op, ast.IsNot | ast.NotIn):
        at = places.word(begin, end, "not")
        if at is not None:
            kind = "is for is not" if isinstance(op, ast.IsNot) else "in for not in"
            yield before.end_lineno or 0, kind, at, at + 3, ""
        return
    if type(op) not in OPERATORS:
        return
    old, new = (word + suffix for word in OPERATORS[type(op)])
    at = places.word(begin, end, old)
    if at is not None:
        yield before.end_lineno or 0, f"{new} for {old}", at, at + len(old), new


def _drop(node: ast.stmt, places: _Places) -> Iterator[Change]:
    yield node.lineno, "dropped", *places.span(node), "pass"


# who judges


def modules(root: Path, names: Sequence[str]) -> list[str]:
    """The files that *names* mean: paths of files or folders, or dotted names."""
    found: list[str] = []
    for name in names:
        path = root / (name if "/" in name or name.endswith(".py") else name.replace(".", "/"))
        path = path if path.exists() else path.with_suffix(".py")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not path.exists() or not files:
            raise MutateError(f"no module {name}")
        found += [str(file.relative_to(root)) for file in files]
    return list(dict.fromkeys(found))


def judges(root: Path, path: str) -> list[str]:
    """The tests for a module, those that are nearest to it first."""
    stem = Path(path).stem
    dotted = ".".join(Path(path).with_suffix("").parts)
    package, _, last = dotted.rpartition(".")
    imports = (f"from {dotted} import", f"import {dotted}", f"from {package} import {last}\n")
    files = _tests(root, "tests")
    naming = [file for file in files if any(word in file.read_text(encoding="utf-8") for word in imports)]
    room = max((name for name in JUDGES if path.startswith(f"{name}/")), key=len, default="")
    of_room = [file for pattern in JUDGES.get(room, ("tests",)) for file in _tests(root, pattern)]
    near = [file for file in naming if file.parent.name in ("unit", "property", "conformance", "differential", "why")]

    def likeness(file: Path) -> tuple[bool, int]:
        bare = file.stem.removeprefix("test_").removeprefix("emu_")
        pairs = zip(bare.split("_"), stem.split("_"), strict=False)
        return bare == stem, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    found = dict.fromkeys((*near, *of_room))
    return [str(file.relative_to(root)) for file in sorted(found, key=likeness, reverse=True)]


def _tests(root: Path, pattern: str) -> list[Path]:
    """The test files that *pattern* names, or that are in a folder that it names."""
    named = sorted(root.glob(pattern))
    files = [file for path in named for file in (sorted(path.rglob("test_*.py")) if path.is_dir() else [path])]
    return [file for file in files if file.stem.removeprefix("test_") not in RULES]


# trying them


class Workshop:
    """A copy of the tree in which one mutant after the other is tried."""

    def __init__(self, root: Path, where: Path) -> None:
        self.root = root
        self.copy = where / "tree"
        shutil.copytree(root, self.copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
        self.stamp = 1_000_000_000

    def write(self, path: str, text: str) -> None:
        """Compiled files go by the second of the source's time: each version gets one of its own."""
        self.stamp += 1
        target = self.copy / path
        target.write_text(text, encoding="utf-8")
        os.utime(target, (self.stamp, self.stamp))

    def run(self, tests: Sequence[str], limit: float) -> tuple[int | None, str]:
        """Exit status of pytest, None when the time was up, and what it said."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
        command += ["-p", "no:xdist", "-o", "addopts=--import-mode=importlib", "-m", "not slow", *tests]
        child = subprocess.Popen(
            command,
            cwd=self.copy,
            env=os.environ | {"PYTHONPATH": str(self.copy)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            said, _ = child.communicate()
            return None, said
        return child.returncode, said

    def attempt(self, mutant: Mutant, limit: float) -> Result:
        """Try one mutant, and put the module back."""
        source = (self.root / mutant.path).read_text(encoding="utf-8")
        began = time.monotonic()
        self.write(mutant.path, mutant.apply(source))
        try:
            status, said = self.run(judges(self.root, mutant.path), limit)
        finally:
            self.write(mutant.path, source)
        how = "time" if status is None else "survived" if status == 0 else _first_failure(said)
        return Result(mutant, status != 0, how, round(time.monotonic() - began, 1), mutant.diff(source))


def _first_failure(said: str) -> str:
    for line in said.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.split()[1]
    return "tests do not start"


def try_all(root: Path, chosen: Sequence[Mutant], limit: float | None, jobs: int) -> list[Result]:
    """The results, in the order of *chosen*; progress on the error stream."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as where:
        shops: SimpleQueue[Workshop] = SimpleQueue()
        for number in range(jobs):
            shops.put(Workshop(root, Path(where) / str(number)))
        done = 0

        def attempt(mutant: Mutant) -> Result:
            nonlocal done
            shop = shops.get()
            try:
                result = shop.attempt(mutant, seconds)
            finally:
                shops.put(shop)
            done += 1
            _say(f"[{done}/{len(chosen)}] {_line(result)}")
            return result

        took = _baseline(shops, root, chosen)
        seconds = 4 * took + 10 if limit is None else limit
        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(attempt, chosen))


def _baseline(shops: SimpleQueue[Workshop], root: Path, chosen: Sequence[Mutant]) -> float:
    """Without a mutant all the tests must pass, or every mutant would seem to be noticed; the seconds they take."""
    tests = dict.fromkeys(test for path in {one.path: None for one in chosen} for test in judges(root, path))
    _say(f"the tests as they are, without a mutant: {len(tests)} files")
    shop = shops.get()
    began = time.monotonic()
    status, said = shop.run(list(tests), 3600)
    shops.put(shop)
    if status != 0:
        raise MutateError(f"the tests fail without a mutant:\n{said}")
    return time.monotonic() - began


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line(result: Result) -> str:
    mutant = result.mutant
    said = "noticed " if result.noticed else "SURVIVED"
    by = f"  by {result.how}" if result.noticed else ""
    return f"{said} {result.seconds:6.1f} s  {mutant.path}:{mutant.line} {mutant.function}: {mutant.kind}{by}"


def report(results: Sequence[Result]) -> str:
    """The survivors with their lines, then the counts."""
    survivors = [result for result in results if not result.noticed]
    lines = [f"{_line(result)}\n{result.diff}\n" for result in survivors]
    lines.append(f"{len(results)} mutants, {len(results) - len(survivors)} noticed, {len(survivors)} survived")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.mutate",
        description="Put one small mistake after the other into a copy of the modules: do the tests notice?",
        epilog="Exit status: 0; 1 when more than --allow survive; 2 for bad use and for tests that fail by themselves.",
    )
    default = " and ".join(DEFAULT)
    made.add_argument("module", nargs="*", default=list(DEFAULT), help=f"file, folder or dotted name ({default})")
    made.add_argument("-n", "--number", type=int, default=27, help="how many mutants, chosen at random (27)")
    made.add_argument("--all", action="store_true", help="every mutant instead")
    made.add_argument("--seed", type=int, default=0, help="of the choice (0)")
    made.add_argument("--function", metavar="NAME", help="only mutants of this function or method")
    made.add_argument("--allow", type=int, default=0, metavar="N", help="how many may survive (0)")
    made.add_argument("--limit", type=float, metavar="SECONDS", help="for a mutant (4 times what all tests take, + 10)")
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time (all processors)")
    made.add_argument("--list", action="store_true", help="only show the mutants and who would judge them")
    made.add_argument("--json", action="store_true", help="results as JSON")
    return made


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Choose, try, report."""
    options = parser().parse_args(arguments)
    # In a background job SIGINT is ignored, and so it would be in programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = [mutant for path in modules(root, options.module) for mutant in mutants_of(root, path)]
        found = [one for one in found if options.function in (None, one.function, one.function.rpartition(".")[2])]
        if not options.all:
            chosen = random.Random(options.seed).sample(found, min(options.number, len(found)))
            found = sorted(chosen, key=found.index)
        if options.list:
            for mutant in found:
                print(f"{mutant.path}:{mutant.line} {mutant.function}: {mutant.kind}")
                print(f"    {' '.join(judges(root, mutant.path)[:4])} ...")
            return 0
        results = try_all(root, found, options.limit, max(1, min(options.jobs, len(found))))
    except MutateError as error:
        _say(f"mutate: {error}")
        return 2
    print(json.dumps([asdict(result) for result in results], indent=1) if options.json else report(results))
    return 1 if sum(not result.noticed for result in results) > options.allow else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
