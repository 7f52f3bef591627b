"""What the files of the Linux ABI share.  FreeBSD: sys/compat/linux/linux_util.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.ktrace import Unsupported

if TYPE_CHECKING:
    from kernel_model.kern.proc import Thread


def linux_msg(td: Thread, what: str, name: str, number: int = 0) -> None:
    """Tell that a form of a call, a flag or an advice is not modelled.  FreeBSD: linux_msg()."""
    kt = td.td_proc.kernel.ktrace
    if kt.unsupported is not None:
        kt.emit(Unsupported(what, name, number, pid=td.td_proc.p_pid))
