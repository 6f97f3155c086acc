"""Signals made on the spot, so that a plugin's tests need no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def tones(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return three sinusoids over the width of the spectrum: [samples] or [channels, samples]."""
    time = np.arange(samples) / sample_rate
    phases = 0.7 * np.arange(channels or 1)[:, None]
    audio = sum(0.3 * np.sin(2 * np.pi * share * sample_rate * time + phases) for share in (0.0271828, 0.11, 0.31))
    return _shaped(np.asarray(audio), channels)


def noise(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return Gaussian noise of standard deviation 0.1: [samples] or [channels, samples]."""
    random = np.random.default_rng(samples + sample_rate)
    return _shaped(random.normal(0, 0.1, (channels or 1, samples)), channels)


def clicks(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return single samples of 1 at both ends and some between: [samples] or [channels, samples]."""
    audio = np.zeros((channels or 1, samples))
    for number, channel in enumerate(audio):
        channel[:: max(samples // (3 + number), 1)] = 1
        channel[-1] = 1
    return _shaped(audio, channels)


def silence(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return zeros: [samples] or [channels, samples]."""
    return _shaped(np.zeros((channels or 1, samples)), channels)


SIGNALS: Mapping[str, Callable[[int, int, int | None], Float32]] = {
    "tones": tones,
    "noise": noise,
    "clicks": clicks,
    "silence": silence,
}
"""From its name to the function (samples, sample_rate, channels) that makes it."""


def _shaped(audio: NDArray[np.float64], channels: int | None) -> Float32:
    return (audio[0] if channels is None else audio).astype(np.float32)
