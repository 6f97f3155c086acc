"""What holds for every kind of wavelet transform, wavelet, level, precision, length and number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inmf_flow.points import GridBlock, PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import SlidingAudio, Span, analyze_in_blocks, synthesis_context
from inmf_flow_wavelet.transform import Wavelet

RATE = 16_000
ORTHOGONAL = ["haar", "db2", "db7", "db38", "sym5", "sym20", "coif3", "coif17"]
OTHERS = ["bior1.3", "bior3.1", "bior4.4", "bior6.8", "rbio3.5", "rbio5.5"]
CHANNELS = st.sampled_from([None, 1, 2, 3])
PRECISIONS = st.sampled_from([np.float32, np.float64])


@st.composite
def discrete(draw: st.DrawFn, deepest: int = 7, wavelets: list[str] = ORTHOGONAL) -> Wavelet:
    """Draw a transform with an exact inverse."""
    kind = draw(st.sampled_from(["packet", "dwt", "swt"]))
    return Wavelet(
        kind=kind,
        wavelet=draw(st.sampled_from(wavelets if kind == "packet" else [*wavelets, *OTHERS])),
        level=draw(st.integers(1, deepest)),
        calibration=draw(st.sampled_from(["tone", "noise"])),
    )


@st.composite
def continuous(draw: st.DrawFn) -> Wavelet:
    """Draw a continuous transform of few bands, so that trying many takes little time."""
    return Wavelet(
        kind="cwt",
        wavelet=draw(st.sampled_from(["cmor20.0-1.0", "cmor1.5-1.0", "cmor1-3", "morl", "mexh", "gaus4"])),
        bins_per_octave=draw(st.integers(8, 12)),
        fmin=draw(st.sampled_from([200.0, 450.0, 3000.0])),
        fmax=draw(st.sampled_from([None, 3300.0, 5001.0])),
        hop_length=draw(st.sampled_from([None, 1, 7, 64, 300])),
        calibration=draw(st.sampled_from(["tone", "noise"])),
    )


SHORT = discrete(deepest=4, wavelets=["haar", "db2", "sym5", "coif3"])


def noise(seed: int, channels: int | None, samples: int, dtype: Any = np.float64) -> Any:
    shape = (samples,) if channels is None else (channels, samples)
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def grids(points: PointSet) -> list[GridBlock]:
    blocks = [block for block in points.blocks if isinstance(block, GridBlock)]
    assert len(blocks) == len(points.blocks)
    return blocks


def wave(times: Any, frequencies: Any) -> Any:
    return 0.5 + 0.5 * np.cos(900 * times[None, :] + 0.001 * frequencies[:, None])


@given(st.one_of(discrete(), continuous()), CHANNELS, st.integers(1, 3000), PRECISIONS, st.integers(0, 9))
def test_audio_comes_back(wavelet: Wavelet, channels: int | None, samples: int, dtype: Any, seed: int) -> None:
    audio = noise(seed, channels, samples, dtype)
    points = wavelet.analyze(audio, RATE)
    back = wavelet.synthesize(points)
    assert back.shape == audio.shape
    assert back.dtype == dtype
    assert wavelet.min_snr_db == 100
    # Filters are given to eleven digits or more.
    assert snr_db(audio, back) >= (100 if dtype is np.float32 else 170)


@given(st.one_of(discrete(), continuous()), CHANNELS, st.integers(1, 1500), PRECISIONS, st.integers(0, 9))
def test_gains_of_1_and_parts_of_1_give_the_whole(
    wavelet: Wavelet, channels: int | None, samples: int, dtype: Any, seed: int
) -> None:
    audio = noise(seed, channels, samples, dtype)
    points = wavelet.analyze(audio, RATE)
    random = np.random.default_rng(seed)
    gains = [random.uniform(-1, 2, block.magnitudes.shape) for block in points.blocks]
    parts = [wavelet.synthesize(points, given) for given in (gains, [1 - gain for gain in gains])]
    assert snr_db(audio, wavelet.synthesize(points, [np.ones(1)] * len(gains))) >= 100
    assert np.abs(sum(parts) - audio).max() <= (1e-4 if dtype is np.float32 else 1e-8)
    assert not np.any(wavelet.synthesize(points, [np.zeros(1)] * len(gains)))


@given(st.one_of(discrete(), continuous()), st.integers(1, 3000), st.sampled_from([8_000, 44_100]))
def test_weights_add_up_to_the_recordings_area(wavelet: Wavelet, samples: int, rate: int) -> None:
    points = wavelet.analyze(noise(0, None, samples), rate)
    blocks = grids(points)
    assert sum(block.frequency_weights.sum(dtype=np.float64) for block in blocks) == pytest.approx(rate / 2, rel=1e-5)
    for block in blocks:
        assert (block.frequency_weights > 0).all()
        assert block.time_weights.sum(dtype=np.float64) == pytest.approx(samples / rate, rel=1e-5)
        assert block.times[0] >= 0
        hop = block.times[1] - block.times[0] if len(block.times) > 1 else np.inf
        assert (samples - 1) / rate - 1e-9 <= block.times[-1] <= (samples - 1) / rate + hop + 1e-9
    assert points.duration == samples / rate


@given(st.one_of(SHORT, continuous()), CHANNELS.filter(bool), st.integers(1, 900), st.integers(1, 300), st.data())
def test_points_made_in_blocks_are_those_of_the_whole(
    wavelet: Wavelet, channels: int, samples: int, block_length: int, data: st.DataObject
) -> None:
    # As many blocks as stay quick where each is analysed with a thousand samples on either side.
    block_length = max(block_length, samples // 8)
    audio = noise(samples, channels, samples)
    whole = wavelet.analyze(audio, RATE)
    joined = PointSet.consecutive(analyze_in_blocks(wavelet, pieces(audio, data), RATE, block_length))
    assert len(joined.blocks) == len(whole.blocks)
    for got, expected in zip(grids(joined), grids(whole), strict=True):
        assert np.allclose(got.times, expected.times, rtol=0, atol=1e-12)
        assert np.array_equal(got.frequencies, expected.frequencies)
        largest = expected.magnitudes.max(initial=0)
        assert np.abs(got.magnitudes - expected.magnitudes).max(initial=0) <= 1e-5 * largest
        assert np.allclose(got.weights, expected.weights, rtol=1e-4)


@settings(max_examples=20)
@given(st.one_of(SHORT, continuous()), CHANNELS.filter(bool), st.integers(1, 900), st.integers(1, 300), st.data())
def test_audio_made_in_blocks_is_that_of_the_whole(
    wavelet: Wavelet, channels: int, samples: int, step: int, data: st.DataObject
) -> None:
    step = max(step, samples // 8)
    audio = noise(samples, channels, samples)
    whole = wavelet.synthesize(wavelet.analyze(audio, RATE), wave)
    made = np.concatenate(list(in_blocks(wavelet, pieces(audio, data), step)), axis=-1)
    assert made.shape == whole.shape
    assert np.abs(made - whole).max() <= 1e-5


def pieces(audio: Any, data: st.DataObject) -> list[Any]:
    """Cut audio at random places, some of them the same."""
    cuts = data.draw(st.lists(st.integers(0, audio.shape[-1]), max_size=5))
    return np.split(audio, sorted(cuts), axis=-1)


def in_blocks(wavelet: Wavelet, blocks: list[Any], step: int) -> Iterator[Any]:
    """Separate as a program would that knows only `synthesis_context` and `halo`."""
    audio = SlidingAudio(blocks)
    before, after = synthesis_context(wavelet, RATE)
    left, right = wavelet.halo(RATE)
    start = 0
    while audio.length is None or start < audio.length:
        window, offset = audio.window(start - before, start + step + after)
        stop = start + step if audio.length is None else min(start + step, audio.length)
        if start >= stop:
            break
        end = stop + left if audio.length is None else min(stop + left, audio.length)
        points = wavelet.analyze(window, RATE, span=Span(offset, max(start - right, 0), end, audio.length))
        yield wavelet.synthesize(points, wave)[:, start - offset : stop - offset]
        start = stop
