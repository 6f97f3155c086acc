"""Contexts, a second mask, sources that are learned on the mixture, and components in groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow import INMF, Ensemble, get_transform, separate
from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.scale_invariant import si_sdr
from inmf_flow.separation import Dictionary, Mask, group_components, learn_unknown, separate_blocks

STFT = {"n_fft": 1000}


def decibels(estimates: dict[str, Any], references: dict[str, Any]) -> float:
    """Return the mean SI-SDR of the sources."""
    names = list(references)
    return float(
        si_sdr(
            *(np.stack([np.asarray(audio[name], np.float64) for name in names]) for audio in (references, estimates))
        ).mean()
    )


@pytest.fixture(scope="module")
def moving(speech: Any) -> dict[str, INMF]:
    """Models of the two voices with a context of two hops."""
    from inmf_flow.audio import read_audio

    stft = get_transform("stft", **STFT)
    return {
        name: INMF(15, max_iter=100, context=0.0625).fit(stft.analyze(read_audio(speech[f"{name}_train"])[0][0], 16000))
        for name in ("male", "female")
    }


def test_a_context_separates_voices_and_adds_up(voices: Any, moving: dict[str, INMF]) -> None:
    estimates = separate(voices.mixture, 16000, moving, get_transform("stft", **STFT), max_iter=60)
    assert np.abs(sum(estimates.values()) - voices.mixture).max() < 1e-6
    still = separate(voices.mixture, 16000, voices.models, get_transform("stft", **STFT), max_iter=60)
    nothing = decibels(dict.fromkeys(estimates, voices.mixture), voices.references)
    assert decibels(estimates, voices.references) > nothing + 3
    assert any(np.abs(estimates[name] - still[name]).max() > 0.01 for name in still)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    length=st.integers(3000, 16000),
    spec=st.sampled_from([{"n_fft": 1000}, {"n_fft": 512, "hop_length": 128}, {"n_fft": 2000, "hop_length": 1000}]),
    block=st.floats(0.05, 0.4),
    refine=st.sampled_from([None, 1.3]),
)
def test_blocks_with_context_and_second_mask_equal_the_whole(
    length: int, spec: dict[str, int], block: float, refine: float | None, voices: Any, moving: dict[str, INMF]
) -> None:
    stft, audio = get_transform("stft", **spec), voices.mixture[None, :length]
    whole = separate(audio, 16000, moving, stft, max_iter=5, refine=refine)
    parts = list(separate_blocks([audio], 16000, Dictionary(moving), stft, Mask(), 5, block, refine))
    for name, estimate in whole.items():
        joined = np.concatenate([part[name] for part in parts], axis=-1)
        assert joined.shape == estimate.shape
        assert np.abs(joined - estimate).max() < 1e-5


@pytest.mark.parametrize("spec", ["stft:n_fft=1000", "cqt:fmin=60,bins_per_octave=24", "wavelet"])
def test_a_second_mask_sharpens_and_adds_up(spec: str, voices: Any) -> None:
    once, twice = (separate(voices.mixture, 16000, voices.models, spec, refine=refine) for refine in (None, 1.3))
    assert np.abs(sum(twice.values()) - voices.mixture).max() < 1e-5
    before, after = (decibels(estimates, voices.references) for estimates in (once, twice))
    assert after > before if spec.startswith("stft") else after > before - 0.5
    # More of what one source has is not in the other.
    overlaps = [float(np.abs(np.corrcoef(*estimates.values())[0, 1])) for estimates in (once, twice)]
    assert overlaps[1] < overlaps[0]


def test_scattered_points_are_not_masked_again(voices: Any) -> None:
    audio = voices.mixture[:16000]
    once, twice = (
        separate(audio, 16000, voices.models, "sinusoidal", refine=refine, max_iter=5) for refine in (None, 1.3)
    )
    assert all(np.array_equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("context", [0.0, 0.0625])
def test_an_unknown_source_is_learned_beside_a_known_one(context: float, voices: Any, moving: dict[str, INMF]) -> None:
    stft, rng = get_transform("stft", **STFT), np.random.default_rng(0)
    voice = voices.references["male"]
    # A hiss that comes and goes, as loud as the voice.
    hiss = np.diff(rng.standard_normal(len(voice) + 1)) * (1 + np.sin(2 * np.pi * 0.7 * np.arange(len(voice)) / 16000))
    hiss *= np.sqrt(np.mean(voice**2) / np.mean(hiss**2))
    mixture = (voice + hiss).astype(np.float32)
    known = {"male": (moving if context else voices.models)["male"]}
    unknown = learn_unknown(stft.analyze(mixture, 16000), known, {"rest": 3}, max_iter=100)
    assert list(unknown) == ["rest"]
    assert unknown["rest"].n_components == 3
    assert unknown["rest"].context == known["male"].context
    estimates = separate(mixture, 16000, {**known, **unknown}, stft)
    references = {"male": voice, "rest": hiss}
    assert decibels(estimates, references) > decibels(dict.fromkeys(references, mixture), references) + 5


def test_unknown_sources_that_cannot_be_are_refused(voices: Any) -> None:
    points = get_transform("stft", **STFT).analyze(voices.mixture[:16000], 16000)
    with pytest.raises(ArgumentError, match="either known or unknown"):
        learn_unknown(points, voices.models, {"male": 3})
    with pytest.raises(ArgumentError, match="beside ensembles"):
        learn_unknown(points, {"male": Ensemble({"one": voices.models["male"]})}, {"rest": 3})
    with pytest.raises(ArgumentError, match="group_components"):
        learn_unknown(points, {}, {"a": 3, "b": 3})
    with pytest.raises(ArgumentError, match="power is that of the known"):
        learn_unknown(points, voices.models, {"rest": 3}, power=1.0)
    assert learn_unknown(points, {}, {"all": 4}, max_iter=5)["all"].n_components == 4


def test_clicks_and_tones_are_grouped_as_percussive_and_harmonic() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(48000) / 16000
    tones = sum(np.sin(2 * np.pi * f * time) * (time // 1 == second) for second, f in enumerate((330, 440, 550)))
    clicks = np.zeros(48000)
    for start in range(2000, 47000, 5000):
        clicks[start : start + 160] += rng.standard_normal(160)
    mixture = (0.3 * tones + clicks).astype(np.float32)
    stft = get_transform("stft", n_fft=1024)
    model = INMF(6, max_iter=200).fit(stft.analyze(mixture, 16000))
    groups = group_components(model, "harmonic-percussive")
    estimates = separate(mixture, 16000, groups, stft)
    references = {"harmonic": 0.3 * tones, "percussive": clicks}
    assert decibels(estimates, references) > decibels(dict.fromkeys(references, mixture), references) + 8


@pytest.mark.parametrize("by", ["templates", "activations"])
def test_groups_are_made_of_components_that_are_alike(by: str) -> None:
    rng = np.random.default_rng(1)
    time = np.arange(64000) / 16000
    # Two sounds of two partials each: partials of a sound share its gate, and sounds lie in bands of their own.
    gates = [np.repeat(rng.random(16) > 0.5, 4000).astype(float) for _ in range(2)]
    sounds = [
        gate * (np.sin(2 * np.pi * f * time) + np.sin(2 * np.pi * (f * 1.06) * time))
        for gate, f in zip(gates, (300, 3000), strict=True)
    ]
    mixture = (0.2 * sum(sounds)).astype(np.float32)
    stft = get_transform("stft", n_fft=1024)
    model = INMF(4, max_iter=300, n_init=2).fit(stft.analyze(mixture, 16000))
    groups = group_components(model, by, into=2)
    assert sorted(groups) == ["group-1", "group-2"]
    assert sum(group.n_components for group in groups.values()) == 4
    centres = sorted(
        float(group.templates([318.0]).max() - group.templates([3090.0]).max()) for group in groups.values()
    )
    assert centres[0] < 0 < centres[1]


def test_an_assignment_gives_each_source_its_components(voices: Any) -> None:
    model = voices.models["male"]
    groups = group_components(model, {"low": [0, 3], "high": [1]})
    assert {name: group.n_components for name, group in groups.items()} == {"low": 2, "high": 1, "rest": 12}
    frequencies = np.linspace(0, 8000, 50)
    assert np.array_equal(groups["low"].templates(frequencies), model.templates(frequencies)[:, [0, 3]])
    assert np.array_equal(groups["low"].activations([0.5, 1.0]), model.activations([0.5, 1.0])[[0, 3]])
    for wrong in ({"low": [0, 0]}, {"low": [15]}, {"low": ["0"]}, {}, {"low": [True]}):
        with pytest.raises(ArgumentError, match="the assignment does not fit"):
            group_components(model, wrong)
    with pytest.raises(ArgumentError, match="so many groups"):
        group_components(model, into=16)
    with pytest.raises(ArgumentError, match="no such grouping"):
        group_components(model, "colour")


def test_a_subset_of_what_is_not_there_is_refused(voices: Any) -> None:
    with pytest.raises(ArgumentError, match="no such components"):
        voices.models["male"].subset([15])
    network = INMF(1, field="network", max_iter=1).fit(
        get_transform("stft", n_fft=512).analyze(voices.mixture[:4000], 16000)
    )
    with pytest.raises(ArgumentError, match="cannot be taken apart"):
        network.subset([0])


def _panned(voices: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return two voices at two places between two loudspeakers, and each alone."""
    places = {"male": (0.9, 0.3), "female": (0.35, 0.85)}
    images = {
        name: np.stack([gain * voices.references[name] for gain in gains]).astype(np.float32)
        for name, gains in places.items()
    }
    return sum(images.values()), images


