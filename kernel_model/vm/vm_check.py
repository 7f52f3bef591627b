"""What a fault decided, step by step, for whoever listens: one expression decides and reports.

::

    if not vm.check("reserve", need <= avail, need=need, avail_ssize=avail):
        return KERN_NO_SPACE

``Vm.check`` answers its condition.  As long as nobody listens it is ``unheard``, which does nothing else;
``Vm.listen()`` puts a listener there, which records the step as well.  So what is told and what is done cannot differ.
The paths that every fault takes ask ``Vm.steps`` first, which is None while nobody listens, and save the call.
Operands are keyword arguments whose names are the source's (``need``, ``max_grow``, ``limit``), values
plain ints in bytes unless named ``*_pages``.

Model only: FreeBSD has KTR(9) and dtrace's fbt; neither says which test said no.

Names used by the fault path, in the order in which they can occur:

* stages of ``vm_fault``: ``lookup`` ``pagein`` ``cow_copy`` ``cow_move`` ``zerofill`` ``enter``;
* checks of ``vm_map_lookup``: ``mapped`` ``gap`` ``protection`` ``wired_cow`` ``max_protection`` ``swap``;
* checks of ``vm_map_growstack``: ``own_map`` ``unmapped`` ``neighbour`` (is the entry next to the address
  a stack) ``reserve`` (need against avail_ssize, or the gap) ``guard`` (need and guard against max_grow)
  ``stack_limit`` ``memlock`` ``vmem`` ``trim`` (growth cut down to what is free) ``insert`` ``wire``;
* checks of the shadow walk: ``object_size`` ``page_alloc``.
"""

from __future__ import annotations

from typing import Protocol

from kernel_model.ktrace.events import CHECK, STAGE, VISIT, Step


class Visited(Protocol):
    """A memory object that the shadow walk looks into: ``VmObject``."""

    type: int
    size: int
    ref_count: int
    shadow_count: int


class Check(Protocol):
    """``Vm.check``: answers *ok*, which lets the fault go on."""

    def __call__(self, step: str, ok: bool, **operands: int) -> bool:
        """A test is made."""
        ...


class Listener(Protocol):
    """Told about each step of a decision while it is taken.  Model only."""

    def check(self, step: str, ok: bool, **operands: int) -> bool:
        """A test is made: returns *ok*, which lets the fault go on."""
        ...

    def stage(self, name: str, **operands: int) -> None:
        """A stage of the fault begins."""
        ...

    def visit(self, obj: Visited, pindex: int, found: str) -> None:
        """The shadow walk looks into *obj* at *pindex*.

        *found* is ``resident``, ``absent`` or ``pager`` (it may have the page).
        """
        ...


def unheard(
    step: str, ok: bool,
    need: int = 0, avail_ssize: int = 0, guard: int = 0, gap: int = 0, max_grow: int = 0, ssize: int = 0,
    limit: int = 0,
    wired: int = 0, amount: int = 0, size: int = 0, addr: int = 0, below: int = 0, above: int = 0,
    start: int = 0, end: int = 0, rv: int = 0, eflags: int = 0, **others: int,
) -> bool:  # fmt: skip
    """``Vm.check`` while nobody listens.  Model only.

    The operands of a growth are spelled out, for a dictionary made at each call would cost as much as all the rest.
    """
    return ok


class StepRecorder:
    """Keeps the steps in order.  Model only."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def check(self, step: str, ok: bool, **operands: int) -> bool:
        """Record a test with its operands and its outcome, and answer that."""
        self.steps.append(Step(CHECK, step, ok, operands))
        return ok

    def stage(self, name: str, **operands: int) -> None:
        """Record that a stage began."""
        self.steps.append(Step(STAGE, name, True, operands))

    def visit(self, obj: Visited, pindex: int, found: str) -> None:
        """Record an object of the shadow chain: its type, size in pages, reference and shadow counts."""
        operands = {
            "pindex": pindex,
            "type": obj.type,
            "size": obj.size,
            "ref_count": obj.ref_count,
            "shadow_count": obj.shadow_count,
        }
        self.steps.append(Step(VISIT, found, True, operands))

    def failed(self) -> Step | None:
        """The last check that said no, None when every check passed."""
        for step in reversed(self.steps):
            if step.kind == CHECK and not step.ok:
                return step
        return None
