"""``python -m emu`` is the ``emu`` command.  Model only."""

import sys

from emu.cli import main

if __name__ == "__main__":
    sys.exit(main())
