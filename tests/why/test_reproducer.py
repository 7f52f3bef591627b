"""A reproducer is a test that passes, needs no program and no engine, and fails when the kernel decides otherwise."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from emu.why.reproducer import reproducer
from emu.why.verdict import judge
from kernel_model.errors import UsageError
from kernel_model.vm.vm_param import USRSTACK
from tests.why.model import TEXT, Model

LOWEST = USRSTACK - (8 << 20)


@pytest.mark.parametrize("release", ["freebsd-10.1", "freebsd-12.1", "freebsd-15.0"])
@pytest.mark.parametrize("addr", [0x18, LOWEST - 8, TEXT])
def test_it_passes_where_the_kernel_decides_the_same(tmp_path, release, addr):
    model = Model(release)
    for number in range(30):
        model.map_at(0x800000000 + number * 0x10000, 0x1000)
    model.frame.rsp = LOWEST
    text = reproducer(judge(model.trap(addr)))
    imported = {node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if not name.startswith("kernel_model.")} == {"emu.why.replica"}  # no engine
    assert len(text.splitlines()) < 90
    path = tmp_path / "test_it.py"
    path.write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=".")
    assert run.returncode == 0, run.stdout + text


def test_it_fails_where_the_kernel_decides_otherwise():
    text = reproducer(judge(Model("freebsd-10.1").trap(LOWEST - 0x1000)))
    names: dict[str, object] = {}
    exec(text, names)
    names["test_the_access_is_refused"]()  # type: ignore[operator]
    names["ADDR"] = LOWEST
    with pytest.raises(AssertionError):
        names["test_the_access_is_refused"]()  # type: ignore[operator]


def test_a_processor_exception_has_no_decision_to_reproduce(events):
    event = next(e for e in events if e.kind == "fault" and not e.repaired)
    with pytest.raises(UsageError, match="nothing to reproduce"):
        reproducer(judge(event._replace(vector=13)))
