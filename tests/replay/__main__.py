"""``python -m tests.replay FILE...``: exit status 0 without differences, 1 with, 2 for bad use or a bad file."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.replay.replay import LEVELS, BadTrace, ScenarioResult, read_scenarios, replay_scenario


def _report(path: Path, results: list[ScenarioResult], failed: bool) -> None:
    for result in results:
        if not result.clean:
            counts = " ".join(f"{level}:{count}" for level, count in result.differences.items() if count)
            print(f"{result.name} ({result.release}): {counts} steps differ\n{result.first}")
    totals = {level: sum(result.differences[level] for result in results) for level in LEVELS}
    steps = sum(result.steps for result in results)
    shown = ", ".join(f"{level} {totals[level]}" for level in LEVELS)
    note = " (stopped)" if failed else ""
    print(f"{path}: {len(results)} scenarios, {steps} steps, {sum(totals.values())} differences ({shown}){note}")


def main(arguments: list[str]) -> int:
    """Replay every file named; a bad one is one line on stderr and does not keep the others from being replayed."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m tests.replay FILE...   (recordings, .jsonl or .jsonl.gz)", file=sys.stderr)
        return 2
    status = 0
    for name in arguments:
        path = Path(name)
        results: list[ScenarioResult] = []
        failed = False
        try:
            for scenario in read_scenarios(path):
                results.append(replay_scenario(scenario))
        except BadTrace as error:
            failed = True
            print(f"replay: {error}", file=sys.stderr)
        if results or not failed:
            _report(path, results, failed)
        if failed:
            status = 2
        elif status == 0 and not all(result.clean for result in results):
            status = 1
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
