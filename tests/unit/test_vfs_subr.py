"""The syncer, on a clock that is moved by hand."""

from kernel_model.host.clock import SteppedClock
from kernel_model.kern.vfs_subr import FILEDELAY, Syncer
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW
from kernel_model.vm.vm_map_entry import MAP_DISABLE_SYNCER
from kernel_model.vm.vm_map_find import vm_map_find
from kernel_model.vm.vm_param import KERN_SUCCESS, PAGE_SIZE
from kernel_model.vm.vnode_pager import vnode_pager_alloc
from tests.memory_vnode import MemoryVnode
from tests.process import Process

SECOND = 1_000_000_000


def dirty_mapping(process, cow=0):
    """A shared mapping of a one-page file whose first byte was stored to; the file."""
    vp = MemoryVnode(bytes(PAGE_SIZE))
    obj = vnode_pager_alloc(process.vm, vp)
    rv, va = vm_map_find(process.map, obj, 0, 0x10000, PAGE_SIZE, 1, VM_PROT_RW, VM_PROT_ALL, cow)
    assert rv == KERN_SUCCESS
    process.poke(va, b"\x5a")
    return vp


def test_a_dirty_page_reaches_its_file_after_filedelay_and_not_before():
    process = Process(bare=True)
    clock = SteppedClock()
    syncer = Syncer(process.vm, clock)
    vp = dirty_mapping(process)
    clock.sleep((FILEDELAY - 1) * SECOND)
    assert syncer.tick() == 0
    assert vp.data[0] == 0
    clock.sleep(2 * SECOND)
    assert syncer.tick() == 1
    assert vp.data[0] == 0x5A
    assert syncer.tick() == 0
    assert process.map.nentries == 1


def test_map_nosync_keeps_the_page_from_the_syncer():
    process = Process(bare=True)
    clock = SteppedClock()
    syncer = Syncer(process.vm, clock)
    vp = dirty_mapping(process, MAP_DISABLE_SYNCER)
    clock.sleep((FILEDELAY + 1) * SECOND)
    syncer.tick()
    assert vp.data[0] == 0


def test_a_machine_asks_its_syncer_between_runs_of_the_engine(monkeypatch):
    from emu.machine import Machine
    from guest import guest

    asked = []
    monkeypatch.setattr(Syncer, "tick", lambda self: asked.append(self) or 0)
    with Machine(stdout=None) as machine:
        machine.execve(str(guest("hello").path), ["hello"], {})
        machine.run()
    assert asked
