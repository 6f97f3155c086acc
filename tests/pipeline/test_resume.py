"""After a change, exactly what depends on it is done again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

EVERYTHING = {"analyze": 4, "fit": 2, "separate": 3, "evaluate": 3, "report": 1}


def _shorten(path: Path) -> None:
    audio, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, audio[: len(audio) - 1600], rate, subtype="FLOAT")


def _changed(before: dict[str, bytes], after: dict[str, bytes], folder: str) -> set[str]:
    names = {name for name in before.keys() | after.keys() if name.startswith(folder)}
    return {name for name in names if before.get(name) != after.get(name)}


def test_one_changed_training_file_redoes_its_analysis_and_what_depends_on_it(project: Any) -> None:
    from inmf_flow import open_points

    before = project.files()
    _shorten(project.folder / "male" / "b.wav")
    done = project.run("--why")
    assert "  male/b: changed: audio" in done.out
    assert "male/a" not in done.out + done.err
    # The other file's points were copied, not made again.
    assert project.done() == {"analyze": 1, "fit": 1, "separate": 3, "evaluate": 3, "report": 1}
    assert project.document()["counts"]["analyze"] == {"done": 1, "reused": 3, "failed": 0}
    assert _changed(before, project.files(), "models") == {"models/male.safetensors"}
    points = open_points(project.output / "points.zarr")
    assert sorted(points) == ["female/a", "female/b", "male/a", "male/b"]
    assert points["male/b"].duration == pytest.approx(0.9)
    # The part that nobody refers to any more is gone.
    assert len(list((project.output / "points.zarr/manifest").iterdir())) == 2
    assert len([p for p in (project.output / "points.zarr/parts").iterdir() if p.is_dir()]) == 2
    again = project.run()
    assert "nothing to do" in again.out


@pytest.mark.full
def test_a_change_that_is_taken_back_gives_the_first_results_again(project: Any, corpus: Any) -> None:
    before = project.results()
    _shorten(project.folder / "male" / "b.wav")
    project.run()
    assert project.results() != before
    shutil.copy2(corpus.folder / "male" / "b.wav", project.folder / "male" / "b.wav")
    project.run()
    assert project.results() == before


def test_a_new_time_of_change_alone_redoes_nothing(project: Any) -> None:
    for path in project.folder.rglob("*.*"):
        if "runs" not in path.parts:
            os.utime(path)
    assert "nothing to do" in project.run().out
    assert "nothing to do" in project.run("--dry-run").out


def test_a_change_that_keeps_size_and_time_is_found_unless_it_is_old(project: Any) -> None:
    project.run()
    path = project.folder / "mixtures" / "wide.wav"
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF
    path.write_bytes(data)
    project.run()
    assert project.done() == {"separate": 1, "evaluate": 1, "report": 1}


@pytest.mark.parametrize(
    ("loss", "why", "expected"),
    [
        ("separated/one/male.wav", "is gone", {"separate": 1}),
        ("models/male.safetensors", "is gone", {"fit": 1}),
    ],
)
def test_a_result_that_was_deleted_is_made_again_alone(
    project: Any, loss: str, why: str, expected: dict[str, int]
) -> None:
    before = project.files()
    (project.output / loss).unlink()
    done = project.run("--why")
    assert f"{loss} {why}" in done.out
    assert {stage: n for stage, n in project.done().items() if stage != "report"} == {
        stage: n for stage, n in expected.items() if stage != "report"
    }
    after = project.files()
    assert after[loss] == before[loss]
    assert after.keys() == before.keys()


@pytest.mark.parametrize("name", ["run.json", "metrics.csv"])
def test_a_summary_that_was_deleted_is_written_again(project: Any, name: str) -> None:
    before = project.files()
    (project.output / name).unlink()
    assert "nothing to do" in project.run().out
    after = project.files()
    assert after.keys() == before.keys()
    assert name == "run.json" or after[name] == before[name]
    assert project.document()["status"] == "done"


def test_a_result_that_was_cut_short_is_made_again(project: Any) -> None:
    before = project.results()
    path = project.output / "separated" / "two" / "female.wav"
    path.write_bytes(path.read_bytes()[:-4])
    project.run()
    assert project.done() == {"separate": 1}
    assert project.results() == before


def test_points_that_were_deleted_are_made_again(project: Any) -> None:
    before = project.results()
    shutil.rmtree(project.output / "points.zarr")
    project.run()
    assert project.done() == {"analyze": 4}
    assert project.results() == before


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        pytest.param("report.items=3", {"report": 1}, marks=pytest.mark.full),
        pytest.param("evaluate.metrics=[si_sdr, sdr]", {"evaluate": 3, "report": 1}, marks=pytest.mark.full),
        ("separate.max_iter=4", {"separate": 3, "evaluate": 3, "report": 1}),
        ("sources.male.components=3", {"fit": 1, "separate": 3, "evaluate": 3, "report": 1}),
        ("transforms.fine.stft.n_fft=256", EVERYTHING),
        ("cluster.workers=1", {}),
    ],
)
def test_a_setting_redoes_what_depends_on_it_alone(project: Any, setting: str, expected: dict[str, int]) -> None:
    counts = project.document()
    done = project.run("--set", setting)
    if expected:
        assert project.done() == expected
    else:
        assert "nothing to do" in done.out
        assert project.document() == counts


def test_a_new_mixture_is_done_alone(project: Any) -> None:
    before = project.results()
    shutil.copy(project.folder / "mixtures/one.flac", project.folder / "mixtures/zero.flac")
    shutil.copytree(project.folder / "references/one", project.folder / "references/zero")
    project.run()
    assert project.done() == {"separate": 1, "evaluate": 1, "report": 1}
    assert list(project.document()["items"]) == ["one", "two", "wide", "zero"]
    after = project.results()
    assert _changed(before, after, "separated") == {"separated/zero/male.wav", "separated/zero/female.wav"}
    assert after["separated/zero/male.wav"] == after["separated/one/male.wav"]
    assert "nothing to do" in project.run().out


def test_a_new_mixture_that_sorts_first_is_done_alone(project: Any) -> None:
    shutil.copy(project.folder / "mixtures/one.flac", project.folder / "mixtures/Aa.flac")
    shutil.copytree(project.folder / "references/one", project.folder / "references/Aa")
    project.run()
    assert project.done() == {"separate": 1, "evaluate": 1, "report": 1}


def test_a_mixture_that_is_gone_is_no_longer_among_the_results(project: Any) -> None:
    (project.folder / "mixtures/one.flac").unlink()
    done = project.run()
    assert "one" not in project.document()["items"]
    metrics = (project.output / "metrics.csv").read_text()
    assert "two,male,si_sdr" in metrics
    assert "one,male,si_sdr" not in metrics
    assert "separated/one/" not in done.out
    assert project.document()["counts"]["separate"] == {"done": 0, "reused": 2, "failed": 0}
    assert "nothing to do" in project.run().out


def test_scores_that_are_no_longer_asked_for_are_gone(project: Any) -> None:
    project.file.write_text("".join(x for x in project.file.read_text().splitlines(True) if "evaluate" not in x))
    done = project.run()
    assert "SI-SDR" not in done.out
    assert not (project.output / "metrics.csv").exists()


def test_a_new_source_leaves_the_others_models_alone(project: Any) -> None:
    before = project.results()
    project.run("--set", "sources.another.audio=male/a.wav", "--set", "sources.another.components=2", code=1)
    done = project.done()
    assert (done["analyze"], done["fit"], done["separate"]) == (1, 1, 3)
    assert _changed(before, project.results(), "models") == {"models/another.safetensors"}


@pytest.mark.full
def test_without_a_store_the_same_models_come_out(fresh: Any, without_pictures: Any) -> None:
    fresh.run("--set", "store=none")
    assert fresh.done() == {"fit": 2, "separate": 3, "evaluate": 3, "report": 1}
    assert not (fresh.output / "points.zarr").exists()
    names = [name for name in without_pictures.results() if not name.startswith("points")]
    assert {n: fresh.results()[n] for n in names} == {n: without_pictures.results()[n] for n in names}
    _shorten(fresh.folder / "male" / "b.wav")
    fresh.run("--set", "store=none")
    assert fresh.done()["fit"] == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("separated/two/female.wav", {"separate": 1}),
        ("models/male.safetensors", {"fit": 1}),
        ("metrics.csv", {}),
    ],
)
def test_a_result_that_was_changed_at_equal_length_is_made_again(
    project: Any, name: str, expected: dict[str, int]
) -> None:
    project.run()
    before = project.results()
    path = project.output / name
    data = bytearray(before[name])
    # In the table, the first digit of the last number: the last digit of one may not change what it is.
    data[data.rindex(b",") + 1 if name.endswith(".csv") else -40] ^= 1
    path.write_bytes(data)
    project.run()
    assert project.results() == before
    if expected:
        assert project.done() == expected


def test_results_that_nothing_lists_any_more_are_removed(project: Any) -> None:
    (project.output / "separated/two/mine.txt").write_text("a note of the user's")
    (project.folder / "mixtures/one.flac").unlink()
    (project.folder / "mixtures/wide.wav").write_text("no audio")
    project.file.write_text(project.file.read_text().replace("female: {", "woman: {"))
    project.run("--set", "evaluate=null", code=1)
    names = {name for name in project.files() if name.startswith(("separated", "models"))}
    assert names == {
        "models/male.safetensors", "models/woman.safetensors",
        "separated/two/male.wav", "separated/two/woman.wav", "separated/two/mine.txt",
    }  # fmt: skip
    assert sorted(path.name for path in (project.output / "separated").iterdir()) == ["two"]


def test_spellings_of_the_same_settings_redo_nothing(project: Any) -> None:
    renamed = project.file.read_text().replace("fine:", "window:")
    project.file.write_text(renamed.replace("separate: {", "separate: {synthesize: window, quality: fast, "))
    done = project.run()
    assert project.done() == {}, done.out


def test_another_version_of_a_field_or_divergence_fits_again(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from inmf_flow import plugins
    from inmf_flow.pipeline import explain_pipeline, load_pipeline

    version = plugins.plugin_version
    for changed, overrides in (
        ("field", []),
        ("divergence", []),
    ):
        monkeypatch.setattr(
            plugins, "plugin_version", lambda kind, name, c=changed: version(kind, name) + "9" * (kind == c)
        )
        explained = explain_pipeline(load_pipeline(project.file, overrides), project.output)
        assert {work.item: work.why for work in explained.stages["fit"].todo} == dict.fromkeys(
            ("male", "female"), "changed: settings"
        )


def test_a_passing_fault_of_a_training_file_gives_no_model_without_it(
    fresh: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from inmf_flow import separation
    from inmf_flow.pipeline.tasks import Task, run_task

    analyze = separation.analyze_file
    broken = [fresh.folder / "male/b.wav"]

    def flaky(path: Path, *rest: Any, **limits: Any) -> Any:
        if path in broken:
            raise OSError(5, "Input/output error")
        return analyze(path, *rest, **limits)

    monkeypatch.setattr(separation, "analyze_file", flaky)
    settings = {
        "transforms": [{"name": "stft", "options": {"n_fft": 512}}],
        "sample_rate": None,
        "fit": {"max_iter": 1},
        "components": {"male": 2},
    }
    items = {f"male/{name}": str(fresh.folder / f"male/{name}.wav") for name in "ab"}
    task = Task("fit", "000000", tmp_path, (("male", {}, {"items": items, "parts": None}),), (), settings)
    (receipt,) = run_task(task)
    assert (receipt.entry.status, receipt.entry.transient) == ("failed", True)
    assert "Input/output error" in str(receipt.entry.reason)
    broken.clear()
    (receipt,) = run_task(task)
    assert receipt.entry.status == "done"
    assert receipt.entry.extra["items"] == ["male/a", "male/b"]


def test_the_band_that_nobody_knows_is_told_once_and_again_by_later_runs(project: Any) -> None:
    notes = [note for note in project.document()["notes"] if "share that band equally" in note]
    assert notes == [
        "from 8000 to 11025 Hz no model has data or the analysis does not reach: the sources share that band equally"
    ]
    shutil.copy(project.folder / "mixtures/one.flac", project.folder / "mixtures/zero.flac")
    done = project.run("--set", "evaluate=null")
    assert project.done()["separate"] == 1
    assert done.out.count(notes[0]) == 1
    assert [n for n in project.document()["notes"] if n in notes] == notes


def test_run_json_lists_the_files_that_were_used(project: Any) -> None:
    (project.folder / "male/c.wav").write_text("no audio")
    project.run(code=1)
    files = project.document()["sources"]["male"]["files"]
    assert [(project.output / path).resolve().name for path in files] == ["a.wav", "b.wav"]


def _garbage(ledger: Path) -> None:
    for path in ledger.rglob("*.json"):
        path.write_bytes(b"\x00\xff[1, 2")


def _lists(ledger: Path) -> None:
    for path in ledger.rglob("*.json"):
        path.write_text('["a list"]')


@pytest.mark.parametrize("damage", [_garbage, _lists])
def test_a_damaged_ledger_means_doing_it_again(project: Any, damage: Callable[[Path], None]) -> None:
    before = project.results()
    damage(project.output / "ledger")
    project.run()
    assert project.done() == EVERYTHING
    assert project.results() == before


def test_a_ledger_of_a_newer_version_is_refused(project: Any) -> None:
    path = project.output / "ledger" / "fit" / "000000.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    before = project.files()
    done = project.run(code=2)
    assert "newer version" in done.err
    assert len(done.err.splitlines()) == 1
    assert project.files() == before
