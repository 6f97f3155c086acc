"""Cutting long files into segments."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.audio import audio_info
from inmf_flow.corpus.naming import all_differ
from inmf_flow.corpus.recording import Recording, segment_suffix
from inmf_flow.errors import ArgumentError, AudioError, ConfigError


@dataclass(frozen=True)
class Segments:
    """How long files are cut.

    Parameters
    ----------
    seconds
        The most that a segment lasts, at least 1.
    overlap
        Seconds that consecutive segments share, at most half of ``seconds``.

    Raises
    ------
    ArgumentError
        When one of them is out of its range.
    """

    seconds: float
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if not (self.seconds >= 1 and math.isfinite(self.seconds)):
            raise ArgumentError("segments are too short", where="segments.seconds", got=self.seconds, expected=">= 1")
        if not 0 <= self.overlap <= self.seconds / 2:
            raise ArgumentError(
                "segments cannot overlap so far",
                where="segments.overlap",
                got=self.overlap,
                expected=f"0 to {self.seconds / 2:g}, half of 'seconds'",
            )


def cut_segments(recordings: Iterable[Recording], segments: Segments) -> list[Recording]:
    """Cut recordings that are longer than a segment, and leave the others as they are.

    Segments follow one another from the recording's start, each named ``ITEM@START-STOP`` in milliseconds of the file.
    Where the last would be shorter than half a segment, the last two share what there is equally, since what is very
    short cannot be analysed. A file whose header cannot be read stays whole, for its failure to be recorded.

    Raises
    ------
    ConfigError
        When two of the recordings overlap, so that segments of both have one name.
    """
    cut: list[Recording] = []
    known: tuple[Path, float | None] | None = None
    for recording in recordings:
        path = recording.path
        # Segments of one file follow one another in a manifest.
        if known is None or known[0] != path:
            known = path, _duration(path)
        duration = known[1]
        cut += [recording] if duration is None else _cut(recording, duration, segments)
    if not all_differ(recording.item.casefold() for recording in cut):
        names = Counter(recording.item.casefold() for recording in cut)
        twice = next(recording.item for recording in cut if names[recording.item.casefold()] > 1)
        raise ConfigError(
            "two recordings have a segment of one name",
            where="segments",
            got=repr(twice),
            hint="Give one of them another 'item' in its manifest, or leave it out.",
        )
    return cut


def _duration(path: Path) -> float | None:
    try:
        return audio_info(path).duration
    except (AudioError, OSError):
        return None


def _cut(recording: Recording, duration: float, segments: Segments) -> Iterator[Recording]:
    begin = recording.start or 0.0
    end = duration if recording.stop is None else min(recording.stop, duration)
    step = segments.seconds - segments.overlap
    count = math.ceil(round((end - begin - segments.overlap) / step, 9))
    if count < 2:
        yield recording
        return
    starts = [begin + index * step for index in range(count)]
    stops = [start + segments.seconds for start in starts[:-1]] + [end]
    if stops[-1] - starts[-1] < segments.seconds / 2:
        half = (end - starts[-2] + segments.overlap) / 2
        stops[-2], starts[-1] = starts[-2] + half, end - half
    item = recording.item.removesuffix(segment_suffix(recording.start, recording.stop))
    metadata = recording.metadata
    for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        # Whole milliseconds, as in the name: two segments that meet have one limit.
        first = recording.start if index == 0 else round(start, 3)
        last = recording.stop if index == count - 1 else round(stop, 3)
        name = item + segment_suffix(first or 0.0, stop if last is None else last)
        yield Recording(name, recording.path, first, last, metadata)
