"""The only door to the host."""
