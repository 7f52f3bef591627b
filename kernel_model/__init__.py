"""A FreeBSD kernel in Python: vm_map, execve, the fault path, system calls and signals.

It never imports an engine and never prints.  FreeBSD: sys/vm, sys/kern, sys/amd64.
"""
