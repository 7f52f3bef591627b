"""Vnodes and the file systems behind them.  FreeBSD: sys/fs, sys/kern/vfs_*.c."""
