import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inmf_flow.audio import StreamResampler, as_audio, fit_length, resample, resampled_length
from inmf_flow.errors import ArgumentError


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(0, 3000), source=st.integers(1, 400), target=st.integers(1, 400))
def test_the_length_is_rounded_half_up(frames, source, target):
    out = resample(np.ones(frames, np.float32), source, target)
    assert out.shape == (resampled_length(frames, source, target),)
    assert abs(out.shape[0] - frames * target / source) <= 0.5


def test_a_length_of_half_a_sample_keeps_the_clip():
    # soxr alone rounds this one down
    assert resample(np.ones(1600, np.float32), 48000, 11025).shape == (368,)


@pytest.mark.parametrize(("source", "target"), [(16000, 44100), (44100, 16000), (48000, 44100)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tone_keeps_its_time_and_height(source, target, dtype):
    def tone(rate):
        return np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(dtype)

    out = resample(tone(source), source, target)
    assert out.dtype == dtype
    middle = slice(target // 4, 3 * target // 4)
    np.testing.assert_allclose(out[middle], tone(target)[middle], atol=1e-4)


def test_channels_stay_apart():
    audio = np.random.default_rng(0).standard_normal((3, 5000)).astype(np.float32)
    out = resample(audio, 44100, 16000)
    for channel in range(3):
        np.testing.assert_array_equal(out[channel], resample(audio[channel], 44100, 16000))


def test_an_equal_rate_gives_a_copy():
    audio = np.ones((1, 4), np.float32)
    out = resample(audio, 8000, 8000)
    np.testing.assert_array_equal(out, audio)
    assert out is not audio


@given(
    sizes=st.lists(st.integers(0, 400), max_size=6),
    channels=st.integers(1, 3),
    source=st.sampled_from([8000, 16000, 44100]),
    target=st.sampled_from([8000, 16000, 44100]),
)
def test_a_stream_of_any_blocks_gives_the_samples_of_the_whole(sizes, channels, source, target):
    audio = np.random.default_rng(0).standard_normal((channels, sum(sizes))).astype(np.float32)
    stream = StreamResampler(source, target, channels)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    out = [stream.push(audio[:, end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    joined = np.concatenate([*out, stream.finish()], axis=1)
    assert joined.shape == (channels, resampled_length(sum(sizes), source, target))
    if source != target:
        np.testing.assert_array_equal(joined, resample(audio, source, target))
    else:
        np.testing.assert_allclose(joined, audio, atol=1e-6)


def test_a_stream_refuses_blocks_of_other_channels():
    stream = StreamResampler(8000, 16000, 2)
    for block in (np.zeros((1, 5), np.float32), np.zeros(5, np.float32)):
        with pytest.raises(ArgumentError, match="wrong shape"):
            stream.push(block)


@pytest.mark.parametrize(
    "audio",
    [np.ones(4, np.int16), np.ones(4, complex), np.ones((2, 2, 2)), np.float64(1.0), np.ones((0, 4)), [True]],
)
def test_what_is_not_audio_is_refused(audio):
    for function in (as_audio, lambda a: resample(a, 1, 2), lambda a: fit_length(a, 3)):
        with pytest.raises(ArgumentError, match="audio"):
            function(audio)


@pytest.mark.parametrize("rate", [0, -1, 0.1, "16000", None])
def test_rates_that_cannot_work_are_refused(rate):
    with pytest.raises(ArgumentError, match="from_rate"):
        resample(np.ones(3), rate, 16000)
    with pytest.raises(ArgumentError, match="to_rate"):
        resample(np.ones(3), 16000, rate)


@given(have=st.integers(0, 20), wanted=st.integers(0, 20), channels=st.integers(1, 3))
def test_fit_length_trims_or_pads_the_end(have, wanted, channels):
    audio = np.random.default_rng(0).standard_normal((channels, have)).astype(np.float32)
    out = fit_length(audio, wanted)
    kept = min(have, wanted)
    assert out.shape == (channels, wanted)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out[:, :kept], audio[:, :kept])
    assert not out[:, kept:].any()
    assert fit_length(audio[0], wanted).shape == (wanted,)
