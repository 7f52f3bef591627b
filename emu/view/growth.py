"""Each growth of a stack, as it happens.

Model only: procstat shows where a stack ended up, not how it got there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernel_model.ktrace import FAULT, MAP, FaultEvent, KTrace, MapChange
from kernel_model.ktrace.events import CHECK
from kernel_model.vm.vm_param import KERN_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

GROWSTACK_STAGE = "growstack"


@dataclass(slots=True)
class GrowthView:
    """Listens to faults and map changes and says each growth, granted or refused, in one line.

    ``show`` gets the line.  The changes of a fault come before the fault itself, which is told when it is decided.
    """

    show: Callable[[str], None]
    pending: MapChange | None = None

    def attach(self, sink: KTrace) -> None:
        """Listen to *sink*."""
        sink.subscribe(MAP, self.map_changed)
        sink.subscribe(FAULT, self.fault_decided)

    def map_changed(self, change: MapChange) -> None:
        """Remember the growth that the current fault made."""
        if change.what == "grow":
            self.pending = change

    def fault_decided(self, fault: FaultEvent) -> None:
        """Say what became of a fault that asked for growth."""
        grown, self.pending = self.pending, None
        if grown is not None:
            self.show(granted(fault, grown))
        elif fault.result and any(step.name == GROWSTACK_STAGE for step in fault.steps):
            self.show(refused(fault))


def granted(fault: FaultEvent, grown: MapChange) -> str:
    """``grow  0x7ffffffde000  +128 KiB  ->  [0x7ffffffbf000,0x7ffffffdf000)  9 -> 10 entries  KERN_SUCCESS``."""
    entries = f"{fault.before.nentries} -> {fault.after.nentries} entries" if fault.before and fault.after else ""
    return (
        f"grow    {fault.addr:#014x}  +{(grown.end - grown.start) >> 10} KiB  "
        f"[{grown.start:#x},{grown.end:#x})  {entries}  {KERN_NAMES[fault.result]}"
    )


def refused(fault: FaultEvent) -> str:
    """The same for a growth that was refused, with the check that said no."""
    check = next((step for step in reversed(fault.steps) if step.kind == CHECK and not step.ok), None)
    why = f"{check.name}: " + " ".join(f"{name}={value:#x}" for name, value in check.operands.items()) if check else ""
    return f"refuse  {fault.addr:#014x}  {why}  {KERN_NAMES[fault.result]}"
