"""Several models of one source: one file, one separation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow import INMF, Ensemble, PointSet, get_transform, separate
from inmf_flow.audio import read_audio
from inmf_flow.errors import ArgumentError, ModelFileError
from inmf_flow.separation import Dictionary, Mask, MemberTransforms, separate_blocks, separate_file

SHORT, LONG = "stft:n_fft=1000", "stft:n_fft=4000"


@pytest.fixture(scope="module")
def ensembles(speech: dict[str, Path]) -> dict[str, Ensemble]:
    """A member for a short window, with a context, and one for a long window and another power, of each voice."""
    found = {}
    for name in ("male", "female"):
        audio = read_audio(speech[f"{name}_train"])[0][0]
        members = {"short": INMF(15, max_iter=80, context=0.0625), "long": INMF(10, max_iter=80, power=0.7)}
        found[name] = Ensemble(members).fit({"short": _points(SHORT, audio), "long": _points(LONG, audio)})
    return found


def _points(spec: str, audio: Any) -> PointSet:
    return get_transform("stft", n_fft=int(spec.split("=")[1])).analyze(audio, 16000)


def test_estimates_are_the_mean_of_the_members_and_add_up(voices: Any, ensembles: dict[str, Ensemble]) -> None:
    both = separate(voices.mixture, 16000, ensembles, MemberTransforms((SHORT, LONG)), max_iter=20)
    assert np.abs(sum(both.values()) - voices.mixture).max() < 1e-6
    alone = [
        separate(voices.mixture, 16000, {n: e.members[member] for n, e in ensembles.items()}, spec, max_iter=20)
        for member, spec in (("short", SHORT), ("long", LONG))
    ]
    for name in both:
        assert np.abs(both[name] - (alone[0][name] + alone[1][name]) / 2).max() < 1e-6


def test_blocks_of_an_ensemble_equal_the_whole(voices: Any, ensembles: dict[str, Ensemble], tmp_path: Path) -> None:
    transforms, dictionary = MemberTransforms((SHORT, LONG)), Dictionary(ensembles)
    whole = separate(voices.mixture, 16000, ensembles, transforms, max_iter=5, refine=1.3)
    blocks = separate_blocks([voices.mixture[None]], 16000, dictionary, transforms, Mask(), 5, 0.8, 1.3)
    parts = list(blocks)
    assert len(parts) > 1
    done = separate_file(voices.path, tmp_path, dictionary, transforms, max_iter=5, refine=1.3, block_seconds=0.8)
    for name, estimate in whole.items():
        assert np.abs(np.concatenate([part[name][0] for part in parts]) - estimate).max() < 1e-5
        assert np.abs(read_audio(done.outputs[name])[0][0] - estimate).max() < 1e-5


def test_one_file_holds_all_members(ensembles: dict[str, Ensemble], tmp_path: Path) -> None:
    path = tmp_path / "voice.safetensors"
    ensembles["male"].provenance = {"files": ["a.flac"]}
    ensembles["male"].save(path)
    again = INMF.load(path)
    assert isinstance(again, Ensemble)
    assert again.provenance == {"files": ["a.flac"]}
    assert list(again.members) == ["short", "long"]
    frequencies = np.linspace(0, 8000, 100)
    for name, member in ensembles["male"].members.items():
        assert again.members[name].power == member.power
        assert np.array_equal(again.members[name].templates(frequencies, 0.02), member.templates(frequencies, 0.02))
    assert again.templates(frequencies).shape == (100, 25)
    assert again.activations([0.1, 0.2]).shape == (25, 2)
    assert again.n_components == 25
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first


def test_a_damaged_ensemble_is_refused(ensembles: dict[str, Ensemble], tmp_path: Path) -> None:
    path = tmp_path / "voice.safetensors"
    ensembles["male"].save(path)
    path.write_bytes(path.read_bytes().replace(b'\\"name\\": \\"long\\"', b'\\"name\\": \\"shor\\"'))
    INMF.load(path)
    path.write_bytes(path.read_bytes().replace(b"1.frequency.nodes", b"1.frequency.modes"))
    with pytest.raises(ModelFileError, match="damaged"):
        INMF.load(path)


def test_ensembles_and_models_are_used_together(voices: Any, ensembles: dict[str, Ensemble]) -> None:
    same = Ensemble({"a": voices.models["male"], "b": voices.models["male"]})
    both = separate(voices.mixture, 16000, {"male": same, "female": voices.models["female"]}, SHORT, max_iter=10)
    alone = separate(voices.mixture, 16000, voices.models, SHORT, max_iter=10)
    assert all(np.abs(both[name] - alone[name]).max() < 1e-6 for name in alone)


def test_what_does_not_go_together_is_refused(voices: Any, ensembles: dict[str, Ensemble]) -> None:
    other = Ensemble({"one": voices.models["female"]})
    with pytest.raises(ArgumentError, match="different members"):
        Dictionary({"male": ensembles["male"], "female": other})
    with pytest.raises(ArgumentError, match="cannot be told apart"):
        Dictionary(ensembles, "components")
    with pytest.raises(ArgumentError, match="do not pair up"):
        separate(voices.mixture, 16000, ensembles, MemberTransforms((SHORT,)))
    with pytest.raises(ArgumentError, match="one or more models"):
        Ensemble({})
    with pytest.raises(ArgumentError, match="one or more models"):
        Ensemble({"nested": ensembles["male"]})
    with pytest.raises(ArgumentError, match="points of a member are missing"):
        Ensemble({"a": INMF(2), "b": INMF(2)}).fit({"a": PointSet.from_grid([0.0], [1.0], [[1.0]])})
    with pytest.raises(ArgumentError, match="different powers"):
        ensembles["male"].predict(_points(SHORT, voices.mixture[:8000]))
    for refused in (lambda e: e.transform(None), lambda e: e.subset([0])):
        with pytest.raises(ArgumentError, match="one of its members"):
            refused(ensembles["male"])


def test_members_of_one_power_have_a_common_model() -> None:
    rng = np.random.default_rng(0)
    points = PointSet.from_grid(np.arange(20) / 10, np.arange(1, 9) * 100.0, rng.random((8, 20)))
    ensemble = Ensemble({str(seed): INMF(2, random_state=seed, max_iter=50) for seed in range(3)}).fit(points)
    (model,) = ensemble.predict(points)
    each = [member.predict(points)[0] for member in ensemble.members.values()]
    assert np.allclose(model, np.mean(each, axis=0), atol=1e-6)
    assert ensemble.divergence(points) == pytest.approx(
        np.mean([member.divergence(points) for member in ensemble.members.values()])
    )
