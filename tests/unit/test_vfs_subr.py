"""The syncer, on a clock that is moved by hand."""

from kernel_model.host.clock import SteppedClock
from kernel_model.kern.vfs_subr import FILEDELAY, Syncer
from kernel_model.release import DEFAULT_RELEASE, RELEASES
from kernel_model.vm.vm import VM_PROT_ALL, VM_PROT_RW, VM_PROT_WRITE
from kernel_model.vm.vm_fault import vm_fault
from kernel_model.vm.vm_init import Vm
from kernel_model.vm.vm_map_entry import MAP_DISABLE_SYNCER
from kernel_model.vm.vm_map_find import vm_map_find
from kernel_model.vm.vm_param import KERN_SUCCESS, PAGE_SIZE
from kernel_model.vm.vmspace import vmspace_alloc
from kernel_model.vm.vnode_pager import vnode_pager_alloc

SECOND = 1_000_000_000


class FileInMemory:
    """As much of a vnode as the pager asks for."""

    def __init__(self):
        self.v_object = None
        self.data = bytearray(PAGE_SIZE)

    def v_size(self):
        return len(self.data)

    def v_pread_into(self, buf, offset):
        part = self.data[offset : offset + len(buf)]
        buf[: len(part)] = part
        return len(part)

    def v_pwrite(self, data, offset):
        self.data[offset : offset + len(data)] = data
        return len(data)


def dirty_mapping(vm, cow=0):
    """A shared mapping of a one-page file whose first byte was stored to."""
    space = vmspace_alloc(vm, PAGE_SIZE, 1 << 40)
    vp = FileInMemory()
    obj = vnode_pager_alloc(vm, vp)
    rv, va = vm_map_find(space.vm_map, obj, 0, 0x10000, PAGE_SIZE, 1, VM_PROT_RW, VM_PROT_ALL, cow)
    assert rv == KERN_SUCCESS
    assert vm_fault(space.vm_map, va, VM_PROT_WRITE) == KERN_SUCCESS
    m = obj.pages[0]
    vm.phys.page(m.frame)[0] = 0x5A
    return space, vp


def test_a_dirty_page_reaches_its_file_after_filedelay_and_not_before():
    vm = Vm(RELEASES[DEFAULT_RELEASE])
    clock = SteppedClock()
    syncer = Syncer(vm, clock)
    space, vp = dirty_mapping(vm)
    clock.sleep((FILEDELAY - 1) * SECOND)
    assert syncer.tick() == 0
    assert vp.data[0] == 0
    clock.sleep(2 * SECOND)
    assert syncer.tick() == 1
    assert vp.data[0] == 0x5A
    assert syncer.tick() == 0
    assert space.vm_map.nentries == 1


def test_map_nosync_keeps_the_page_from_the_syncer():
    vm = Vm(RELEASES[DEFAULT_RELEASE])
    clock = SteppedClock()
    syncer = Syncer(vm, clock)
    _space, vp = dirty_mapping(vm, MAP_DISABLE_SYNCER)
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
