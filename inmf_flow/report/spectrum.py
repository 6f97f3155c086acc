"""Spectrograms for the eye, on a frequency axis that gives low frequencies room.

For display only: nothing here takes part in a separation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

COLUMNS = 720
ROWS = 240
WINDOW_SECONDS = 0.04
# 0.04 s at 192 kHz is less: a header with an absurd sample rate must not ask for all memory.
MAX_WINDOW = 8192
# Decibels below an item's loudest point that are drawn: below lies noise that would only grey the picture.
DYNAMIC_RANGE = 70.0
_SILENCE = 1e-12


def warp(frequencies: Float64 | float) -> Float64:
    """Map hertz to mel (O'Shaughnessy, 1987): linear below about 700 Hz and logarithmic above."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(frequencies, dtype=np.float64) / 700.0))


def unwarp(mels: Float64 | float) -> Float64:
    """Map mel to hertz."""
    return np.asarray(700.0 * (10.0 ** (np.asarray(mels, dtype=np.float64) / 2595.0) - 1.0))


def row_frequencies(top: float, rows: int = ROWS) -> Float64:
    """Return the frequencies in hertz of a picture's rows, evenly spaced in mel over [0, top], shape [rows]."""
    edges = np.linspace(0.0, float(warp(top)), rows + 1)
    return unwarp((edges[:-1] + edges[1:]) / 2)


@dataclass(frozen=True)
class Spectrogram:
    """A picture's content.

    Attributes
    ----------
    power
        Mean over channels of the power in each row and column, shape [rows, columns]; a full-scale sinusoid gives 1.
    seconds
        Length of the time axis.
    top
        Upper end of the frequency axis in hertz (rows are evenly spaced in mel).
    """

    power: Float64
    seconds: float
    top: float

    @property
    def loudest(self) -> float:
        """The greatest power in the picture."""
        return float(self.power.max(initial=0.0))

    def decibels(self, loudest: float) -> Float64:
        """Return the picture in dB relative to a power, between -`DYNAMIC_RANGE` and 0, shape [rows, columns]."""
        reference = loudest if loudest > _SILENCE else 1.0
        scaled = np.maximum(self.power / reference, 10.0 ** (-DYNAMIC_RANGE / 10.0))
        return np.asarray(np.minimum(10.0 * np.log10(scaled), 0.0))


def spectrogram(audio: NDArray[np.float32], sample_rate: int, top: float | None = None) -> Spectrogram:
    """Compute the picture of a recording of any length, from one sample on.

    Parameters
    ----------
    audio
        Shape [channels, samples].
    sample_rate
        Samples per second.
    top
        Upper end of the frequency axis in hertz; the Nyquist frequency unless given.
    """
    samples = audio.shape[-1]
    from scipy import fft

    window_length = max(16, min(round(WINDOW_SECONDS * sample_rate), samples, MAX_WINDOW))
    # Hann with a sum of 2, so that a sinusoid of amplitude 1 has magnitude 1.
    window = np.hanning(window_length + 2)[1:-1]
    window *= 2.0 / window.sum()
    n_fft = 1 << math.ceil(math.log2(2 * window_length))
    columns = min(COLUMNS, samples)
    # A column shows the middle of its share of the time axis.
    centres = np.floor((np.arange(columns) + 0.5) * samples / columns).astype(np.int64)
    starts = centres - window_length // 2 + window_length
    frames = starts[:, None] + np.arange(window_length)
    power = np.zeros((columns, n_fft // 2 + 1))
    for channel in audio:
        # Single precision is 80 dB below the darkest that is drawn.
        padded = np.pad(np.asarray(channel, np.float32), window_length)
        spectrum = fft.rfft(padded[frames] * window.astype(np.float32), n_fft)
        power += np.square(spectrum.real, dtype=np.float64) + np.square(spectrum.imag, dtype=np.float64)
    frequencies = np.arange(n_fft // 2 + 1, dtype=np.float64) * (sample_rate / n_fft)
    top = sample_rate / 2 if top is None else top
    return Spectrogram(_rows(power.T / len(audio), frequencies, top), samples / sample_rate, top)


def _rows(power: Float64, frequencies: Float64, top: float, rows: int = ROWS) -> Float64:
    """Average power over each row's band: by the integral, which holds for rows narrower and wider than a bin."""
    edges = unwarp(np.linspace(0.0, float(warp(top)), rows + 1))
    steps = np.diff(frequencies)[:, None]
    integral = np.concatenate([np.zeros((1, power.shape[1])), np.cumsum((power[1:] + power[:-1]) / 2 * steps, axis=0)])
    position = np.interp(edges, frequencies, np.arange(len(frequencies)))
    below = np.minimum(position.astype(np.int64), len(frequencies) - 2)
    part = (position - below)[:, None]
    # Within a bin the power is a straight line, so its integral is a parabola.
    slope = power[below + 1] - power[below]
    at_edges = integral[below] + (power[below] * part + slope * part**2 / 2) * steps[0]
    band = np.diff(at_edges, axis=0) / np.diff(edges)[:, None]
    # Rows above the Nyquist frequency, where another recording of the item reaches higher, are empty.
    return np.asarray(np.where(edges[:-1, None] < frequencies[-1], np.maximum(band, 0.0), 0.0))
