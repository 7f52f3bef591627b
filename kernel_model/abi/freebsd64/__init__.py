"""The native FreeBSD/amd64 ABI.

FreeBSD: sys/kern/syscalls.master, sys/amd64.
"""
