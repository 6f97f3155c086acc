"""Sources whose path holds something of the mixture have a dictionary for each mixture."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from inmf_flow import INMF, run_pipeline
from inmf_flow.errors import ConfigError
from inmf_flow.pipeline import check_corpus, explain_pipeline, pipeline_from_mapping
from inmf_flow.separation import separate

from .sets import set_pipeline, write_set


@pytest.fixture(scope="module")
def separated(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path], scheduler: str) -> tuple[Path, Any]:
    """A set that was separated: its folder, and the outcome. Leave it as it is."""
    folder = tmp_path_factory.mktemp("own")
    write_set(folder / "sets", speech)
    return folder, run_pipeline(set_pipeline(folder / "sets"), output=folder / "run", scheduler=scheduler)


def _copied(separated: tuple[Path, Any], tmp_path: Path) -> Path:
    shutil.copytree(separated[0], tmp_path / "own")
    return tmp_path / "own"


def test_each_mixture_is_separated_by_the_dictionaries_that_were_learned_for_it(separated: tuple[Path, Any]) -> None:
    folder, outcome = separated
    assert outcome.status == "done", outcome.failures
    assert outcome.stages["fit"].done == 6
    models = {path.relative_to(folder / "run/models").as_posix() for path in (folder / "run/models").rglob("*.*")}
    assert models == {f"{item}-mix/{source}.safetensors" for item in ("001", "002", "003") for source in "12"}
    for item in ("001", "002"):
        own = {source: INMF.load(folder / f"run/models/{item}-mix/{source}.safetensors") for source in "12"}
        assert [own["1"].provenance["files"], own["2"].provenance["files"]] == [["train_1.flac"], ["train_2.flac"]]
        audio, rate = soundfile.read(folder / f"sets/{item}/mix.flac", dtype="float32")
        expected = separate(audio, rate, own, "stft:n_fft=1024", max_iter=15)
        for source in "12":
            found, _ = soundfile.read(outcome.estimates[f"{item}-mix"][source], dtype="float32")
            np.testing.assert_allclose(found, expected[source], atol=1e-5)


def test_nothing_is_done_twice_and_a_changed_recording_costs_its_mixture_alone(
    separated: tuple[Path, Any], tmp_path: Path, scheduler: str
) -> None:
    folder = _copied(separated, tmp_path)
    pipeline = set_pipeline(folder / "sets")
    again = run_pipeline(pipeline, output=folder / "run", scheduler=scheduler)
    assert again.did_nothing
    shutil.copy(folder / "sets/002/train_1.flac", folder / "sets/001/train_1.flac")
    changed = run_pipeline(pipeline, output=folder / "run", scheduler=scheduler)
    assert {name: stage.done for name, stage in changed.stages.items()} == {
        "analyze": 1,
        "fit": 1,
        "separate": 1,
        "evaluate": 1,
        "report": 1,
    }


@pytest.mark.parametrize("store", ["zarr", "none"])
def test_a_mixture_that_lacks_its_recordings_fails_alone(
    store: str, tmp_path: Path, speech: dict[str, Path], scheduler: str
) -> None:
    write_set(tmp_path / "sets", speech)
    (tmp_path / "sets/001/train_1.flac").unlink()
    (tmp_path / "sets/002/train_2.flac").write_text("Not audio at all.\n" * 50)
    sources = {"1": {"audio": "{folder}/train_1*.flac"}, "2": {"audio": "{folder}/train_2.flac"}}
    pipeline = set_pipeline(tmp_path / "sets", store=store, sources=sources)
    outcome = run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler)
    assert outcome.status == "failed"
    reasons = {item: reason for stage, item, reason in outcome.failures if stage == "separate"}
    assert sorted(reasons) == ["001-mix", "002-mix"]
    assert "there is no model of 001-mix/1" in reasons["001-mix"]
    assert "no audio file matches" in reasons["001-mix"]
    assert "there is no model of 002-mix/2" in reasons["002-mix"]
    assert list(outcome.estimates) == ["003-mix"]
    quarantine = tmp_path / "run/quarantine.csv"
    lines = list(csv.DictReader(quarantine.read_text().splitlines())) if quarantine.exists() else []
    # What is at fault is the recording, not the mixtures that need it.
    assert [line["item"] for line in lines] == (["002-mix/2/train_2"] if store == "zarr" else [])
    assert run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler).did_nothing
    shutil.copy(tmp_path / "sets/003/train_1.flac", tmp_path / "sets/001/train_1.flac")
    mended = run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler)
    assert sorted(mended.estimates) == ["001-mix", "003-mix"]
    assert mended.stages["separate"].done == 1


def test_a_shared_source_and_one_of_each_mixture_go_together(
    separated: tuple[Path, Any], tmp_path: Path, scheduler: str
) -> None:
    folder = separated[0]
    sources = {
        "1": {"audio": str(folder / "sets/*/train_1.flac"), "components": 4},
        "2": {"audio": str(folder / "sets/{item}/train_2.flac"), "components": 4},
    }
    mixtures = [{"item": name, "audio": f"sets/{name}/mix.flac"} for name in ("001", "002")]
    manifest = folder / "mixtures.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in mixtures))
    corpus = {"mixtures": str(manifest), "sample_rate": 16000}
    pipeline = set_pipeline(folder / "sets", sources=sources, corpus=corpus)
    outcome = run_pipeline(pipeline, output=tmp_path / "run", scheduler=scheduler)
    assert outcome.status == "done", outcome.failures
    assert outcome.stages["fit"].done == 3
    assert sorted(path.name for path in (tmp_path / "run/models").iterdir()) == ["001", "002", "1.safetensors"]


def test_segments_of_a_mixture_share_its_dictionaries(tmp_path: Path, speech: dict[str, Path]) -> None:
    write_set(tmp_path / "sets", speech, ("one",))
    (tmp_path / "sets/one/mix.flac").unlink()
    shutil.copy(speech["mixture"], tmp_path / "sets/one/mix.flac")
    corpus = {"mixtures": str(tmp_path / "sets/*/mix.flac"), "segments": {"seconds": 2}}
    pipeline = pipeline_from_mapping(set_pipeline(tmp_path / "sets", corpus=corpus))
    plan = explain_pipeline(pipeline, tmp_path / "run").stages
    assert plan["separate"].total == 2
    assert [work.item for work in plan["fit"].todo] == ["mix/1", "mix/2"]


def test_letters_of_a_folder_are_no_pattern(tmp_path: Path, speech: dict[str, Path]) -> None:
    write_set(tmp_path / "sets", speech, ("take [1]", "take 1"))
    sources = {"1": {"audio": "{folder}/train_?.flac"}}
    pipeline = pipeline_from_mapping(set_pipeline(tmp_path / "sets", sources=sources))
    _, training = check_corpus(pipeline)
    found = {name: {recording.path.parent.name for recording in found} for name, found in training.items()}
    assert sorted(map(sorted, found.values())) == [["take 1"], ["take [1]"]]


def test_a_pattern_that_matches_nothing_for_any_mixture_is_an_error_of_the_pipeline(
    tmp_path: Path, speech: dict[str, Path]
) -> None:
    write_set(tmp_path / "sets", speech, ("001", "002"))
    sources = {"1": {"audio": "{folder}/trian_*.flac"}}
    with pytest.raises(ConfigError, match=r"sources\.1\.audio: no audio file matches"):
        check_corpus(pipeline_from_mapping(set_pipeline(tmp_path / "sets", sources=sources)))


@pytest.mark.full
def test_the_program_says_what_it_would_fit(separated: tuple[Path, Any], tmp_path: Path, inmf: Any) -> None:
    file = tmp_path / "set.yaml"
    file.write_text(yaml.safe_dump(set_pipeline(separated[0] / "sets")))
    shown = inmf("run", file, "--dry-run", "--why")
    assert shown.code == 0
    assert "fit: 6 of 6 to do" in shown.out
    assert "  003-mix/2: it has not been done yet" in shown.out
    assert not (tmp_path / "runs").exists()
