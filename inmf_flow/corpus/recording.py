"""One recording of a corpus, or a segment of one, under a name of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from inmf_flow.audio import segment_fault
from inmf_flow.errors import ArgumentError
from inmf_flow.remote import as_path

Scalar = str | int | float | bool | None
"""What a recording's metadata may hold: the single values that JSON has."""


class Recording:
    """A file of the corpus, or a part of one, under a name that is safe as a folder's and unique among its like.

    A corpus may have a million of them, so each takes little memory: ``path`` and ``metadata`` are made when they are
    asked for. Recordings do not change, and equal ones have equal parts.

    Parameters
    ----------
    item
        The name.
    path
        The audio file.
    start, stop
        Seconds from the file's start; None stands for its start and its end.
    metadata
        What a manifest says of the recording, by name.

    Raises
    ------
    ArgumentError
        When ``start`` or ``stop`` is negative or not finite, or ``stop`` does not come after ``start``.

    Examples
    --------
    >>> Recording("talk", "talks/monday.flac", 600.0, metadata={"speaker": "Ada"}).metadata
    {'speaker': 'Ada'}
    """

    __slots__ = ("_keys", "_path", "_values", "item", "start", "stop")

    item: str
    start: float | None
    stop: float | None
    _path: str
    _keys: tuple[str, ...]
    _values: tuple[Scalar, ...]

    def __init__(
        self,
        item: str,
        path: Path | str,
        start: float | None = None,
        stop: float | None = None,
        metadata: Mapping[str, Scalar] | None = None,
    ) -> None:
        wrong = segment_fault(start, stop)
        if wrong is not None:
            raise ArgumentError("this is not a segment", where=item, got=wrong)
        put = object.__setattr__
        put(self, "item", item)
        put(self, "start", start)
        put(self, "stop", stop)
        put(self, "_path", path if isinstance(path, str) else str(path))
        put(self, "_keys", _shared(tuple(metadata)) if metadata else ())
        put(self, "_values", tuple(metadata.values()) if metadata else ())

    @property
    def path(self) -> Path:
        """The audio file."""
        return as_path(self._path)

    @property
    def file(self) -> str:
        """The audio file's path as text: of a million recordings nobody wants a million paths."""
        return self._path

    @property
    def metadata(self) -> dict[str, Scalar]:
        """What a manifest says of the recording, by name, in the manifest's order."""
        return dict(zip(self._keys, self._values, strict=True))

    @property
    def is_segment(self) -> bool:
        """Whether this is a part of its file."""
        return self.start is not None or self.stop is not None

    def _parts(self) -> tuple[Any, ...]:
        return self.item, self._path, self.start, self.stop, self.metadata

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"recordings do not change; make another with a different {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __eq__(self, other: object) -> bool:
        return self._parts() == other._parts() if isinstance(other, Recording) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.item, self._path, self.start, self.stop))

    def __repr__(self) -> str:
        names = ("", "", "start=", "stop=", "metadata=")
        given = [name + repr(part) for name, part in zip(names, self._parts(), strict=True) if part not in (None, {})]
        return f"Recording({', '.join(given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Recording, self._parts()


@lru_cache(maxsize=1024)
def _shared(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return one object for equal names, which all lines of a manifest tend to have."""
    return keys


def segment_suffix(start: float | None, stop: float | None) -> str:
    """Return what a segment's name ends with: ``@00600000-01200000`` in milliseconds, empty for a whole file."""
    if start is None and stop is None:
        return ""
    end = "end" if stop is None else f"{round(1000 * stop):08d}"
    return f"@{round(1000 * (start or 0.0)):08d}-{end}"


def whole_name(recording: Recording) -> str:
    """Return the name of the recording that a segment was cut from: its own without the limits that it may end with."""
    if not recording.is_segment:
        return recording.item
    # What goes to the file's end is named by where that is, if the file was cut, else by the word.
    limits = rf"@{round(1000 * (recording.start or 0.0)):08d}-(\d{{8,}}|end)"
    return re.sub(rf"{limits}\Z", "", recording.item)
