"""Structure layouts: Linux's against the C compiler, FreeBSD's against the offsets of its headers."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from kernel_model.abi.freebsd64 import structs_file as freebsd
from kernel_model.abi.freebsd64 import termios as freebsd_termios
from kernel_model.abi.linux64 import structs_file as linux
from kernel_model.kern.vnode import VREG, Dirent, Statfs, Vattr

if TYPE_CHECKING:
    from pathlib import Path

SEC = 1_000_000_000
VATTR = Vattr(
    VREG, 0o644, va_nlink=3, va_uid=1001, va_gid=1002, va_fsid=0xFE01, va_fileid=0x1_0000_0007, va_size=12345678901,
    va_blocksize=4096, va_atime=11 * SEC + 12, va_mtime=21 * SEC + 22, va_ctime=31 * SEC + 32,
    va_birthtime=41 * SEC + 42, va_flags=0x5, va_rdev=0x103, va_bytes=512 * 77, va_gen=9,
)  # fmt: skip
STATFS = Statfs(b"ext4", b"/dev/vda", b"/mnt", 0xEF53, 4096, 1000, 900, 800, 70, 60, 0x9, 0x1122334455667788, 255)

FIELDS = {
    "stat": (
        linux.pack_stat(VATTR),
        ["st_dev", "st_ino", "st_nlink", "st_mode", "st_uid", "st_gid", "st_rdev", "st_size", "st_blksize", "st_blocks",
         "st_atim.tv_sec", "st_atim.tv_nsec", "st_mtim.tv_sec", "st_mtim.tv_nsec", "st_ctim.tv_sec", "st_ctim.tv_nsec"],
        [0xFE01, 0x1_0000_0007, 3, 0o100644, 1001, 1002, 0x103, 12345678901, 4096, 77, 11, 12, 21, 22, 31, 32],
    ),
    "statx": (
        linux.pack_statx(VATTR),
        ["stx_mask", "stx_blksize", "stx_nlink", "stx_uid", "stx_gid", "stx_mode", "stx_ino", "stx_size", "stx_blocks",
         "stx_atime.tv_sec", "stx_atime.tv_nsec", "stx_btime.tv_sec", "stx_ctime.tv_nsec", "stx_mtime.tv_sec",
         "stx_rdev_major", "stx_rdev_minor", "stx_dev_major", "stx_dev_minor"],
        [0xFFF, 4096, 3, 1001, 1002, 0o100644, 0x1_0000_0007, 12345678901, 77, 11, 12, 41, 32, 21, 1, 3, 0xFE, 1],
    ),
    "statfs": (
        linux.pack_statfs(STATFS),
        ["f_type", "f_bsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_namelen", "f_frsize",
         "f_flags"],
        [0xEF53, 4096, 1000, 900, 800, 70, 60, 255, 4096, 0x23],
    ),
    "flock": (
        linux.pack_flock(1, 2, 3, 4, 5),
        ["l_type", "l_whence", "l_start", "l_len", "l_pid"],
        [1, 2, 3, 4, 5],
    ),
    "pollfd": (linux.POLLFD.pack(7, 1, 4), ["fd", "events", "revents"], [7, 1, 4]),
}  # fmt: skip


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
@pytest.mark.parametrize("name", FIELDS)
def test_linux_layout_is_the_compilers(tmp_path: Path, name: str):
    packed, fields, expected = FIELDS[name]
    array = ",".join(f"0x{byte:02x}" for byte in packed)
    prints = "".join(f'printf("%llu\\n", (unsigned long long)v.{field});\n' for field in fields)
    source = tmp_path / "probe.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <poll.h>\n#include <stdio.h>\n#include <string.h>\n"
        "#include <sys/stat.h>\n#include <sys/vfs.h>\n"
        f"static const unsigned char packed[] = {{{array}}};\n"
        f"int main(void) {{ struct {name} v; if (sizeof v != sizeof packed) return 3;\n"
        f"memcpy(&v, packed, sizeof v);\n{prints} return 0; }}\n"
    )
    program = tmp_path / "probe"
    subprocess.run(["gcc", "-w", "-o", program, source], check=True, timeout=60)
    done = subprocess.run([program], capture_output=True, check=True, timeout=60)
    assert [int(line) for line in done.stdout.split()] == expected


def at(data: bytes, offset: int, code: str) -> int:
    return struct.unpack_from("<" + code, data, offset)[0]


@pytest.mark.parametrize(
    ("packed", "size", "fields"),
    [
        (
            freebsd.pack_stat(VATTR), 224,
            {(0, "Q"): 0xFE01, (8, "Q"): 0x1_0000_0007, (16, "Q"): 3, (24, "H"): 0o100644, (28, "I"): 1001,
             (32, "I"): 1002, (40, "Q"): 0x103, (48, "q"): 11, (56, "q"): 12, (64, "q"): 21, (80, "q"): 31,
             (96, "q"): 41, (104, "q"): 42, (112, "q"): 12345678901, (120, "q"): 77, (128, "i"): 4096,
             (132, "I"): 5, (136, "Q"): 9},
        ),
        (
            freebsd.pack_stat11(VATTR), 120,
            {(0, "I"): 0xFE01, (4, "I"): 7, (8, "H"): 0o100644, (10, "H"): 3, (12, "I"): 1001, (16, "I"): 1002,
             (20, "I"): 0x103, (24, "q"): 11, (40, "q"): 21, (56, "q"): 31, (72, "q"): 12345678901, (80, "q"): 77,
             (88, "i"): 4096, (92, "I"): 5, (96, "I"): 9, (104, "q"): 41, (112, "q"): 42},
        ),
        (
            freebsd.pack_statfs(STATFS), 2344,
            {(0, "I"): 0x20140518, (8, "Q"): 9, (16, "Q"): 4096, (24, "Q"): 4096, (32, "Q"): 1000, (40, "Q"): 900,
             (48, "q"): 800, (56, "Q"): 70, (64, "q"): 60, (184, "I"): 255, (192, "i"): 0x55667788,
             (196, "i"): 0x11223344},
        ),
        (
            freebsd.pack_statfs11(STATFS), 472,
            {(0, "I"): 0x20030518, (8, "Q"): 9, (32, "Q"): 1000, (184, "I"): 255},
        ),
        (
            freebsd.pack_flock(3, 1, -5, 6, 7), 32,
            {(0, "q"): -5, (8, "q"): 6, (16, "i"): 7, (20, "h"): 3, (22, "h"): 1, (24, "i"): 0},
        ),
    ],
    ids=["stat", "stat11", "statfs", "statfs11", "flock"],
)  # fmt: skip
def test_freebsd_layout(packed: bytes, size: int, fields: dict):
    assert len(packed) == size
    assert {where: at(packed, *where) for where in fields} == fields


def test_freebsd_statfs_names():
    assert freebsd.pack_statfs(STATFS)[280:296].rstrip(b"\0") == b"ext4"
    assert freebsd.pack_statfs(STATFS)[296:1320].rstrip(b"\0") == b"/dev/vda"
    assert freebsd.pack_statfs(STATFS)[1320:].rstrip(b"\0") == b"/mnt"
    assert freebsd.pack_statfs11(STATFS)[296:384].rstrip(b"\0") == b"/dev/vda"
    assert freebsd.pack_statfs11(STATFS)[384:].rstrip(b"\0") == b"/mnt"


@pytest.mark.parametrize("length", [1, 3, 4, 7, 8, 255])
def test_directory_entries_have_their_own_length(length: int):
    entry = Dirent(0x1_2345_6789, 8, b"n" * length)
    modern, old = freebsd.pack_dirent(entry, 42), freebsd.pack_dirent11(entry, 42)
    assert (at(modern, 0, "Q"), at(modern, 8, "q"), modern[18], at(modern, 20, "H")) == (0x1_2345_6789, 42, 8, length)
    assert at(modern, 16, "H") == len(modern) and len(modern) % 8 == 0
    assert modern[24:].rstrip(b"\0") == entry.d_name and modern[24 + length] == 0
    assert (at(old, 0, "I"), at(old, 4, "H"), old[6], old[7]) == (0x2345_6789, len(old), 8, length)
    assert len(old) % 4 == 0 and old[8:].rstrip(b"\0") == entry.d_name and old[8 + length] == 0
    new64, first = linux.pack_dirent64(entry, 42), linux.pack_dirent(entry, 42)
    assert (at(new64, 0, "Q"), at(new64, 8, "q"), at(new64, 16, "H"), new64[18]) == (0x1_2345_6789, 42, len(new64), 8)
    assert len(new64) % 8 == 0 and new64[19:].rstrip(b"\0") == entry.d_name and new64[19 + length] == 0
    assert (at(first, 16, "H"), first[-1]) == (len(first), 8) and first[18 + length] == 0


def test_times_before_1970_keep_their_nanoseconds_positive():
    early = Vattr(VREG, 0, va_atime=-1)
    assert struct.unpack("<qq", linux.pack_stat(early)[72:88]) == (-1, 999_999_999)
    assert struct.unpack("<qq", freebsd.pack_stat(early)[48:64]) == (-1, 999_999_999)


def test_large_numbers_are_cut_in_the_old_stat():
    vap = Vattr(VREG, 0, va_fileid=1 << 40, va_nlink=70000, va_fsid=1 << 33 | 5)
    old = freebsd.pack_stat11(vap)
    assert (at(old, 0, "I"), at(old, 4, "I"), at(old, 10, "H")) == (5, 0, 0xFFFF)


CHARACTERS = bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0])
RAW = struct.pack("<4IB", 0x1 | 0x4, 0, 0xBF, 0x0, 0) + CHARACTERS
COOKED = struct.pack("<4IB", 0x500, 0x5, 0x10B2, 0x8A3B, 0) + CHARACTERS


@pytest.mark.parametrize("modes", [RAW, COOKED], ids=["raw", "cooked"])
def test_terminal_modes_survive_the_way_there_and_back(modes: bytes):
    there = freebsd_termios.termios_from_linux(modes)
    assert len(there) == 44
    assert freebsd_termios.termios_to_linux(there) == modes


def test_terminal_modes_have_freebsds_numbers():
    iflag, oflag, cflag, lflag, cc, ispeed, ospeed = freebsd_termios.TERMIOS.unpack(
        freebsd_termios.termios_from_linux(COOKED)
    )
    assert (iflag, oflag, lflag) == (0x300, 0x3, 0x5CF)
    assert cflag == 0x300 | 0x800
    assert (cc[8], cc[3], cc[0], cc[16]) == (3, 127, 4, 1)
    assert (ispeed, ospeed) == (115200, 115200)
