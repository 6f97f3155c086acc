"""Separation of real recordings: it helps, adds up, leaves models alone, and takes any audio."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform, separate
from inmf_flow.errors import ArgumentError, TransformError
from inmf_flow.evaluate import si_sdr
from inmf_flow.separation import Dictionary, Mask


def added(estimates: dict[str, NDArray[Any]]) -> NDArray[Any]:
    return np.sum(list(estimates.values()), axis=0)


@pytest.mark.parametrize("scene", ["voices", "song"])
@pytest.mark.parametrize("mask", ["default", {"wiener": 2}, "paper"])
def test_estimates_beat_the_mixture(scene: str, mask: Any, request: pytest.FixtureRequest) -> None:
    case = request.getfixturevalue(scene)
    estimates = separate(case.mixture, 16000, case.models, "stft:n_fft=2000", mask=mask)
    references = np.stack([case.references[name] for name in estimates]).astype(float)
    untouched = si_sdr(references, np.stack([case.mixture] * 2).astype(float))
    reached = si_sdr(references, np.stack(list(estimates.values())).astype(float))
    assert (reached > untouched + 1).all()
    assert (reached > si_sdr(references[::-1], np.stack(list(estimates.values())).astype(float)) + 1).all()


@pytest.mark.parametrize("scene", ["voices", "song"])
@pytest.mark.parametrize("mask", [None, {"wiener": 2}, {"wiener": 0.7}])
@pytest.mark.parametrize("transform", ["stft:n_fft=2000", "stft:n_fft=512,hop_length=100,window=hann"])
def test_estimates_add_up_to_the_mixture(scene: str, mask: Any, transform: str, request: pytest.FixtureRequest) -> None:
    case = request.getfixturevalue(scene)
    mixture = case.mixture[:24000]
    estimates = separate(mixture, 16000, case.models, transform, mask=mask, max_iter=10)
    assert all(estimate.shape == mixture.shape and estimate.dtype == np.float32 for estimate in estimates.values())
    assert np.abs(added(estimates) - mixture).max() < 2e-6 * np.abs(mixture).max()
    precise = separate(mixture.astype(np.float64), 16000, case.models, transform, mask=mask, max_iter=10)
    assert np.abs(added(precise) - mixture).max() < 5e-7 * np.abs(mixture).max()


def test_papers_estimates_do_not_add_up(voices: Any) -> None:
    mixture = voices.mixture[:16000]
    estimates = separate(mixture, 16000, voices.models, mask="paper", max_iter=10)
    assert np.linalg.norm(added(estimates) - mixture) > 0.05 * np.linalg.norm(mixture)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_gain_of_the_mixture_scales_the_estimates(power: float, voices: Any, speech: dict[str, Any]) -> None:
    from inmf_flow.audio import read_audio

    stft = get_transform("stft", n_fft=1000)
    models = {
        name: INMF(6, power=power, max_iter=40).fit(
            stft.analyze(read_audio(speech[f"{name}_train"])[0][0, :48000], 16000)
        )
        for name in voices.models
    }
    mixture = voices.mixture[:16000]
    plain = separate(mixture, 16000, models, stft)
    for gain in (1e-4, 1e3):
        scaled = separate(mixture * np.float32(gain), 16000, models, stft)
        for name, estimate in plain.items():
            assert np.abs(scaled[name] / gain - estimate).max() < 1e-4 * np.abs(mixture).max()


def test_models_are_left_as_they_were(voices: Any, bits: Callable[[dict[str, INMF]], bytes]) -> None:
    before = bits(voices.models)
    first = separate(voices.mixture[:16000], 16000, voices.models, max_iter=5)
    assert bits(voices.models) == before
    again = separate(voices.mixture[:16000], 16000, voices.models, max_iter=5)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_channels_are_separated_one_by_one(voices: Any, song: Any) -> None:
    stereo = np.stack([voices.mixture[:16000], song.mixture[:16000], np.zeros(16000, np.float32)])
    estimates = separate(stereo, 16000, voices.models, "stft:n_fft=1000", max_iter=20)
    for name, estimate in estimates.items():
        assert estimate.shape == stereo.shape
        assert not estimate[2].any()
        for channel in (0, 1):
            alone = separate(stereo[channel], 16000, voices.models, "stft:n_fft=1000", max_iter=20)[name]
            assert np.abs(estimate[channel] - alone).max() < 1e-6
    assert np.abs(added(estimates) - stereo).max() < 2e-6 * np.abs(stereo).max()


@pytest.mark.parametrize("samples", [1, 2, 7, 400, 800])
@pytest.mark.parametrize("n_fft", [64, 2000])
def test_short_clips_and_silence_are_separated(samples: int, n_fft: int, voices: Any) -> None:
    for audio in (voices.mixture[8000 : 8000 + samples], np.zeros(samples, np.float32)):
        estimates = separate(audio, 16000, voices.models, get_transform("stft", n_fft=n_fft), max_iter=5)
        assert all(estimate.shape == (samples,) for estimate in estimates.values())
        assert np.abs(added(estimates) - audio).max() < 1e-6


def test_silence_within_a_recording_stays_silent(voices: Any) -> None:
    audio = voices.mixture[:24000].copy()
    audio[8000:16000] = 0
    for estimate in separate(audio, 16000, voices.models, "stft:n_fft=512").values():
        assert np.abs(estimate[9000:15000]).max() < 1e-7
        assert np.isfinite(estimate).all()


@pytest.mark.parametrize(("mask", "share"), [("default", 0.5), ("paper", 0.25)])
def test_band_that_no_model_has_seen_is_shared_equally_and_said_once(
    mask: str, share: float, narrow: dict[str, INMF], voices: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stft = get_transform("stft", n_fft=512)
    points = stft.analyze(voices.mixture[:16000], 16000)
    with caplog.at_level(logging.WARNING):
        estimates = separate(voices.mixture[:16000], 16000, narrow, stft, mask=mask, max_iter=10)
    assert [record.getMessage() for record in caplog.records] == [
        "the models have seen no data from 4000 to 8000 Hz: the sources share that band equally"
    ]
    high = points.blocks[0].frequencies > 4000
    rule = Mask(paper=mask == "paper")
    for (gains,), estimate in zip(Dictionary(narrow).gains(points, rule, 10), estimates.values(), strict=True):
        assert np.allclose(gains[high], share)
        assert np.abs(gains[~high] - share).max() > 0.2
        assert np.isfinite(estimate).all()
    if mask == "default":
        assert np.abs(added(estimates) - voices.mixture[:16000]).max() < 2e-6


def test_unseen_band_has_no_say_in_the_seen_one(narrow: dict[str, INMF], voices: Any) -> None:
    stft = get_transform("stft", n_fft=512)
    block = stft.analyze(voices.mixture[:16000], 16000).blocks[0]
    loud = block.magnitudes.copy()
    loud[block.frequencies > 4000] *= 1000
    gains = [
        Dictionary(narrow).gains(
            PointSet.from_grid(block.times, block.frequencies, magnitudes, nyquist=8000), Mask(), 20
        )
        for magnitudes in (block.magnitudes, loud)
    ]
    for one, two in zip(*gains, strict=True):
        assert np.array_equal(one[0], two[0])


def test_a_model_of_a_low_rate_does_not_warn_at_that_rate(
    narrow: dict[str, INMF], voices: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        separate(voices.mixture[:8000], 8000, narrow, "stft:n_fft=333", max_iter=2)
    assert not caplog.records


def test_trained_at_one_rate_and_window_used_at_others(voices: Any) -> None:
    from inmf_flow.audio import resample

    for rate, n_fft in ((8000, 1000), (16000, 4000), (44100, 2048)):
        mixture = resample(voices.mixture, 16000, rate)
        references = np.stack([resample(audio, 16000, rate) for audio in voices.references.values()])
        estimates = separate(mixture, rate, voices.models, get_transform("stft", n_fft=n_fft))
        assert list(estimates) == list(voices.references)
        reached = si_sdr(references.astype(float), np.stack(list(estimates.values())).astype(float))
        untouched = si_sdr(references.astype(float), np.stack([mixture] * 2).astype(float))
        assert (reached > untouched + 1).all()
        assert np.abs(added(estimates) - mixture).max() < 5e-6


def test_one_source_alone_gets_everything(voices: Any) -> None:
    only = {"all": voices.models["male"]}
    mixture = voices.mixture[:16000]
    assert np.abs(separate(mixture, 16000, only, max_iter=2)["all"] - mixture).max() < 1e-6


def test_models_that_do_not_go_together_are_named(voices: Any, voice_points: PointSet) -> None:
    male = voices.models["male"]
    for options, what in (({"power": 1.0}, "power"), ({"beta_loss": 0.0}, "beta_loss")):
        other = INMF(2, max_iter=2, **options).fit(voice_points)
        with pytest.raises(ArgumentError, match=f"different values of {what}.*b: "):
            Dictionary({"a": male, "b": other})
    with pytest.raises(ArgumentError, match="no model"):
        separate(voices.mixture, 16000, {})


def test_beta_by_name_and_by_number_go_together(voices: Any, voice_points: PointSet) -> None:
    other = INMF(2, beta_loss=1, max_iter=2).fit(voice_points)
    assert Dictionary({"a": voices.models["male"], "b": other}).beta_loss == "kullback-leibler"


def test_audio_and_transforms_that_cannot_work_are_refused(voices: Any) -> None:
    with pytest.raises(ArgumentError, match="inverted"):
        separate(voices.mixture, 16000, voices.models, "stft:n_fft=512,hop_length=512,window=hann")
    for audio in (np.zeros(0), np.array([0.0, np.nan]), np.zeros(9, np.int16), np.zeros((1, 1, 9))):
        with pytest.raises(TransformError):
            separate(audio, 16000, voices.models)


@pytest.fixture
def voice_points(voices: Any) -> PointSet:
    return get_transform("stft", n_fft=1000).analyze(voices.references["male"][:8000], 16000)
