"""Where hostile programs are kept: a child process runs numbered cases, this one watches it.

A case is ``kind`` and a number, from which it is made anew, so that any failure can be repeated by hand::

    python -m tests.hostile.cage tests.hostile.code:soup 17 1

The child says which case it begins and how each ended.  When it dies, hangs or grows, that case is to blame; it is
written down and a new child goes on with the next.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 20.0
"""Seconds of silence after which a child hangs."""
HOST_MEMORY = 1 << 30
"""Resident bytes that no case may reach."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Blame:
    """A case that broke something, and how."""

    kind: str
    number: int
    how: str

    def __str__(self) -> str:
        return f"python -m tests.hostile.cage {self.kind} {self.number} 1\n{self.how}"


def scale(default: int) -> int:
    """*default* cases, or as many times more as EMU_FUZZ says."""
    return int(default * float(os.environ.get("EMU_FUZZ", "1")))


def run_cases(kind: str, count: int, first: int = 0, patience: float = PATIENCE) -> list[Blame]:
    """Run cases ``first .. first + count - 1`` of *kind*; the ones that broke the host."""
    blamed: list[Blame] = []
    number = first
    # A child that is killed cannot tidy up: everything it makes is in here.
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as folder:
        while number < first + count and len(blamed) < 20:
            number = _one_child(kind, number, first + count - number, patience, blamed, folder)
    return blamed


def _one_child(kind: str, first: int, count: int, patience: float, blamed: list[Blame], folder: str) -> int:
    """Run a child until it ends, its temporary files in *folder*; returns the number to go on with."""
    command = [sys.executable, "-m", "tests.hostile.cage", kind, str(first), str(count)]
    child = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": folder}, bufsize=0,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    errors: list[bytes] = []
    drain = threading.Thread(target=lambda: errors.append(child.stderr.read()))
    drain.start()
    current, how = first, ""
    buffer = b""
    while True:
        ready, _, _ = select.select([child.stdout], [], [], patience)
        if not ready:
            child.kill()
            how = f"nothing happened for {patience} s"
            break
        chunk = child.stdout.read(65536)
        if not chunk:
            break
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            word, number, *rest = line.decode().split(" ", 2)
            current = int(number)
            if word == "broke":
                blamed.append(Blame(kind, current, rest[0].replace("\\n", "\n")))
            elif word == "end":
                current += 1
    status = child.wait()
    drain.join()
    child.stdout.close()
    child.stderr.close()
    if status != 0:
        text = errors[0].decode(errors="replace")[-3000:]
        blamed.append(Blame(kind, current, how or f"the host ended with status {status}\n{text}"))
        return current + 1
    return current


def _watch_memory() -> None:
    while True:
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * PAGE
        if resident > HOST_MEMORY:
            sys.stderr.write(f"resident memory reached {resident >> 20} MiB\n")
            faulthandler.dump_traceback()
            os._exit(99)
        time.sleep(0.02)


def child(kind: str, first: int, count: int) -> None:
    """Run the cases one after the other and say so."""
    faulthandler.enable()
    if count > 1:
        faulthandler.dump_traceback_later(PATIENCE - 2, exit=True)
    out = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    module, name = kind.split(":")
    case = getattr(importlib.import_module(module), name)
    threading.Thread(target=_watch_memory, daemon=True).start()
    for number in range(first, first + count):
        os.write(out, f"begin {number}\n".encode())
        if count > 1:
            faulthandler.dump_traceback_later(PATIENCE - 2, exit=True)
        try:
            said = case(number)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
            text = traceback.format_exc().replace("\n", "\\n")
            os.write(out, f"broke {number} {text}\n".encode())
        else:
            os.write(out, f"end {number} {said}\n".encode())
    faulthandler.cancel_dump_traceback_later()
    # A machine that is still referenced must not make the exit slow.
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
