"""Files that others put into a folder: which are there, and which of them are whole."""

from __future__ import annotations

import glob
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from inmf_flow.audio import AUDIO_SUFFIXES
from inmf_flow.corpus.find import NO_MATCH, find_files
from inmf_flow.errors import ConfigError
from inmf_flow.remote import RemotePath, as_path, is_remote

Stamp = tuple[int, int]
"""A file's size in bytes and its time of change in nanoseconds."""

# How names end that programs give to what they have not finished: browsers, rclone, WinSCP, editors. rsync's begin with
# a dot.
_UNFINISHED = ("~", ".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".download")

_SUFFIXES = tuple(AUDIO_SUFFIXES)


def is_unfinished(name: str) -> bool:
    """Return whether a file's name is one that programs give to what they are still writing."""
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)


def look(where: Path | str) -> dict[str, Stamp]:
    """Return the audio files of a folder, or those that a glob pattern matches, with their stamps, sorted by path.

    Files without content, hidden ones and those that bear the name of something unfinished are passed over, and so is
    what is in folders of such names. That nothing is there, not even the folder, is as good as an empty folder.

    Raises
    ------
    OSError
        When the folder, or the object store that it is on, cannot be looked at. Folders below it that cannot be read
        are passed over.
    """
    text = str(where)
    if is_remote(text) or (glob.has_magic(text) and not os.path.exists(text)):
        found = _matches(text)
    else:
        found = _below(text)
    return dict(
        sorted((path, stamp) for path, stamp in found if stamp[0] and not is_unfinished(path.rpartition("/")[2]))
    )


def _matches(pattern: str) -> Iterator[tuple[str, Stamp]]:
    try:
        paths = find_files([pattern], "corpus.watch")
    except ConfigError as error:
        if error.what == NO_MATCH:
            return
        raise OSError(0, error.what, pattern) from None
    for path in paths:
        # The name of a folder that is not there passes for that of a file.
        if isinstance(path, RemotePath) and str(path) == str(as_path(pattern)):
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        yield str(path), (int(status.st_size), int(status.st_mtime_ns))


def _below(folder: str) -> Iterator[tuple[str, Stamp]]:
    folders = [folder]
    while folders:
        parent = folders.pop()
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders += [] if is_unfinished(entry.name) else [entry.path]
                    elif entry.name.lower().endswith(_SUFFIXES):
                        yield from _stamped(entry)
        except FileNotFoundError:
            continue
        except OSError:
            if parent == folder:
                raise


def _stamped(entry: os.DirEntry[str]) -> Iterator[tuple[str, Stamp]]:
    try:
        status = entry.stat()
    except OSError:
        # Renamed or removed since the folder was read; a file that may not be looked at may not be read.
        return
    if stat.S_ISREG(status.st_mode):
        yield entry.path, (status.st_size, status.st_mtime_ns)


class Arrivals:
    """Tells files that are whole from those that are still being written, by one look after another.

    A file is whole when its size and its time of change have been the same for a while between two looks. The while is
    measured by a clock of this process: that of the host which writes the file may be wrong.

    Parameters
    ----------
    settle
        Seconds for which a file stays the same.
    taken
        Files that were taken before, with their stamps of that time.
    clock
        Seconds, never going back.

    Examples
    --------
    >>> now = 0.0
    >>> arrivals = Arrivals(2.0, clock=lambda: now)
    >>> arrivals.take({"a.wav": (100, 1)})
    []
    >>> now = 2.5
    >>> arrivals.take({"a.wav": (100, 1)})
    ['a.wav']
    """

    def __init__(
        self, settle: float, taken: Mapping[str, Stamp] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settle = settle
        self._clock = clock
        self._taken = dict(taken or {})
        self._waiting: dict[str, tuple[Stamp, float]] = {}

    @property
    def waiting(self) -> int:
        """The number of files that were there at the last look and were not whole yet."""
        return len(self._waiting)

    def take(self, seen: Mapping[str, Stamp]) -> list[str]:
        """Take note of what is there now; return the files that are whole and new, or have changed since taken.

        Each is returned once for each of its contents, in the order in which they were first seen.
        """
        now = self._clock()
        waiting: dict[str, tuple[Stamp, float]] = {}
        whole = []
        for path in [*(path for path in self._waiting if path in seen), *seen]:
            stamp = seen[path]
            if path in waiting or self._taken.get(path) == stamp:
                continue
            before = self._waiting.get(path)
            if before is None or before[0] != stamp:
                waiting[path] = stamp, now
            elif now - before[1] >= self._settle:
                self._taken[path] = stamp
                whole.append(path)
            else:
                waiting[path] = before
        self._waiting = waiting
        return whole
