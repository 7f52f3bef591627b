"""The recordings of the real vm_map.c, where they are, replay without a difference."""

import functools
import gzip
import json
from pathlib import Path

import pytest

from kernel_model.release import RELEASES
from tests.conformance.rig import FREEBSD
from tests.replay.__main__ import main
from tests.replay.replay import read_scenarios, release_of, replay_scenario

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"
FILES = sorted(TRACES.glob("*.jsonl*")) if TRACES.is_dir() else []
ABSENT = pytest.param(TRACES, marks=pytest.mark.skip(reason=f"no recordings in {TRACES}"))
OWN = Path(__file__).resolve().parent / "own_traces.jsonl"
WIDE = OWN.with_name("wide_traces.jsonl.gz")


@pytest.mark.parametrize("path", FILES or [ABSENT], ids=lambda path: path.name.split(".jsonl")[0])
def test_recording_replays_exactly(path):
    results = [replay_scenario(scenario) for scenario in read_scenarios(path)]
    assert results
    assert [result.first for result in results if not result.clean] == []


def test_a_later_stable_10_judges_10_1():
    """It is none of the releases, and the nearest source of the default one."""
    assert release_of({"release": "10-STABLE"}) is RELEASES["freebsd-10.1"]
    assert release_of({"release": "11.0-RELEASE-p8"}) is RELEASES["freebsd-11.0"]


def test_own_vectors_replay_exactly():
    """A small set written for this project in the recordings' format; every release is in it."""
    results = [replay_scenario(scenario) for scenario in read_scenarios(OWN)]
    assert {result.release for result in results} >= set(FREEBSD)
    assert [result.first for result in results if not result.clean] == []


def test_the_whole_argument_space_replays_exactly():
    """Recorded from vm_map.c and vm_object.c of 9.3, 10.4, 11.0 and 12.1: unaligned, wrapped and foreign arguments,
    every cow flag with every kind of object, odd tunables; the first 13 scenarios once differed or looked unsound.
    """
    results = [replay_scenario(scenario) for scenario in read_scenarios(WIDE)]
    assert len(results) == 92
    assert [result.first for result in results if not result.clean] == []


@functools.cache
def own_lines():
    return OWN.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s["steps"][-1].update(rc=s["steps"][-1]["rc"] + 1),
        lambda s: s["steps"][-1]["after"].update(size=1),
        lambda s: s["steps"][-1]["after"].update(timestamp=99),
        lambda s: s["steps"][-1]["after"].update(ssize=99),
        lambda s: s["steps"][-1]["after"].update(swap=99),
        lambda s: s["steps"][-1]["after"]["entries"].pop(),
        lambda s: s["steps"][-1]["after"]["entries"][-1].__setitem__(2, 5),
        lambda s: s["steps"][-1]["after"]["entries"][-1].__setitem__(11, 7),
        lambda s: s["steps"][-1]["after"]["entries"][0].__setitem__(9, 0x123000),
    ],
    ids=["rc", "size", "timestamp", "ssize", "swap", "entry gone", "prot", "charged", "ext"],
)
def test_a_spoiled_recording_is_noticed(spoil, tmp_path, capsys):
    """The comparison can fail, names the scenario, shows the step and ends with status 1."""
    scenario = json.loads(own_lines()[0])
    spoil(scenario)
    path = tmp_path / "spoiled.jsonl"
    path.write_text(json.dumps(scenario), encoding="utf-8")
    assert main([str(path)]) == 1
    shown = capsys.readouterr().out
    assert scenario["name"] in shown
    assert "recorded" in shown
    assert "1 differences" in shown


def broken(**changes):
    step = {"op": "insert", "args": {}, "rc": 1, "out": None, "after": {"entries": [], "objects": []}} | changes
    scenario = {"release": "9.3", "name": "x", "setup": {"min": 0, "max": 4096}, "steps": [step]}
    return json.dumps(scenario).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b"{not json\n"),
        ("b.jsonl", b"[]\n"),
        ("c.jsonl", b'{"release":"9.3-RELEASE","name":"x","setup":{"min":0,"max":4096}}\n'),
        ("d.jsonl", b'{"release":"7.0","name":"x","setup":{"min":0,"max":4096},"steps":[]}\n'),
        ("e.jsonl", b'{"release":"9.3","name":"x","setup":{"min":0,"max":4096},"steps":[{"op":"fly"}]}\n'),
        ("f.jsonl", b'{"release":"9.3","name":"x","setup":{"min":"a","max":4096},"steps":[]}\n'),
        ("g.jsonl.gz", b"not gzip"),
        ("j.jsonl", b'{"release":"9.3","name":"x","setup":{"min":0,"max":4096,"guard":null},"steps":[]}\n'),
        ("k.jsonl", b'{"release":"9.3","name":"x","setup":{"min":9,"max":4},"steps":[]}\n'),
        ("l.jsonl", broken(args={"start": "x"})),
        ("m.jsonl", broken(after={"entries": [[1]], "objects": []})),
        ("n.jsonl", broken(after={"entries": [[0] * 10 + [3, 0]], "objects": []})),
        ("o.jsonl", broken(op="use", args={"vm": 7})),
        ("p.jsonl", broken(args={"obj": 9})),
        ("q.jsonl", broken(op="mkobj", args={"type": "tape"})),
        ("r.jsonl", broken(rc=None)),
        ("h.jsonl.gz", gzip.compress(b'{"release":', mtime=0)[:-9]),
        ("i.jsonl", b"\xff\xfe\n"),
    ],
)
def test_a_bad_file_is_one_line_on_stderr(name, content, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(content)
    assert main([str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert name in lines[0] or "x, step 0" in lines[0]


def test_a_missing_file_and_no_file(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere.jsonl")]) == 2
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err


def test_gzipped_and_plain_are_the_same(tmp_path, capsys):
    path = tmp_path / "own.jsonl.gz"
    path.write_bytes(gzip.compress(OWN.read_bytes()))
    assert main([str(path)]) == 0
    assert "0 differences" in capsys.readouterr().out
