"""What happens during runs, as JSON lines in ``events.jsonl``, for programs that watch; and how fast a stage goes."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inmf_flow.files import atomic_write
from inmf_flow.hookspecs import StageProgress
from inmf_flow.remote import RemotePath, as_path

NAME = "events.jsonl"
# Of a run on an object store, where the file is a folder of segments.
FOLDER = "events"
# An event is there after so long at most.
FLUSH_SECONDS = 5.0

# A watcher is told so often how a stage goes, and with every item that it is done.
PROGRESS_SECONDS = 10.0

logger = logging.getLogger("inmf_flow.pipeline")


class EventLog:
    """Appends to a run folder's ``events.jsonl``; the file is there from the first event on.

    One process writes at a time, the one that holds the folder's lock. A line is written by one call to the system, so
    that whoever reads along sees whole lines, but for the last where the writer was killed or the disk is full.

    Parameters
    ----------
    folder
        The run's folder.
    clock
        Seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / NAME
        self._clock = clock
        self._descriptor: int | None = None
        self._broken = False

    def write(self, event: str, **fields: Any) -> None:
        """Append an event with the time of day; that the disk is full must not end a run, so it is only logged."""
        if self._broken:
            return
        line = self._line(event, fields)
        try:
            if self._descriptor is None:
                self._descriptor = _open_whole(self.path)
            before = os.fstat(self._descriptor).st_size
            if os.write(self._descriptor, line) < len(line):
                os.ftruncate(self._descriptor, before)
                raise OSError("only a part of the line could be written")
        except OSError as error:
            logger.warning("%s cannot be written any more: %s", self.path, error)
            self._broken = True

    def _line(self, event: str, fields: Mapping[str, Any]) -> bytes:
        when = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": when, "event": event, **fields}, allow_nan=False).encode() + b"\n"

    def close(self) -> None:
        """Close the file; a later event would open it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def event_log(folder: Path) -> EventLog:
    """Return what writes the events of a run to its folder, be that of this machine or of an object store."""
    return RemoteEventLog(folder) if isinstance(folder, RemotePath) else EventLog(folder)


class RemoteEventLog(EventLog):
    """Writes numbered objects ``events/000000.jsonl`` and so on below a run's folder, since objects cannot grow.

    Lines are held for up to `FLUSH_SECONDS`, in which a killed driver loses them.

    Parameters
    ----------
    folder
        The run's folder.
    clock
        Seconds since 1970.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, clock)
        self.path = folder / FOLDER
        self._lines: list[bytes] = []
        self._next: int | None = None
        self._timer: threading.Timer | None = None
        # Held while a segment is written, so that segments have the order of their lines.
        self._writing = threading.RLock()

    def write(self, event: str, **fields: Any) -> None:
        """Append an event with the time of day, to be there soon."""
        with self._writing:
            if self._broken:
                return
            self._lines.append(self._line(event, fields))
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self._flush)
                self._timer.daemon = True
                self._timer.start()

    def _flush(self) -> None:
        with self._writing:
            self._timer = None
            if self._broken or not self._lines:
                return
            try:
                if self._next is None:
                    numbers = [int(path.stem) for path in _segments(self.path)]
                    self._next = max(numbers, default=-1) + 1
                atomic_write(self.path / f"{self._next:06d}.jsonl", b"".join(self._lines))
                self._next += 1
                self._lines = []
            except OSError as error:
                logger.warning("%s cannot be written any more: %s", self.path, error)
                self._broken = True

    def close(self) -> None:
        """Write what is held."""
        with self._writing:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdigit())


def _open_whole(path: Path) -> int:
    """Open a file for appending, without a last line that a killed run left unfinished."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        chunk = os.pread(descriptor, 4096, max(end - 4096, 0))[: min(end, 4096)]
        end -= len(chunk) - 1 - chunk.rfind(b"\n")
    os.ftruncate(descriptor, end)
    return descriptor


def read_events(path: Path | str) -> Iterator[dict[str, Any]]:
    """Yield the events of a file in order, also while it is being written; a line that is not whole is left out.

    Parameters
    ----------
    path
        ``events.jsonl``, or the folder of a run, which may be on an object store.

    Raises
    ------
    OSError
        When there is no such file.
    """
    path = as_path(path)
    if isinstance(path, RemotePath) and not path.is_file():
        files = _segments(path if path.name == FOLDER else path / FOLDER)
        if not files:
            raise FileNotFoundError(errno.ENOENT, "there are no events", str(path))
    else:
        files = [path / NAME if path.is_dir() else path]
    for file in files:
        with file.open("rb") as stream:
            yield from _events_of(stream)


def _events_of(stream: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if line.endswith(b"\n") and isinstance(event, dict):
            yield event


class Pace:
    """How a stage goes: how much of it is done, and from that how long the rest will take.

    Parameters
    ----------
    total
        The number of items that are to be done.
    size
        Bytes of all of them. What is left is judged by bytes, or by number where not all sizes are known (None).
    clock
        Seconds.
    """

    def __init__(self, total: int, size: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._size = size
        self._clock = clock
        self._begin = clock()
        self._done = 0
        self._size_done = 0
        self._audio = 0.0

    def take(self, size: int, audio: float | None) -> StageProgress:
        """Take note that an item has ended, failed ones too, and return how the stage goes.

        Parameters
        ----------
        size
            Its bytes.
        audio
            Its duration in seconds, where it has one.
        """
        self._done += 1
        self._size_done += size
        self._audio += audio or 0.0
        return self.progress()

    def progress(self) -> StageProgress:
        """Return how the stage goes now."""
        elapsed = max(self._clock() - self._begin, 1e-9)
        total, done = (self._total, self._done) if self._size is None else (self._size, self._size_done)
        return StageProgress(
            done=self._done,
            total=self._total,
            hours_per_hour=self._audio / elapsed if self._audio else None,
            seconds_left=elapsed * max(total / done - 1, 0.0) if done else None,
        )
