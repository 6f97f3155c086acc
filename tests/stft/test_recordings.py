"""Speech and music: what comes back, how much energy there is, and what blocks of a file give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.audio import AudioReader, read_audio
from inmf_flow.points import PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import analyze_in_blocks
from inmf_flow_stft.transform import Stft

OPTIONS = [
    {},
    {"n_fft": 1024, "hop_length": 256, "window": "hann"},
    {"n_fft": 4096, "hop_length": 512, "win_length": 1200, "window": "hamming"},
    {"n_fft": 997, "hop_length": 313},
    {"n_fft": 256, "hop_length": 256, "window": "boxcar"},
]


@pytest.fixture(name="recording", scope="module", params=["speech", "music"])
def recording_fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)["mixture"]
    return path


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recordings_come_back(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    stft = Stft(**options)
    assert snr_db(audio, stft.synthesize(stft.analyze(audio, rate))) >= 100


def test_stereo_with_one_silent_channel_stays_apart(recording: Path) -> None:
    audio, rate = read_audio(recording)
    stereo = np.concatenate([audio, np.zeros_like(audio)])
    stft = Stft()
    points = stft.analyze(stereo, rate)
    back = stft.synthesize(points)
    assert snr_db(audio[0], back[0]) >= 100
    assert not back[1].any()
    assert not points.blocks[0].magnitudes[1].any()


def test_gains_of_one_channel_leave_the_other_as_it_was(recording: Path) -> None:
    audio, rate = read_audio(recording)
    stereo = np.concatenate([audio, audio[:, ::-1]])
    stft = Stft()
    points = stft.analyze(stereo, rate)
    back = stft.synthesize(points, [np.array([0.5, 1.0])[:, None, None]])
    assert snr_db(0.5 * stereo[0], back[0]) >= 100
    assert snr_db(stereo[1], back[1]) >= 100


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_energy_of_the_points_is_that_of_the_audio(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    stft = Stft(**{**options, "calibration": "noise", "hop_length": 32})
    # Silence around it, so that every sample is seen by every frame that can reach it.
    block = stft.analyze(np.pad(audio[0].astype(np.float64), 4096), rate).blocks[0]
    power = np.sum(block.magnitudes.astype(np.float64) ** 2, axis=1)
    n_fft = stft.config.n_fft
    two_sided = 2 * power.sum() - power[0] - (power[-1] if n_fft % 2 == 0 else 0)
    assert two_sided * 32 / n_fft == pytest.approx(np.sum(audio.astype(np.float64) ** 2), rel=1e-3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_file_read_in_blocks_gives_the_points_of_the_whole(recording: Path, options: dict[str, object]) -> None:
    audio, rate = read_audio(recording)
    stft = Stft(**options)
    (whole,) = stft.analyze(audio, rate).blocks
    with AudioReader(recording) as reader:
        joined = PointSet.consecutive(analyze_in_blocks(stft, reader.blocks(5_003), rate, 9_001))
    (block,) = joined.blocks
    assert np.allclose(block.times, whole.times, rtol=0, atol=1e-12)
    assert np.allclose(block.magnitudes, whole.magnitudes, rtol=1e-4, atol=1e-6)
    assert np.allclose(block.weights, whole.weights, rtol=1e-4)
