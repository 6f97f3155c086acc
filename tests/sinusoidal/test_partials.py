"""Partials of signals whose frequencies, amplitudes and ends are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow_sinusoidal import partials
from inmf_flow_sinusoidal.tracks import Partial
from inmf_flow_sinusoidal.transform import Sinusoidal

RATES = [8_000, 16_000, 44_100, 48_000]


def seconds(duration: float, rate: int) -> NDArray[np.float64]:
    return np.arange(round(duration * rate)) / rate


def chirp(start: float, slope: float, time: NDArray[np.float64], phase: float = 0.0) -> NDArray[np.float64]:
    """A sinusoid whose frequency rises by so many hertz per second."""
    return np.cos(2 * np.pi * (start * time + 0.5 * slope * time**2) + phase)


def found(audio: NDArray[np.floating], rate: int, **options: object) -> list[Partial]:
    return partials(Sinusoidal(**options).analyze(audio, rate))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("frequency", [220.0, 440.0, 987.77, 3520.0])
@pytest.mark.parametrize("rate", RATES)
def test_every_point_of_a_steady_tone_is_at_its_frequency_and_level(rate: int, frequency: float, dtype: type) -> None:
    tone = 0.3 * np.sin(2 * np.pi * frequency * seconds(1, rate) + 1)
    (partial,) = found(tone.astype(dtype), rate)
    assert len(partial.times) > 90
    assert np.abs(partial.frequencies - frequency).max() < 0.05
    assert np.abs(20 * np.log10(partial.amplitudes / 0.3)).max() < 0.05


@pytest.mark.parametrize("rate", RATES)
def test_hardly_anything_of_a_steady_tone_is_left(rate: int) -> None:
    tone = np.sin(2 * np.pi * 440 * seconds(1, rate))
    points = Sinusoidal(fit="parts").analyze(tone, rate)
    grid = points.blocks[1]
    # Away from the ends, where half a window and the residual's own leave no partial.
    inner = (grid.times > 0.2) & (grid.times < 0.8)
    assert grid.magnitudes[:, inner].max() < 1e-4


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_a_soft_tone_beside_a_loud_one_is_found(share: float) -> None:
    time = seconds(1, 16_000)
    audio = np.sin(2 * np.pi * 440 * time) + share * np.sin(2 * np.pi * 700 * time)
    loud, soft = sorted(found(audio, 16_000), key=lambda partial: -partial.amplitudes.mean())
    assert np.abs(loud.frequencies - 440).max() < 0.05
    assert np.abs(soft.frequencies - 700).max() < 0.2
    assert soft.amplitudes == pytest.approx(share, rel=0.02)


CROSSINGS = [((500, 500), (1500, -500)), ((1000, 1000), (2500, -500)), ((600, 1000), (1800, -100))]


def errors(partial: Partial, chirps: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Hertz between a partial and each of the chirps (start, slope)."""
    return np.array([np.abs(partial.frequencies - start - slope * partial.times) for start, slope in chirps])


@pytest.mark.parametrize("second", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("chirps", CROSSINGS, ids=str)
def test_two_crossing_chirps_are_two_partials(chirps: tuple[tuple[float, float], ...], second: float) -> None:
    time = seconds(2, 16_000)
    one, other = chirps
    tracks = found(chirp(*one, time) + second * chirp(*other, time, phase=1), 16_000)
    assert len(tracks) == 2
    followed = set()
    for partial in tracks:
        assert partial.times[0] < 0.1
        assert partial.times[-1] > 1.9
        off = errors(partial, chirps)
        mine = int(np.argmin(np.median(off, axis=1)))
        followed.add(mine)
        assert np.median(off[mine]) < 0.001
        assert off[mine].max() < 15
    assert followed == {0, 1}


@pytest.mark.parametrize("phase", np.arange(8) * np.pi / 4)
@pytest.mark.parametrize("chirps", CROSSINGS, ids=str)
def test_no_partial_goes_over_to_the_other_chirp(chirps: tuple[tuple[float, float], ...], phase: float) -> None:
    time = seconds(2, 16_000)
    one, other = chirps
    for partial in found(chirp(*one, time) + 0.5 * chirp(*other, time, phase), 16_000):
        off = errors(partial, chirps)
        mine = int(np.argmin(off[:, 0]))
        assert off[mine].max() < 15


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("vibrato", "depth"), [(6.0, 30.0), (5.0, 15.0), (7.0, 20.0)])
def test_a_vibrato_is_followed_within_a_percent_of_its_depth(rate: int, vibrato: float, depth: float) -> None:
    time = seconds(1.5, rate)
    phase = 2 * np.pi * 440 * time - depth / vibrato * np.cos(2 * np.pi * vibrato * time)
    (partial,) = found(0.5 * np.cos(phase), rate)
    course = 440 + depth * np.sin(2 * np.pi * vibrato * partial.times)
    assert np.abs(partial.frequencies - course).max() < 0.01 * depth


