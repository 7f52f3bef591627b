"""What starting costs: the wall time of a program that does nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import Figure, best_of, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOPIC = "startup"
ROOT = Path(__file__).resolve().parent.parent.parent


def wall(command: Sequence[str]) -> float:
    """Seconds from starting *command* to its end, with compiled modules as an installation has them."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def work() -> None:
        subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)

    work()
    return best_of(9, lambda: seconds(work))


def measure() -> Iterator[Figure]:
    """Start-up beside a process that only imports the binding."""
    python = sys.executable
    yield Figure("python -c 'import unicorn'", wall([python, "-c", "import unicorn"]), "s")
    busybox = shutil.which("busybox")
    if busybox is not None:
        yield Figure("emu run busybox true", wall([python, "-m", "emu", "run", "--", busybox, "true"]), "s", 0.15)
    yield Figure("emu run --guest hello", wall([python, "-m", "emu", "run", "--guest", "hello"]), "s")
