"""Strings that others chose, as text for a person: one line, and nothing that a terminal obeys.

Model only: FreeBSD's tools use vis(3).
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""*text* with every character escaped that is no visible one: ``a\nb``, ``\x1b[2J``, ``\u202e``.

    Names of files and symbols come from programs; each goes through here on its way into a record, a message or a line.
    """
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])


def printable_bytes(data: bytes) -> str:
    """The same for a path or name in bytes; what is no UTF-8 is escaped as well."""
    return printable(data.decode(errors="backslashreplace"))