def test_each_harmonic_of_a_gliding_voice_is_one_partial() -> None:
    rate = 16_000
    time = seconds(1, rate)
    phase = 2 * np.pi * (150 * time + 50 * time**2)
    audio = sum(np.cos(number * phase) / number for number in range(1, 11))
    tracks = sorted(found(0.2 * audio, rate), key=lambda partial: partial.frequencies[0])
    assert len(tracks) == 10
    for number, partial in enumerate(tracks, 1):
        assert np.abs(partial.frequencies - number * (150 + 100 * partial.times)).max() < 1
        assert partial.amplitudes == pytest.approx(0.2 / number, rel=0.03)


def test_partials_are_born_and_die_with_their_tones() -> None:
    rate = 16_000
    time = seconds(2, rate)
    audio = np.where((time >= 0.5) & (time < 1.2), np.sin(2 * np.pi * 500 * time), 0)
    (partial,) = found(audio, rate)
    assert 0.48 < partial.times[0] < 0.54
    assert 1.16 < partial.times[-1] < 1.22


def test_a_rest_between_two_notes_is_not_bridged() -> None:
    rate = 16_000
    time = seconds(1, rate)
    audio = np.where(np.abs(time - 0.5) < 0.05, 0, np.sin(2 * np.pi * 500 * time))
    first, second = found(audio, rate)
    assert first.times[-1] < 0.48
    assert second.times[0] > 0.52


def test_a_blip_is_too_short_for_a_partial() -> None:
    time = seconds(1, 16_000)
    audio = np.sin(2 * np.pi * 500 * time) * np.exp(-(((time - 0.5) / 0.005) ** 2))
    assert found(audio, 16_000, min_duration=0.1) == []


@pytest.mark.parametrize("audio", [np.zeros(8_000), np.eye(1, 8_000, 4_000)[0], np.ones(8_000)])
def test_silence_clicks_and_offsets_have_no_partials(audio: NDArray[np.float64]) -> None:
    assert found(audio, 16_000) == []


def test_few_peaks_of_noise_pass_for_partials() -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 32_000)
    points = Sinusoidal().analyze(audio, 16_000)
    deterministic = Sinusoidal().synthesize(points, [np.ones(()), np.zeros(())])
    assert np.mean(deterministic**2) < 0.05 * np.mean(audio**2)


def test_only_so_many_partials_are_kept_as_are_asked_for() -> None:
    time = seconds(0.5, 16_000)
    audio = sum(level * np.sin(2 * np.pi * 400 * number * time) for number, level in enumerate([0.1, 0.3, 0.2], 1))
    tracks = found(audio, 16_000, max_partials=2)
    assert sorted(round(float(partial.frequencies.mean())) for partial in tracks) == [800, 1200]


def test_channels_share_frequencies_and_keep_their_levels_and_phases() -> None:
    time = seconds(1, 16_000)
    audio = np.stack([0.5 * np.sin(2 * np.pi * 440 * time), 0.1 * np.cos(2 * np.pi * 440 * time)])
    (partial,) = found(audio, 16_000)
    assert partial.amplitudes[0] == pytest.approx(0.5, rel=1e-3)
    assert partial.amplitudes[1] == pytest.approx(0.1, rel=1e-3)
    points = Sinusoidal(fit="parts").analyze(audio, 16_000)
    assert points.blocks[1].magnitudes[..., 3:-3].max() < 1e-4


def test_a_gain_of_half_on_partials_halves_a_tone() -> None:
    time = seconds(1, 16_000)
    audio = np.sin(2 * np.pi * 440 * time)
    transform = Sinusoidal()
    points = transform.analyze(audio, 16_000)
    back = transform.synthesize(points, [np.full(points.blocks[0].times.shape, 0.5), np.ones(())])
    inner = slice(3_200, -3_200)
    assert np.abs(back[inner] - 0.5 * audio[inner]).max() < 1e-4
