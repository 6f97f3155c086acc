"""What the transforms of this plugin refuse, and what they say then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_sinusoidal import partials
from inmf_flow_sinusoidal.reassigned import Reassigned
from inmf_flow_sinusoidal.transform import Sinusoidal

RATE = 8_000
SINUSOIDAL = Sinusoidal()
AUDIO = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE) + np.random.default_rng(0).normal(0, 0.1, (2, 2 * RATE))
POINTS = SINUSOIDAL.analyze(AUDIO, RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_seconds": 0}, "window_seconds: "),
        ({"hop_seconds": 0.03}, r"hop_seconds must not be longer than half of window_seconds \(0.05\), got 0.03"),
        ({"threshold_db": -1}, "threshold_db: "),
        ({"floor_db": 1}, "floor_db: "),
        ({"max_scatter": 0}, "max_scatter: "),
        ({"max_partials": 0}, "max_partials: "),
        ({"max_gap": -0.1}, "max_gap: "),
        ({"frequency_change": 0}, "frequency_change: "),
        ({"amplitude_change_db": 0}, "amplitude_change_db: "),
        ({"fit": "all"}, "fit: Input should be 'input', 'parts' or 'partials'"),
        ({"calibration": "loud"}, "calibration: Input should be 'tone' or 'noise'"),
        ({"n_fft": 512}, "n_fft: Extra inputs are not permitted"),
    ],
)
def test_sinusoidal_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^sinusoidal: bad options: .*{message}"):
        Sinusoidal(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_fft": 4}, "n_fft: "),
        ({"n_fft": 64, "hop_length": 65}, r"hop_length must not be longer than n_fft \(64\), got 65"),
        ({"window": "boxcar"}, "window: Input should be 'hann', 'blackman' or 'blackman_harris'"),
        ({"floor_db": 3}, "floor_db: "),
    ],
)
def test_reassigned_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^reassigned: bad options: .*{message}"):
        Reassigned(**options)


@pytest.mark.parametrize("transform", [SINUSOIDAL, Reassigned()], ids=["sinusoidal", "reassigned"])
@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), 22_050.5])
def test_a_sample_rate_that_is_none_is_refused(transform: Sinusoidal | Reassigned, rate: float) -> None:
    with pytest.raises(TransformError, match="the sample rate is not a positive whole number"):
        transform.analyze(AUDIO, rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("transform", [SINUSOIDAL, Reassigned()], ids=["sinusoidal", "reassigned"])
@pytest.mark.parametrize(("missing_before", "missing_after"), [(400, 0), (0, 400)])
def test_a_span_without_its_context_is_refused(
    transform: Sinusoidal | Reassigned, missing_before: int, missing_after: int
) -> None:
    left, right = transform.halo(RATE)
    audio = np.random.default_rng(0).normal(0, 0.1, left + right + RATE)
    start, stop = left, left + RATE
    transform.analyze(audio, RATE, span=Span(0, start, stop, None))
    with pytest.raises(TransformError, match=r"the span lacks the context.*Give halo"):
        transform.analyze(
            audio[missing_before : len(audio) - missing_after], RATE, span=Span(missing_before, start, stop, None)
        )


WITHOUT_PHASES = {
    "stored": POINTS.without_synthesis(),
    "joined": POINTS + POINTS,
    "end to end": PointSet.end_to_end([POINTS]),
    "consecutive": PointSet.consecutive(analyze_in_blocks(SINUSOIDAL, [AUDIO], RATE, RATE)),
    "channel": POINTS.channel(0),
    "foreign": replace(POINTS, synthesis="another transform's"),
    "no phases": replace(POINTS, blocks=POINTS.without_synthesis().blocks),
}


@pytest.mark.parametrize("points", WITHOUT_PHASES.values(), ids=WITHOUT_PHASES.keys())
def test_points_without_phases_are_not_turned_into_audio(points: PointSet) -> None:
    with pytest.raises(TransformError, match=r"sinusoidal: these points carry no phases.*analyse the audio again"):
        SINUSOIDAL.synthesize(points)


@pytest.mark.parametrize("change", [{"hop_seconds": 0.005}, {"fit": "parts"}, {"calibration": "noise"}])
def test_points_made_with_other_options_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TransformError, match="sinusoidal: these points were made with other options"):
        Sinusoidal(**change).synthesize(POINTS)


def test_gains_that_do_not_fit_are_refused() -> None:
    ones = [np.ones(block.magnitudes.shape) for block in POINTS.blocks]
    with pytest.raises(TransformError, match="the gains of block 0 do not fit its points"):
        SINUSOIDAL.synthesize(POINTS, [ones[0][:, :-1], ones[1]])
    with pytest.raises(TransformError, match="one array of gains is needed for each block"):
        SINUSOIDAL.synthesize(POINTS, ones[:1])


def test_the_reassigned_transform_says_that_it_has_no_inverse() -> None:
    transform = Reassigned()
    points = transform.analyze(AUDIO, RATE)
    assert transform.invertible == "none"
    with pytest.raises(TransformError, match="reassigned: this transform has no inverse"):
        transform.synthesize(points)


@pytest.mark.parametrize(
    "points", [POINTS.without_synthesis(), Reassigned().analyze(AUDIO, RATE), PointSet(())], ids=["bare", "other", "no"]
)
def test_partials_of_points_that_do_not_know_them_are_refused(points: PointSet) -> None:
    with pytest.raises(TransformError, match="these points do not say which of them belong to a partial"):
        partials(points)
