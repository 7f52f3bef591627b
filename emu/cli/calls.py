"""``emu calls``: every system call of an ABI, and how far it is modelled.  Model only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from kernel_model.kern.sysent import Sysent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``emu calls``."""
    parser.add_argument("abi", choices=("freebsd", "linux"), help="whose system calls")
    parser.add_argument("--missing", action="store_true", help="only those that answer ENOSYS")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _table(abi: str) -> dict[int, Sysent]:
    if abi == "linux":
        from kernel_model.abi.linux64.sysent import table as linux_table

        return dict(linux_table())
    from kernel_model.abi.freebsd64.sysent import table as freebsd_table

    return dict(freebsd_table())


def _record(number: int, row: Sysent) -> dict[str, Any]:
    return {
        "number": number,
        "name": row.name,
        "letters": row.letters,
        "support": row.support.name.lower(),
        "caveat": row.caveat,
    }


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    records = [_record(number, row) for number, row in sorted(_table(options.abi).items())]
    if options.missing:
        records = [record for record in records if record["support"] == "none"]
    if options.json:
        json.dump(records, sys.stdout, indent=1)
        print()
        return 0
    for record in records:
        print("{number:4}  {name:28} {letters:8} {support:8} {caveat}".format(**record).rstrip())
    return 0
