"""The mirror: what Unicorn maps and translates for one address space.

    vm_map entries        --Regions-->         Unicorn's regions     what exists and what is allowed
    Pmap.ptes             --Fill-->            Unicorn's TLB         what is resident
    frames that ran       --TranslatedCode-->  Unicorn's code        what must be translated anew
    all of that           --Auditor-->         MirrorDesync          or else it is true
    frames, all of them                        the RAM window        one region at RAM_BASE

Each part is understandable alone (emu.engine.regions, tlb, code, fill, verify); this file makes them, and passes on
what the kernel tells a pmap.

FreeBSD: sys/amd64/amd64/pmap.c is what this stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emu.engine.code import TranslatedCode
from emu.engine.cpu import CPU_SKYLAKE_CLIENT
from emu.engine.fill import Faults, Fill
from emu.engine.raw import Engine
from emu.engine.regions import Regions, mapped_regions
from emu.engine.stops import leave_exactly
from emu.engine.tlb import FAULT_BASE, FAULT_LIMIT, IDENTITY, RAM_BASE, REFUSE, REFUSE_ALL, Tlb
from kernel_model.errors import KernelPanic, kassert, some
from kernel_model.vm.vm import VM_PROT_ALL
from kernel_model.vm.vm_param import PAGE_SHIFT, VM_MAXUSER_ADDRESS

if TYPE_CHECKING:
    from kernel_model.vm.pmap import Pmap
    from kernel_model.vm.vm_map import VmMap
    from kernel_model.vm.vm_phys import PhysRun

LAG = 64
"""So many map changes may wait before the regions follow."""


class UcPmapHardware:
    """``PmapHardware`` over one Unicorn instance.

    States: without an engine (the address space never ran) -> :meth:`create_engine` and :meth:`start` ->
    :meth:`destroy`, at once or, while the engine runs, when the machine has left it.
    """

    __slots__ = ("_fill", "code", "doomed", "engine", "mapped", "pending", "pmap", "running", "tlb")

    def __init__(self, pmap: Pmap) -> None:
        self.pmap = pmap
        self.engine: Engine | None = None
        self.tlb = Tlb()
        self.code = TranslatedCode(self.tlb)
        self.mapped = Regions(pmap.vm.phys)
        self._fill = Fill(pmap.ptes, self.tlb, self.code, self.mapped.table)
        self.running = False
        """The engine is inside run(): it cannot be closed."""
        self.doomed = False
        """destroy() was called while the engine ran."""
        self.pending = False
        """settle() has something to do before guest code runs again."""

    # life

    def create_engine(self, *, counted: bool = False) -> Engine:
        """Make the engine, with nothing mapped but all frames; emu.engine.stops says what *counted* means."""
        kassert(self.engine is None, "mirror has an engine already")
        phys = self.pmap.vm.phys
        engine = self.engine = self.tlb.engine = Engine(CPU_SKYLAKE_CLIENT)
        leave_exactly(engine, counted=counted)
        engine.mem_map_ptr(RAM_BASE, phys.frames << PAGE_SHIFT, VM_PROT_ALL, phys.host_base)
        return engine

    def start(self, map_: VmMap, faults: Faults) -> None:
        """Answer fills for *map_* from now on; settle() makes the regions."""
        kassert(self.mapped.map is None, "mirror follows a map already")
        engine = some(self.engine, "engine")
        self.mapped.start(map_, engine)
        self._fill.start(map_, faults)
        self.pending = True
        engine.hook_fill(self._fill.serve)
        engine.hook_invalid(self._fill.invalid, FAULT_BASE, FAULT_LIMIT - 1)

    def run(self, rip: int) -> int:
        """Run the program from *rip* until something stops the engine; returns a UC_ERR_* code."""
        kassert(not self.running, "the engine runs already")
        if self.mapped.few:
            self.synchronise()
        else:
            self.settle()
        self.tlb.special &= ~REFUSE
        self.running = True
        try:
            engine = some(self.engine, "engine")
            status = engine.run(rip)
            while self.code.restart:
                self.code.restart = False
                status = engine.run(engine.read_rip())
            return status
        finally:
            self.running = False
            self.tlb.special &= ~REFUSE_ALL
            if self.doomed:
                self.close()

    def interrupt(self) -> None:
        """Leave :meth:`run`, or let the next one return at once; from another thread."""
        engine = self.engine
        if engine is not None:
            engine.interrupt()

    def destroy(self) -> None:
        """The address space is gone; the engine goes too, or when the machine has left it."""
        self.mapped.forget()
        self._fill.forget_map()
        if self.running:
            self.doomed = True
        else:
            self.close()

    def close(self) -> None:
        """Free the engine.  Requires: it does not run."""
        kassert(not self.running, "the engine runs")
        if self.engine is not None:
            self.engine.close()
            self.engine = self.tlb.engine = self.mapped.engine = None

    # what the kernel tells

    def invalidate(self, start: int = 0, end: int = VM_MAXUSER_ADDRESS) -> None:
        """A right was lowered, or a mapping replaced or removed, in [start, end)."""
        if self.tlb.invalidate(start, end):
            self.pending = True

    def map_changed(self, start: int, end: int) -> None:
        """The map's entries inside [start, end) changed in any way."""
        self._fill.hint_high = 0
        dirty = self.mapped.dirty
        if not dirty or dirty[-1] != (start, end):
            dirty.append((start, end))
            self.pending = True

    def promised_run(self, start: int, end: int) -> PhysRun | None:
        """Frames already shown for the object-less entry [start, end), which its new object must adopt."""
        run = self.mapped.promised_run(start, end)
        if run is None:
            return self.mapped.stack_run(start, end)
        # What else was shown out of this run belongs to the new object now.
        self.map_changed(start, start + (run.npages << PAGE_SHIFT))
        return run

    def code_changed(self, start: int, end: int) -> None:
        """The kernel wrote into executable pages at [start, end)."""
        if self.engine is not None:
            self.code.changed(start, end, self.pmap.ptes)

    # before guest code runs again

    def settle(self) -> None:
        """Make the TLB agree with the page table, and let the regions lag a little behind the map."""
        self.pending = False
        if len(self.mapped.dirty) > LAG and self.mapped.overdue():
            self._reconcile()
        if self.tlb.stale:
            self.tlb.flush()

    def synchronise(self) -> None:
        """Make everything agree: the engine is entered, or somebody looks at the regions."""
        self.pending = False
        if self.mapped.dirty:
            self._reconcile()
        if self.tlb.stale:
            self.tlb.flush()

    def _reconcile(self) -> None:
        tlb = self.tlb
        self._fill.forget_region()
        tlb.special |= IDENTITY
        done = self.mapped.reconcile()
        tlb.special &= ~IDENTITY
        if done.mapped:
            tlb.emptied()
        else:
            for piece in done.unmapped:
                tlb.left_by(piece.start, piece.end)

    # looking

    def regions(self) -> list[tuple[int, int, int]]:
        """What Unicorn has mapped below the RAM window: ``(start, end, perms)``, end exclusive."""
        if self.engine is None:
            return []
        self.synchronise()
        return mapped_regions(self.engine)

    def verify(self) -> None:
        """Prove that regions, rights, host pointers and page table agree with the map.

        Raises: MirrorDesync, naming the first difference.
        """
        if self.mapped.map is None or self.engine is None:
            return
        from emu.engine.verify import Auditor  # start-up does not pay for what only the careful ask

        self.synchronise()
        Auditor(self.mapped.map, self.pmap, self.mapped, self.engine).prove()


def mirror_of(pmap: Pmap) -> UcPmapHardware:
    """The mirror of a page table that was made on a machine."""
    hardware = pmap.hardware
    if not isinstance(hardware, UcPmapHardware):
        raise KernelPanic("this page table has no mirror")
    return hardware
