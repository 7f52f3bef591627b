"""The native FreeBSD/amd64 ABI."""
