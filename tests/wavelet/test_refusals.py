"""What the wavelet transforms refuse, and what they say then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_wavelet.transform import Wavelet

OPTIONS: dict[str, dict[str, Any]] = {
    "packet": {"wavelet": "sym5", "level": 3},
    "dwt": {"kind": "dwt", "level": 3},
    "swt": {"kind": "swt", "level": 3},
    "cwt": {"kind": "cwt", "fmin": 500.0},
}
AUDIO = np.random.default_rng(0).standard_normal((2, 6000))
KINDS = pytest.mark.parametrize("kind", list(OPTIONS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "fwt"}, "kind: Input should be 'packet', 'dwt', 'swt' or 'cwt'"),
        ({"wavelet": "db39"}, "no discrete wavelet 'db39': expected haar, db2 to db38, sym2"),
        ({"kind": "dwt", "wavelet": "morl"}, "no discrete wavelet 'morl'"),
        ({"wavelet": ""}, "no discrete wavelet ''"),
        ({"wavelet": "bior4.4"}, "packets need an orthogonal wavelet, got 'bior4.4'"),
        ({"level": 0}, "level: "),
        ({"level": 13}, "level must be at most 12 for kind packet, got 13"),
        ({"kind": "swt", "level": 13}, "level must be at most 12 for kind swt, got 13"),
        ({"kind": "dwt", "level": 17}, "level: "),
        ({"bins_per_octave": 12, "fmin": 50.0}, "only kind cwt has bins_per_octave, fmin; the kind is packet"),
        ({"kind": "dwt", "hop_length": 12}, "only kind cwt has hop_length; the kind is dwt"),
        ({"kind": "cwt", "level": 3}, "only kinds packet, dwt and swt have level; cwt has bins_per_octave"),
        ({"kind": "cwt", "wavelet": "sym8"}, "no wavelet 'sym8' for kind cwt: expected cmorB-C"),
        ({"kind": "cwt", "wavelet": "gaus3"}, "no wavelet 'gaus3' for kind cwt"),
        ({"kind": "cwt", "wavelet": "cmor"}, "no wavelet 'cmor' for kind cwt"),
        ({"kind": "cwt", "wavelet": "cmor1.0-0.5"}, r"B x C\*\*2 from 0.8 .* got 0.25 of 'cmor1.0-0.5'"),
        (
            {"kind": "cwt", "wavelet": "cmor400-1"},
            "bins_per_octave must be at least 3. for the wavelet cmor400-1, got 24",
        ),
        ({"kind": "cwt", "fmin": 100.0, "fmax": 100.0}, r"fmin must be below fmax \(100\), got 100"),
        ({"kind": "cwt", "bins_per_octave": 0}, "bins_per_octave: "),
        ({"calibration": "loud"}, "calibration: Input should be 'tone' or 'noise'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^wavelet: bad options: .*{message}"):
        Wavelet(**options)


def test_a_lowest_wavelet_above_the_highest_frequency_is_refused() -> None:
    with pytest.raises(TransformError, match=r"no wavelet is between fmin and fmax.*fmin 4000 Hz at 8000 Hz.*3360 Hz"):
        Wavelet(kind="cwt", fmin=4000.0).analyze(AUDIO, 8_000)


@KINDS
@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), 22_050.5])
def test_a_sample_rate_that_is_none_is_refused(kind: str, rate: Any) -> None:
    with pytest.raises(TransformError, match="wavelet: the sample rate is not a positive whole number"):
        Wavelet(**OPTIONS[kind]).analyze(AUDIO, rate)


@KINDS
def test_a_span_without_its_context_is_refused(kind: str) -> None:
    wavelet = Wavelet(**OPTIONS[kind])
    left, right = wavelet.halo(16_000)
    low, high = 2500 - left, 3500 + right
    wavelet.analyze(AUDIO[:, low:high], 16_000, span=Span(low, 2500, 3500, 6000))
    for lost_before, lost_after in ((left // 2, 0), (0, right // 2)):
        first, last = low + lost_before, high - lost_after
        with pytest.raises(TransformError, match=r"wavelet: the span lacks the context.*Give halo"):
            wavelet.analyze(AUDIO[:, first:last], 16_000, span=Span(first, 2500, 3500, 6000))


@KINDS
def test_points_without_phases_are_not_turned_into_audio(kind: str) -> None:
    wavelet = Wavelet(**OPTIONS[kind])
    points = wavelet.analyze(AUDIO, 16_000)
    joined = PointSet.consecutive(analyze_in_blocks(wavelet, [AUDIO], 16_000, 3000))
    for bare in (points.without_synthesis(), points + points, points.channel(0), joined):
        with pytest.raises(TransformError, match=r"wavelet: these points carry no phases.*analyse the audio again"):
            wavelet.synthesize(bare)


@pytest.mark.parametrize("others", [["packet", "cwt"], ["cwt", "dwt"], ["dwt", "swt"], ["swt", "packet"]])
def test_points_of_another_kind_are_not_turned_into_audio(others: list[str]) -> None:
    maker, other = (Wavelet(**OPTIONS[kind]) for kind in others)
    with pytest.raises(TransformError, match=r"other options|no phases"):
        other.synthesize(maker.analyze(AUDIO, 16_000))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("packet", {"level": 4}),
        ("dwt", {"wavelet": "db2"}),
        ("swt", {"calibration": "noise"}),
        ("cwt", {"fmin": 600.0}),
    ],
)
def test_points_made_with_other_options_are_not_turned_into_audio(kind: str, change: dict[str, Any]) -> None:
    points = Wavelet(**OPTIONS[kind]).analyze(AUDIO, 16_000)
    with pytest.raises(TransformError, match="made with other options"):
        Wavelet(**{**OPTIONS[kind], **change}).synthesize(points)
    assert np.allclose(Wavelet(**OPTIONS[kind]).synthesize(points), AUDIO)


@KINDS
def test_gains_that_do_not_fit_are_refused(kind: str) -> None:
    wavelet = Wavelet(**OPTIONS[kind])
    points = wavelet.analyze(AUDIO, 16_000)
    with pytest.raises(TransformError, match="one array of gains is needed for each block"):
        wavelet.synthesize(points, [])
    with pytest.raises(TransformError, match="gains of block 0 do not fit"):
        wavelet.synthesize(points, [np.ones(7)] * len(points.blocks))


def test_the_cut_off_filters_of_dmey_promise_what_they_keep() -> None:
    audio = np.random.default_rng(0).standard_normal(5000)
    for level, least in ((1, 40), (6, 25)):
        wavelet = Wavelet(wavelet="dmey", level=level)
        assert wavelet.invertible == "approximate"
        back = wavelet.synthesize(wavelet.analyze(audio, 16_000))
        snr = 20 * np.log10(np.linalg.norm(audio) / np.linalg.norm(back - audio))
        assert wavelet.min_snr_db is not None
        assert least <= wavelet.min_snr_db <= snr


@KINDS
def test_a_span_between_two_points_has_none_and_silent_audio(kind: str) -> None:
    wavelet = Wavelet(**OPTIONS[kind])
    whole = wavelet.analyze(AUDIO, 16_000)
    # Three samples that lie between two points of the lowest band.
    start = round(float(whole.blocks[0].times[3]) * 16_000) + 1
    points = wavelet.analyze(AUDIO, 16_000, span=Span(0, start, start + 1, 6000))
    assert len(points.blocks) == len(whole.blocks)
    if kind != "swt":
        assert points.blocks[0].magnitudes.shape[-1] == 0
    back = wavelet.synthesize(points, [np.zeros(1)] * len(points.blocks))
    assert back.shape == AUDIO.shape
    assert not back.any()
