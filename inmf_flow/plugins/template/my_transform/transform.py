"""`MyTransform`: spectra of overlapping frames, with an exact inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.transform import (
    Calibration,
    Gains,
    Span,
    Transform,
    TransformConfig,
    as_channels,
    check_sample_rate,
    origin_of,
    resolve_gains,
    samples_between,
)
from numpy.typing import ArrayLike, NDArray
from pydantic import Field


class MyTransformConfig(TransformConfig):
    """What users write after the transform's name; checked before anything runs."""

    frame: float = Field(0.064, ge=0.002, le=2.0, description="Seconds in a frame; frames are half of that apart.")
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1.",
    )


@dataclass(frozen=True)
class _Origin:
    """What synthesis needs to know of the analysis."""

    config: MyTransformConfig
    span: Span
    samples: int
    mono: bool
    hop: int
    first: int


class MyTransform(Transform):
    """Fourier transforms of frames that overlap by half, each under a sine window.

    Frame n is centred at sample n * hop and covers one hop on either side. The squares of two neighbouring sine windows
    add up to 1 (Princen & Bradley, "Analysis/synthesis filter bank design based on time domain aliasing cancellation",
    IEEE Trans. ASSP 34, 1986), so windowing once more and adding the frames up gives the signal back. Samples before
    the start and after the end count as zeros.

    Examples
    --------
    >>> transform = MyTransform(frame=0.032)
    >>> audio = np.random.default_rng(0).standard_normal(16000)
    >>> points = transform.analyze(audio, 16000)
    >>> points.blocks[0].magnitudes.shape
    (257, 64)
    >>> bool(np.allclose(transform.synthesize(points), audio))
    True
    """

    name = "my_transform"
    # Raise it when equal audio and options give other points than before: results made with the old ones are then
    # made again.
    version = "1"
    Config: ClassVar[type[TransformConfig]] = MyTransformConfig
    config: MyTransformConfig
    invertible = "exact"
    # Decibels of a round trip: single precision is good for some 130.
    min_snr_db = 100.0

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return the samples before and after a frame's centre that the frame covers."""
        hop = self._hop(sample_rate)
        return hop, hop

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return one grid block; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        hop = self._hop(rate)
        numbers = self._frames(span, hop)
        spectra = self._spectra(samples, span, numbers, hop)
        magnitudes = np.abs(spectra) * self._scale(hop)[:, None]
        # A frame stands for the half hop on either side of its centre, as far as the recording has it.
        edges = np.clip((numbers[:, None] + [-0.5, 0.5]) * hop, 0, span.length)
        block = GridBlock.build(
            times=numbers * hop / rate,
            frequencies=np.arange(hop + 1) * (rate / (2 * hop)),
            magnitudes=magnitudes[0] if mono else magnitudes,
            time_weights=(edges[:, 1] - edges[:, 0]) / rate,
            nyquist=rate / 2,
            coefficients=spectra,
        )
        origin = _Origin(self.config, span, samples.shape[-1], mono, hop, -(-span.start // hop))
        duration = None if span.length is None else span.length / rate
        return PointSet((block,), rate, duration, self.config.calibration, synthesis=origin)

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return the audio of the points by overlap-add; see `Transform.synthesize`."""
        origin = origin_of(points, _Origin, self.config, self.name)
        spectra = points.blocks[0].coefficients
        resolved = resolve_gains(points, gains, self.name)
        if resolved is not None:
            spectra = spectra * resolved[0].astype(spectra.real.dtype)
        audio = np.zeros((spectra.shape[0], origin.samples), spectra.real.dtype)
        if spectra.shape[-1]:
            hop = origin.hop
            frames = np.fft.irfft(spectra.swapaxes(1, 2), 2 * hop) * _window(hop, audio.dtype)
            halves = np.zeros((frames.shape[0], frames.shape[1] + 1, hop), audio.dtype)
            halves[:, :-1] += frames[..., :hop]
            halves[:, 1:] += frames[..., hop:]
            _paste(halves.reshape(len(audio), -1), audio, (origin.first - 1) * hop - origin.span.offset)
        return audio[0] if origin.mono else audio

    def _hop(self, sample_rate: int) -> int:
        """Return the samples between frames: an option in seconds means the same at every sample rate."""
        return max(round(self.config.frame * sample_rate / 2), 2)

    def _frames(self, span: Span, hop: int) -> NDArray[np.int64]:
        """Return the numbers of the frames whose centre lies in the span, shape [T]."""
        first, stop = -(-span.start // hop), -(-span.stop // hop)
        if span.length is not None and span.stop >= span.length:
            # The last frame is centred at the last sample or later, so that every sample lies between two centres.
            stop = -(-(span.length - 1) // hop) + 1
        return np.arange(first, max(first, stop))

    def _spectra(self, samples: NDArray[Any], span: Span, numbers: NDArray[np.int64], hop: int) -> NDArray[Any]:
        """Return one spectrum a frame, shape [channels, F, T]."""
        # A span may be too short for a frame: then there are none, in a block all the same.
        start, stop = ((numbers[0] - 1) * hop, (numbers[-1] + 1) * hop) if len(numbers) else (0, 0)
        halves = samples_between(samples, span, start, stop, self.name).reshape(len(samples), -1, hop)
        frames = np.concatenate([halves[:, :-1], halves[:, 1:]], axis=-1)
        return np.fft.rfft(frames * _window(hop, frames.dtype)).swapaxes(1, 2)

    def _scale(self, hop: int) -> NDArray[np.float64]:
        """Return the factor of each frequency that makes magnitudes mean what ``calibration`` says, shape [F]."""
        window = _window(hop, np.float64)
        if self.config.calibration == "noise":
            return np.full(hop + 1, 1 / np.sqrt((window**2).sum()))
        scale = np.full(hop + 1, 2 / window.sum())
        # A real sinusoid has two lines in the spectrum, but one where they meet: at 0 hertz and at Nyquist.
        scale[[0, -1]] /= 2
        return scale


def _window(hop: int, dtype: Any) -> NDArray[Any]:
    """Return the sine window of two hops."""
    return np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(dtype)


def _paste(piece: NDArray[Any], into: NDArray[Any], at: int) -> None:
    """Write a stretch of audio at a sample of another, without what lies beyond its ends."""
    start, stop = max(at, 0), min(at + piece.shape[-1], into.shape[-1])
    if start < stop:
        into[:, start:stop] = piece[:, start - at : stop - at]
