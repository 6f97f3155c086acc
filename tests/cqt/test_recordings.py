"""Speech and music: what comes back, what blocks of a file give, and what slices change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.audio import AudioReader, read_audio
from inmf_flow.points import PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_cqt.transform import Cqt

OPTIONS = [
    {},
    {"bins_per_octave": 12, "fmin": 110.0, "gamma": 10.0},
    {"bins_per_octave": 12, "fmin": 220.0, "matrix": True},
    {"bins_per_octave": 2, "fmin": 60.0, "calibration": "noise"},
    {"bins_per_octave": 48, "fmin": 200.0, "fmax": 3_000.0},
]


@pytest.fixture(name="recording", scope="module", params=["speech", "music"])
def recording_fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)["mixture"]
    return path


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recordings_come_back(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    cqt = Cqt(**options)
    assert snr_db(audio, cqt.synthesize(cqt.analyze(audio, rate))) >= 100
    double = audio.astype(np.float64)
    assert snr_db(double, cqt.synthesize(cqt.analyze(double, rate))) >= 200


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_file_read_in_blocks_gives_the_points_of_the_whole(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    cqt = Cqt(**options)
    whole = cqt.analyze(audio, rate)
    with AudioReader(recording) as reader:
        joined = PointSet.consecutive(analyze_in_blocks(cqt, reader.blocks(5_003), rate, 17_001))
    assert len(joined.blocks) == len(whole.blocks)
    for block, expected in zip(joined.blocks, whole.blocks, strict=True):
        assert np.allclose(block.times, expected.times, rtol=0, atol=1e-12)
        assert np.abs(block.magnitudes - expected.magnitudes).max() <= 1e-5 * expected.magnitudes.max()
        assert np.allclose(block.weights, expected.weights, rtol=1e-4)


@pytest.mark.parametrize("channel", [0, 1])
def test_gains_of_one_channel_leave_the_other_as_it_was(recording: Path, channel: int) -> None:
    audio, rate = read_audio(recording)
    stereo = np.concatenate([audio, audio[:, ::-1]])
    cqt = Cqt(fmin=110.0)
    points = cqt.analyze(stereo, rate)
    gains = np.ones((2, 1, 1))
    gains[channel] = 0.5
    back = cqt.synthesize(points, [gains] * len(points.blocks))
    assert snr_db(0.5 * stereo[channel], back[channel]) >= 100
    assert snr_db(stereo[1 - channel], back[1 - channel]) >= 100


@pytest.mark.parametrize("options", [{"fmin": 130.0}, {"bins_per_octave": 12, "fmin": 200.0, "gamma": 15.0}], ids=str)
def test_magnitudes_are_those_without_slices_within_1_percent(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    sliced = Cqt(**options)
    length = sliced.halo(rate)[0]
    assert audio.shape[-1] > 1.5 * length
    # Slices so long that no atom leaves them.
    unsliced = Cqt(**options, slice_seconds=32 * (length - 0.5) / rate)
    assert unsliced.halo(rate)[0] == 32 * length
    for signal in (audio[0], np.random.default_rng(0).standard_normal(audio.shape[-1])):
        for block, expected in zip(
            sliced.analyze(signal, rate).blocks, unsliced.analyze(signal, rate).blocks, strict=True
        ):
            assert np.allclose(block.times, expected.times)
            error = np.abs(block.magnitudes - expected.magnitudes)
            assert error.max() <= 0.01 * expected.magnitudes.max()
            assert np.sqrt(np.mean(error**2) / np.mean(expected.magnitudes**2)) <= 0.005


def test_a_band_taken_away_is_gone_and_the_rest_stays(recording: Path) -> None:
    audio, rate = read_audio(recording)
    cqt = Cqt(fmin=110.0)
    points = cqt.analyze(audio, rate)
    low = cqt.synthesize(points, lambda t, f: np.outer(f < 1_000, np.ones_like(t)))
    spectrum, whole = (np.abs(np.fft.rfft(signal[0])) ** 2 for signal in (low, audio))
    hertz = np.fft.rfftfreq(audio.shape[-1], 1 / rate)
    assert spectrum[hertz > 1_100].sum() <= 1e-4 * whole[hertz > 1_100].sum()
    kept = hertz < 900
    difference = np.abs(np.fft.rfft(low[0] - audio[0])) ** 2
    assert difference[kept].sum() <= 1e-4 * whole[kept].sum()


def test_a_span_too_small_for_points_has_every_block_and_silent_bands(recording: Path) -> None:
    audio, rate = read_audio(recording)
    cqt = Cqt(fmin=220.0)
    halo = cqt.halo(rate)[0]
    start = 2 * halo + 1
    span = Span(start - halo, start, start + 1, audio.shape[-1])
    points = cqt.analyze(audio[:, start - halo : start + 1 + halo], rate, span=span)
    whole = cqt.analyze(audio, rate)
    assert [len(block.frequencies) for block in points.blocks] == [len(block.frequencies) for block in whole.blocks]
    assert not any(len(block.times) for block in points.blocks)
    assert not cqt.synthesize(points).any()
