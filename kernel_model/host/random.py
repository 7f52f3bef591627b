"""Random numbers: the host's, or the same ones in every run.

FreeBSD: arc4random(9), sys/libkern/arc4random.c.
"""

from __future__ import annotations

import os
import random
from typing import Protocol


class RandomSource(Protocol):
    """Where the kernel's random bytes come from."""

    def randbytes(self, n: int, /) -> bytes:
        """The next *n* bytes."""
        ...


class HostRandom:
    """The host's random numbers: getrandom(2)."""

    __slots__ = ()

    def randbytes(self, n: int, /) -> bytes:
        """Fresh bytes that nobody can foretell."""
        return os.urandom(n)


def seeded_random(seed: int) -> RandomSource:
    """The same bytes for the same *seed*.  Model only: ``emu run --seed``."""
    return random.Random(seed)
