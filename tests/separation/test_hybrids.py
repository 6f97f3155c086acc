"""Several transforms at once, of any shape, and components one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inmf_flow import INMF, get_transform, separate
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError, ConfigError
from inmf_flow.evaluate import si_sdr
from inmf_flow.separation import Dictionary, Mask, separate_blocks

OTHERS = ["cqt:fmin=110,bins_per_octave=12", "wavelet", "sinusoidal"]
TOGETHER = ["stft:n_fft=1000", "cqt:fmin=110,bins_per_octave=12", "wavelet"]


def scores(case: Any, estimates: dict[str, Any]) -> Any:
    references = np.stack([case.references[name] for name in estimates]).astype(float)
    return si_sdr(references, np.stack(list(estimates.values())).astype(float))


@pytest.mark.parametrize("transform", [*OTHERS, TOGETHER], ids=[*OTHERS, "together"])
def test_dictionaries_of_an_stft_separate_through_any_transform(transform: Any, voices: Any) -> None:
    estimates = separate(voices.mixture, 16000, voices.models, transform)
    same = dict.fromkeys(estimates, voices.mixture)
    assert (scores(voices, estimates) > scores(voices, same) + 1).all()
    assert np.abs(sum(estimates.values()) - voices.mixture).max() < 1e-5 * np.abs(voices.mixture).max()


@pytest.mark.parametrize("scene", ["voices", "song"])
def test_a_dictionary_of_a_hybrid_separates_through_each_and_all_of_its_transforms(
    scene: str, request: pytest.FixtureRequest, speech: dict[str, Any], music: dict[str, Any]
) -> None:
    case = request.getfixturevalue(scene)
    files = speech if scene == "voices" else music
    transforms = [get_transform(spec) for spec in TOGETHER]
    models = {}
    for name in case.references:
        audio = read_audio(files[f"{name}_train"])[0][0][:64000]
        points = sum((each.analyze(audio, 16000) for each in transforms[1:]), transforms[0].analyze(audio, 16000))
        models[name] = INMF(12, max_iter=60).fit(points)
    untouched = scores(case, dict.fromkeys(models, case.mixture))
    for transform in [*transforms, transforms]:
        assert (scores(case, separate(case.mixture, 16000, models, transform)) > untouched + 1).all()


def test_the_estimates_of_several_are_the_mean_of_each_under_common_activations(voices: Any) -> None:
    mixture, dictionary = voices.mixture[:20000], Dictionary(voices.models)
    transforms = [get_transform(spec) for spec in ("stft:n_fft=512", "cqt:fmin=220,bins_per_octave=12")]
    parts = [each.analyze(mixture, 16000) for each in transforms]
    gains = dictionary.joint_gains(parts, Mask(), 10)
    together = separate(mixture, 16000, voices.models, transforms, max_iter=10)
    for name, gain in zip(dictionary.names, gains, strict=True):
        alone = [each.synthesize(part, g) for each, part, g in zip(transforms, parts, gain, strict=True)]
        assert np.allclose(together[name], np.mean(alone, axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "transform", ["cqt:fmin=440,bins_per_octave=12", [*TOGETHER[:1], "cqt:fmin=440"], "sinusoidal"]
)
def test_cuts_leave_hardly_a_trace_where_frames_are_not_alone(transform: Any, voices: Any) -> None:
    mixture = np.tile(voices.mixture, 3)[:180000]
    whole = separate(mixture, 16000, voices.models, transform, max_iter=20)
    pieces = list(
        separate_blocks([mixture[None]], 16000, Dictionary(voices.models), transform, Mask(), 20, block_seconds=0.1)
    )
    assert len(pieces) > 1
    for name, estimate in whole.items():
        cut = np.concatenate([piece[name][0] for piece in pieces])
        error = np.linalg.norm(cut - estimate) / np.linalg.norm(estimate)
        assert error < 0.02, f"{name}: blocks differ from the whole by {error:.3f}"


def test_stereo_through_several(voices: Any) -> None:
    stereo = np.stack([voices.mixture[:16000], 0.3 * voices.mixture[8000:24000]])
    estimates = separate(stereo, 16000, voices.models, TOGETHER, max_iter=5)
    assert all(estimate.shape == stereo.shape for estimate in estimates.values())
    assert np.abs(sum(estimates.values()) - stereo).max() < 1e-5


def test_components_of_one_model_add_up_to_the_mixture_and_to_their_source(voices: Any) -> None:
    mixture = voices.mixture[:32000]
    sources = separate(mixture, 16000, voices.models, "stft:n_fft=1000", max_iter=20)
    parts = separate(mixture, 16000, voices.models, "stft:n_fft=1000", max_iter=20, outputs="components")
    assert list(parts) == [f"{name}-{k}" for name in voices.models for k in range(1, 16)]
    assert np.abs(sum(parts.values()) - mixture).max() < 1e-5
    # Shares of magnitudes^(1/p) do not add up within a source as those of the model do: powers of sums differ.
    for name, estimate in sources.items():
        own = np.sum([part for key, part in parts.items() if key.startswith(name + "-")], axis=0)
        assert np.corrcoef(own, estimate)[0, 1] > 0.9


@pytest.mark.parametrize("spec", ["wavelet:kind=dwt", "wavelet:kind=cwt", "cqt:fmin=220"])
def test_a_band_whose_centre_was_seen_is_known_to_its_end(spec: str, voices: Any, caplog: Any) -> None:
    audio = voices.mixture[:16000]
    model = INMF(3, max_iter=5).fit(get_transform(spec).analyze(audio, 16000))
    separate(audio, 16000, {"a": model, "b": model}, spec, max_iter=2)
    assert not caplog.records


def test_refusals(voices: Any) -> None:
    mixture = voices.mixture[:8000]
    with pytest.raises(ConfigError, match="no transform is given"):
        separate(mixture, 16000, voices.models, [])
    with pytest.raises(ConfigError, match=r"different calibrations.*noise"):
        separate(mixture, 16000, voices.models, ["stft:calibration=noise", "cqt"])
    with pytest.raises(ArgumentError, match="needs a transform that can be inverted"):
        separate(mixture, 16000, voices.models, ["stft", "reassigned"])
    with pytest.raises(ArgumentError, match="no such outputs"):
        separate(mixture, 16000, voices.models, outputs="files")  # type: ignore[arg-type]
