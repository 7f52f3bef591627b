"""What the host refuses, in the guest's words.

Model only: FreeBSD has no host below it.
"""

from __future__ import annotations

import errno as host_errno
from typing import Final

from kernel_model import errno as E
from kernel_model.errors import SyscallError

_RENAMED: Final = {"EMFILE": E.ENFILE, "ELOOP": E.ELOOP}
"""Host errors that mean something else to the guest: our descriptors are the system's, not the process's."""

FROM_HOST: Final = {
    number: _RENAMED.get(name, getattr(E, name, E.EIO)) for number, name in host_errno.errorcode.items()
}


def host_error(error: OSError) -> SyscallError:
    """The guest's error for a host's: ``raise host_error(error) from None``.

    Everything in this room raises what this function makes, so that no OSError gets out.
    """
    return SyscallError(FROM_HOST.get(error.errno or 0, E.EIO))
