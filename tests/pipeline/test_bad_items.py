"""Recordings that cannot be used cost themselves, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 16000


def _spoil(folder: Path, good: Path) -> dict[str, str]:
    """Write one bad file of each kind and return what its reason must say."""
    (folder / "text.wav").write_text("Not audio at all.\n" * 50)
    (folder / "empty.flac").write_bytes(b"")
    whole = good.read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    noise[RATE // 2] = np.nan
    soundfile.write(folder / "nan.wav", noise, RATE, subtype="FLOAT")
    noise[RATE // 2] = np.inf
    soundfile.write(folder / "inf.wav", noise, RATE, subtype="FLOAT")
    soundfile.write(folder / "none.wav", noise[:0], RATE)
    (folder / "gone.wav").symlink_to("nowhere.wav")
    return {
        "text": "cannot be read as audio",
        "empty": "is empty",
        "cut": "truncated",
        "nan": "not finite",
        "inf": "not finite",
        "none": "no audio",
        "absent": "there is no such audio file",
    }


@pytest.fixture(scope="module")
def spoilt(without_pictures: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run over good, odd and bad files: (project, what it printed, reasons)."""
    project = without_pictures.copy(tmp_path_factory.mktemp("bad") / "project").without_results()
    mixtures = project.folder / "mixtures"
    reasons = _spoil(mixtures, mixtures / "one.flac")
    soundfile.write(mixtures / "silence.wav", np.zeros(RATE // 4, np.float32), RATE)
    soundfile.write(mixtures / "click.wav", np.array([0.5], np.float32), RATE)
    soundfile.write(mixtures / "blip.wav", 0.1 * np.ones((800, 2), np.float32), 44100)
    shutil.copy(mixtures / "text.wav", project.folder / "male" / "text.wav")
    for item in ("silence", "click", "blip"):
        (project.folder / "references" / item).mkdir()
        for source in ("male", "female"):
            shutil.copy(mixtures / f"{item}.wav", project.folder / "references" / item / f"{source}.wav")
    done = project.run("--set", 'corpus.mixtures=["mixtures/*", "mixtures/absent.wav"]', code=1)
    return project, done, reasons


def test_each_bad_mixture_is_a_failed_item_with_its_reason(spoilt: Any) -> None:
    project, done, reasons = spoilt
    items = project.document()["items"]
    for name, reason in reasons.items():
        assert items[name]["status"] == "failed", name
        assert reason in items[name]["reason"]
        assert "\n" not in items[name]["reason"]
        assert items[name]["outputs"] == {}
        assert not list((project.output / "separated").glob(f"{name}/*"))
        assert f"failed: separate {name}: " in done.out
        assert f"separate {name}: FAILED: " in done.err
    assert project.document()["status"] == "failed"


def test_the_others_are_done(spoilt: Any, without_pictures: Any) -> None:
    project, _, _ = spoilt
    items = project.document()["items"]
    for name in ("one", "two", "wide", "silence", "click", "blip"):
        assert items[name]["status"] == "done", items[name]
    assert project.document()["counts"]["separate"] == {"done": 6, "reused": 0, "failed": 7}
    for name, data in without_pictures.results().items():
        if name.startswith(("separated", "models")):
            assert project.results()[name] == data, name


def test_a_bad_training_file_is_left_out_of_its_sources_model(spoilt: Any) -> None:
    project, done, _ = spoilt
    document = project.document()
    assert document["counts"]["analyze"] == {"done": 4, "reused": 0, "failed": 1}
    assert document["counts"]["fit"] == {"done": 2, "reused": 0, "failed": 0}
    (failure,) = [f for f in document["failures"] if f["stage"] == "analyze"]
    assert failure["item"] == "male/text"
    assert "cannot be read as audio" in failure["reason"]
    assert "failed: analyze male/text: " in done.out


def test_silence_and_clips_of_a_few_samples_are_processed(spoilt: Any) -> None:
    project, _, _ = spoilt
    for name in ("silence", "click", "blip"):
        mixture, rate = soundfile.read(project.folder / "mixtures" / f"{name}.wav", always_2d=True)
        estimates = [soundfile.read(path, always_2d=True) for path in (project.output / "separated" / name).iterdir()]
        assert {(audio.shape, r) for audio, r in estimates} == {(mixture.shape, rate)}
        np.testing.assert_allclose(sum(audio for audio, _ in estimates), mixture, atol=1e-5)


def test_nothing_is_tried_again_and_the_exit_code_stays(spoilt: Any) -> None:
    project, _, _ = spoilt
    before = project.output.joinpath("run.json").read_bytes()
    done = project.run("--set", 'corpus.mixtures=["mixtures/*", "mixtures/absent.wav"]', code=1)
    assert done.err == ""
    assert done.out.startswith("nothing new: ")
    assert "failed: separate nan: " in done.out
    assert project.output.joinpath("run.json").read_bytes() == before


def test_a_mended_file_is_done(spoilt: Any, tmp_path: Path) -> None:
    project = spoilt[0].copy(tmp_path / "mended")
    for name in ("text.wav", "nan.wav", "inf.wav", "none.wav", "absent.wav"):
        shutil.copy(project.folder / "mixtures/blip.wav", project.folder / "mixtures" / name)
    done = project.run("--set", 'corpus.mixtures=["mixtures/*", "mixtures/absent.wav"]', "--why", code=1)
    assert "  nan: changed: audio" in done.out
    assert project.done()["separate"] == 5
    assert list(project.document()["items"]["absent"]["outputs"]) == ["male", "female"]


def test_failures_can_be_forgiven(project: Any) -> None:
    (project.folder / "mixtures" / "text.wav").write_text("no")
    done = project.run("--set", "fail=never")
    assert "failed: separate text: " in done.out
    assert project.document()["items"]["text"]["status"] == "failed"
    assert project.run("--set", "fail=any", code=1).out.startswith("nothing new")


def test_without_a_store_a_bad_training_file_is_a_failure_too(fresh: Any) -> None:
    (fresh.folder / "male" / "text.wav").write_text("no")
    for _ in range(2):
        done = fresh.run("--set", "store=none", code=1)
        assert "failed: fit male/text: left out of male's model: " in done.out
        assert "cannot be read as audio" in done.out
    assert fresh.document()["status"] == "failed"
    assert fresh.document()["sources"]["male"]["status"] == "done"


@pytest.mark.parametrize("store", ["zarr", "none"])
def test_a_source_without_a_usable_file_is_named_with_every_mixture(project: Any, store: str) -> None:
    for path in (project.folder / "male").iterdir():
        path.write_text("not audio")
    done = project.run("--set", f"store={store}", code=1)
    document = project.document()
    assert document["sources"]["male"]["status"] == "failed"
    assert "none of its training files could be used" in document["sources"]["male"]["reason"]
    assert document["sources"]["female"]["status"] == "done"
    for item in document["items"].values():
        assert item["status"] == "failed"
        assert item["reason"].startswith("there is no model of male (male: none of its training files")
    assert not (project.output / "metrics.csv").exists()
    assert "separated:" not in done.out
    again = project.run("--set", f"store={store}", code=1)
    assert again.err == ""
    assert again.out.startswith("nothing new: ")


def test_a_missing_reference_fails_that_items_scores_alone(project: Any) -> None:
    shutil.rmtree(project.folder / "references" / "one")
    done = project.run(code=1)
    assert "failed: evaluate one: " in done.out
    assert project.document()["items"]["one"]["status"] == "failed"
    assert project.document()["items"]["one"]["outputs"] != {}
    metrics = (project.output / "metrics.csv").read_text()
    assert "two,male" in metrics
    assert "one,male" not in metrics


def test_a_pipe_and_a_folder_are_refused_without_waiting(project: Any) -> None:
    os.mkfifo(project.folder / "pipe.wav")
    (project.folder / "folder.wav").mkdir()
    done = project.run("--set", 'corpus.mixtures=["mixtures/*", "pipe.wav", "/dev/zero"]', code=1)
    assert "a pipe, socket or device is not an audio file" in done.out
    assert project.document()["counts"]["separate"] == {"done": 0, "reused": 3, "failed": 2}


def test_names_that_are_no_text_are_processed(project: Any) -> None:
    mixtures = project.folder / "mixtures"
    odd = os.fsencode(mixtures) + b"/caf\xe9 <b>&amp; [red] \n .flac"
    shutil.copy(mixtures / "one.flac", odd)
    Path(os.fsdecode(os.fsencode(mixtures) + b"/bad\xff.wav")).write_text("no")
    done = project.run("--set", "report.items=2", "--set", "evaluate=null", code=1)
    assert "done in" in done.out
    (item,) = [name for name in project.document()["items"] if name.startswith("caf")]
    assert project.document()["items"][item]["status"] == "done"
    assert len(list((project.output / "separated" / item).iterdir())) == 2
    assert (project.output / "report.html").is_file()
    assert [f["stage"] for f in project.document()["failures"]] == ["separate"]
    json.dumps(project.document())


def test_two_mixtures_of_one_name_do_not_meet(project: Any) -> None:
    (project.folder / "more").mkdir()
    shutil.copy(project.folder / "mixtures/two.flac", project.folder / "more/one.flac")
    project.run("--set", 'corpus.mixtures=["mixtures/*", "more/*"]', "--set", "evaluate=null")
    items = project.document()["items"]
    assert sorted(items) == ["mixtures-one", "more-one", "two", "wide"]
    assert len({path for item in items.values() for path in item["outputs"].values()}) == 8
