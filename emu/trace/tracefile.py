"""Trace files: JSON Lines, written and read one event at a time.  Model only.

The first line is the header (``kind`` ``trace``), the last one the end (``kind`` ``end``) with the
number of events; a file without its end line was cut off.  Lines are in order of completion: a map
change comes before the system call or fault that caused it and is answered later.

    >>> for event in TraceReader("grow.jsonl"):           # doctest: +SKIP
    ...     print(event.seq, event.kind)
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from emu.program.files import Output, Stream, open_file
from emu.trace.codec import READABLE, VERSION, encode, from_json
from kernel_model.errors import UsageError
from kernel_model.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from kernel_model.ktrace import Event

SCHEMA = Path(__file__).with_name("trace.schema.json")
"""JSON Schema (draft 2020-12) of one line."""
_BUFFER = 1 << 18


class TraceError(UsageError):
    """The file is no trace, is damaged, cut off or of another version; the text is one line."""


@dataclass(frozen=True, slots=True)
class TraceHeader:
    """What a trace says about the run.  Model only."""

    program: str
    argv: tuple[str, ...] = ()
    release: str = ""
    abi: str = ""
    root: str = "/"
    """Host directory that was the guest's ``/``."""
    kinds: tuple[str, ...] = ()
    """The kinds of event that were recorded."""
    limits: dict[str, int] = field(default_factory=dict)


class TraceWriter:
    """Writes events to a file as they come.  A context manager."""

    def __init__(self, path: str | Path, header: TraceHeader) -> None:
        """Open *path* and write the header; UsageError when it cannot be written."""
        self._out = Output(path)
        self._out.write(b"")
        self._file: IO[str] = open(  # noqa: SIM115 - as long as the run
            self._out.fd, "w", buffering=_BUFFER, encoding="ascii", closefd=False
        )
        self.events = 0
        first = {"kind": "trace", "version": VERSION, **asdict(header)}
        self._write(json.dumps(first, separators=(",", ":")), flush=True)

    def __call__(self, event: Event) -> None:
        """Append *event*: the writer itself is a listener.  UsageError when the disk is full."""
        self._write(encode(event))
        self.events += 1

    def _write(self, line: str, *, flush: bool = False) -> None:
        try:
            self._file.write(line + "\n")
            if flush:
                self._file.flush()
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> UsageError:
        """What was written so far stays; what is still in the buffer is given up."""
        with contextlib.suppress(OSError):
            self._file.close()
        return self._out.refused(error)

    def close(self, exit_status: int | None = None, signal: int = 0) -> None:
        """Write the end line and close; may be called twice."""
        if self._file.closed:
            return
        last = {"kind": "end", "events": self.events, "exit_status": exit_status, "signal": signal}
        self._write(json.dumps(last, separators=(",", ":")))
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from None

    def __enter__(self) -> TraceWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _printable(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """*value* with every string printable: a trace may come from anywhere."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(one) for one in value]
    if isinstance(value, dict):
        return {printable(name): _printable(one) for name, one in value.items()}
    return value


class TraceReader:
    """Reads a trace from start to end, again each time it is iterated.

    With *partial* a file that was cut off ends quietly, and ``complete`` stays False.
    """

    def __init__(self, path: str | Path, *, partial: bool = False) -> None:
        """Open *path* and read its header; TraceError when it is no trace."""
        self.path = Path(path)
        self.partial = partial
        self.complete = False
        self.end: dict[str, Any] = {}
        with self._open() as file:
            self.header = self._read_header(file)

    def _open(self) -> IO[bytes]:
        try:
            return io.BufferedReader(Stream(open_file(self.path)), _BUFFER)
        except OSError as error:
            raise TraceError(f"cannot read {self.path}: {error.strerror}") from error

    def _read_header(self, file: IO[bytes]) -> TraceHeader:
        try:
            line = file.readline(1 << 20)
        except OSError as error:
            raise TraceError(f"cannot read {self.path}: {error.strerror}") from error
        if not line:
            raise TraceError(f"{self.path} is empty, not a trace")
        try:
            data = json.loads(line)
        except ValueError:
            data = None
        if not isinstance(data, dict) or data.get("kind") != "trace":
            raise TraceError(f"{self.path} is not a trace: its first line is no trace header")
        version = data.get("version")
        if version not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise TraceError(f"{self.path} is a trace of version {version!r}, this reader knows {known}")
        root = str(data.get("root"))  # a path to open, not to show
        data = _printable(data)
        try:
            return TraceHeader(
                data["program"], tuple(data["argv"]), data["release"], data["abi"], root,
                tuple(data["kinds"]), data["limits"],
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise TraceError(f"{self.path} is not a trace: its header lacks {error}") from error

    def __iter__(self) -> Iterator[Event]:
        """Yield the events in file order; TraceError at the first line that is none."""
        self.complete = False
        count = 0
        with self._open() as file:
            file.readline()
            for number, line in enumerate(file, 2):
                data = self._parse(line, number, count)
                if data is None:
                    return
                if data.get("kind") == "end":
                    self._finish(data, count)
                    return
                try:
                    event = from_json(data)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise TraceError(f"{self.path}:{number}: not a trace event ({error})") from error
                yield event
                count += 1
        if not self.partial:
            raise TraceError(f"{self.path} is cut off: no end line after {count:,} events (--partial reads these)")

    def _parse(self, line: bytes, number: int, count: int) -> dict[str, Any] | None:
        """The object of one line; None when the file was cut off in it and that is accepted."""
        try:
            data = json.loads(line)
        except ValueError:
            if line.endswith(b"\n"):
                raise TraceError(f"{self.path}:{number}: not JSON, the file is damaged") from None
            if self.partial:
                return None
            raise TraceError(
                f"{self.path} is cut off in line {number}, after {count:,} events (--partial reads these)"
            ) from None
        if not isinstance(data, dict):
            raise TraceError(f"{self.path}:{number}: not a trace event")
        return _printable(data) if b"\\" in line or not line.isascii() else data

    def _finish(self, data: dict[str, Any], count: int) -> None:
        if data.get("events") != count:
            raise TraceError(f"{self.path} says {data.get('events')} events but holds {count:,}")
        self.end = data
        self.complete = True
