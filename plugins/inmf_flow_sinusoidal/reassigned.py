"""`Reassigned`: the STFT with every bin moved to where its energy is."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from inmf_flow.points import PointSet, ScatteredBlock
from inmf_flow.transform import (
    Calibration,
    Span,
    Transform,
    TransformConfig,
    as_channels,
    check_sample_rate,
    samples_between,
)
from inmf_flow_sinusoidal.windows import WindowName, reassignment_windows, spectra

# Frames that are transformed at a time: bounds the spectra that are held.
_FRAMES_AT_ONCE = 256


class ReassignedConfig(TransformConfig):
    """Options of the reassigned STFT."""

    n_fft: int = Field(1024, ge=8, le=1 << 22, description="Samples in the window and the Fourier transform.")
    hop_length: int | None = Field(None, ge=1, description="Samples between frames; a quarter of n_fft by default.")
    window: WindowName = Field("hann", description="hann, blackman or blackman_harris.")
    floor_db: float = Field(
        -100.0,
        ge=-400,
        le=0,
        description="Decibels relative to a sinusoid of amplitude 1 below which a bin makes no point.",
    )
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ReassignedConfig:
        if self.hop_length is not None and self.hop_length > self.n_fft:
            raise ValueError(f"hop_length must not be longer than n_fft ({self.n_fft}), got {self.hop_length}")
        return self


class Reassigned(Transform):
    """Reassigned STFT: one scattered point for each bin and frame above a floor. It has no inverse.

    Each bin's point lies at the centre of gravity of the energy that the bin sees: an impulse's points all lie at its
    time, a steady tone's all at its frequency, a linear chirp's all on its line (F. Auger and P. Flandrin, "Improving
    the readability of time-frequency and time-scale representations by the reassignment method", IEEE Trans. Signal
    Processing 43(5), 1995, by the time-weighted and the derived window). A point moves by no more than half a window in
    time, and not out of the recording or its band.

    With ``calibration="tone"`` the point of the bin nearest to a steady tone carries the tone's amplitude, wherever
    between two bins the tone lies. The lobe's other bins have points at the same place, which carry what the window
    leaves of the amplitude there, as in an STFT. A point's weight is the area of the cell that it came from.
    All channels share a point's place, which is that of their summed energy.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    >>> (block,) = Reassigned(floor_db=-40).analyze(tone, 16000).blocks
    >>> middle = abs(block.times - 0.5) < 0.3
    >>> bool(np.allclose(block.frequencies[middle], 440, atol=0.1))
    True
    """

    name = "reassigned"
    Config: ClassVar[type[TransformConfig]] = ReassignedConfig
    config: ReassignedConfig

    @property
    def _hop(self) -> int:
        return self.config.hop_length or max(self.config.n_fft // 4, 1)

    @property
    def _reach(self) -> int:
        """Samples by which a point may be moved, and which a frame covers on either side of its centre."""
        return self.config.n_fft // 2

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return twice the samples of half a window: a point may come from a frame so far away."""
        return 2 * self._reach + 1, 2 * self._reach + 1

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return one scattered block; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        first = max(-(-(span.start - self._reach) // self._hop), 0)
        last = (span.stop + self._reach) // self._hop
        if span.length is not None:
            # As in an STFT: one frame at or after the last sample.
            last = min(last, -(-(span.length - 1) // self._hop))
        found = [
            self._points(samples, span, rate, begin, min(begin + _FRAMES_AT_ONCE, last + 1))
            for begin in range(first, last + 1, _FRAMES_AT_ONCE)
        ]
        times, frequencies, weights, magnitudes = (np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
        duration = None if span.length is None else span.length / rate
        block = ScatteredBlock.build(times, frequencies, magnitudes[0] if mono else magnitudes, weights=weights)
        return PointSet((block,), rate, duration, self.config.calibration)

    def _points(
        self, samples: NDArray[np.floating], span: Span, rate: int, first: int, stop: int
    ) -> tuple[NDArray[np.float64], ...]:
        """Return seconds, hertz and weights [P] and magnitudes [C, P] of frames whose points lie in the span."""
        n_fft, hop = self.config.n_fft, self._hop
        begin = first * hop - n_fft // 2
        context = samples_between(samples, span, begin, begin + (stop - first - 1) * hop + n_fft, self.name)
        windows = reassignment_windows(self.config.window, n_fft)
        plain, by_time, by_slope = spectra(context, windows, n_fft, hop, stop - first)
        power = np.sum(plain.real**2 + plain.imag**2, axis=0)
        half = np.ones(n_fft // 2 + 1)
        half[0] = 0.5
        if n_fft % 2 == 0:
            half[-1] = 0.5
        floor = 0.5 * windows[0].sum() / half * 10 ** (self.config.floor_db / 20)
        frame, bin_ = np.nonzero((power > floor**2) & (power > 0))
        at = (slice(None), frame, bin_)
        norm = power[frame, bin_]
        later = np.sum((by_time[at] * plain[at].conj()).real, axis=0) / norm
        # Radians per sample to bins.
        higher = -np.sum((by_slope[at] * plain[at].conj()).imag, axis=0) / norm * (n_fft / (2 * np.pi))
        centre = (first + frame) * hop
        # The recording's length is known wherever a frame reaches beyond its end.
        end = np.inf if span.length is None else span.length
        time = np.clip(centre + np.clip(later, -self._reach, self._reach), 0, end)
        frequencies = np.clip((bin_ + higher) * (rate / n_fft), 0, rate / 2)
        inside = (time >= span.start) & ((time < span.stop) | span.is_last)
        magnitudes = np.abs(plain[at]) * self._scale(half, higher, bin_)
        ends = np.clip(np.stack([centre - hop / 2, centre + hop / 2]), 0, end)
        weights = (ends[1] - ends[0]) / rate * half[bin_] * (rate / n_fft)
        chosen = np.flatnonzero(inside)
        return time[chosen] / rate, frequencies[chosen], weights[chosen], magnitudes[:, chosen]

    def _scale(
        self, half: NDArray[np.float64], higher: NDArray[np.float64], bin_: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Return what turns absolute values of bins into magnitudes, [P]."""
        window = reassignment_windows(self.config.window, self.config.n_fft)[0]
        if self.config.calibration == "noise":
            return np.full(len(bin_), 1 / np.sqrt(np.sum(window**2)))
        # What a window answers to a tone up to half a bin beside a bin: 0.7 to 1.4 dB less than on it.
        offsets = np.linspace(0, 0.5, 33)
        places = (np.arange(len(window)) - len(window) // 2) / len(window)
        answers = np.cos(2 * np.pi * np.outer(offsets, places)) @ window
        found: NDArray[np.float64] = 2 * half[bin_] / np.interp(np.minimum(np.abs(higher), 0.5), offsets, answers)
        return found
