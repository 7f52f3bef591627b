"""The vm_map(9) family.  FreeBSD: sys/vm."""
