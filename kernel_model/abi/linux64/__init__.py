"""The Linux/x86-64 ABI, as FreeBSD's linux(4) offers it and Linux defines it.

FreeBSD: sys/amd64/linux, sys/compat/linux.
Linux: arch/x86/entry, and the manual pages of section 2.
"""
