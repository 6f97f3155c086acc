"""What a magnitude of 1 means, from 0 Hz to Nyquist, and what librosa says."""

from __future__ import annotations

from typing import Any

import librosa
import numpy as np
import pytest

from inmf_flow.points import PointSet
from inmf_flow_cqt.transform import Cqt

RATE = 16_000
SECONDS = 4
TIME = np.arange(SECONDS * RATE) / RATE
OPTIONS: list[dict[str, Any]] = [
    {"fmin": 110.0},
    {"fmin": 110.0, "matrix": True, "bins_per_octave": 12},
    {"fmin": 65.0, "gamma": 30.0},
    {"fmin": 100.0, "bins_per_octave": 1},
]


def levels(points: PointSet, start: float = 0.25, stop: float = 0.75) -> tuple[np.ndarray, np.ndarray]:
    """Return all bands' frequencies and root mean squares over the middle, as doubles."""
    found = []
    for block in points.blocks:
        inside = (block.times > start * SECONDS) & (block.times < stop * SECONDS)
        found.append(np.sqrt(np.mean(block.magnitudes[:, inside].astype(np.float64) ** 2, axis=1)))
    return np.concatenate([block.frequencies for block in points.blocks]), np.concatenate(found)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("amplitude", [1.0, 1e-3])
def test_a_tone_at_a_bands_centre_has_its_amplitude(options: dict[str, Any], amplitude: float) -> None:
    cqt = Cqt(**options)
    frequencies = np.concatenate([block.frequencies for block in cqt.analyze(TIME, RATE).blocks])
    for number in (1, 2, len(frequencies) // 2, len(frequencies) - 2):
        tone = amplitude * np.cos(2 * np.pi * frequencies[number] * TIME + 0.3)
        assert levels(cqt.analyze(tone, RATE))[1][number] == pytest.approx(amplitude, rel=5e-3)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_offset_and_the_fastest_oscillation_have_their_values(options: dict[str, Any]) -> None:
    cqt = Cqt(**options)
    for number, audio in ((0, np.full(len(TIME), -0.25)), (-1, np.resize([0.25, -0.25], len(TIME)))):
        points = cqt.analyze(audio, RATE)
        frequencies, found = levels(points)
        assert frequencies[number] == (RATE / 2 if number else 0)
        assert found[number] == pytest.approx(0.25, rel=5e-3)
        assert np.delete(found, number).max() <= 0.25 * 0.01
        assert np.allclose(cqt.synthesize(points), audio, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("deviation", [1.0, 0.01])
def test_white_noise_has_its_variance_as_mean_square(options: dict[str, Any], deviation: float) -> None:
    cqt = Cqt(**options, calibration="noise")
    audio = deviation * np.random.default_rng(0).standard_normal(10 * len(TIME))
    points = cqt.analyze(audio, RATE)
    weighted = 0.0
    for block in points.blocks:
        inside = (block.times > 1) & (block.times < 10 * SECONDS - 1)
        power = np.mean(block.magnitudes[:, inside].astype(np.float64) ** 2, axis=1)
        # A real band has one degree of freedom, and a narrow one changes slowly: few of its points are free.
        assert np.abs(power / deviation**2 - 1).max() < 0.6
        weighted += float(np.sum(power * block.frequency_weights))
    assert weighted / (RATE / 2) == pytest.approx(deviation**2, rel=0.02)


@pytest.mark.parametrize("calibration", ["tone", "noise"])
def test_the_points_say_how_they_are_calibrated(calibration: str) -> None:
    assert Cqt(fmin=220.0, calibration=calibration).analyze(np.ones(100), RATE).calibration == calibration


@pytest.mark.parametrize("bins_per_octave", [12, 24])
@pytest.mark.parametrize("place", [0.0, 0.25, -0.4])
def test_tones_are_in_the_same_bands_and_as_loud_as_in_librosa(bins_per_octave: int, place: float) -> None:
    cqt = Cqt(bins_per_octave=bins_per_octave, fmin=110.0)
    ours = cqt.analyze(TIME, RATE)
    count = sum(len(block.frequencies) for block in ours.blocks) - 2 - bins_per_octave // 2
    centres = librosa.cqt_frequencies(n_bins=count, fmin=110.0, bins_per_octave=bins_per_octave)
    alpha = (2 ** (2 / bins_per_octave) - 1) / (2 ** (2 / bins_per_octave) + 1)
    for number in (1, bins_per_octave // 2, count // 2, count - 2):
        tone = np.cos(2 * np.pi * 110.0 * 2 ** ((number + place) / bins_per_octave) * TIME + 1.0)
        frequencies, found = levels(cqt.analyze(tone, RATE))
        theirs = librosa.cqt(
            tone,
            sr=RATE,
            fmin=110.0,
            n_bins=count,
            bins_per_octave=bins_per_octave,
            hop_length=256,
            tuning=0.0,
            scale=False,
        )
        middle = np.abs(theirs[:, theirs.shape[1] // 3 : 2 * theirs.shape[1] // 3])
        level = np.sqrt(np.mean(middle**2, axis=1))
        best, band = int(np.argmax(level)), int(np.argmax(found))
        assert best == number
        assert frequencies[band] == pytest.approx(centres[best], rel=1e-9)
        if place == 0:
            # A sum over a window of so many samples, of which a tone's amplitude of 1 gives half. librosa, which
            # resamples between octaves, is true to 0.5 %.
            amplitude = 2 * level[best] / (RATE / (alpha * centres[best]))
            assert amplitude == pytest.approx(1, rel=5e-3)
            assert found[band] == pytest.approx(amplitude, rel=0.01)
