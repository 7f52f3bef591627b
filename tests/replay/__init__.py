"""Replays recordings of the real vm_map.c against the model, step by step.

``python -m tests.replay FILE...`` reads the format of ../shared/traces/README.md: JSON Lines, optionally gzipped.
"""
