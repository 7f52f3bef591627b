"""Programs for Linux that nobody here wrote, natively and under the machine: same output, same status."""

from __future__ import annotations

import gzip
import random

import pytest

WORDS = ["stack", "page", "fault", "map", "entry", "object", "shadow", "growth", "limit", "guard", "kernel"]
RANDOM = random.Random(1)
LINES = [f"{RANDOM.choice(WORDS)} {RANDOM.randrange(1000)} {RANDOM.choice(WORDS)}\n" for _ in range(2000)]
TEXT = "".join(LINES).encode()
FILES = {"text": TEXT, "text.gz": gzip.compress(TEXT, mtime=0), "dir/a": b"a\n", "dir/b/c": b"c" * 5000}

BUSYBOX = {
    "true": ["true"],
    "false": ["false"],
    "echo": ["echo", "a  b", "c"],
    "sha256sum": ["sha256sum", "text", "text.gz"],
    "gzip": ["gzip", "-c", "text"],
    "gunzip": ["gunzip", "-c", "text.gz"],
    "sort": ["sort", "-k2n", "text"],
    "uniq": ["uniq", "-c", "text"],
    "awk": ["awk", "{n[$1] += $2} END {print n[\"stack\"], n[\"page\"], NR, sqrt(NR)}", "text"],
    "sh": ["sh", "-c", "i=0; while [ $i -lt 500 ]; do i=$((i + 1)); done; echo $i ${0#x} $#", "xyz", "1", "2"],
    "sh-status": ["sh", "-c", "exit 37"],
    "ls": ["ls", "-l", "."],
    "find": ["find", ".", "-type", "f", "-size", "+1k"],
    "sed": ["sed", "-n", "s/stack \\(.*\\) page/\\1/p", "text"],
    "grep": ["grep", "-c", "guard.*limit", "text"],
    "cat-missing": ["cat", "missing"],
    "wc": ["wc", "text"],
    "tar": ["tar", "cf", "-", "--numeric-owner", "dir/a"],
    "bc": ["dc", "-e", "2 100 ^ p"],
    "od": ["od", "-x", "text.gz"],
    "stat": ["stat", "-c", "%n %s %a %F", "dir", "text"],
}

BASH = {
    "loop": "for ((i = 0; i < 3000; i++)); do ((s += i * i)); done; echo $s",
    "here-string": "read a b <<< 'hello brave world'; echo \"$b $a\"",
    "arrays": "declare -A n; for w in a b a c a; do ((n[$w]++)); done; for k in a b c; do echo $k ${n[$k]}; done",
    "strings": "s=growstack; echo ${s^^} ${s:4} ${s//[aeiou]/_} ${#s}; printf '%05.2f|%x\\n' 3.14159 255",
    "regex": "[[ 'page 42 fault' =~ ([0-9]+) ]] && echo ${BASH_REMATCH[1]}; [[ a == b* ]]; echo $?",
    "read-file": "while read -r w n v; do ((t += n)); done < text; echo $t",
    "recursion": "f() { if (($1)); then f $(($1 - 1)); else echo deep; fi; }; f 200",
    "error": "set -u; echo $nothing; echo not reached",
    "status": "exit 300",
}

LUA = """
local t = {}
for i = 1, 20000 do t[i] = (i * 7919) % 10007 end
table.sort(t)
print(t[1], t[10000], #t, 0.1 + 0.2, 2^53, 7 // 2, 7.5 // 2)
print(string.format("%5.3f %q %x", math.pi, "a\\nb", 255), ("x"):rep(10, ","))
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
print(fib(20), select("#", table.unpack({1, 2, 3})))
local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i * i) end end)
print(co(), co(), co())
print((pcall(error, {code = 5})))
local function deep(n) return n == 0 and 0 or 1 + deep(n - 1) end
print(deep(10000), pcall(deep, 1e7) == false)
for line in io.lines("text") do n = (n or 0) + #line end
print(n, os.getenv("COLOUR"), #arg)
os.exit(9)
"""

