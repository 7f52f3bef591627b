"""Bundled guest programs, their sources, listings and manifest."""
