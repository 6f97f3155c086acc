"""From an audio file to the points that a dictionary is learned from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import AudioReader, audio_info, open_audio
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.points import PointSet
from inmf_flow.transform import Transform, analyze_in_blocks

_BLOCK_SECONDS = 60.0
# Of a longer recording so many seconds say what it is like, in stretches of so many.
_MOST_SECONDS, _STRETCH = 300.0, 10.0


def analyze_file(
    path: Path | str,
    transforms: Sequence[Transform],
    sample_rate: int | None = None,
    *,
    start: float | None = None,
    stop: float | None = None,
) -> PointSet:
    """Return the points of a file, or of a part of one, by one or several transforms on one clock.

    What synthesis would need is left out.

    Parameters
    ----------
    path
        Anything libsndfile reads.
    transforms
        At least one.
    sample_rate
        Hertz at which to analyse; the file's own by default. A file of a lower rate speaks only for the frequencies it
        has: points above its Nyquist frequency get weight 0.
    start, stop
        The part of the file to analyse, in seconds from the file's start; None stands for its start and its end. The
        points' times count from ``start``.

    Raises
    ------
    AudioError
        When the file cannot be read to its end, holds samples that are not finite, or none; when the part does not lie
        in it.
    """
    if not transforms:
        raise ArgumentError("no transform is given", expected="at least one")
    with open_audio(path, sample_rate, start, stop) as reader:
        native, rate = reader.info.sample_rate, reader.sample_rate
        joined: PointSet | None = None
        for transform in transforms:
            # Block by block: of a long file only the points are held, not its samples and phases.
            spans = analyze_in_blocks(transform, _as_given(reader), rate, int(_BLOCK_SECONDS * rate))
            points = PointSet.consecutive(points.without_synthesis() for points in spans)
            joined = points if joined is None else joined + points
    assert joined is not None
    return joined.below(native / 2) if native < rate else joined


def analyze_excerpts(
    path: Path | str,
    transforms: Sequence[Transform],
    sample_rate: int | None = None,
    *,
    start: float | None = None,
    stop: float | None = None,
) -> PointSet:
    """Return the points of a file; of a long one those of stretches that are evenly spread, end to end.

    They say what a recording is like in memory that does not grow with its length: 300 s of it at most. Parameters and
    errors are those of `analyze_file`, but that stretches which cannot be read are left out while others can.
    """
    begin = start or 0.0
    end = audio_info(path).duration if stop is None else stop
    if end - begin <= _MOST_SECONDS:
        return analyze_file(path, transforms, sample_rate, start=start, stop=stop)
    count = int(_MOST_SECONDS / _STRETCH)
    step = (end - begin - _STRETCH) / (count - 1)
    sets = []
    for number in range(count):
        at = begin + number * step
        try:
            sets.append(analyze_file(path, transforms, sample_rate, start=at, stop=at + _STRETCH))
        except AudioError:
            # Whoever reads the whole file will say what is wrong with it, and where.
            continue
    if not sets:
        raise AudioError("no part of the recording can be read", where=path)
    return PointSet.end_to_end(sets)


def _as_given(reader: AudioReader) -> Iterator[NDArray[np.float32]]:
    """Yield blocks [channels, samples], those of one channel without the axis."""
    empty = True
    for block in reader.blocks(1 << 18):
        empty = False
        yield block[0] if block.shape[0] == 1 else block
    if empty:
        got = f"0 samples at {reader.sample_rate} Hz"
        raise AudioError("the audio is too short for the sample rate", where=reader.info.path, got=got)
