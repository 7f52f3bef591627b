"""tests.mutate on a package of a few lines: what it changes, whom it asks, and that it never works in place."""

import ast
import json
import random

import pytest

from tests import mutate
from tests.mutate import JUDGES, MutateError, judges, main, modules, mutants_of

MODULE = '''"""Tiny."""

LIMIT = 4


def fits(need: int, room: int = 9) -> bool:
    """Not mutated: 1 < 2."""
    if not need:
        return True
    return (
        need <= room  # <= is not the operator
        and need < LIMIT + 1
    )


class Counter:
    """Counts, up to «ten»."""

    def __init__(self) -> None:
        self.value = 0

    def up(self, by: "int" = 1) -> str:
        kassert(self.value >= 0, "below nought")
        self.value += by
        return f"{self.value + 1} «ü» {by is not None}" if by not in (7,) else "no"

    def __repr__(self) -> str:
        return str(1 + 1)


def kassert(cond: bool, text: str) -> None: ...
'''
TESTS = """
from pkg.tiny import Counter, fits
from time import sleep


def test_fits():
    assert fits(0) and fits(4) and not fits(5)
    assert not fits(3, 2)


def test_up():
    counter = Counter()
    assert counter.up() == "2 «ü» True"
"""


@pytest.fixture
def tree(tmp_path):
    """A package with one module, and its tests."""
    for folder in ("pkg", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/tiny.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "tests/unit/test_tiny.py").write_text(TESTS, encoding="utf-8")
    return tmp_path


def kinds(tree):
    return [(mutant.function, mutant.kind) for mutant in mutants_of(tree, "pkg/tiny.py")]


def test_each_kind_of_mistake_once(tree):
    assert kinds(tree) == [
        ("fits", "without not"),
        ("fits", "False for True"),
        ("fits", "< for <="),
        ("fits", "or for and"),
        ("fits", "<= for <"),
        ("fits", "- for +"),
        ("fits", "0 for 1"),
        ("fits", "2 for 1"),
        ("Counter.__init__", "dropped"),
        ("Counter.__init__", "1 for 0"),
        ("Counter.up", "dropped"),
        ("Counter.up", "-= for +="),
        ("Counter.up", "condition turned round"),
        ("Counter.up", "in for not in"),
        ("Counter.up", "6 for 7"),
        ("Counter.up", "8 for 7"),
    ]


def test_a_mutant_is_a_module_with_one_line_changed(tree):
    source = (tree / "pkg/tiny.py").read_text(encoding="utf-8")
    for mutant in mutants_of(tree, "pkg/tiny.py"):
        ast.parse(mutant.apply(source))
        removed, added = mutant.diff(source).splitlines()
        assert (removed[0], added[0]) == ("-", "+")
        assert removed[1:] in source.splitlines()
        assert removed[1:] != added[1:]


def test_the_operator_is_found_behind_brackets_and_before_comments(tree):
    source = (tree / "pkg/tiny.py").read_text(encoding="utf-8")
    less = next(mutant for mutant in mutants_of(tree, "pkg/tiny.py") if mutant.kind == "< for <=")
    assert less.diff(source) == (
        "-        need <= room  # <= is not the operator\n+        need < room  # <= is not the operator"
    )
    after = next(mutant for mutant in mutants_of(tree, "pkg/tiny.py") if mutant.kind == "in for not in")
    assert 'if by  in (7,) else "no"' in after.diff(source)


@pytest.mark.slow
def test_survivors_are_named_and_the_tree_is_left_alone(tree, capsys):
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert main(["pkg", "--all", "--function", "fits", "--jobs", "1"], root=tree) == 1
    said = capsys.readouterr()
    assert "SURVIVED" in said.out and "pkg/tiny.py:11 fits: <= for <" not in said.out
    assert "-        need <= room  # <= is not the operator" in said.out
    assert said.out.strip().splitlines()[-1] == "8 mutants, 7 noticed, 1 survived"
    assert said.err.count("noticed") == 7 and "by tests/unit/test_tiny.py::test_fits" in said.err
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_json_and_allow(tree, capsys):
    assert main(["pkg.tiny", "--all", "--function", "up", "--allow", "9", "--json", "--jobs", "2"], root=tree) == 0
    results = json.loads(capsys.readouterr().out)
    assert {result["mutant"]["kind"] for result in results if not result["noticed"]} == {"6 for 7", "8 for 7"}


@pytest.mark.slow
def test_a_mutant_that_never_ends_is_noticed(tree, capsys):
    until = "def until(stop):\n    while not stop:\n        pass\n"
    module = f"def wait(stop):\n    stop.add('now')\n    until(stop)\n\n\n{until}"
    (tree / "pkg/tiny.py").write_text(module)
    test = "from pkg.tiny import wait\n\n\ndef test_wait():\n    wait(set())\n"
    (tree / "tests/unit/test_tiny.py").write_text(test)
    arguments = ["pkg/tiny.py", "--all", "--function", "wait", "--limit", "6", "--allow", "1", "--json"]
    assert main(arguments, root=tree) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["mutant"]["line"], first["noticed"], first["how"]) == (2, True, "time")


def test_tests_that_fail_anyway_say_nothing(tree, capsys):
    (tree / "tests/unit/test_tiny.py").write_text("def test_no():\n    assert False\n")
    assert main(["pkg", "--all"], root=tree) == 2
    assert "fail without a mutant" in capsys.readouterr().err


def test_the_same_seed_chooses_the_same(tree, capsys):
    shown = []
    for seed in ("1", "1", "2"):
        assert main(["pkg", "-n", "3", "--seed", seed, "--list"], root=tree) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
    assert shown[0].count("tests/unit/test_tiny.py") == 3


def test_an_unknown_module_is_bad_use(tree, capsys):
    assert main(["pkg/none.py"], root=tree) == 2
    assert "no module pkg/none.py" in capsys.readouterr().err
    with pytest.raises(MutateError):
        modules(tree, ["nothing.at.all"])


def test_every_judge_of_the_house_exists():
    for room, patterns in JUDGES.items():
        assert (mutate.ROOT / room).is_dir()
        assert all(mutate._tests(mutate.ROOT, pattern) for pattern in patterns), room


def test_rules_of_writing_judge_no_mutant():
    asked = judges(mutate.ROOT, modules(mutate.ROOT, ["kernel_model/kern"])[0])
    assert "tests/unit/test_copyin.py" in asked
    assert not {f"tests/unit/test_{rule}.py" for rule in mutate.RULES} & set(asked)


def test_every_module_has_mutants_that_compile_and_judges_that_exist():
    """A random few of each room's modules."""
    dice = random.Random(0)
    for room in JUDGES:
        for path in dice.sample(modules(mutate.ROOT, [room]), 2):
            source = (mutate.ROOT / path).read_text(encoding="utf-8")
            found = mutants_of(mutate.ROOT, path)
            for mutant in dice.sample(found, min(5, len(found))):
                ast.parse(mutant.apply(source))
            assert judges(mutate.ROOT, path)
