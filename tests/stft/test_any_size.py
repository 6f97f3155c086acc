"""What holds for every size, hop, window, precision and number of channels of the STFT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT, get_window

from inmf_flow.errors import TransformError
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import SlidingAudio, Span, analyze_in_blocks, synthesis_context
from inmf_flow_stft.transform import Stft

SMOOTH = ["sqrt_hann", "hann", "blackman", "blackmanharris", "bartlett", "nuttall"]
WINDOWS = [
    *SMOOTH,
    "hamming",
    "boxcar",
    "cosine",
    "flattop",
    "kaiser(8.6)",
    "tukey(0.3)",
    "gaussian(20)",
    "general_gaussian(1.5,30)",
    "exponential",
]
CHANNELS = st.sampled_from([None, 1, 2, 3])
SIZES = st.one_of(st.integers(2, 16), st.integers(2, 700), st.sampled_from([31, 127, 256, 509]))


@st.composite
def transforms(draw: st.DrawFn, largest: int = 700, windows: list[str] = WINDOWS, short_hop: bool = False) -> Stft:
    """Draw an STFT: odd, prime and tiny sizes, any hop up to the window's length, any window."""
    n_fft = min(draw(SIZES), largest)
    win_length = draw(st.none() | st.integers(2, n_fft))
    length = win_length or n_fft
    hop = draw(st.integers(1, max(length // 4, 1)) if short_hop else st.none() | st.integers(1, length))
    calibration = draw(st.sampled_from(["tone", "noise"]))
    return Stft(
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop,
        window=draw(st.sampled_from(windows)),
        calibration=calibration,
    )


def noise(seed: int, channels: int | None, samples: int, dtype: Any = np.float64) -> Any:
    shape = (samples,) if channels is None else (channels, samples)
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def only_block(points: PointSet) -> GridBlock:
    (block,) = points.blocks
    assert isinstance(block, GridBlock)
    return block


def shape_of(stft: Stft) -> tuple[int, int, int]:
    """Return n_fft, the window's length and the hop."""
    length = stft.config.win_length or stft.config.n_fft
    return stft.config.n_fft, length, stft.config.hop_length or max(length // 2, 1)


def window_of(stft: Stft) -> Any:
    _, length, _ = shape_of(stft)
    name, _, rest = stft.config.window.partition("(")
    if name == "sqrt_hann":
        return np.sqrt(get_window("hann", length))
    parameters = [float(value) for value in rest.rstrip(")").split(",") if value]
    return get_window((name, *parameters) if parameters else name, length)


@given(transforms(), CHANNELS, st.integers(1, 3000), st.sampled_from([np.float32, np.float64]), st.integers(0, 9))
def test_audio_comes_back_where_an_exact_inverse_is_promised(
    stft: Stft, channels: int | None, samples: int, dtype: Any, seed: int
) -> None:
    audio = noise(seed, channels, samples, dtype)
    points = stft.analyze(audio, 16_000)
    assert only_block(points).magnitudes.dtype == np.float32
    if stft.invertible == "none":
        assert stft.min_snr_db is None
        with pytest.raises(TransformError, match="hardly any frame sees"):
            stft.synthesize(points)
        return
    back = stft.synthesize(points)
    assert back.shape == audio.shape
    assert back.dtype == dtype
    assert stft.min_snr_db == 100
    assert snr_db(audio, back) >= (100 if dtype is np.float32 else 200)


# Not those whose width is in samples, so that they see little of a long frame.
@given(transforms(short_hop=True, windows=[w for w in WINDOWS if "gauss" not in w and w != "exponential"]))
def test_a_hop_of_a_quarter_window_always_has_an_exact_inverse(stft: Stft) -> None:
    if shape_of(stft)[1] >= 4:
        assert stft.invertible == "exact"


@given(transforms())
def test_no_inverse_is_promised_exactly_where_samples_are_lost(stft: Stft) -> None:
    _, length, hop = shape_of(stft)
    seen = np.zeros(6 * length + hop)
    for start in range(0, len(seen) - length + 1, hop):
        seen[start : start + length] += window_of(stft) ** 2
    middle = seen[2 * length : 4 * length]
    ratio = middle.min() / middle.max()
    # At the limit itself rounding may decide either way.
    if not 0.99e-3 < ratio < 1.01e-3:
        assert (stft.invertible == "exact") == (ratio > 1e-3)


@given(transforms(), st.integers(1, 2000), st.sampled_from([8_000, 16_000, 44_100]))
def test_frames_cover_the_recording_once(stft: Stft, samples: int, rate: int) -> None:
    n_fft, length, hop = shape_of(stft)
    points = stft.analyze(noise(0, None, samples), rate)
    block = only_block(points)
    # A periodic window of an odd length has its centre between two samples.
    centres = block.times * rate - (length % 2) / 2
    assert np.allclose(centres, np.arange(len(centres)) * hop, atol=1e-6)
    assert samples - 1 <= round(centres[-1]) < samples - 1 + hop
    assert np.allclose(block.frequencies, np.fft.rfftfreq(n_fft, 1 / rate))
    assert block.magnitudes.shape == (n_fft // 2 + 1, len(centres))
    assert points.duration == samples / rate
    assert points.sample_rate == rate


@given(transforms(), st.integers(1, 2000), st.sampled_from([8_000, 44_100]))
def test_weights_add_up_to_the_recordings_area(stft: Stft, samples: int, rate: int) -> None:
    block = only_block(stft.analyze(noise(0, None, samples), rate))
    assert (block.time_weights >= 0).all()
    assert (block.frequency_weights > 0).all()
    assert block.time_weights.sum(dtype=np.float64) == pytest.approx(samples / rate, rel=1e-5)
    assert block.frequency_weights.sum(dtype=np.float64) == pytest.approx(rate / 2, rel=1e-5)


@given(transforms(), st.integers(0, 2000), st.sampled_from([np.float32, np.float64]), st.integers(0, 9))
def test_magnitudes_are_those_of_scipy(stft: Stft, more: int, dtype: Any, seed: int) -> None:
    n_fft, length, hop = shape_of(stft)
    window = window_of(stft)
    audio = noise(seed, None, 3 * n_fft + more, dtype)
    block = only_block(stft.analyze(audio, 16_000))
    peer = ShortTimeFFT(window, hop, fs=16_000, mfft=n_fft, fft_mode="onesided")
    # Frames that are whole: those at the ends do not even exist for every window and hop.
    whole = [n for n in range(len(block.times)) if length <= n * hop <= len(audio) - length]
    assert whole
    expected = np.abs(peer.stft(audio.astype(np.float64), p0=whole[0], p1=whole[-1] + 1))
    if stft.config.calibration == "noise":
        expected /= np.sqrt((window**2).sum())
    else:
        expected *= 2 / window.sum()
        expected[0] /= 2
        if n_fft % 2 == 0:
            expected[-1] /= 2
    assert np.allclose(block.magnitudes[:, whole], expected, rtol=1e-4, atol=2e-6 * expected.max())


@given(transforms(windows=SMOOTH, largest=200), st.data())
def test_an_impulse_is_loudest_in_the_frame_whose_centre_is_nearest(stft: Stft, data: st.DataObject) -> None:
    _, length, hop = shape_of(stft)
    samples = 4 * length
    index = data.draw(st.integers(0, samples - 1))
    audio = np.zeros(samples)
    audio[index] = 1
    block = only_block(stft.analyze(audio, 1000))
    level = np.linalg.norm(block.magnitudes, axis=0)
    if level.max() < 1e-4:
        # Between two frames, where a window of this hop sees nothing.
        assert hop > length // 4
        return
    distance = np.abs(block.times * 1000 - index)
    assert distance[np.argmax(level)] <= distance.min() + 1e-6


@given(transforms(windows=["sqrt_hann", "hann", "blackman"], largest=101), st.integers(0, 300))
def test_the_centre_of_an_impulses_energy_is_its_true_time(like: Stft, place: int) -> None:
    # A frame at every sample, so that the centre of energy is not blurred by the hop.
    n_fft, length, _ = shape_of(like)
    stft = Stft(n_fft=n_fft, win_length=length, hop_length=1, window=like.config.window)
    audio = np.zeros(500)
    audio[100 + place] = 1
    block = only_block(stft.analyze(audio, 1))
    energy = np.sum(block.magnitudes.astype(np.float64) ** 2, axis=0)
    assert np.sum(energy * block.times) / energy.sum() == pytest.approx(100 + place, abs=1e-4)


@given(transforms(largest=64), CHANNELS.filter(bool), st.integers(1, 400), st.integers(1, 200), st.data())
def test_points_made_in_blocks_are_those_of_the_whole(
    stft: Stft, channels: int, samples: int, block_length: int, data: st.DataObject
) -> None:
    audio = noise(samples, channels, samples)
    whole = stft.analyze(audio, 16_000)
    joined = PointSet.consecutive(analyze_in_blocks(stft, pieces(audio, data), 16_000, block_length))
    got, expected = only_block(joined), only_block(whole)
    assert np.allclose(got.times, expected.times, rtol=0, atol=1e-12)
    assert np.array_equal(got.frequencies, expected.frequencies)
    assert np.allclose(got.magnitudes, expected.magnitudes, rtol=1e-5, atol=1e-6)
    assert np.allclose(got.weights, expected.weights, rtol=1e-4)
    assert (joined.duration, joined.calibration) == (whole.duration, whole.calibration)


@given(transforms(largest=64), CHANNELS.filter(bool), st.integers(1, 400), st.integers(1, 200), st.data())
def test_audio_made_in_blocks_is_that_of_the_whole(
    stft: Stft, channels: int, samples: int, step: int, data: st.DataObject
) -> None:
    if stft.invertible == "none":
        return
    audio = noise(samples, channels, samples)
    whole = stft.synthesize(stft.analyze(audio, 16_000), wave)
    made = np.concatenate(list(in_blocks(stft, pieces(audio, data), step)), axis=-1)
    assert made.shape == whole.shape
    assert np.abs(made - whole).max() <= 1e-9 * max(np.abs(whole).max(), 1)


def pieces(audio: Any, data: st.DataObject) -> list[Any]:
    """Cut audio at random places, some of them the same."""
    cuts = data.draw(st.lists(st.integers(0, audio.shape[-1]), max_size=5))
    return np.split(audio, sorted(cuts), axis=-1)


def wave(times: Any, frequencies: Any) -> Any:
    return 0.5 + 0.5 * np.cos(9000 * times[None, :] + 0.001 * frequencies[:, None])


def in_blocks(stft: Stft, blocks: list[Any], step: int) -> Iterator[Any]:
    """Separate as a program would that knows only `synthesis_context` and `halo`."""
    audio = SlidingAudio(blocks)
    before, after = synthesis_context(stft, 16_000)
    left, right = stft.halo(16_000)
    start = 0
    while audio.length is None or start < audio.length:
        window, offset = audio.window(start - before, start + step + after)
        stop = start + step if audio.length is None else min(start + step, audio.length)
        if start >= stop:
            break
        end = stop + left if audio.length is None else min(stop + left, audio.length)
        points = stft.analyze(window, 16_000, span=Span(offset, max(start - right, 0), end, audio.length))
        yield stft.synthesize(points, wave)[:, start - offset : stop - offset]
        start = stop
