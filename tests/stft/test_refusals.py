"""What the STFT refuses, and what it says then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_stft.transform import Stft

STFT = Stft(n_fft=64, hop_length=16)
AUDIO = np.random.default_rng(0).standard_normal((2, 1000))
POINTS = STFT.analyze(AUDIO, 16_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 1}, "n_fft: .*greater than or equal to 2"),
        ({"n_fft": 64, "win_length": 65}, r"win_length must not be longer than n_fft \(64\), got 65"),
        ({"n_fft": 64, "win_length": 1}, "win_length: "),
        ({"n_fft": 64, "hop_length": 65}, r"hop_length must not be longer than the window \(64\), got 65"),
        ({"n_fft": 64, "win_length": 32, "hop_length": 33}, r"not be longer than the window \(32\), got 33"),
        ({"hop_length": 0}, "hop_length: "),
        ({"hop": 16}, "hop: Extra inputs are not permitted"),
        ({"calibration": "loud"}, "calibration: Input should be 'tone' or 'noise'"),
        ({"window": "hanning_"}, "no window 'hanning_': expected sqrt_hann, hann"),
        ({"window": "kaiser"}, "no window 'kaiser'"),
        ({"window": "hann(3)"}, r"no window 'hann\(3\)'"),
        ({"window": "kaiser(x)"}, "no window"),
        ({"window": "general_cosine(1)"}, "no window"),
        ({"window": "__import__('os')"}, "no window"),
        ({"window": ""}, "no window ''"),
        ({"window": "gaussian(0)"}, r"the window 'gaussian\(0\)' has no usable samples at length 2000"),
        ({"window": "kaiser(1e6)"}, "has no usable samples"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^stft: bad options: .*{message}"):
        Stft(**options)


@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), float("inf"), 22_050.5])
def test_a_sample_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(TransformError, match="stft: the sample rate is not a positive whole number"):
        STFT.analyze(AUDIO, rate)


@pytest.mark.parametrize("rate", [16_000.0, np.int64(16_000), np.float32(16_000)])
def test_a_sample_rate_may_be_any_kind_of_whole_number(rate: Any) -> None:
    points = STFT.analyze(AUDIO, rate)
    assert type(points.sample_rate) is int
    assert np.array_equal(points.blocks[0].times, POINTS.blocks[0].times)


@pytest.mark.parametrize(("missing_before", "missing_after"), [(1, 0), (0, 2), (16, 16), (100, 0), (0, 100)])
def test_a_span_without_its_context_is_refused(missing_before: int, missing_after: int) -> None:
    # The first frame is centred at the first sample and the last one at the last that are wanted.
    start, stop = 320, 641
    left, right = STFT.halo(16_000)
    low, high = start - left + missing_before, stop + right - missing_after
    with pytest.raises(TransformError, match=r"the span lacks the context.*Give halo") as caught:
        STFT.analyze(AUDIO[:, low:high], 16_000, span=Span(low, start, stop, 1000))
    assert caught.value.got == f"samples {low} to {high}"
    low, high = start - left, stop + right
    STFT.analyze(AUDIO[:, low:high], 16_000, span=Span(low, start, stop, 1000))


def test_context_after_the_end_is_wanted_while_the_end_is_not_known() -> None:
    with pytest.raises(TransformError, match="lacks the context"):
        STFT.analyze(AUDIO, 16_000, span=Span(0, 0, 1000, None))
    STFT.analyze(AUDIO, 16_000, span=Span(0, 0, 1000, 1000))


@pytest.mark.parametrize(
    "points",
    [
        POINTS.without_synthesis(),
        POINTS + POINTS,
        PointSet.end_to_end([POINTS]),
        PointSet.consecutive(analyze_in_blocks(STFT, [AUDIO], 16_000, 300)),
        POINTS.channel(0),
        replace(POINTS, synthesis=None),
        replace(POINTS, synthesis="another transform's"),
        replace(POINTS, blocks=POINTS.without_synthesis().blocks),
        PointSet.from_grid([0.0, 1.0], [100.0], np.ones((1, 2))),
    ],
    ids=["stored", "joined", "end to end", "consecutive", "channel", "bare", "foreign", "no phases", "own"],
)
def test_points_without_phases_are_not_turned_into_audio(points: PointSet) -> None:
    with pytest.raises(TransformError, match=r"stft: these points carry no phases.*analyse the audio again"):
        STFT.synthesize(points)


@pytest.mark.parametrize("change", [{"hop_length": 8}, {"window": "hann"}, {"n_fft": 66}, {"calibration": "noise"}])
def test_points_made_with_other_options_are_not_turned_into_audio(change: dict[str, Any]) -> None:
    other = Stft(**{"n_fft": 64, "hop_length": 16, **change})
    with pytest.raises(TransformError, match="made with other options"):
        other.synthesize(POINTS)
    assert np.allclose(Stft(n_fft=64, hop_length=16).synthesize(POINTS), AUDIO)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ([], "one array of gains is needed for each block; got 0; expected 1"),
        ([np.ones(1), np.ones(1)], "got 2; expected 1"),
        ([np.ones((33, 5))], r"gains of block 0 do not fit its points; got shape \(33, 5\)"),
        ([np.ones((3, 33, 64))], "do not fit"),
        (lambda times, frequencies: np.ones((len(times), len(frequencies))), "do not fit"),
        ([np.full((33, 1), np.nan)], "not all finite"),
        ([np.full((33, 1), 1j)], "not real"),
    ],
)
def test_gains_that_do_not_fit_are_refused(gains: Any, message: str) -> None:
    with pytest.raises(TransformError, match=f"^stft: .*{message}"):
        STFT.synthesize(POINTS, gains)


@pytest.mark.parametrize(
    ("options", "invertible"),
    [
        ({"n_fft": 64, "hop_length": 64, "window": "hann"}, "none"),
        ({"n_fft": 64, "hop_length": 64, "window": "boxcar"}, "exact"),
        ({"n_fft": 64, "hop_length": 32, "window": "hann"}, "exact"),
        ({"n_fft": 2}, "exact"),
        ({"n_fft": 2, "hop_length": 2}, "none"),
        ({}, "exact"),
    ],
)
def test_what_can_be_inverted(options: dict[str, Any], invertible: str) -> None:
    stft = Stft(**options)
    assert stft.invertible == invertible
    assert stft.min_snr_db == (100 if invertible == "exact" else None)


def test_a_span_between_two_frames_has_no_points_and_silent_audio() -> None:
    points = STFT.analyze(AUDIO, 16_000, span=Span(0, 17, 20, 1000))
    assert points.blocks[0].magnitudes.shape == (2, 33, 0)
    assert not STFT.synthesize(points).any()
