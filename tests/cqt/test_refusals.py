"""What the constant-Q transform refuses, and what it says then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_cqt.transform import Cqt

OPTIONS: dict[str, Any] = {"bins_per_octave": 6, "fmin": 440.0}
CQT = Cqt(**OPTIONS)
AUDIO = np.random.default_rng(0).standard_normal((2, 8_000))
POINTS = CQT.analyze(AUDIO, 16_000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins_per_octave": 0}, "bins_per_octave: .*greater than or equal to 1"),
        ({"bins_per_octave": 193}, "bins_per_octave: .*less than or equal to 192"),
        ({"fmin": 0.0}, "fmin: .*greater than 0"),
        ({"fmin": float("inf")}, "fmin: .*finite"),
        ({"fmax": 30.0}, r"fmax must not be below fmin \(32.703 Hz\), got 30"),
        ({"gamma": -1.0}, "gamma: "),
        ({"slice_seconds": 0.0}, "slice_seconds: "),
        ({"slice_seconds": 4.0}, r"slice_seconds must be at least 4.24 for a lowest band 1.89 Hz wide, got 4"),
        ({"fmin": 0.1}, r"bands of 0.00578 Hz need slices of 2077 s, more than 600 s: raise fmin or gamma"),
        ({"calibration": "loud"}, "calibration: Input should be 'tone' or 'noise'"),
        ({"hop_length": 512}, "hop_length: Extra inputs are not permitted"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^cqt: bad options: .*{message}"):
        Cqt(**options)


def test_what_a_refusal_names_is_accepted() -> None:
    cqt = Cqt(slice_seconds=4.24)
    audio = AUDIO[0, :3_000]
    assert np.allclose(cqt.synthesize(cqt.analyze(audio, 8_000)), audio)


@pytest.mark.parametrize(
    ("options", "rate"),
    [({"fmin": 8_000.0}, 16_000), ({"fmin": 3_950.0}, 8_000), ({"fmin": 900.0, "gamma": 800.0}, 2_000)],
)
def test_bands_that_do_not_fit_below_nyquist_are_refused(options: dict[str, Any], rate: int) -> None:
    with pytest.raises(TransformError, match=r"cqt: not even the lowest band lies below Nyquist.*Lower fmin") as caught:
        Cqt(**options).analyze(AUDIO, rate)
    assert f"at {rate} Hz" in str(caught.value)


@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), 22_050.5])
def test_a_sample_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(TransformError, match="cqt: the sample rate is not a positive whole number"):
        CQT.analyze(AUDIO, rate)
    with pytest.raises(TransformError, match="cqt: the sample rate is not a positive whole number"):
        CQT.halo(rate)


@pytest.mark.parametrize(("missing_before", "missing_after"), [(600, 0), (0, 600), (700, 700)])
def test_a_span_without_its_context_is_refused(missing_before: int, missing_after: int) -> None:
    halo = CQT.halo(16_000)[0]
    assert halo < 2_000
    # Slices begin every half halo. The first sample that is wanted is the last before one, the last the first of one.
    start, stop = 3 * halo // 2 - 1, 5 * halo // 2 + 1
    low, high = start - halo + missing_before, stop + halo - missing_after
    with pytest.raises(TransformError, match=r"the span lacks the context.*Give halo"):
        CQT.analyze(AUDIO[:, low:high], 16_000, span=Span(low, start, stop, 8_000))
    low, high = start - halo, stop + halo
    CQT.analyze(AUDIO[:, low:high], 16_000, span=Span(low, start, stop, 8_000))


def test_context_after_the_end_is_wanted_while_the_end_is_not_known() -> None:
    with pytest.raises(TransformError, match="lacks the context"):
        CQT.analyze(AUDIO, 16_000, span=Span(0, 0, 8_000, None))
    CQT.analyze(AUDIO, 16_000, span=Span(0, 0, 8_000, 8_000))


@pytest.mark.parametrize(
    "points",
    [
        POINTS.without_synthesis(),
        POINTS + POINTS,
        PointSet.end_to_end([POINTS]),
        PointSet.consecutive(analyze_in_blocks(CQT, [AUDIO], 16_000, 3_000)),
        POINTS.channel(0),
        replace(POINTS, synthesis="another transform's"),
        replace(POINTS, blocks=POINTS.without_synthesis().blocks),
        PointSet.from_grid([0.0, 1.0], [100.0], np.ones((1, 2))),
    ],
    ids=["stored", "joined", "end to end", "consecutive", "channel", "foreign", "no phases", "own"],
)
def test_points_without_phases_are_not_turned_into_audio(points: PointSet) -> None:
    with pytest.raises(TransformError, match=r"cqt: these points carry no phases.*analyse the audio again"):
        CQT.synthesize(points)


@pytest.mark.parametrize("change", [{"fmin": 441.0}, {"gamma": 1.0}, {"matrix": True}, {"calibration": "noise"}])
def test_points_made_with_other_options_are_not_turned_into_audio(change: dict[str, Any]) -> None:
    with pytest.raises(TransformError, match="made with other options"):
        Cqt(**{**OPTIONS, **change}).synthesize(POINTS)
    assert np.allclose(Cqt(**OPTIONS).synthesize(POINTS), AUDIO)


@pytest.mark.parametrize(
    ("gains", "message"),
    [
        ([np.ones(1)], "one array of gains is needed for each block; got 1"),
        ([np.ones((3, 2, 1))] * len(POINTS.blocks), "gains of block 0 do not fit its points"),
        ([np.full(1, np.nan)] * len(POINTS.blocks), "not all finite"),
        ([np.full(1, 1j)] * len(POINTS.blocks), "not real"),
    ],
)
def test_gains_that_do_not_fit_are_refused(gains: Any, message: str) -> None:
    with pytest.raises(TransformError, match=f"^cqt: .*{message}"):
        CQT.synthesize(POINTS, gains)
