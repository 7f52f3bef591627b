"""Scripts: how the first line is read and what becomes of the arguments."""

import pytest

from kernel_model import errno as E
from kernel_model.kern.imgact import ExecError, ImageArgs, ImageParams
from kernel_model.kern.imgact_shell import exec_shell_imgact
from kernel_model.kern.vnode import VREG, Vattr
from kernel_model.vm.vm_kern import ARG_MAX


def script(text: bytes, *argv: bytes, path: bytes = b"/tmp/s") -> ImageParams:
    args = ImageArgs(path)
    for string in argv:
        args.add_arg(string)
    args.add_env(b"A=B")
    attr = Vattr(VREG, 0o755, va_size=len(text))
    return ImageParams(None, args, None, attr, image_header=text[:4096].ljust(4096, b"\0"))


def run(text: bytes, *argv: bytes) -> list[bytes]:
    imgp = script(text, *argv)
    assert exec_shell_imgact(imgp)
    assert imgp.interpreter_name == imgp.args.argv[0]
    used = sum(len(string) + 1 for string in (*imgp.args.argv, *imgp.args.envv))
    assert imgp.args.stringspace == ARG_MAX - used
    return imgp.args.argv


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        (b"#!/bin/sh\n", [b"/bin/sh", b"/tmp/s", b"x"]),
        (b"#! \t/bin/sh\necho", [b"/bin/sh", b"/tmp/s", b"x"]),
        (b"#!/bin/sh -x\n", [b"/bin/sh", b"-x", b"/tmp/s", b"x"]),
        (b"#!/bin/sh  -a -b\tc \t\n", [b"/bin/sh", b"-a -b\tc", b"/tmp/s", b"x"]),
        (b"#!/bin/sh a\0b\n", [b"/bin/sh", b"a", b"/tmp/s", b"x"]),
        (b"#!/bin/sh\0\n", [b"/bin/sh", b"/tmp/s", b"x"]),
        (b"#!sh x  \n", [b"sh", b"x", b"/tmp/s", b"x"]),
    ],
)
def test_the_line_gives_an_interpreter_and_at_most_one_argument(text, argv):
    assert run(text, b"s", b"x") == argv


def test_an_empty_vector_gets_the_script_all_the_same():
    assert run(b"#!/bin/sh\n") == [b"/bin/sh", b"/tmp/s"]


@pytest.mark.parametrize(
    ("text", "errno"),
    [
        (b"#!", E.ENOEXEC),
        (b"#!\n", E.ENOEXEC),
        (b"#!  \t \n", E.ENOEXEC),
        (b"#!/bin/sh", E.ENOEXEC),
        (b"#!/bin/sh -x", E.ENOEXEC),
        (b"#!/bin/sh " + b"x" * 5000 + b"\n", E.ENOEXEC),
        (b"#!/" + b"x" * 1022 + b"\n", None),
        (b"#!/" + b"x" * 1023 + b"\n", E.ENAMETOOLONG),
    ],
)
def test_lines_that_cannot_be_used(text, errno):
    if errno is None:
        assert run(text, b"s")[0] == text[2:-1]
        return
    with pytest.raises(ExecError) as caught:
        exec_shell_imgact(script(text, b"s"))
    assert caught.value.errno == errno
    assert caught.value.reason


def test_a_line_may_fill_the_page_but_not_pass_it():
    fits = b"#!/bin/sh " + b"x" * (4096 - 11) + b"\n"
    assert len(fits) == 4096
    assert run(fits + b"more", b"s")[1] == b"x" * (4096 - 11)
    with pytest.raises(ExecError):
        exec_shell_imgact(script(b"#!/bin/sh " + b"x" * (4096 - 10) + b"\n", b"s"))


def test_a_script_is_no_interpreter():
    imgp = script(b"#!/bin/sh\n", b"s")
    imgp.interpreted = True
    with pytest.raises(ExecError) as caught:
        exec_shell_imgact(imgp)
    assert caught.value.errno == E.ENOEXEC
    assert "script itself" in caught.value.reason


def test_other_files_are_not_for_this_activator():
    for text in (b"\x7fELF", b"# comment\n", b" #!/bin/sh\n", b""):
        assert not exec_shell_imgact(script(text, b"s"))


def test_the_new_words_must_fit_where_the_first_argument_was():
    imgp = script(b"#!/bin/sh\n", b"s")
    words = len(b"/bin/sh\0/tmp/s\0")
    imgp.args.stringspace = words - len(b"s\0")
    assert exec_shell_imgact(imgp)
    assert imgp.args.stringspace == 0
    imgp = script(b"#!/bin/sh\n", b"s")
    imgp.args.stringspace = words - len(b"s\0") - 1
    with pytest.raises(ExecError) as caught:
        exec_shell_imgact(imgp)
    assert caught.value.errno == E.E2BIG


def test_strings_may_be_arg_max_bytes_and_no_more():
    args = ImageArgs(b"/x")
    args.add_arg(b"a" * (ARG_MAX - 1))
    assert args.stringspace == 0
    with pytest.raises(ExecError) as caught:
        args.add_env(b"")
    assert caught.value.errno == E.E2BIG
