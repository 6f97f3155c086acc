"""Separation from file to files, at constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import AudioReader, StreamResampler, WavWriter, audio_info, fit_length, open_audio
from inmf_flow.points import PointSet
from inmf_flow.remote import as_path
from inmf_flow.separation.analysis import analyze_excerpts
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.masks import Mask
from inmf_flow.separation.supervised import (
    BLOCK_SECONDS,
    TransformChoice,
    as_transforms,
    separate_blocks,
    shares_channels,
)
from inmf_flow.transform import Transform, checked_analysis


@dataclass(frozen=True)
class SeparatedFile:
    """What was written.

    Attributes
    ----------
    outputs
        The files by source.
    sample_rate, channels, frames
        Of the mixture, and so of each.
    known
        Hertz up to which the sources could be told apart.
    """

    outputs: dict[str, Path]
    sample_rate: int
    channels: int
    frames: int
    known: float


def separate_file(
    mixture: Path | str,
    folder: Path | str,
    dictionary: Dictionary,
    transform: TransformChoice,
    *,
    mask: Mask | None = None,
    max_iter: int = 100,
    sample_rate: int | None = None,
    block_seconds: float = BLOCK_SECONDS,
    refine: float | None = None,
    channels: str = "each",
    start: float | None = None,
    stop: float | None = None,
) -> SeparatedFile:
    """Separate an audio file and write ``folder/SOURCE.wav`` for each source.

    Parameters
    ----------
    mixture
        Anything libsndfile reads.
    folder
        Made if it is not there. Files appear when all are whole.
    dictionary, transform, mask, max_iter, refine, channels
        As in `separate`.
    sample_rate
        Hertz at which to analyse; the file's own by default. Outputs have the file's rate, channels and length; the
        band that analysis does not see is shared equally, so that estimates still add up.
    start, stop
        The part of the file to separate, in seconds from the file's start; None stands for its start and its end.
        Estimates of parts that meet, laid end to end, have every sample of the file once.

    Raises
    ------
    AudioError
        When the file cannot be read to its end, or holds samples that are not finite; when the part does not lie in it.
    """
    mask = mask or Mask()
    if shares_channels(channels) and audio_info(mixture).channels > 1:
        first = as_transforms(transform)[:1]
        dictionary = dictionary.with_channels(analyze_excerpts(mixture, first, sample_rate, start=start, stop=stop))
    with ExitStack() as stack:
        begin, lead = _common_begin(mixture, start, sample_rate)
        reader = stack.enter_context(open_audio(mixture, sample_rate, begin, stop))
        info = reader.info
        outputs = {name: as_path(folder) / f"{name}.wav" for name in dictionary.names}
        writers = {
            name: stack.enter_context(WavWriter(path, info.sample_rate, info.channels))
            for name, path in outputs.items()
        }
        size = max(int(reader.sample_rate), 1)
        estimates: Iterator[dict[str, NDArray[Any]]] = iter(())
        # At a much lower rate a clip of some samples may have none: then there is nothing to tell the sources by.
        if reader.frames:
            estimates = separate_blocks(
                reader.blocks(size), reader.sample_rate, dictionary, transform, mask, max_iter, block_seconds, refine
            )
        if reader.sample_rate != info.sample_rate:
            native = stack.enter_context(open_audio(mixture, None, start, stop))
            ready = _Queue(
                _resampled(estimates, reader.sample_rate, info.sample_rate, info.channels),
                dictionary.names,
                info.channels,
            )
            ready.take(lead)
            estimates = _at_native_rate(ready, native, share_rest=not mask.paper)
        frames = 0
        for piece in estimates:
            for name, writer in writers.items():
                writer.write(piece[name])
            frames += next(iter(piece.values())).shape[-1]
        rate = int(reader.sample_rate)
        trials = [_trial(each, rate) for each in as_transforms(transform)]
        known = min(member.known_band(trials, rate) for member in dictionary.members)
    return SeparatedFile(outputs, info.sample_rate, info.channels, frames, known)


# A transform does not change, and the files of a batch are separated by the same.
@lru_cache(maxsize=8)
def _trial(transform: Transform, sample_rate: int) -> PointSet:
    """Return the points of one sample: they lie at all frequencies that a transform has."""
    return checked_analysis(transform, np.zeros(1, np.float32), sample_rate).without_synthesis()


def _common_begin(mixture: Path | str, start: float | None, sample_rate: int | None) -> tuple[float | None, int]:
    """Return where analysis of a part is to begin, and how many of the mixture's samples that is before the part.

    Its first sample is one of both rates: otherwise estimates would be up to a sample of the analysis's rate early.
    """
    if start is None or sample_rate is None:
        return start, 0
    rate = audio_info(mixture).sample_rate
    first = round(start * rate)
    lead = first % (rate // math.gcd(rate, int(sample_rate)))
    return (first - lead) / rate, lead


def _at_native_rate(ready: _Queue, native: AudioReader, share_rest: bool) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield estimates block by block of the mixture; what resampling lost of the mixture is shared equally."""
    for block in native.blocks(native.info.sample_rate):
        piece = ready.take(block.shape[-1])
        if share_rest:
            rest = (block - sum(piece.values())) / np.float32(len(piece))
            piece = {name: audio + rest for name, audio in piece.items()}
        yield piece


def _resampled(
    estimates: Iterator[dict[str, NDArray[Any]]], rate: int, native_rate: int, channels: int
) -> Iterator[dict[str, NDArray[Any]]]:
    resamplers: dict[str, StreamResampler] = {}
    for piece in estimates:
        resamplers = resamplers or {name: StreamResampler(rate, native_rate, channels) for name in piece}
        yield {name: resamplers[name].push(audio.astype(np.float32, copy=False)) for name, audio in piece.items()}
    yield {name: resampler.finish() for name, resampler in resamplers.items()}


class _Queue:
    """Pieces of several sources, handed out in other lengths than they come in."""

    def __init__(self, pieces: Iterator[dict[str, NDArray[Any]]], names: Sequence[str], channels: int) -> None:
        self._pieces = pieces
        self._held: dict[str, NDArray[Any]] = {name: np.zeros((channels, 0), np.float32) for name in names}

    def take(self, count: int) -> dict[str, NDArray[Any]]:
        """Return the next so many samples; zeros after the end, where rounding lost a sample or two."""
        while min(audio.shape[-1] for audio in self._held.values()) < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held |= {name: np.concatenate([self._held[name], audio], axis=-1) for name, audio in piece.items()}
        taken = {name: fit_length(audio[..., :count], count) for name, audio in self._held.items()}
        self._held = {name: audio[..., count:] for name, audio in self._held.items()}
        return taken
