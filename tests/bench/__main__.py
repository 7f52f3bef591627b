"""Run the topics named on the command line, or all, and print one table; status 1 when a bound is missed."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.figures import Figure, table

if TYPE_CHECKING:
    from types import ModuleType


def _topics() -> dict[str, ModuleType]:
    """Every topic by its name."""
    found = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name[0] != "_"]
    modules = [importlib.import_module(f"tests.bench.{name}") for name in found]
    return {module.TOPIC: module for module in modules if hasattr(module, "TOPIC")}


def main(names: list[str]) -> int:
    """Measure and print."""
    topics = _topics()
    if unknown := [name for name in names if name not in topics]:
        print(f"tests.bench: no topic {', '.join(unknown)}: choose from {', '.join(topics)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for name, topic in topics.items():
        for figure in topic.measure() if not names or name in names else ():
            print(table([figure]).splitlines()[1], flush=True)
            figures.append(figure)
    print("\n" + table(figures))
    return 0 if all(figure.good for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
