"""What holds for all options, rates, lengths, precisions and numbers of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow.testing import snr_db
from inmf_flow.transform import SlidingAudio, Span, analyze_in_blocks, synthesis_context
from inmf_flow_sinusoidal.reassigned import Reassigned
from inmf_flow_sinusoidal.transform import Sinusoidal

RATES = st.sampled_from([8, 100, 1_000, 8_000, 11_025, 16_000])


@st.composite
def models(draw: st.DrawFn) -> Sinusoidal:
    window = draw(st.sampled_from([0.004, 0.02, 0.05, 0.08]))
    return Sinusoidal(
        window_seconds=window,
        hop_seconds=window / draw(st.sampled_from([2, 3.3, 5, 8])),
        max_scatter=draw(st.sampled_from([0.1, 0.3, 2])),
        min_duration=draw(st.sampled_from([0, 0.03])),
        max_gap=draw(st.sampled_from([0, 0.02, 0.05])),
        max_partials=draw(st.sampled_from([1, 5, 100])),
        residual_seconds=draw(st.sampled_from([0.01, 0.06])),
        fit=draw(st.sampled_from(["input", "parts", "partials"])),
        calibration=draw(st.sampled_from(["tone", "noise"])),
    )


@st.composite
def sounds(draw: st.DrawFn, longest: int = 6_000) -> NDArray[Any]:
    """Glides in noise, from one sample on."""
    channels = draw(st.sampled_from([None, 1, 2]))
    samples = draw(st.one_of(st.integers(1, 40), st.integers(1, longest)))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    time = np.arange(samples)
    audio = random.normal(0, draw(st.sampled_from([0, 0.001, 0.3])), (channels or 1, samples))
    for _ in range(3):
        speed, glide = random.uniform(0, np.pi), random.uniform(-1e-4, 1e-4)
        audio += random.uniform(0, 1, (channels or 1, 1)) * np.sin(speed * time + glide * time**2)
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return (audio[0] if channels is None else audio).astype(dtype)


@given(models(), sounds(), RATES)
@settings(max_examples=60, deadline=None)
def test_every_sound_comes_back(transform: Sinusoidal, audio: NDArray[Any], rate: int) -> None:
    points = transform.analyze(audio, rate)
    back = transform.synthesize(points)
    assert back.shape == audio.shape
    assert back.dtype == audio.dtype
    assert snr_db(audio, back) >= (100 if audio.dtype == np.float32 else 200)


@given(models(), sounds(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_gains_act_linearly_and_zero_is_silence(transform: Sinusoidal, audio: NDArray[Any], seed: int) -> None:
    points = transform.analyze(audio.astype(np.float64), 8_000)
    random = np.random.default_rng(seed)
    one, other = ([random.normal(0, 1, block.magnitudes.shape) for block in points.blocks] for _ in range(2))
    both = [2 * a - 3 * b for a, b in zip(one, other, strict=True)]
    expected = 2 * transform.synthesize(points, one) - 3 * transform.synthesize(points, other)
    assert np.allclose(transform.synthesize(points, both), expected, atol=1e-10)
    assert not transform.synthesize(points, [np.zeros(()), np.zeros(())]).any()


@given(sounds(longest=9_000), st.integers(300, 4_000), st.sampled_from([0.1, 0.3, 2]))
@settings(max_examples=25, deadline=None)
def test_blocks_give_the_partials_of_the_whole(audio: NDArray[Any], length: int, scatter: float) -> None:
    transform = Sinusoidal(max_gap=0.03, residual_seconds=0.03, max_scatter=scatter)
    whole = transform.analyze(audio, 8_000).blocks[0]
    parts = [points.blocks[0] for points in analyze_in_blocks(transform, [np.atleast_2d(audio)], 8_000, length)]
    assert np.allclose(np.concatenate([part.times for part in parts]), whole.times)
    assert np.allclose(np.concatenate([part.frequencies for part in parts]), whole.frequencies)
    joined = np.concatenate([part.magnitudes for part in parts], axis=-1)
    assert np.allclose(joined, np.atleast_2d(whole.magnitudes), rtol=1e-5)


@given(
    st.integers(8, 700),
    st.sampled_from([1.0, 0.5, 0.25]),
    st.sampled_from(["hann", "blackman", "blackman_harris"]),
    sounds(),
    st.integers(300, 3_000),
)
@settings(max_examples=40, deadline=None)
def test_blocks_give_the_reassigned_points_of_the_whole(
    n_fft: int, hop: float, window: Any, audio: NDArray[Any], length: int
) -> None:
    transform = Reassigned(n_fft=n_fft, hop_length=max(int(hop * n_fft), 1), window=window)
    (whole,) = transform.analyze(audio, 8_000).blocks
    assert (whole.times >= 0).all()
    assert (whole.times <= audio.shape[-1] / 8_000).all()
    assert (whole.frequencies <= 4_000).all()
    parts = [points.blocks[0] for points in analyze_in_blocks(transform, [np.atleast_2d(audio)], 8_000, length)]
    for part, start in zip(parts, range(0, audio.shape[-1], length), strict=True):
        # Time is a quotient of samples and the rate: the border itself may be a rounding before or after it.
        assert (part.times >= start / 8_000 - 1e-9).all()
    joined = [
        np.concatenate([getattr(part, name) for part in parts], axis=-1)
        for name in ("times", "frequencies", "magnitudes")
    ]
    orders = [np.lexsort((joined[1], joined[0])), np.lexsort((whole.frequencies, whole.times))]
    assert np.allclose(joined[0][orders[0]], whole.times[orders[1]])
    assert joined[2].sum() == pytest.approx(whole.magnitudes.sum(), rel=1e-5)


@pytest.mark.parametrize("length", [2_000, 7_000])
def test_a_stream_is_synthesized_as_the_whole_is(length: int) -> None:
    transform = Sinusoidal(max_gap=0.03, residual_seconds=0.06)
    time = np.arange(24_000) / 8_000
    audio = np.sin(2 * np.pi * (300 * time + 60 * time**2))[None] + np.random.default_rng(0).normal(
        0, 0.05, (2, 24_000)
    )
    points = transform.analyze(audio, 8_000)

    def gains(points: Any) -> list[NDArray[np.float64]]:
        places = [block.times if block.weights.ndim == 1 else block.times[None] for block in points.blocks]
        return [0.5 + 0.5 * np.cos(9 * place) for place in places]

    whole = transform.synthesize(points, gains(points))
    (left, right), (before, after) = transform.halo(8_000), synthesis_context(transform, 8_000)
    stream = SlidingAudio(audio[:, begin : begin + 999] for begin in range(0, 24_000, 999))
    for start in range(0, 24_000, length):
        window, offset = stream.window(start - before, start + length + after)
        stop = start + length if stream.length is None else min(start + length, stream.length)
        wanted = stop + left if stream.length is None else min(stop + left, stream.length)
        span = Span(offset, max(start - right, 0), wanted, stream.length)
        points = transform.analyze(window, 8_000, span=span)
        part = transform.synthesize(points, gains(points))[:, start - offset : stop - offset]
        assert np.abs(part - whole[:, start:stop]).max() < 1e-10
