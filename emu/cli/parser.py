"""The parser of every command: complaints are one line.  Model only."""

from __future__ import annotations

import argparse
from typing import NoReturn

from kernel_model.text import printable

EX_USAGE = 2
"""Exit status of bad use."""


class Parser(argparse.ArgumentParser):
    """Complains in one line, as everything else here does; ``--help`` has the usage."""

    def error(self, message: str) -> NoReturn:
        """Bad use: exit status 2."""
        self.exit(EX_USAGE, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")
