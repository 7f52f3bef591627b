"""What the command line says when the model itself is at fault.  Model only."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from kernel_model.text import printable

if TYPE_CHECKING:
    from kernel_model.errors import KernelPanic

_LAST_FRAMES = 6


def report_panic(error: KernelPanic) -> None:
    """Print *error*, where it arose, and what its notes tell of the map and the last events."""
    print(f"emu: {type(error).__name__}: {printable(str(error))}", file=sys.stderr)
    for note in getattr(error, "__notes__", []):
        print("\n".join(printable(line) for line in note.split("\n")), file=sys.stderr)
    for frame in traceback.extract_tb(error.__traceback__)[-_LAST_FRAMES:]:
        print(f"  at {frame.name} ({frame.filename.rpartition('/')[2]}:{frame.lineno})", file=sys.stderr)
    blame = "this is a fault of the emulator, not of the program; please report it with the lines above"
    print(f"emu: {blame}", file=sys.stderr)
