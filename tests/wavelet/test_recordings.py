"""Speech and music: what comes back, how much energy there is, and what blocks of a file give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow.audio import AudioReader, read_audio
from inmf_flow.points import PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import analyze_in_blocks
from inmf_flow_wavelet.transform import Wavelet

OPTIONS: list[dict[str, Any]] = [
    {},
    {"wavelet": "db38", "level": 8},
    {"wavelet": "haar", "level": 12},
    {"kind": "dwt"},
    {"kind": "dwt", "wavelet": "bior3.1", "level": 10},
    {"kind": "swt"},
    {"kind": "cwt"},
    {"kind": "cwt", "wavelet": "mexh", "bins_per_octave": 4, "hop_length": 500},
]


@pytest.fixture(name="recording", scope="module", params=["speech", "music"])
def recording_fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)["mixture"]
    return path


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recordings_come_back(recording: Path, options: dict[str, Any]) -> None:
    audio, rate = read_audio(recording)
    wavelet = Wavelet(**options)
    points = wavelet.analyze(audio, rate)
    assert snr_db(audio, wavelet.synthesize(points)) >= 100
    assert snr_db(audio, wavelet.synthesize(points, [np.ones(1)] * len(points.blocks))) >= 100


@pytest.mark.parametrize("kind", ["packet", "dwt", "swt", "cwt"])
def test_stereo_with_one_silent_channel_stays_apart(recording: Path, kind: str) -> None:
    audio, rate = read_audio(recording)
    audio = audio[:, :20_000]
    stereo = np.concatenate([audio, np.zeros_like(audio)])
    wavelet = Wavelet(kind=kind)
    points = wavelet.analyze(stereo, rate)
    back = wavelet.synthesize(points, [np.array([1.0, 0.5])[:, None, None]] * len(points.blocks))
    assert snr_db(audio[0], back[0]) >= 100
    assert not back[1].any()
    assert not any(block.magnitudes[1].any() for block in points.blocks)


@pytest.mark.parametrize("kind", ["packet", "dwt"])
def test_the_energy_of_the_coefficients_is_that_of_the_audio(recording: Path, kind: str) -> None:
    audio, rate = read_audio(recording)
    points = Wavelet(kind=kind).analyze(audio.astype(np.float64), rate)
    energy = sum(np.sum(block.coefficients**2) for block in points.blocks)
    assert energy == pytest.approx(np.sum(audio.astype(np.float64) ** 2), rel=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_file_read_in_blocks_gives_the_points_of_the_whole(recording: Path, options: dict[str, Any]) -> None:
    audio, rate = read_audio(recording)
    wavelet = Wavelet(**options)
    whole = wavelet.analyze(audio, rate)
    with AudioReader(recording) as reader:
        joined = PointSet.consecutive(analyze_in_blocks(wavelet, reader.blocks(5_003), rate, 30_001))
    for block, expected in zip(joined.blocks, whole.blocks, strict=True):
        assert np.allclose(block.times, expected.times, rtol=0, atol=1e-9)
        assert np.abs(block.magnitudes - expected.magnitudes).max() <= 1e-5 * expected.magnitudes.max()
