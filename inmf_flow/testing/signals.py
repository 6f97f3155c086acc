"""Signals for a plugin's tests: made on the spot, or a second of speech and of music that come with the package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import read_audio

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


def speech(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return a recorded voice, repeated after a second: [samples] or [channels, samples]."""
    return _recorded("speech", samples, sample_rate, channels)


def music(samples: int, sample_rate: int, channels: int | None = None) -> Float32:
    """Return a recorded guitar, repeated after a second: [samples] or [channels, samples]."""
    return _recorded("music", samples, sample_rate, channels)


SIGNALS: Mapping[str, Callable[[int, int, int | None], Float32]] = {
    "tones": tones,
    "noise": noise,
    "clicks": clicks,
    "silence": silence,
    "speech": speech,
    "music": music,
}
"""From its name to the function (samples, sample_rate, channels) that makes it."""


def _recorded(name: str, samples: int, sample_rate: int, channels: int | None) -> Float32:
    audio = _excerpt(name, sample_rate)
    # Each channel hears the recording a little later and softer, as microphones in a row would.
    starts = [number * sample_rate // 100 for number in range(channels or 1)]
    copies = [np.resize(np.roll(audio, start), samples) / (1 + number) for number, start in enumerate(starts)]
    return _shaped(np.stack(copies), channels)


@lru_cache(maxsize=16)
def _excerpt(name: str, sample_rate: int) -> Float32:
    with as_file(files("inmf_flow.testing") / "audio" / f"{name}.flac") as path:
        audio: Float32 = read_audio(path, sample_rate)[0][0]
    return audio


def _shaped(audio: NDArray[np.float64], channels: int | None) -> Float32:
    return (audio[0] if channels is None else audio).astype(np.float32)
