"""Run the topics named on the command line, or all, and print one table; status 1 when a bound is missed."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from tests.bench.figures import Figure, table


def main(names: list[str]) -> int:
    """Measure and print."""
    figures: list[Figure] = []
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("_"):
            continue
        topic = importlib.import_module(f"tests.bench.{module.name}")
        if not hasattr(topic, "TOPIC") or (names and topic.TOPIC not in names):
            continue
        for figure in topic.measure():
            print(table([figure]).splitlines()[1], flush=True)
            figures.append(figure)
    print("\n" + table(figures))
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
