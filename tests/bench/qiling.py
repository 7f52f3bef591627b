"""Whole runs beside Qiling's, on the same static programs: ``python -m tests.bench.qiling [PYTHON]``.

PYTHON is an interpreter that can import qiling; without it a virtual environment is made and Qiling installed
from PyPI.  Both sides run as a fresh process with the same root directory; the best of five is taken.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
LIMIT_SECONDS = 120
RUNNER = """
import sys
from qiling import Qiling
from qiling.const import QL_VERBOSE
Qiling(sys.argv[2:], sys.argv[1], verbose=QL_VERBOSE.OFF, console=False).run()
"""
PROGRAMS = (
    ("true", "/bin/busybox", "true"),
    ("sha256sum 1 MB", "/bin/busybox", "sha256sum", "/data"),
    ("sha256sum 8 MB", "/bin/busybox", "sha256sum", "/big"),
    ("wc 1 MB", "/bin/busybox", "wc", "/data"),
    ("sort 20,000 lines", "/bin/busybox", "sort", "/lines"),
    ("awk 200,000 rounds", "/bin/busybox", "awk", "BEGIN { for (i = 0; i < 200000; i++) s += i * 3; print s }"),
    ("sh 20,000 rounds", "/bin/busybox", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo $i"),
    ("bash 20,000 rounds", "/bin/bash-static", "-c", "for ((i = 0; i < 20000; i++)); do ((s += i)); done; echo $s"),
)


@dataclass
class Timing:
    """The best of some runs: seconds, exit status, standard output."""

    seconds: float
    status: int
    output: bytes


def measure(command: list[str]) -> Timing:
    """Run *command* ROUNDS times as a process of its own and keep the fastest."""
    best = Timing(float("inf"), -1, b"")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        done = subprocess.run(command, capture_output=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        if seconds < best.seconds:
            best = Timing(seconds, done.returncode, done.stdout)
    return best


def make_root(directory: Path) -> Path:
    """A root directory with the programs of Debian's busybox-static and bash-static and some data."""
    root = directory / "root"
    (root / "bin").mkdir(parents=True)
    for program in {row[1] for row in PROGRAMS}:
        shutil.copy(program, root / program[1:])
    (root / "data").write_bytes(bytes(range(256)) * 4096)
    (root / "big").write_bytes(bytes(range(256)) * 32768)
    (root / "lines").write_text("".join(f"{n * 7919 % 20011:06d} line\n" for n in range(20000)))
    return root


def qiling_python(directory: Path) -> str:
    """An interpreter with Qiling in a new virtual environment."""
    print("installing qiling into a virtual environment ...", file=sys.stderr)
    home = directory / "venv"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "qiling"], check=True)
    return python


def main() -> int:
    """Print the table; exit status 1 when Qiling is faster on a program that both get right."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        python = sys.argv[1] if len(sys.argv) > 1 else qiling_python(directory)
        root = make_root(directory)
        runner = directory / "run_qiling.py"
        runner.write_text(RUNNER)
        slower = 0
        print(f"{'program':20} {'emu':>8} {'qiling':>8} {'ratio':>7}  remark")
        for label, program, *arguments in PROGRAMS:
            native = measure(["/usr/sbin/chroot", str(root), program, *arguments])
            ours = measure([sys.executable, "-m", "emu", "run", "--root", str(root), "--cwd", "/", program, *arguments])
            theirs = measure([python, str(runner), str(root), str(root / program[1:]), *arguments])
            runs = {"emu": ours, "qiling": theirs}
            remarks = [f"{who} is wrong" for who, run in runs.items() if run.output != native.output]
            ratio = theirs.seconds / ours.seconds
            slower += ratio < 1 and not remarks
            times = f"{ours.seconds:7.3f}s {theirs.seconds:7.3f}s {ratio:6.2f}x"
            print(f"{label:20} {times}  {'; '.join(remarks)}", flush=True)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
