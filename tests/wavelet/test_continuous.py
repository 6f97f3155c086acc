"""The continuous transform: true frequencies and times, the same figures as PyWavelets, and an inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow_wavelet.transform import Wavelet

RATE = 16_000
MOTHERS = ["cmor20.0-1.0", "cmor1.5-1.0", "cmor1.5-2.0", "morl", "mexh", "gaus4"]


def tone(frequency: float, seconds: float = 1.0) -> Any:
    return np.cos(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE + 0.3)


def rows(points: Any) -> list[tuple[float, float]]:
    """Return the root mean square of each band's middle half and its frequency, from the lowest band up."""
    found = []
    for block in points.blocks:
        count = len(block.times)
        inside = block.magnitudes[:, count // 4 : -(count // 4)].astype(np.float64)
        levels = np.sqrt(np.mean(inside**2, axis=1))
        found += [(float(level), float(hertz)) for level, hertz in zip(levels, block.frequencies, strict=True)]
    return found


@pytest.mark.parametrize("amplitude", [1.0, 0.01])
@pytest.mark.parametrize("mother", MOTHERS)
def test_a_tone_is_loudest_at_its_frequency_with_its_amplitude(mother: str, amplitude: float) -> None:
    cwt = Wavelet(kind="cwt", wavelet=mother, fmin=110.0, bins_per_octave=12)
    for frequency in (220.0, 440.0, 440 * 2 ** (5 / 12), 3520.0):
        level, found = max(rows(cwt.analyze(amplitude * tone(frequency), RATE)))
        assert found == pytest.approx(frequency)
        expected = amplitude if mother.startswith("cmor") else amplitude / np.sqrt(2)
        assert level == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("mother", "centre"),
    [
        ("cmor1.5-1.0", 1.0),
        ("cmor20.0-1.0", 1.0),
        ("cmor1.5-2.0", 2.0),
        ("mexh", np.sqrt(2) / (2 * np.pi)),
        ("morl", 5 / (2 * np.pi)),
    ],
)
def test_coefficients_are_convolutions_with_the_wavelets_of_pywavelets(mother: str, centre: float) -> None:
    audio = np.random.default_rng(0).standard_normal(6_000)
    cwt = Wavelet(kind="cwt", wavelet=mother, fmin=200.0, fmax=900.0, bins_per_octave=8, hop_length=1)
    block = cwt.analyze(audio, RATE).blocks[0]
    theirs = pywt.ContinuousWavelet(mother)
    # By default they are cut off where the longer ones are still loud.
    theirs.lower_bound, theirs.upper_bound = -20.0, 20.0
    wavelet, places = theirs.wavefun(level=14)
    for row, frequency in enumerate(block.frequencies[1:-1], start=1):
        time = np.arange(-1500, 1501) / RATE * frequency / centre
        sampled = np.interp(time, places, wavelet.real) + 1j * np.interp(time, places, wavelet.imag)
        got, expected = block.magnitudes[row, 1500:-1500], np.abs(np.convolve(audio, sampled, "valid"))
        scale = (got @ expected) / (expected @ expected)
        assert np.linalg.norm(got - scale * expected) <= 0.002 * np.linalg.norm(got)


@given(st.sampled_from(MOTHERS), st.integers(3000, 9000))
def test_an_impulse_is_at_its_time_in_every_octave(mother: str, place: int) -> None:
    cwt = Wavelet(kind="cwt", wavelet=mother, fmin=200.0, bins_per_octave=8)
    audio = np.zeros(12_000)
    audio[place] = 1
    for block in cwt.analyze(audio, RATE).blocks:
        energy = np.sum(block.magnitudes.astype(np.float64) ** 2, axis=0)
        hop = block.times[1] - block.times[0]
        assert abs(energy @ block.times / energy.sum() - place / RATE) <= 0.501 * hop


@pytest.mark.parametrize("mother", MOTHERS)
def test_white_noise_has_its_variance_as_mean_square_in_every_band(mother: str) -> None:
    cwt = Wavelet(kind="cwt", wavelet=mother, fmin=500.0, bins_per_octave=8, calibration="noise", hop_length=5)
    audio = 0.1 * np.random.default_rng(0).standard_normal(160_000)
    # The lowest band is 400 Hz wide or less: some thousand free values in ten seconds.
    assert np.abs([level / 0.1 - 1 for level, _ in rows(cwt.analyze(audio, RATE))]).max() < 0.12


def test_frequencies_are_logarithmic_and_the_rest_is_a_band_at_either_end() -> None:
    cwt = Wavelet(kind="cwt", wavelet="cmor60.0-1.0", fmin=55.0, fmax=1000.0, bins_per_octave=36)
    points = cwt.analyze(np.ones(100), RATE)
    frequencies = np.concatenate([block.frequencies for block in points.blocks])
    assert np.allclose(frequencies[1:-1], 55 * 2 ** (np.arange(len(frequencies) - 2) / 36))
    assert frequencies[-2] <= 1000 < frequencies[-2] * 2 ** (1 / 36)
    assert 0 < frequencies[0] < 55
    assert 1000 < frequencies[-1] < RATE / 2


def test_each_octave_has_a_hop_of_its_own_unless_one_is_given() -> None:
    audio = np.zeros(20_000)
    hops = [b.times[1] - b.times[0] for b in Wavelet(kind="cwt").analyze(audio, RATE).blocks]
    assert hops == sorted(hops, reverse=True)
    assert hops[0] > 50 * hops[-1]
    (block,) = Wavelet(kind="cwt", hop_length=80).analyze(audio, RATE).blocks
    assert np.allclose(np.diff(block.times), 0.005)


def test_a_constant_and_the_fastest_oscillation_come_back() -> None:
    audio = 0.5 + 0.25 * (-1.0) ** np.arange(5000)
    cwt = Wavelet(kind="cwt")
    points = cwt.analyze(audio, RATE)
    assert np.allclose(cwt.synthesize(points, [np.ones(1)] * len(points.blocks)), audio, atol=1e-9)


def test_gains_of_a_band_take_a_tone_away_and_leave_another() -> None:
    cwt = Wavelet(kind="cwt")
    points = cwt.analyze(tone(300.0) + tone(2400.0), RATE)
    low = cwt.synthesize(points, lambda t, f: np.outer(f < 900, np.ones_like(t)))
    inside = slice(2000, -2000)
    assert np.abs(low - tone(300.0))[inside].max() < 1e-6


def test_gains_are_interpolated_between_points() -> None:
    cwt = Wavelet(kind="cwt", hop_length=1000)
    audio = tone(500.0)
    points = cwt.analyze(audio, RATE)
    fade = cwt.synthesize(points, lambda t, f: np.outer(np.ones_like(f), t))
    assert np.abs(fade - audio * np.arange(len(audio)) / RATE).max() < 1e-4


@pytest.mark.parametrize(("mother", "fmin"), [("cmor20.0-1.0", 5.0), ("cmor400.0-1.0", 40.0), ("mexh", 10.0)])
def test_low_and_narrow_bands_of_white_noise_have_its_variance_too(mother: str, fmin: float) -> None:
    cwt = Wavelet(
        kind="cwt", wavelet=mother, fmin=fmin, fmax=4 * fmin, bins_per_octave=40, calibration="noise", hop_length=64
    )
    audio = np.random.default_rng(0).standard_normal((8, 150_000))
    power = np.mean(cwt.analyze(audio, 2_000).blocks[0].magnitudes.astype(np.float64) ** 2, axis=(0, 2))
    # Of 600 seconds the narrowest band, 3 Hz or less, keeps over a thousand free values.
    assert np.abs(power - 1).max() < 0.2
