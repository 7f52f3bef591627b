"""What README shows was really printed: each console block is run again and compared."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```console\n\$ (emu [^\n]*)\n(.*?)\n?```", README, re.DOTALL)


def _shown(text: str) -> list[str]:
    """Output lines without what depends on where the package lies: its path is on the stack and moves all below."""
    text = re.sub(r"/\S*/guest/bin/", ".../guest/bin/", text)
    text = re.sub(r"0x7f[0-9a-f]{7}(?!000)[0-9a-f]{3}\b", "0x7f(stack)", text)
    text = re.sub(r"\d+ bytes higher", "(some) bytes higher", text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def test_readme_shows_something():
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize(("command", "expected"), BLOCKS, ids=[command for command, _ in BLOCKS])
def test_console_block(command, expected):
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert _shown(done.stdout) == _shown(expected)


def test_python_example_runs():
    if not Path("/bin/busybox").exists():
        pytest.skip("README's Python example runs /bin/busybox, which is not installed (Debian: busybox-static)")
    example = re.search(r"```python\n(from emu.*?)```", README, re.DOTALL)
    assert example
    scope: dict[str, object] = {}
    exec(compile(example[1], "README.md", "exec"), scope)
    assert scope["status"] == 0
    assert scope["served"]
