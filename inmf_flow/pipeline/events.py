"""What happens during runs, as JSON lines in ``events.jsonl``, for programs that watch; and how fast a stage goes."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inmf_flow.hookspecs import StageProgress

NAME = "events.jsonl"

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
        when = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": when, "event": event, **fields}, allow_nan=False).encode() + b"\n"
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

    def close(self) -> None:
        """Close the file; a later event would open it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


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
        ``events.jsonl``, or the folder of a run.

    Raises
    ------
    OSError
        When there is no such file.
    """
    path = Path(path)
    with (path / NAME if path.is_dir() else path).open("rb") as stream:
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if line.endswith(b"\n") and isinstance(event, dict):
                yield event


@dataclass
class Pace:
    """How a stage goes: how much of it is done, and from that how long the rest will take.

    Parameters
    ----------
    sizes
        The size of each item that is to be done. Where all are known what is left is judged by them, else by number.
    clock
        Seconds.
    """

    sizes: Mapping[str, int]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._begin = self.clock()
        self._counts_alike = not all(self.sizes.values())
        self._total = float(sum(map(self._weight, self.sizes)))
        self._weight_done = 0.0
        self._audio = 0.0
        self._left = dict.fromkeys(self.sizes)

    def _weight(self, item: str) -> int:
        return 1 if self._counts_alike else self.sizes[item]

    def take(self, item: str, audio: float | None) -> StageProgress:
        """Take note that an item has ended, failed ones too, and return how the stage goes.

        Parameters
        ----------
        item
            Its name; each counts once.
        audio
            Its duration in seconds, where it has one.
        """
        if item in self._left:
            del self._left[item]
            self._weight_done += self._weight(item)
        self._audio += audio or 0.0
        return self.progress()

    def progress(self) -> StageProgress:
        """Return how the stage goes now."""
        elapsed = max(self.clock() - self._begin, 1e-9)
        left = elapsed * (self._total / self._weight_done - 1) if self._weight_done else None
        return StageProgress(
            done=len(self.sizes) - len(self._left),
            total=len(self.sizes),
            hours_per_hour=self._audio / elapsed if self._audio else None,
            seconds_left=left,
        )
