"""Processes, execve, signals, descriptors and limits.  FreeBSD: sys/kern."""
