"""The Linux/x86-64 ABI, as FreeBSD's linux(4) offers it and Linux defines it."""
