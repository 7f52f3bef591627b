"""What a program sees of the kernel: system-call tables, structures, frames.  FreeBSD: sys/amd64, sys/compat."""
