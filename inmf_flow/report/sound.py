"""The stretch of a recording that the page shows and plays, and its form as a data URI."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import open_audio, resample

MAX_SECONDS = 30.0
MIN_SECONDS = 3.0
# A header may claim any sample rate: beyond this, seconds say nothing about the memory that they take.
MAX_RATE = 768_000
# What browsers are sure to play, and what a listener can hear.
PLAYABLE_RATES = (8000, 48000)
# libFLAC puts this many samples into a frame. Chromium cannot go back to the start of a file of a single frame, which
# it does before playing ("FFmpegDemuxer: demuxer seek failed"; measured at 8, 16 and 48 kHz: 4096 fail, 4097 play).
_FRAME = 4096


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a recording.

    Attributes
    ----------
    audio
        Shape [channels, samples], float32.
    sample_rate
        Samples per second.
    total
        Length of the whole recording in seconds.
    """

    audio: NDArray[np.float32]
    sample_rate: int
    total: float

    @property
    def seconds(self) -> float:
        """Length of the excerpt in seconds."""
        return float(self.audio.shape[-1] / self.sample_rate)

    @property
    def cut(self) -> bool:
        """Whether the recording goes on after the excerpt."""
        return self.total > self.seconds + 0.5 / self.sample_rate

    @property
    def silent(self) -> bool:
        """Whether every sample is zero."""
        return not self.audio.any()


@dataclass(frozen=True)
class Player:
    """What an audio element needs: a data URI, and what was changed to make it playable, as a sentence or None."""

    uri: str
    note: str | None


def read_excerpt(path: Path, seconds: float, start: float | None = None, stop: float | None = None) -> Excerpt:
    """Read the first seconds of a file, or of a part of one, without reading the rest.

    Raises
    ------
    AudioError
        The file is missing, is not audio or holds NaN.
    """
    with open_audio(path, None, start, stop) as reader:
        total = reader.frames / reader.sample_rate
        wanted = max(1, math.ceil(seconds * min(reader.sample_rate, MAX_RATE)))
        audio = next(iter(reader.blocks(wanted)))
        return Excerpt(np.asarray(audio, dtype=np.float32), reader.sample_rate, total)


def excerpt_seconds(samples_per_second: float, budget: float = 5e7) -> float:
    """Return how much of each recording a page can hold.

    Parameters
    ----------
    samples_per_second
        Sum over all players of sample rate times channels.
    budget
        Samples that a page may hold: one is a bit over one byte of FLAC, in base64.
    """
    if samples_per_second <= 0:
        return MAX_SECONDS
    # Whole seconds read better on the page.
    return float(min(MAX_SECONDS, max(MIN_SECONDS, math.floor(budget / samples_per_second))))


def player(excerpt: Excerpt) -> Player:
    """Encode an excerpt as 16-bit FLAC in a data URI, changing its level only where it would clip."""
    import soundfile

    notes = []
    audio, rate = excerpt.audio, excerpt.sample_rate
    if len(audio) > 2:
        notes.append(f"mixed down from {len(audio)} channels")
        audio = audio.mean(axis=0, keepdims=True)
    low, high = PLAYABLE_RATES
    if not low <= rate <= high:
        playable = min(max(rate, low), high)
        notes.append(f"resampled from {rate} Hz to {playable} Hz")
        audio, rate = np.asarray(resample(audio, rate, playable), dtype=np.float32), playable
    if audio.shape[-1] <= _FRAME:
        notes.append(f"{excerpt.seconds:.3g} s, followed here by silence because browsers play nothing shorter")
        audio = np.pad(audio, ((0, 0), (0, 2 * _FRAME - audio.shape[-1])))
    peak = float(np.abs(audio).max(initial=0.0))
    if peak > 1:
        notes.append(f"turned down by {20 * math.log10(peak):.1f} dB so as not to clip")
        audio = audio / np.float32(peak)
    stream = io.BytesIO()
    soundfile.write(stream, audio.T, rate, format="FLAC", subtype="PCM_16")
    encoded = base64.b64encode(stream.getvalue()).decode("ascii")
    return Player(f"data:audio/flac;base64,{encoded}", ", ".join(notes) or None)
