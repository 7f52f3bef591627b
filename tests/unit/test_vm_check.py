"""Each decision of a stack's growth at its boundary: the verdict and the recorded step, which are one expression."""

import ast
import re
from pathlib import Path

import pytest

from emu.view.why import QUESTIONS
from kernel_model.ktrace.events import CHECK
from kernel_model.vm import vm_check
from kernel_model.vm.vm import VM_PROT_WRITE
from kernel_model.vm.vm_check import StepRecorder, unheard
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_param import KERN_FAILURE, KERN_NO_SPACE, KERN_PROTECTION_FAILURE, KERN_SUCCESS, USRSTACK
from tests.conformance.rig import CLASSIC, FREEBSD, MODERN, PG, process_rig, rig

A = 0x10000000
SIZE = 0x100000
TOP = A + SIZE
SG = 0x20000
DOWN = 0x1000
RESERVE = SIZE - SG
NEXT_PAGE = USRSTACK - SG - PG
ALL = (*FREEBSD, "dragonfly")


def stacked(name, **setup):
    process = rig(name, **setup)
    assert process.do("stack", addr=A, size=SIZE, prot=3, max=7, cow=DOWN) == KERN_SUCCESS
    return process


def grow(process, addr, name, ends=True):
    """The verdict, and the outcome and operands of the step *name*, which *ends* the growth when it says no."""
    recorder = StepRecorder()
    process.vm.listen(recorder)
    rv = process.do("growstack", addr=addr)
    process.vm.listen(None)
    (step,) = [step for step in recorder.steps if step.kind == CHECK and step.name == name]
    if ends and not step.ok:
        assert step is recorder.steps[-1]
        assert step is recorder.failed()
    return rv, step.ok, step.operands


def refused(ok):
    return (KERN_SUCCESS, True) if ok else (KERN_NO_SPACE, False)


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("name", CLASSIC)
def test_reserve(name, ok):
    """All of avail_ssize may be asked for, and no page more."""
    addr = A if ok else A - PG
    rv, told, operands = grow(stacked(name, guard=0), addr, "reserve")
    assert (rv, told) == refused(ok)
    assert operands == {"need": TOP - SG - addr, "avail_ssize": RESERVE}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_byte_above"])
def test_reserve_of_dragonfly(ok):
    """Its need ends at the neighbour; only one that ends inside a page can make it more than the room."""
    process = stacked("dragonfly")
    end = A + 0x10000 if ok else A + 0x10001
    assert process.do("insert", start=A, end=end, prot=1, max=1) == KERN_SUCCESS
    rv, told, operands = grow(process, end, "reserve")
    assert (rv, told) == refused(ok)
    assert operands == {"need": RESERVE - 0x10000, "avail_ssize": RESERVE, "max_grow": TOP - SG - end}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("guard", [1, 3])
@pytest.mark.parametrize("name", FREEBSD)
def test_guard(name, guard, ok):
    """The lowest page of the reserve, or with a gap its lowest *guard* pages, are never given away."""
    process = stacked(name, guard=guard)
    kept = PG if name in CLASSIC else guard * PG
    addr = A + kept if ok else A + kept - PG
    rv, told, operands = grow(process, addr, "guard")
    assert (rv, told) == refused(ok)
    if name in CLASSIC:
        assert operands == {"need": TOP - SG - addr, "guard": PG, "max_grow": RESERVE}
    else:
        assert operands == {"need": TOP - SG - addr, "guard": kept, "gap": RESERVE, "max_grow": RESERVE - kept}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("name", ALL)
def test_stack_limit(name, ok):
    """RLIMIT_STACK is what the stack may become, not what it must stay below."""
    limit = SG + PG if ok else SG
    rv, told, operands = grow(process_rig(name, lim_stack=limit), NEXT_PAGE, "stack_limit")
    assert (rv, told) == refused(ok)
    assert operands == {"need": PG, "ssize": SG, "limit": limit}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("name", ALL)
def test_vmem(name, ok):
    """RLIMIT_VMEM counts the whole amount, not the need."""
    limit = 2 * SG if ok else 2 * SG - PG
    rv, told, operands = grow(process_rig(name, lim_vmem=limit), NEXT_PAGE, "vmem")
    assert (rv, told) == refused(ok)
    assert operands == {"size": SG, "amount": SG, "limit": limit}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("name", FREEBSD)
def test_memlock(name, ok):
    """With MAP_WIREFUTURE what is wired and what will be stay within RLIMIT_MEMLOCK; DragonFly does not look."""
    limit = SG if ok else SG - PG
    process = process_rig(name)
    process.do("set", name="wirefuture", value=1)
    process.do("set", name="lim_memlock", value=limit)
    rv, told, operands = grow(process, NEXT_PAGE, "memlock")
    assert (rv, told) == refused(ok)
    assert operands == {"wired": 0, "amount": SG, "limit": limit}


