"""The decision behind a refused fault, rebuilt on a copy."""
