"""Figures: ``python -m tests.bench [TOPIC...]`` prints one table, measured in one run.

A topic is a module of this package with ``TOPIC`` (its name) and ``measure() -> Iterable[Figure]``.
"""
