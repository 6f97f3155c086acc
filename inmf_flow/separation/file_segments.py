"""The segments of a long file, each separated as if nothing before it had been: a run may begin with any of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import AudioInfo, AudioReader, StreamResampler, can_seek, fit_length, open_audio
from inmf_flow.separation.supervised import BlockSeparation
from inmf_flow.transform import SlidingAudio

Estimates = dict[str, NDArray[Any]]

# Samples at the lower of two rates that a resampler may look at on either side of an instant, and more.
_RESAMPLER_CONTEXT = 1024


@dataclass(frozen=True)
class Mixture:
    """What is to be separated of a file, and at which rate.

    Attributes
    ----------
    path, info
        The file, and what its header says.
    rate
        Hertz at which it is analysed.
    start, stop
        Limits of the part in seconds, None for the file's own.
    begin
        Where analysis begins: a sample of the file that both rates have, at ``start`` or shortly before. Otherwise
        estimates would be up to a sample of the analysis's rate early.
    lead
        How many of the file's samples that is before the part.
    """

    path: Path
    info: AudioInfo
    rate: int
    start: float | None
    stop: float | None
    begin: int
    lead: int

    @classmethod
    def of(cls, path: Path, sample_rate: int | None, start: float | None, stop: float | None) -> Mixture:
        """Read the file's header. Errors as for `open_audio`."""
        with open_audio(path, sample_rate, start, stop) as reader:
            info, rate = reader.info, reader.sample_rate
        first = 0 if start is None else round(start * info.sample_rate)
        lead = first % (info.sample_rate // math.gcd(info.sample_rate, rate))
        return cls(path, info, rate, start, stop, first - lead, lead)

    @property
    def period(self) -> int:
        """Samples of the analysis's rate from one to the next that the file has too."""
        return self.rate // math.gcd(self.rate, self.info.sample_rate)

    def native(self, position: int) -> int:
        """Return which of the file's samples, counted from ``begin``, one of the analysis's is."""
        return position * self.info.sample_rate // self.rate

    def analysed_from(self, position: int) -> AudioReader:
        """Return a reader at the analysis's rate from one of its samples, counted from ``begin``, on."""
        return self._open(self.rate, self.begin + self.native(position))

    def heard_from(self, position: int) -> AudioReader:
        """Return a reader at the file's rate from one of its samples, counted from ``begin``, on."""
        return self._open(None, self.begin + position)

    def _open(self, rate: int | None, first: int) -> AudioReader:
        start = first / self.info.sample_rate if first or self.start is not None else None
        return open_audio(self.path, rate, start, self.stop, info=self.info)


class FileSegments:
    """The segments of a file, of equal length but for the last.

    Parameters
    ----------
    mixture
        What is to be separated.
    work
        Separates stretches of it.
    block_seconds
        Seconds of output made at a time.
    segment_seconds
        Least length of a segment. A file that is no longer, or in which one cannot seek, is a single segment.
    share_rest
        Whether what resampling lost of the mixture is shared equally.

    Attributes
    ----------
    frames
        The mixture's samples, of which MP3 and Ogg headers may only estimate the number.
    length
        Samples of the analysis's rate in a segment, None where there is only one.
    """

    def __init__(
        self, mixture: Mixture, work: BlockSeparation, block_seconds: float, segment_seconds: float, share_rest: bool
    ) -> None:
        self._mixture, self._work, self._share_rest = mixture, work, share_rest
        self._step = work.step(min(block_seconds, segment_seconds))
        with mixture.heard_from(mixture.lead) as native, mixture.analysed_from(0) as analysed:
            self.frames, analysed_frames = native.frames, analysed.frames
        # Where nothing is left at a much lower rate, there is nothing to tell the sources by.
        self._silent = analysed_frames == 0
        period = mixture.period
        self.length: int | None = -(-max(math.ceil(segment_seconds * mixture.rate), self._step) // period) * period
        if analysed_frames <= self.length or not can_seek(mixture.path):
            self.length = None
        self._context = 0
        if mixture.rate != mixture.info.sample_rate:
            context = math.ceil(_RESAMPLER_CONTEXT * max(1.0, mixture.rate / mixture.info.sample_rate))
            self._context = -(-context // period) * period

    def number_after(self, frames: int) -> int:
        """Return which segment begins after so many of the mixture's samples, counted from the part's begin."""
        if self.length is None or not frames:
            return 0
        return (frames + self._mixture.lead) // self._mixture.native(self.length)

    def separated(self, number: int) -> Iterator[Iterator[Estimates]]:
        """Yield for each segment from one on its estimates, which have to be taken before the next is asked for."""
        for current in itertools.count(number):
            segment = _Segment()
            yield self._estimates(current, segment)
            if segment.is_last:
                return

    def _estimates(self, number: int, segment: _Segment) -> Iterator[Estimates]:
        """Yield a segment's estimates at the mixture's rate."""
        mixture, work = self._mixture, self._work
        first, last = (0, None) if self.length is None else (number * self.length, (number + 1) * self.length)
        # The resamplers of the way back hear what is around the segment.
        early = max(first - self._context, 0)
        inner = (
            itertools.count(first + self._step, self._step)
            if last is None
            else range(first + self._step, last, self._step)
        )
        edges = itertools.chain([early], inner, [] if last is None else [last + self._context])
        begin = max(early - work.reach[0], 0) // mixture.period * mixture.period
        with mixture.analysed_from(begin) as reader:
            audio = SlidingAudio(reader.blocks(mixture.rate), begin)
            found = iter(()) if self._silent else work.stretches(audio, edges)

            def ended() -> bool:
                return last is None or self._silent or (audio.length is not None and audio.length <= last)

            if mixture.rate == mixture.info.sample_rate:
                yield from found
            else:
                out = max(mixture.native(first), mixture.lead)
                count = math.inf if last is None else mixture.native(last) - out
                ready = _Queue(_resampled(found, mixture), work.dictionary.names, mixture.info.channels)
                ready.take(out - mixture.native(early))
                with mixture.heard_from(out) as native:
                    yield from _at_native_rate(ready, native, count, ended, self._share_rest)
            segment.is_last = ended()


@dataclass
class _Segment:
    """Whether the recording ends with a segment, which is known once its estimates were taken."""

    is_last: bool = False


def _at_native_rate(
    ready: _Queue, native: AudioReader, count: float, ended: Callable[[], bool], share_rest: bool
) -> Iterator[Estimates]:
    """Yield so many samples of the estimates, and where the recording ends with them all that it has."""
    for whole in native.blocks(native.info.sample_rate):
        inside = int(min(whole.shape[-1], count))
        for block in (whole[..., :inside], whole[..., inside:]):
            if not block.shape[-1]:
                continue
            if count < 1 and not ended():
                return
            piece = ready.take(block.shape[-1])
            if share_rest:
                # What resampling lost of the mixture.
                rest = (block - sum(piece.values())) / np.float32(len(piece))
                piece = {name: audio + rest for name, audio in piece.items()}
            count -= block.shape[-1]
            yield piece


def _resampled(estimates: Iterator[Estimates], mixture: Mixture) -> Iterator[Estimates]:
    resamplers: dict[str, StreamResampler] = {}
    native, channels = mixture.info.sample_rate, mixture.info.channels
    for piece in estimates:
        resamplers = resamplers or {name: StreamResampler(mixture.rate, native, channels) for name in piece}
        yield {name: resamplers[name].push(audio.astype(np.float32, copy=False)) for name, audio in piece.items()}
    yield {name: resampler.finish() for name, resampler in resamplers.items()}


class _Queue:
    """Pieces of several sources, handed out in other lengths than they come in."""

    def __init__(self, pieces: Iterator[Estimates], names: Sequence[str], channels: int) -> None:
        self._pieces = pieces
        self._held: Estimates = {name: np.zeros((channels, 0), np.float32) for name in names}

    def take(self, count: int) -> Estimates:
        """Return the next so many samples; zeros after the end, where rounding lost a sample or two."""
        while min(audio.shape[-1] for audio in self._held.values()) < count:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held |= {name: np.concatenate([self._held[name], audio], axis=-1) for name, audio in piece.items()}
        taken = {name: fit_length(audio[..., :count], count) for name, audio in self._held.items()}
        self._held = {name: audio[..., count:] for name, audio in self._held.items()}
        return taken