@pytest.mark.parametrize("ok", [True, False], ids=["exactly", "a_page_above"])
@pytest.mark.parametrize("name", (*CLASSIC, "dragonfly"))
def test_trim(name, ok):
    """Growth in steps of SGROWSIZ ends at the neighbour."""
    process = stacked(name, guard=0)
    border = TOP - 2 * SG if ok else TOP - 2 * SG + PG
    assert process.do("insert", start=border - PG, end=border, prot=1, max=1) == KERN_SUCCESS
    rv, told, operands = grow(process, TOP - SG - PG, "trim", ends=False)
    assert (rv, told) == (KERN_SUCCESS, ok)
    assert (operands["amount"], operands["max_grow"]) == (SG, TOP - SG - border)
    assert process.entry(TOP - SG - PG).start == border


class Contrary(StepRecorder):
    """Answers the opposite at one step: what the kernel then does shows that it obeys the answer and nothing else."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def check(self, step, ok, **operands):
        return super().check(step, ok, **operands) != (step == self.step)


NO = (
    *((name, step) for name in CLASSIC for step in ("reserve", "guard", "stack_limit", "memlock", "vmem")),
    *((name, step) for name in MODERN for step in ("guard", "stack_limit", "memlock", "vmem")),
    *(("dragonfly", step) for step in ("reserve", "stack_limit", "vmem")),
)


@pytest.mark.parametrize(("name", "step"), NO)
def test_the_answer_is_obeyed_when_it_is_no(name, step):
    process = process_rig(name)
    process.do("set", name="wirefuture", value=1)
    process.vm.listen(Contrary(step))
    assert process.do("growstack", addr=NEXT_PAGE) == KERN_NO_SPACE
    assert process.entry(USRSTACK - PG).start == USRSTACK - SG
    process.vm.listen(None)
    assert process.do("growstack", addr=NEXT_PAGE) == KERN_SUCCESS


@pytest.mark.parametrize("name", ALL)
def test_the_answer_is_obeyed_when_it_is_yes(name):
    process = process_rig(name, lim_vmem=SG)
    process.vm.listen(Contrary("vmem"))
    assert process.do("growstack", addr=NEXT_PAGE) == KERN_SUCCESS
    assert process.entry(NEXT_PAGE).start == USRSTACK - 2 * SG


@pytest.mark.parametrize("step", ["own_map", "neighbour"])
@pytest.mark.parametrize("name", MODERN)
def test_a_gap_that_is_not_its_own(name, step):
    process = process_rig(name)
    process.vm.listen(Contrary(step))
    assert process.do("growstack", addr=NEXT_PAGE) == KERN_FAILURE
    assert process.entry(USRSTACK - PG).start == USRSTACK - SG


@pytest.mark.parametrize("name", (*CLASSIC, "dragonfly"))
@pytest.mark.parametrize("step", ["unmapped", "neighbour"])
def test_nothing_to_grow(name, step):
    process = process_rig(name)
    process.vm.listen(Contrary(step))
    assert process.do("growstack", addr=NEXT_PAGE) == KERN_SUCCESS
    assert process.entry(USRSTACK - PG).start == USRSTACK - SG


@pytest.mark.parametrize("name", FREEBSD)
def test_the_lookup_obeys_as_well(name):
    process = process_rig(name)
    process.vm.listen(Contrary("protection"))
    assert vm_fault(process.map, USRSTACK - PG, VM_PROT_WRITE) == KERN_PROTECTION_FAILURE
    process.vm.listen(Contrary("mapped"))
    assert vm_fault(process.map, USRSTACK - PG, VM_PROT_WRITE) != KERN_SUCCESS


def test_nobody_listens_by_default():
    vm = process_rig("freebsd-10.1").vm
    assert vm.check is unheard
    assert vm.steps is None
    recorder = StepRecorder()
    assert vm.listen(recorder) is None
    assert vm.listen(None) is recorder
    assert vm.check is unheard
    assert unheard("reserve", True) and not unheard("reserve", False, need=1)


def _told(verb: str) -> set[str]:
    """The names that the sources give to ``check`` or ``stage``."""
    calls = [
        node
        for path in (Path(vm_check.__file__).parent).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)
    ]
    named = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] == verb]
    return {str(call.args[0].value) for call in named}


def test_the_list_of_names_is_whole_and_every_check_has_its_question() -> None:
    """Nothing but the page tells a reader which checks there are, and nothing else tells emu why how to put one."""
    head = ast.get_docstring(ast.parse(Path(vm_check.__file__).read_text(encoding="utf-8"))) or ""
    named = set(re.findall(r"``(\w+)``", head.split("Names used", 1)[1]))
    listed = named - {"vm_fault", "vm_map_lookup", "vm_map_growstack"}
    assert listed == _told("check") | _told("stage")
    assert set(QUESTIONS) == _told("check")
