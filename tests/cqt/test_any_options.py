"""What holds for every resolution, range, rate, length and precision of the constant-Q transform."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.testing import snr_db
from inmf_flow.testing.measures import time_centroids
from inmf_flow_cqt.transform import Cqt

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100])
LENGTHS = st.one_of(st.integers(1, 20), st.integers(1, 30_000))
CHANNELS = st.sampled_from([None, 1, 2])


@st.composite
def transforms(draw: st.DrawFn) -> Cqt:
    """Draw a transform whose lowest band lies below 4 kHz, and whose slices are at most some seconds long."""
    bins_per_octave = draw(st.sampled_from([1, 2, 3, 5, 12, 24, 36, 48]))
    matrix = draw(st.booleans())
    fmin = draw(st.floats(110 if matrix else 32.703, 1_500))
    return Cqt(
        bins_per_octave=bins_per_octave,
        fmin=fmin,
        fmax=draw(st.none() | st.floats(fmin, 10_000)),
        gamma=draw(st.sampled_from([0.0, 0.7, 20.0, 300.0, 3_000.0])),
        matrix=matrix,
        calibration=draw(st.sampled_from(["tone", "noise"])),
    )


def noise(seed: int, channels: int | None, samples: int, dtype: Any) -> Any:
    shape = (samples,) if channels is None else (channels, samples)
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@given(transforms(), RATES, LENGTHS, CHANNELS, st.sampled_from([np.float32, np.float64]))
def test_any_audio_comes_back(cqt: Cqt, rate: int, samples: int, channels: int | None, dtype: Any) -> None:
    audio = noise(samples, channels, samples, dtype)
    back = cqt.synthesize(cqt.analyze(audio, rate))
    assert back.shape == audio.shape
    assert back.dtype == dtype
    assert snr_db(audio, back) >= (100 if dtype == np.float32 else 200)


@given(transforms(), RATES, LENGTHS)
def test_cells_fill_the_plane(cqt: Cqt, rate: int, samples: int) -> None:
    points = cqt.analyze(noise(0, None, samples, np.float32), rate)
    area = sum(float(block.weights.sum(dtype=np.float64)) for block in points.blocks)
    assert area == pytest.approx(samples / 2, rel=1e-4)
    assert all(len(block.times) for block in points.blocks)
    # The last point of each block is the first one at or after the last sample.
    for block in points.blocks:
        assert block.times[-1] >= (samples - 1) / rate - 1e-9
        assert len(block.times) == 1 or block.times[-2] < (samples - 1) / rate


@given(transforms(), RATES, LENGTHS, CHANNELS, st.integers(0, 100))
def test_parts_add_up_to_the_whole(cqt: Cqt, rate: int, samples: int, channels: int | None, seed: int) -> None:
    audio = noise(seed, channels, samples, np.float64)
    points = cqt.analyze(audio, rate)
    random = np.random.default_rng(seed)
    gains = [random.uniform(-1, 2, block.magnitudes.shape) for block in points.blocks]
    together = cqt.synthesize(points, gains) + cqt.synthesize(points, [1 - g for g in gains])
    assert snr_db(audio, together) >= 200
    assert not cqt.synthesize(points, [np.zeros(1) for _ in points.blocks]).any()
    assert snr_db(audio, cqt.synthesize(points, [np.ones(1, np.int64) for _ in points.blocks])) >= 200


@given(st.integers(0, 15_999), st.sampled_from([{}, {"gamma": 40.0}, {"matrix": True}, {"bins_per_octave": 5}]))
def test_an_impulse_anywhere_in_a_slice_appears_at_its_time(place: int, options: dict[str, Any]) -> None:
    rate = 8_000
    cqt = Cqt(**{"bins_per_octave": 12, "fmin": 110.0, **options})
    length = cqt.halo(rate)[0]
    audio = np.zeros(5 * length, np.float32)
    # Over the length of two slices, so that it meets every part of a slice and of its neighbours.
    index = 3 * length // 2 + place * 2 * length // 16_000
    audio[index] = 1
    for centroid, hop in time_centroids(cqt.analyze(audio, rate), index / rate):
        assert abs(centroid - index / rate) <= 0.5 * hop


def test_filters_are_kept_for_each_rate_and_are_not_pickled() -> None:
    cqt = Cqt(fmin=110.0)
    small = len(pickle.dumps(cqt))
    audio = noise(0, None, 5_000, np.float32)
    first = cqt.analyze(audio, 16_000)
    other = cqt.analyze(audio, 8_000)
    again = cqt.analyze(audio, 16_000)
    assert len(first.blocks) == len(other.blocks) + 1
    assert all(np.array_equal(a.magnitudes, b.magnitudes) for a, b in zip(first.blocks, again.blocks, strict=True))
    assert len(pickle.dumps(cqt)) == small
    copy = pickle.loads(pickle.dumps(cqt))
    assert np.array_equal(copy.synthesize(first), cqt.synthesize(first))


@given(st.floats(2.0, 4.5), st.sampled_from([{}, {"gamma": 20.0}, {"bins_per_octave": 3}]))
def test_gains_act_at_their_time_and_not_at_the_other_end_of_a_slice(start: float, options: dict[str, Any]) -> None:
    rate, cqt = 8_000, Cqt(**{"fmin": 110.0, **options})
    points = cqt.analyze(noise(0, None, 8 * rate, np.float64), rate)
    inside = [((block.times >= start) & (block.times < start + 0.5)).astype(np.float64) for block in points.blocks]
    back = cqt.synthesize(points, inside)
    # An atom's main lobe is at most a third of a slice long; -31 dB is its first side lobe.
    reach = cqt.halo(rate)[0] / rate / 3
    time = np.arange(len(back)) / rate
    far = (time < start - reach) | (time > start + 0.5 + reach)
    assert np.sum(back[far] ** 2) <= 10**-5.5 * np.sum(back**2)
