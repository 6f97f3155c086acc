"""Where the reassigned STFT puts tones, impulses and chirps, and how large they are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.audio import read_audio
from inmf_flow_sinusoidal.reassigned import Reassigned
from inmf_flow_stft.transform import Stft

WINDOWS = ["hann", "blackman", "blackman_harris"]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("frequency", [440.0, 1003.7, 2500.0])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_a_tone_lies_at_its_frequency_with_its_amplitude(rate: int, frequency: float, window: str) -> None:
    transform = Reassigned(window=window, floor_db=-30)
    (block,) = transform.analyze(0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate), rate).blocks
    inner = (block.times > 0.2) & (block.times < 0.8)
    # At 440 Hz and 48 kHz the main lobe of 1024 samples reaches almost to the tone's mirror image.
    assert np.abs(block.frequencies[inner] - frequency).max() < 0.3
    assert block.magnitudes[inner].max() == pytest.approx(0.5, rel=2e-3)


@pytest.mark.parametrize("n_fft", [256, 501, 1024])
@pytest.mark.parametrize("window", WINDOWS)
def test_all_points_of_an_impulse_lie_at_its_time(window: str, n_fft: int) -> None:
    audio = np.zeros(8_000)
    audio[3_217] = 1
    (block,) = Reassigned(n_fft=n_fft, window=window).analyze(audio, 16_000).blocks
    assert len(block.times) > n_fft
    assert np.abs(block.times - 3_217 / 16_000).max() < 1e-6


def test_a_chirp_lies_on_its_line() -> None:
    time = np.arange(16_000) / 16_000
    audio = np.cos(2 * np.pi * (500 * time + 1000 * time**2))
    (block,) = Reassigned(floor_db=-20).analyze(audio, 16_000).blocks
    inner = (block.times > 0.1) & (block.times < 0.9)
    assert np.abs(block.frequencies[inner] - (500 + 2000 * block.times[inner])).max() < 2


def test_an_impulse_before_the_end_is_kept_within_the_recording() -> None:
    audio = np.zeros(5_000)
    audio[[0, -1]] = 1
    (block,) = Reassigned().analyze(audio, 16_000).blocks
    ends = np.minimum(np.abs(block.times), np.abs(block.times - 4_999 / 16_000))
    assert ends.max() < 1e-6


def test_silence_has_no_points() -> None:
    (block,) = Reassigned().analyze(np.zeros((2, 4_000)), 16_000).blocks
    assert block.magnitudes.shape == (2, 0)


def test_channels_share_places_and_keep_their_levels() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    (block,) = Reassigned(floor_db=-30).analyze(np.stack([0.5 * tone, 0.1 * tone]), 16_000).blocks
    assert np.allclose(block.magnitudes[0], 5 * block.magnitudes[1], rtol=1e-4)


@pytest.mark.parametrize("calibration", ["tone", "noise"])
def test_the_energy_is_that_of_an_stft(speech: dict[str, Path], calibration: str) -> None:
    audio, rate = read_audio(speech["mixture"])
    (moved,) = Reassigned(n_fft=512, calibration=calibration).analyze(audio, rate).blocks
    stft = Stft(n_fft=512, hop_length=128, window="hann", calibration=calibration)
    (grid,) = stft.analyze(audio, rate).blocks
    energy = float(np.sum(moved.magnitudes.astype(np.float64) ** 2))
    expected = float(np.sum(grid.magnitudes.astype(np.float64) ** 2))
    # For tones each bin's level is raised by what the window loses between bins, 1.4 dB at most.
    assert expected * 0.999 <= energy <= expected * (1.001 if calibration == "noise" else 1.4)


def test_points_are_denser_where_the_energy_is(speech: dict[str, Path]) -> None:
    audio, rate = read_audio(speech["mixture"])
    transform = Reassigned(n_fft=512)
    (block,) = transform.analyze(audio, rate).blocks
    # The share of the plane, in small tiles, that holds nine tenths of the energy.
    tiles, *_ = np.histogram2d(
        block.times, block.frequencies, bins=(600, 257), weights=block.magnitudes[0].astype(np.float64) ** 2
    )
    (grid,) = Stft(n_fft=512, hop_length=128, window="hann").analyze(audio, rate).blocks
    still, *_ = np.histogram2d(
        np.tile(grid.times, len(grid.frequencies)),
        np.repeat(grid.frequencies, len(grid.times)),
        bins=(600, 257),
        weights=grid.magnitudes[0].ravel().astype(np.float64) ** 2,
    )

    def count(energy: np.ndarray) -> int:
        rising = np.cumsum(np.sort(energy.ravel())[::-1])
        return int(np.searchsorted(rising, 0.9 * rising[-1]))

    assert count(tiles) < 0.7 * count(still)
