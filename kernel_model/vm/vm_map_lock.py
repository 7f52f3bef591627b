"""The lock of a map, under the manual page's names: each is the method of ``VmMap`` that does it.

FreeBSD: vm_map_lock() and its kin, sys/vm/vm_map.c; vm_map_lock(9).  ``with map_.locked():`` is the pair of
vm_map_lock() and vm_map_unlock().
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

    from kernel_model.vm.vm_map import VmMap


def vm_map_lock(map_: VmMap) -> None:
    """Take the map exclusively; counts in timestamp.  Panics when it is held: the wait would never end."""
    map_.lock()


def vm_map_unlock(map_: VmMap) -> None:
    """Let go of the exclusive lock; what was deleted meanwhile loses its objects now."""
    map_.unlock()


def vm_map_lock_read(map_: VmMap) -> None:
    """Share the map with other readers; not counted in timestamp."""
    map_.lock_read()


def vm_map_unlock_read(map_: VmMap) -> None:
    """Let a share go."""
    map_.unlock_read()


def vm_map_trylock(map_: VmMap) -> bool:
    """Take the map exclusively if nobody holds it; whether that was so."""
    return map_.trylock()


def vm_map_trylock_read(map_: VmMap) -> bool:
    """Share the map unless it is held exclusively; whether that was so."""
    return map_.trylock_read()


def vm_map_lock_upgrade(map_: VmMap) -> bool:
    """Turn the only share into the exclusive lock: False.  True would say that the lock was lost; here it never is."""
    return map_.lock_upgrade()


def vm_map_lock_downgrade(map_: VmMap) -> None:
    """Turn the exclusive lock into a share."""
    map_.lock_downgrade()


def vm_map_locked(map_: VmMap) -> bool:
    """The map is held exclusively."""
    return map_.xlocked


def vm_map_busy(map_: VmMap) -> None:
    """Hold off fork and protect while the lock is dropped for a while.  Requires: the map locked."""
    map_.set_busy()


def vm_map_unbusy(map_: VmMap) -> None:
    """Undo one vm_map_busy.  Requires: the map locked."""
    map_.unbusy()


def vm_map_wait_busy(map_: VmMap) -> None:
    """Sleep until nobody holds the map busy.  Requires: the map locked."""
    map_.wait_busy()


def vm_map_unlock_and_wait(map_: VmMap, why: str) -> NoReturn:
    """Sleep for what another thread will do: nothing runs beside the caller, so this panics and says *why*."""
    map_.unlock_and_wait(why)


def vm_map_wakeup(map_: VmMap) -> None:
    """Wake who sleeps on the map."""
    map_.wakeup()