@pytest.mark.parametrize("context", [0.0, 0.0625])
def test_channels_that_share_activations_tell_places_apart(
    context: float, voices: Any, moving: dict[str, INMF]
) -> None:
    mixture, images = _panned(voices)
    models, stft = moving if context else voices.models, get_transform("stft", **STFT)
    scores = {}
    for channels in ("each", "shared"):
        estimates = separate(mixture, 16000, models, stft, max_iter=60, channels=channels)
        assert np.abs(sum(estimates.values()) - mixture).max() < 1e-6
        scores[channels] = decibels(estimates, images)
    assert scores["shared"] > scores["each"] + 0.3
    dictionary = Dictionary(models)
    learned = dictionary.with_channels(stft.analyze(mixture, 16000)).channel_gains
    # A worker keeps the dictionary for the next mixture.
    assert dictionary.channel_gains is None
    assert learned is not None
    assert np.allclose(learned.mean(0), 1)
    # In the domain of magnitudes^0.5.
    assert learned[0, 0] > learned[1, 0]
    assert learned[0, 1] < learned[1, 1]


def test_shared_channels_from_file_to_files_equal_those_in_memory(voices: Any, tmp_path: Any) -> None:
    from inmf_flow.audio import read_audio, write_audio
    from inmf_flow.separation import separate_file

    mixture, _ = _panned(voices)
    write_audio(tmp_path / "mixture.wav", mixture, 16000)
    stft = get_transform("stft", **STFT)
    whole = separate(mixture, 16000, voices.models, stft, max_iter=10, channels="shared")
    dictionary = Dictionary(voices.models)
    done = separate_file(
        tmp_path / "mixture.wav",
        tmp_path / "out",
        dictionary,
        stft,
        max_iter=10,
        channels="shared",
        block_seconds=0.9,
    )
    for name, path in done.outputs.items():
        assert np.abs(read_audio(path)[0] - whole[name]).max() < 1e-4
    # The same dictionary fits the next file's channels one by one, as if there had been none before.
    each = separate(mixture, 16000, voices.models, stft, max_iter=10)
    after = separate_file(tmp_path / "mixture.wav", tmp_path / "next", dictionary, stft, max_iter=10, block_seconds=0.9)
    for name, path in after.outputs.items():
        assert np.abs(read_audio(path)[0] - each[name]).max() < 1e-4
    with pytest.raises(ArgumentError, match="'each' or 'shared'"):
        separate(mixture, 16000, voices.models, stft, channels="both")


def test_one_channel_has_nothing_to_share(voices: Any) -> None:
    stft, audio = get_transform("stft", **STFT), voices.mixture[:16000]
    each, shared = (separate(audio, 16000, voices.models, stft, max_iter=5, channels=c) for c in ("each", "shared"))
    assert all(np.array_equal(each[name], shared[name]) for name in each)