SQL = """
create table t(id integer primary key, word text, n integer);
with recursive c(i) as (select 1 union all select i + 1 from c where i < 3000)
  insert into t select i, substr('stackpagefaultmap', i % 13 + 1, 4), i * 7919 % 1009 from c;
create index by_word on t(word, n);
select word, count(*), sum(n), round(avg(n), 3), max(id) from t group by word order by 3 desc limit 6;
select t.id, u.id from t join t u on t.n = u.n and t.id < u.id order by t.n, t.id limit 4;
begin; delete from t where n % 2; rollback;
update t set word = upper(word) where n < 10;
select group_concat(word, '+') from (select word from t where n < 10 order by id limit 5);
select printf('%.10f', 1.0 / 3), 1e308 * 10, 9223372036854775807 + 1, typeof(zeroblob(3));
select json_extract('{"a":[1,2]}', '$.a[1]');
pragma integrity_check;
select * from nowhere;
"""

PERL = "$n{$1} += $2 if /(\\w+) (\\d+)/; END { print map { \"$_=$n{$_}\\n\" } sort keys %n }"

DYNAMIC = {
    "ls": ["ls", "-l", "-n", ".", "dir"],
    "env": ["env"],
    "env-i": ["env", "-i", "A=1"],
    "sort": ["sort", "-S1M", "text"],
    "sha256sum": ["sha256sum", "text"],
    "python3": ["python3", "-S", "-c", "import sys; print(sum(i * i for i in range(10000)), sys.argv, 0.1 + 0.2)", "a"],
    "perl": ["perl", "-ne", PERL, "text"],
    "tar": ["tar", "--sort=name", "--numeric-owner", "-cf", "-", "dir"],
    "diff": ["diff", "-u", "text", "dir/a"],
    "find": ["find", ".", "-name", "[a-c]", "-printf", "%p %s %y\\n"],
    "grep": ["grep", "-rn", "guard 9.. limit", "."],
    "openssl": ["openssl", "dgst", "-sha512", "text"],
    "date": ["date", "-u", "-d", "@1000000000"],
    "awk": ["mawk", "{ s += $2 } END { printf \"%d %.6f\\n\", s, s / NR }", "text"],
}


@pytest.mark.parametrize("job", BUSYBOX)
def test_busybox(job, installed, same_as_native) -> None:
    same_as_native([installed("busybox"), *BUSYBOX[job]], files=FILES)


@pytest.mark.parametrize("job", BASH)
def test_bash_static(job, installed, same_as_native) -> None:
    same_as_native([installed("bash-static"), "-c", BASH[job]], files=FILES)


def test_lua_static(made, same_as_native) -> None:
    same_as_native([str(made("lua")), "script.lua", "x"], files=FILES | {"script.lua": LUA.encode()})


@pytest.mark.parametrize("database", [":memory:", "new.db"])
def test_sqlite3_static(database, made, same_as_native) -> None:
    same_as_native([str(made("sqlite3")), "-batch", "-header", database], stdin=SQL.encode(), files=FILES)


@pytest.mark.parametrize("job", DYNAMIC)
def test_a_dynamic_program_of_the_host(job, installed, same_as_native) -> None:
    program, *rest = DYNAMIC[job]
    same_as_native([installed(program), *rest], files=FILES)


def test_a_static_pie_of_rust(made, same_as_native) -> None:
    same_as_native([str(made("typos")), "--version"])
    same_as_native([str(made("typos")), "--no such option"])


PARANOID = {
    "busybox sha256sum": ("busybox", BUSYBOX["sha256sum"]),
    "busybox sort": ("busybox", BUSYBOX["sort"]),
    "busybox awk": ("busybox", BUSYBOX["awk"]),
    "busybox gzip": ("busybox", BUSYBOX["gzip"]),
    "busybox find": ("busybox", BUSYBOX["find"]),
    "bash-static": ("bash-static", ["-c", BASH["arrays"]]),
    "ls": ("ls", DYNAMIC["ls"][1:]),
    "env": ("env", []),
    "perl": ("perl", DYNAMIC["perl"][1:]),
}


@pytest.mark.parametrize("job", PARANOID)
def test_map_and_mirror_agree_after_every_trap(job, installed, same_as_native) -> None:
    program, rest = PARANOID[job]
    same_as_native([installed(program), *rest], files=FILES, options=["--paranoid"])


def test_map_and_mirror_agree_after_every_trap_of_sqlite3(made, same_as_native) -> None:
    same_as_native([str(made("sqlite3")), "-batch"], stdin=SQL.encode(), files=FILES, options=["--paranoid"])
