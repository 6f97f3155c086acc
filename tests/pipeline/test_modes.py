"""Pipelines whose sources are learned on the mixtures, or are ensembles."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow import INMF, Ensemble
from inmf_flow.audio import read_audio, write_audio
from inmf_flow.pipeline import run_pipeline
from inmf_flow.pipeline.config import PipelineFileError, pipeline_from_mapping


@pytest.fixture
def voices(speech: dict[str, Path]) -> dict[str, Any]:
    """A pipeline of two speakers with short fits, for tests to change."""
    return {
        "name": "modes",
        "corpus": {"mixtures": str(speech["mixture"]), "sample_rate": 16000},
        "transforms": {"short": {"stft": {"n_fft": 1000}}, "long": {"stft": {"n_fft": 4000}}},
        "sources": {name: {"audio": str(speech[f"{name}_train"]), "components": 8} for name in ("male", "female")},
        "fit": {"max_iter": 30},
        "separate": {"max_iter": 20},
        "evaluate": {"references": str(speech["male_test"].parent / "{source}_test.flac")},
        "report": {"items": 1},
    }


def run(pipeline: dict[str, Any], output: Path) -> Any:
    """Run a pipeline on one worker; it must succeed."""
    outcome = run_pipeline(pipeline, output=output, workers=1)
    assert (outcome.status, outcome.failures) == ("done", [])
    return outcome


def estimates(output: Path) -> dict[str, Any]:
    return {path.stem: read_audio(path)[0] for path in sorted((output / "separated/mixture").glob("*.wav"))}


def scores(output: Path) -> dict[str, float]:
    with (output / "metrics.csv").open() as stream:
        return {row["source"]: float(row["value"]) for row in csv.DictReader(stream)}


def test_an_ensemble_is_fitted_and_averaged_member_by_member(voices: dict[str, Any], tmp_path: Path) -> None:
    voices["ensemble"] = {
        "short": {"analyze": "short", "synthesize": "short", "context": 0.0625, "components": 12},
        "long": {"analyze": "long", "synthesize": "long", "power": 0.7, "random_state": 3},
    }
    voices["separate"]["refine"] = 1.3
    run(voices, tmp_path / "run")
    model = INMF.load(tmp_path / "run/models/male.safetensors")
    assert isinstance(model, Ensemble)
    short, long = model.members.values()
    assert (short.n_components, short.context, short.power) == (12, 0.0625, 0.5)
    assert (long.n_components, long.context, long.power, long.random_state) == (8, 0.0, 0.7, 3)
    assert not (tmp_path / "run/points.zarr").exists()
    found = estimates(tmp_path / "run")
    mixture = read_audio(Path(voices["corpus"]["mixtures"]))[0]
    assert np.abs(sum(found.values()) - mixture).max() < 1e-5
    assert all(score > 1 for score in scores(tmp_path / "run").values())
    assert run_pipeline(voices, output=tmp_path / "run", workers=1).counts["fit"]["done"] == 0
    voices["ensemble"]["long"]["power"] = 0.6
    again = run_pipeline(voices, output=tmp_path / "run", workers=1)
    assert (again.counts["fit"]["done"], again.counts["separate"]["done"]) == (2, 1)


@pytest.mark.full
def test_a_source_is_learned_on_the_mixture_beside_a_known_one(voices: dict[str, Any], tmp_path: Path) -> None:
    voices["sources"]["male"] = {"learn": "mixture", "components": 6}
    outcome = run(voices, tmp_path / "run")
    assert outcome.counts["fit"]["done"] == 1
    assert [path.name for path in (tmp_path / "run/models").iterdir()] == ["female.safetensors"]
    assert sorted(scores(tmp_path / "run")) == ["female", "male"]
    mixture = read_audio(Path(voices["corpus"]["mixtures"]))[0]
    assert np.abs(sum(estimates(tmp_path / "run").values()) - mixture).max() < 1e-5
    assert run_pipeline(voices, output=tmp_path / "run", workers=1).counts["separate"]["done"] == 0
    voices["sources"]["male"]["components"] = 7
    again = run_pipeline(voices, output=tmp_path / "run", workers=1)
    assert (again.counts["fit"]["done"], again.counts["separate"]["done"]) == (0, 1)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ({"assign": {"low": [1, 2], "high": [4]}}, ["high", "low", "rest"]),
        pytest.param({"by": "harmonic-percussive"}, ["harmonic", "percussive"], marks=pytest.mark.full),
        pytest.param({"into": 3}, ["group-1", "group-2", "group-3"], marks=pytest.mark.full),
        pytest.param({"by": "activations"}, ["group-1", "group-2"], marks=pytest.mark.full),
    ],
)
def test_components_of_a_mixture_are_grouped_into_sources(
    group: dict[str, Any], names: list[str], voices: dict[str, Any], music: dict[str, Path], tmp_path: Path
) -> None:
    voices |= {"sources": {"song": {"learn": "mixture", "components": 6}}}
    voices["corpus"]["mixtures"] = str(music["mixture"])
    voices["separate"]["group"] = group
    del voices["evaluate"]
    run(voices, tmp_path / "run")
    found = estimates(tmp_path / "run")
    assert sorted(found) == names
    mixture = read_audio(music["mixture"])[0]
    assert np.abs(sum(found.values()) - mixture).max() < 1e-5
    assert all(np.abs(audio).max() > 1e-3 for audio in found.values())
    document = json.loads((tmp_path / "run/run.json").read_text())
    assert document["status"] == "done"
    assert run_pipeline(voices, output=tmp_path / "run", workers=1).counts["separate"]["done"] == 0


@pytest.mark.full
def test_channels_share_activations(voices: dict[str, Any], speech: dict[str, Path], tmp_path: Path) -> None:
    parts = {name: read_audio(speech[f"{name}_test"])[0][0] for name in ("male", "female")}
    stereo = np.stack([0.9 * parts["male"] + 0.3 * parts["female"], 0.3 * parts["male"] + 0.9 * parts["female"]])
    write_audio(tmp_path / "mixture.wav", stereo.astype(np.float32), 16000)
    voices["corpus"]["mixtures"] = str(tmp_path / "mixture.wav")
    del voices["evaluate"]
    run(voices, tmp_path / "each")
    voices["separate"]["channels"] = "shared"
    run(voices, tmp_path / "shared")
    each, shared = (estimates(tmp_path / name)["male"] for name in ("each", "shared"))
    assert each.shape == shared.shape == stereo.shape
    # What the male voice is given in the channel that it is far from.
    assert np.square(shared[1]).sum() < np.square(each[1]).sum()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"ensemble": {"a": {"analyze": "fine"}}}, "no transform of this pipeline is named 'fine'"),
        ({"ensemble": {"a": {"power": 0}}}, "ensemble.a.power"),
        ({"ensemble": {"a": {}}, "fit": {"learn": "online"}}, "learns one model a source"),
        ({"fit": {"learn": "passes", "context": 0.1}}, "takes no fit.context"),
        ({"sources": {"a": {"learn": "mixture"}, "b": {"learn": "mixture"}}}, "nothing tells several sources apart"),
        (
            {"sources": {"a": {"learn": "mixture", "model": "m.safetensors"}}},
            "learned on the mixtures, expected neither",
        ),
        ({"sources": {"a": {"learn": "mixture"}}, "ensemble": {"a": {}}}, "no members for what is learned"),
        ({"separate": {"group": {}}}, "needs one source that is learned on the mixtures"),
        (
            {"sources": {"a": {"learn": "mixture"}}, "separate": {"group": {}, "outputs": "components"}},
            "leaves nothing to group",
        ),
        ({"ensemble": {"a": {}}, "evaluate": {"divergence": True}}, "one dictionary a source"),
        ({"separate": {"refine": 0}}, "separate.refine"),
        ({"fit": {"context": 2}}, "fit.context"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_runs(
    change: dict[str, Any], what: str, voices: dict[str, Any]
) -> None:
    del voices["evaluate"]
    with pytest.raises(PipelineFileError, match=what):
        pipeline_from_mapping({**voices, **change})


def test_shipped_pipelines_of_each_mode_are_valid() -> None:
    from inmf_flow.pipeline.config import load_pipeline

    folder = Path(__file__).parents[2] / "pipelines"
    for name in ("blind", "semi-supervised", "ensemble", "music-ensemble"):
        assert load_pipeline(folder / f"{name}.yaml").name == name
