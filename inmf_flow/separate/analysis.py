"""From an audio file to the points that a dictionary is learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from inmf_flow.audio import audio_info, read_audio
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.points import PointSet
from inmf_flow.transform import Transform


def analyze_file(path: Path | str, transforms: Sequence[Transform], sample_rate: int | None = None) -> PointSet:
    """Return a file's points by one or several transforms on one clock, without what synthesis would need.

    Parameters
    ----------
    path
        Anything libsndfile reads.
    transforms
        At least one.
    sample_rate
        Hertz at which to analyse; the file's own by default. A file of a lower rate speaks only for the frequencies it
        has: points above its Nyquist frequency get weight 0.

    Raises
    ------
    AudioError
        When the file cannot be read to its end, holds samples that are not finite, or none.
    """
    if not transforms:
        raise ArgumentError("no transform is given", expected="at least one")
    native = audio_info(path).sample_rate
    audio, rate = read_audio(path, sample_rate)
    if audio.shape[-1] == 0:
        raise AudioError("the audio is too short for the sample rate", where=path, got=f"0 samples at {rate} Hz")
    if audio.shape[0] == 1:
        audio = audio[0]
    joined: PointSet | None = None
    for transform in transforms:
        points = transform.analyze(audio, rate).without_synthesis()
        joined = points if joined is None else joined + points
    assert joined is not None
    return joined.below(native / 2) if native < rate else joined
