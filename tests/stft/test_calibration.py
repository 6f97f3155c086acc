"""What a magnitude of 1 means."""

from __future__ import annotations

import numpy as np
import pytest

from inmf_flow_stft.transform import Stft

RATE = 16_000
SHAPES = [(2000, None), (512, None), (501, None), (512, 300), (499, 211)]


def middle_frames(stft: Stft, audio: np.ndarray) -> np.ndarray:
    """Return the magnitudes of the frames that reach neither end, as doubles."""
    block = stft.analyze(audio, RATE).blocks[0]
    reach = stft.config.n_fft / RATE
    inside = (block.times > reach) & (block.times < len(audio) / RATE - reach)
    assert inside.sum() > 10
    return block.magnitudes[:, inside].astype(np.float64)


@pytest.mark.parametrize(("n_fft", "win_length"), SHAPES)
@pytest.mark.parametrize("window", ["hann", "hamming", "blackman", "kaiser(8.6)"])
@pytest.mark.parametrize("amplitude", [1.0, 1e-3])
def test_a_tone_at_a_bins_centre_has_its_amplitude(
    n_fft: int, win_length: int | None, window: str, amplitude: float
) -> None:
    stft = Stft(n_fft=n_fft, win_length=win_length, hop_length=100, window=window)
    for number in (n_fft // 5, n_fft // 3):
        audio = amplitude * np.cos(2 * np.pi * number / n_fft * np.arange(8000) + 0.3)
        assert middle_frames(stft, audio)[number] == pytest.approx(amplitude, rel=2e-3)


@pytest.mark.parametrize(("n_fft", "win_length"), SHAPES)
def test_an_offset_has_its_value_at_0_hertz(n_fft: int, win_length: int | None) -> None:
    stft = Stft(n_fft=n_fft, win_length=win_length, hop_length=100, window="hann")
    assert middle_frames(stft, np.full(8000, 0.25))[0] == pytest.approx(0.25, rel=1e-5)


def test_the_fastest_oscillation_has_its_value_at_nyquist() -> None:
    stft = Stft(n_fft=512, hop_length=100, window="hann")
    audio = np.resize([0.25, -0.25], 8000)
    assert middle_frames(stft, audio)[-1] == pytest.approx(0.25, rel=1e-5)


@pytest.mark.parametrize(("n_fft", "win_length"), SHAPES)
@pytest.mark.parametrize("window", ["sqrt_hann", "hann", "boxcar"])
@pytest.mark.parametrize("deviation", [1.0, 0.01])
def test_white_noise_has_its_variance_as_mean_square(
    n_fft: int, win_length: int | None, window: str, deviation: float
) -> None:
    stft = Stft(n_fft=n_fft, win_length=win_length, window=window, hop_length=100, calibration="noise")
    audio = deviation * np.random.default_rng(0).standard_normal(200_000)
    power = np.mean(middle_frames(stft, audio) ** 2, axis=1)
    assert power.mean() == pytest.approx(deviation**2, rel=0.02)
    # At every frequency: no end of the spectrum is special. Each figure is the mean of some hundred free frames.
    assert np.abs(power / deviation**2 - 1).max() < 0.6


@pytest.mark.parametrize("calibration", ["tone", "noise"])
def test_the_points_say_how_they_are_calibrated(calibration: str) -> None:
    stft = Stft(n_fft=64, calibration=calibration)
    assert stft.analyze(np.ones(100), RATE).calibration == calibration


def test_magnitudes_do_not_depend_on_padding_or_rate() -> None:
    audio = np.cos(2 * np.pi * 0.125 * np.arange(8000))
    plain = middle_frames(Stft(n_fft=512, hop_length=128), audio)
    padded = middle_frames(Stft(n_fft=1024, win_length=512, hop_length=128), audio)
    assert plain[64].mean() == pytest.approx(padded[128].mean(), rel=1e-5)
    stft = Stft(n_fft=512, hop_length=128)
    one, other = (stft.analyze(audio, rate).blocks[0] for rate in (8_000, 48_000))
    assert np.array_equal(one.magnitudes, other.magnitudes)
    assert np.allclose(one.times, 6 * other.times)
