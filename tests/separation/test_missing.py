"""What is missing of real recordings is filled in, and better than by doing without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow import INMF, get_transform, separate
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.intelligibility import stoi
from inmf_flow.evaluate.scale_invariant import si_sdr
from inmf_flow.separation.missing import extend_bandwidth, inpaint

RATE = 16000
GAPS = [(0.4, 0.42), (1.1, 1.12), (1.7, 1.73)]


def mono(path: Path) -> np.ndarray:
    return read_audio(path)[0].reshape(-1)


def marked(gaps: list[tuple[float, float]], samples: int) -> np.ndarray:
    inside = np.zeros(samples, bool)
    for start, stop in gaps:
        inside[round(start * RATE) : round(stop * RATE)] = True
    return inside


def decibels(truth: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10((truth**2).sum() / ((truth - estimate) ** 2).sum()))


def magnitudes(audio: np.ndarray) -> np.ndarray:
    return get_transform("stft", n_fft=1024, hop_length=256).analyze(audio, RATE).blocks[0].magnitudes


def distance(truth: np.ndarray, estimate: np.ndarray, where: np.ndarray) -> float:
    """Return the root mean square difference of levels in decibels."""
    a, b = (20 * np.log10(magnitudes(x)[where] + 1e-4) for x in (truth, estimate))
    return float(np.sqrt(np.mean((a - b) ** 2)))


def test_gaps_in_time_get_their_samples_back(music: dict[str, Path]) -> None:
    truth = mono(music["guitar_test"])
    gap = marked(GAPS, len(truth))
    filled = inpaint(np.where(gap, 0, truth), RATE, GAPS)
    assert filled.dtype == truth.dtype
    assert np.array_equal(filled[~gap], truth[~gap])
    places = np.arange(len(truth))
    by_lines = np.interp(places[gap], places[~gap], truth[~gap])
    # Silence is 0 dB.
    assert decibels(truth[gap], filled[gap]) > max(decibels(truth[gap], by_lines), 0) + 2


def test_gaps_closer_than_a_frame_are_filled_together(music: dict[str, Path]) -> None:
    truth = mono(music["guitar_test"])[: 2 * RATE]
    gaps = [(start, start + 0.004) for start in (0.4, 0.41, 0.425, 1.1, 1.106)]
    gap = marked(gaps, len(truth))
    filled = inpaint(truth, RATE, gaps, rounds=3)
    places = np.arange(len(truth))
    by_lines = np.interp(places[gap], places[~gap], truth[~gap])
    assert decibels(truth[gap], filled[gap]) > decibels(truth[gap], by_lines) + 5


def test_long_gaps_do_not_fade_where_phases_are_consistent(music: dict[str, Path]) -> None:
    truth, gaps = mono(music["backing_test"]), [(1.0, 1.25)]
    middle = slice(int(1.08 * RATE), int(1.17 * RATE))
    level = {
        phases: float(np.std(inpaint(truth, RATE, gaps, phases=phases, rounds=2)[middle]))
        for phases in ("expected", "consistent")
    }
    assert level["expected"] < 0.3 * np.std(truth[middle])
    assert 0.4 < level["consistent"] / np.std(truth[middle]) < 2.5


def test_what_a_gap_holds_makes_no_difference(music: dict[str, Path]) -> None:
    truth = mono(music["guitar_test"])[:RATE]
    gaps = [(0.4, 0.42)]
    loud = np.where(marked(gaps, len(truth)), np.float32(0.9), truth)
    silent = np.where(marked(gaps, len(truth)), np.float32(0), truth)
    assert np.array_equal(inpaint(loud, RATE, gaps, rounds=1), inpaint(silent, RATE, gaps, rounds=1))


def test_a_hole_in_the_spectrum_is_filled_at_its_level(music: dict[str, Path]) -> None:
    truth = mono(music["backing_test"])
    stft = get_transform("stft", n_fft=1024, hop_length=256)
    points = stft.analyze(truth, RATE)
    block = points.blocks[0]
    hole = np.outer((block.frequencies >= 500) & (block.frequencies <= 1500), (block.times >= 1) & (block.times <= 1.3))
    cut = stft.synthesize(points, [(~hole).astype(np.float32)])
    filled = inpaint(cut, RATE, [(1, 1.3, 500, 1500)], transform=stft, rounds=2)
    assert distance(truth, filled, hole) < distance(truth, cut, hole) - 6
    # What lies outside, but for a frame's and a few bins' leakage, is as it was.
    away = np.outer((block.frequencies < 400) | (block.frequencies > 1600), (block.times < 0.9) | (block.times > 1.4))
    assert distance(truth, filled, away) < 0.5


def test_gaps_in_time_and_holes_are_filled_in_one_go(music: dict[str, Path]) -> None:
    truth = mono(music["backing_test"])
    stft = get_transform("stft", n_fft=1024, hop_length=256)
    points = stft.analyze(truth, RATE)
    block = points.blocks[0]
    hole = np.outer((block.frequencies >= 500) & (block.frequencies <= 1500), (block.times >= 1) & (block.times <= 1.3))
    cut = stft.synthesize(points, [(~hole).astype(np.float32)])
    gap = marked([(2.0, 2.02)], len(truth))
    for phases in ("expected", "consistent"):
        gaps = [(2.0, 2.02), (1, 1.3, 500, 1500)]
        filled = inpaint(np.where(gap, 0, cut), RATE, gaps, transform=stft, rounds=2, phases=phases)
        assert distance(truth, filled, hole) < distance(truth, cut, hole) - 6
        assert np.std(filled[gap]) > 0.2 * np.std(truth[gap])


def test_a_model_of_the_voice_gives_a_telephone_its_upper_band(speech: dict[str, Path]) -> None:
    truth, cutoff = mono(speech["female_test"]), 3400
    stft = get_transform("stft", n_fft=1024, hop_length=256)
    model = INMF(30, max_iter=60).fit(stft.analyze(mono(speech["female_train"]), RATE).without_synthesis())
    spectrum = np.fft.rfft(truth)
    spectrum[np.fft.rfftfreq(len(truth), 1 / RATE) >= cutoff] = 0
    narrow = np.fft.irfft(spectrum, len(truth)).astype(np.float32)
    wide = extend_bandwidth(narrow, RATE, model, cutoff)
    hertz = get_transform("stft", n_fft=1024).analyze(truth, RATE).blocks[0].frequencies
    high, low = hertz > cutoff + 50, hertz < cutoff - 100
    assert distance(truth, wide, high) < distance(truth, narrow, high) - 2
    assert distance(truth, wide, low) < 0.5
    stereo = extend_bandwidth(np.stack([narrow, narrow]), RATE, model, cutoff)
    np.testing.assert_allclose(stereo, [wide, wide], atol=1e-6)


def test_a_dictionary_of_noise_takes_noise_away(audio_dir: Path) -> None:
    stft = get_transform("stft", n_fft=1024, hop_length=256)
    voice, noise, mixture = (
        mono(audio_dir / "noise" / f"{name}.flac") for name in ("voice_test", "noise_test", "mixture")
    )
    np.testing.assert_allclose(voice + noise, mixture, atol=1e-6)
    models = {
        "voice": INMF(30, max_iter=60).fit(stft.analyze(mono(audio_dir / "speech/female_train.flac"), RATE)),
        "noise": INMF(8, max_iter=60).fit(stft.analyze(mono(audio_dir / "noise/train.flac"), RATE)),
    }
    found = separate(mixture, RATE, models, stft, mask={"wiener": 2}, max_iter=60)["voice"]
    assert si_sdr(voice, found) > si_sdr(voice, mixture) + 4
    before, after = (stoi(voice[None].astype(float), x[None].astype(float), RATE)[0] for x in (mixture, found))
    assert after > before - 0.01


def test_silence_stays_silent_and_a_gap_at_an_end_is_filled(music: dict[str, Path]) -> None:
    nothing = np.zeros(RATE, np.float32)
    assert np.array_equal(inpaint(nothing, RATE, [(0.2, 0.3)], rounds=1), nothing)
    truth = mono(music["guitar_test"])[:RATE]
    filled = inpaint(truth, RATE, [(0.0, 0.02), (0.98, 1.0)], rounds=1)
    assert np.isfinite(filled).all()
    assert np.abs(filled).max() < 2 * np.abs(truth).max()
    assert np.array_equal(inpaint(truth, RATE, [], rounds=1), truth)


@pytest.mark.parametrize(
    ("gaps", "settings", "said"),
    [
        ([(0.5, 0.4)], {}, "does not lie"),
        ([(0.5, 1.4)], {}, "does not lie"),
        ([(0.5,)], {}, "wrong form"),
        ([(0.5, 0.6, 900, 100)], {}, "does not lie"),
        ([(0.0, 1.0)], {}, "nothing to learn from"),
        ([(0.1, 0.2)], {"rounds": 0}, "rounds"),
        ([(0.1, 0.2)], {"transform": "cqt"}, "one grid"),
    ],
)
def test_gaps_that_cannot_be_filled_are_one_clear_error(gaps: list, settings: dict, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        inpaint(np.random.default_rng(0).standard_normal(RATE).astype(np.float32), RATE, gaps, **settings)


def test_there_must_be_a_band_to_add() -> None:
    points = get_transform("stft").analyze(np.random.default_rng(0).standard_normal(8000), 8000)
    model = INMF(2, max_iter=2).fit(points)
    with pytest.raises(ArgumentError, match="no band to add"):
        extend_bandwidth(np.zeros(RATE), RATE, model, 5000)


def test_a_model_with_a_context_is_refused() -> None:
    points = get_transform("stft").analyze(np.random.default_rng(0).standard_normal(8000), 8000)
    model = INMF(2, max_iter=2, context=0.2).fit(points)
    with pytest.raises(ArgumentError, match="context"):
        inpaint(np.zeros(RATE), RATE, [(0.1, 0.2)], model=model)
