"""Points of every kind with values of any sign, and a spectrogram of read speech in decibels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inmf_flow.points import GridBlock, PointSet, ScatteredBlock


def make_points(kind: str, seed: int = 0) -> PointSet:
    """Return small points: a grid, one with missing points, one of two channels, scattered ones, or all of them."""
    rng = np.random.default_rng(seed)
    times, frequencies = np.sort(rng.uniform(0, 1, 11)), np.sort(rng.uniform(0, 4000, 13))

    def values(f: int, t: int) -> np.ndarray:
        return rng.standard_normal((f, 2)) @ rng.standard_normal((2, t)) + 0.3 * rng.standard_normal((f, t)) + 1

    grid = GridBlock.build(times, frequencies, values(13, 11))
    holes = values(13, 11)
    holes[rng.random(holes.shape) < 0.2] = np.nan
    keep = np.ones(11)
    keep[4] = 0
    missing = GridBlock.build(times, frequencies, holes, time_weights=keep).below(float(frequencies[-2]))
    channels = GridBlock.build(times, frequencies, np.stack([values(13, 11), holes]))
    place = rng.integers(0, 12, (2, 150))
    heights = values(12, 12)[place[0], place[1]]
    heights[5] = np.nan
    weights = rng.random(150)
    weights[7] = 0
    scattered = ScatteredBlock.build(place[0] / 12, place[1] * 300.0, heights, weights=weights)
    other = GridBlock.build(np.linspace(0, 1, 5), frequencies[::2], values(7, 5))
    blocks = {
        "grid": (grid,),
        "missing": (missing,),
        "channels": (channels,),
        "scattered": (scattered,),
        "hybrid": (missing, scattered, ScatteredBlock.build([], [], []), other),
    }
    return PointSet(blocks[kind], duration=1.0)


@pytest.fixture(name="make_points")
def make_points_fixture() -> Callable[..., PointSet]:
    return make_points


@pytest.fixture(scope="session")
def decibels(speech: dict[str, Path]) -> PointSet:
    """Levels of one second and a half of read speech, [129, 188]."""
    from inmf_flow.audio import read_audio
    from inmf_flow.transform import get_transform

    audio, rate = read_audio(speech["female_train"])
    block = get_transform("stft", n_fft=256).analyze(audio[0, 16000:40000], rate).blocks[0]
    return PointSet.from_grid(block.times, block.frequencies, 20 * np.log10(block.magnitudes + 1e-4))
