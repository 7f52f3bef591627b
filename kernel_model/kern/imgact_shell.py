"""Scripts: a first line ``#!interpreter [one argument]``.

FreeBSD: exec_shell_imgact(), sys/kern/imgact_shell.c.
Differs: there is no fexecve(2), so a script always has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model import errno as E
from kernel_model.errors import kassert
from kernel_model.kern.imgact import MAXSHELLCMDLEN, ExecError
from kernel_model.kern.vnode import PATH_MAX

if TYPE_CHECKING:
    from kernel_model.kern.imgact import ImageParams

BLANKS = b" \t"
ENDS = b"\n\0"


def exec_shell_imgact(imgp: ImageParams) -> bool:
    """Replace argv[0] by the interpreter, its argument and the script's path, when the file is a script.

    Returns: False when it is none; True with ``interpreter_name`` set.
    Raises:  ENOEXEC for a script run by a script, for no interpreter and for a line that does not end in the
             first page; ENAMETOOLONG; E2BIG.
    """
    header = imgp.image_header
    if header[:2] != b"#!":
        return False
    if imgp.interpreted:
        raise ExecError(E.ENOEXEC, "the script's interpreter is a script itself")
    imgp.interpreted = True
    line = header[: min(imgp.attr.va_size, MAXSHELLCMDLEN)]
    name, option = _split(line)
    words = [name, option, imgp.args.fname] if option else [name, imgp.args.fname]
    imgp.args.replace_argv0(words)
    kassert(imgp.args.argv[0] == name and not imgp.vmspace_destroyed, "script: interpreter %r", name)
    imgp.interpreter_name = name
    return True


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Interpreter and argument of a ``#!`` line; the argument is everything up to the end, trimmed."""
    start = _skip(line, 2, BLANKS)
    end = _find(line, start, BLANKS + ENDS)
    if start == end:
        raise ExecError(E.ENOEXEC, "the script names no interpreter")
    if end - start >= PATH_MAX:
        raise ExecError(E.ENAMETOOLONG, "the script's interpreter has too long a name")
    option_start = _skip(line, end, BLANKS)
    option_end = _find(line, option_start, ENDS)
    if option_end == len(line):
        raise ExecError(E.ENOEXEC, f"the script's first line does not end within {MAXSHELLCMDLEN} bytes")
    return line[start:end], line[option_start:option_end].rstrip(BLANKS)


def _skip(line: bytes, at: int, some: bytes) -> int:
    """The first position from *at* on that holds none of *some*."""
    while at < len(line) and line[at] in some:
        at += 1
    return at


def _find(line: bytes, at: int, some: bytes) -> int:
    """The first position from *at* on that holds one of *some*, or the end."""
    while at < len(line) and line[at] not in some:
        at += 1
    return at
