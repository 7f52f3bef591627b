"""Random scenarios against a dictionary of pages, and proof that the checks can fail.

1,000 scenarios of 60 operations each; every seventh is of the same release.
"""

from importlib import import_module

import pytest

from kernel_model.errors import KernelPanic
from kernel_model.vm import vm_map, vm_map_tree, vmspace
from tests.property.vm_model import NAMES, Scenario

vm_map_delete, vm_map_find, vm_map_insert, vm_map_protect, vm_map_wire = (
    import_module(f"kernel_model.vm.vm_map_{name}") for name in ("delete", "find", "insert", "protect", "wire")
)
SCENARIOS = 1000
CHUNK = 50
STEPS = 60


@pytest.mark.parametrize("first", range(0, SCENARIOS, CHUNK))
def test_random_scenarios(first):
    for seed in range(first, first + CHUNK):
        Scenario(seed).run(STEPS)


# Planted bugs: each breaks one rule; the scenarios above must notice.


def forget(*_args, **_kwargs):
    return None


def plant_stale_adj_free(patch):
    """The free space above an entry whose end moved stays what it was."""
    patch.setattr(vm_map, "vm_map_entry_resize_free", forget)


def plant_stale_max_free(patch):
    """Ancestors do not learn of a smaller or larger gap."""
    patch.setattr(vm_map_tree, "_refree", forget)


def plant_unbalanced_tree(patch):
    """Heights are not corrected after a rotation."""
    real = vm_map_tree._rotate_left

    def rotate(map_, node):
        up = real(map_, node)
        up.height += 1
        return up

    patch.setattr(vm_map_tree, "_rotate_left", rotate)


def plant_overlap(patch):
    """A clipped entry keeps its old end, so that it overlaps its second half."""
    real = vm_map_insert.vm_map_clip_end

    def clip_end(map_, entry, end):
        old = entry.end
        real(map_, entry, end)
        if entry.end < old:
            entry.end += 0x1000

    for module in (vm_map_delete, vm_map_protect):
        patch.setattr(module, "vm_map_clip_end", clip_end)


def plant_order(patch):
    """The ring of entries has two neighbours the wrong way round."""
    real = vm_map_insert.vm_map_entry_link

    def link(map_, prev, entry):
        real(map_, prev, entry)
        if prev is not map_.header and map_.nentries % 8 == 7:
            prev.prev.next, entry.next = entry, prev

    patch.setattr(vm_map_insert, "vm_map_entry_link", link)


def plant_lost_size(patch):
    """An entry that is extended in place is not counted in size."""
    real = vm_map_insert._extend

    def extend(map_, prev, end):
        size = map_.size
        real(map_, prev, end)
        map_.size = size

    patch.setattr(vm_map_insert, "_extend", extend)


def plant_lost_nentries(patch):
    """A deleted entry is still counted."""
    real = vm_map_delete.vm_map_entry_unlink

    def unlink(map_, entry):
        real(map_, entry)
        map_.nentries += 1

    patch.setattr(vm_map_delete, "vm_map_entry_unlink", unlink)


def plant_lost_reference(patch):
    """The second half of a clipped entry takes no reference to the object."""
    patch.setattr(vm_map, "_clipped", forget)


def plant_leaked_reference(patch):
    """Objects of deleted entries are not let go."""
    patch.setattr(vm_map, "vm_object_deallocate", forget)


def plant_fork_without_reference(patch):
    """A forked entry shares the object without a reference."""
    patch.setattr(vmspace, "vm_object_reference", forget)


def plant_lost_charge(patch):
    """Swap of a deleted entry is not given back."""
    patch.setattr(vm_map_delete, "swap_release_by_cred", forget)


def plant_uncharged_protect(patch):
    """Memory that becomes writable is marked charged, but nothing is reserved."""
    patch.setattr(vm_map_protect, "swap_reserve_by_cred", lambda *_: True)


def plant_fork_charge(patch):
    """A fork asks for less swap than it marks."""
    real = vmspace._fork_copy
    patch.setattr(vmspace, "_fork_copy", lambda *args: max(0, real(*args) - 0x1000))


def plant_merge_of_unlike_entries(patch):
    """Neighbours merge although their protections differ."""

    def mergeable(prev, entry):
        return (
            prev.end == entry.start
            and prev.object is entry.object is None
            and prev.eflags == entry.eflags
            and prev.cred is entry.cred
        )

    patch.setattr(vm_map_insert, "_mergeable", mergeable)


def plant_protect_one_too_many(patch):
    """The entry above the range is protected as well."""
    real = vm_map_protect._set_entries
    patch.setattr(
        vm_map_protect,
        "_set_entries",
        lambda map_, first, end, *rest: real(map_, first, end + 0x1000, *rest),
    )


def plant_find_second_fit(patch):
    """The search skips the lowest gap."""
    real = vm_map_find.first_gap

    def first_gap(map_, start, length):
        space = real(map_, start, length)
        again = None if space is None else real(map_, space + 0x1000, length)
        return space if again is None else again

    patch.setattr(vm_map_find, "first_gap", first_gap)


def plant_delete_leaves_last_page(patch):
    """remove keeps the range's last page."""
    real = vm_map_delete.vm_map_delete

    def delete(map_, start, end):
        return real(map_, start, end - 0x1000 if end - start > 0x1000 else end)

    patch.setattr(vm_map_delete, "vm_map_delete", delete)


def plant_growth_short_by_a_page(patch):
    """A stack grows one page less than it must."""
    from kernel_model.vm import vm_stack, vm_stack_gap

    for growth in (vm_stack._ClassicGrowth, vm_stack_gap._GapGrowth):
        real = growth._amount
        patch.setattr(growth, "_amount", lambda self, real=real: (real(self) or 0x2000) - 0x1000)


def plant_wiring_that_fails_stays(patch):
    """Entries wired before the one that failed stay wired."""
    patch.setattr(vm_map_wire, "_undo", forget)


PLANTED = [value for name, value in sorted(globals().items()) if name.startswith("plant_")]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.removeprefix("plant_"))
def test_planted_bug_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    with pytest.raises((AssertionError, KernelPanic)):
        for seed in range(20 * len(NAMES)):
            Scenario(seed).run(STEPS)
