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
        ("report.items=3", {"report": 1}),
        ("evaluate.metrics=[si_sdr, sdr]", {"evaluate": 3, "report": 1}),
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


def test_without_a_store_the_same_models_come_out(fresh: Any, without_pictures: Any) -> None:
    fresh.run("--set", "store=none")
    assert fresh.done() == {"fit": 2, "separate": 3, "evaluate": 3, "report": 1}
    assert not (fresh.output / "points.zarr").exists()
    names = [name for name in without_pictures.results() if not name.startswith("points")]
    assert {n: fresh.results()[n] for n in names} == {n: without_pictures.results()[n] for n in names}
    _shorten(fresh.folder / "male" / "b.wav")
    fresh.run("--set", "store=none")
    assert fresh.done()["fit"] == 1


@pytest.mark.parametrize("which", ["one that is kept", "one that is not"])
def test_damaged_points_are_made_again_from_the_audio(project: Any, which: str) -> None:
    before = project.results()
    (part,) = [path for path in (project.output / "points.zarr/parts").iterdir() if path.name.startswith("000000-")]
    data = next(path for path in part.glob("grid_magnitudes/c*") if path.is_file())
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    data.write_bytes(content)
    if which == "one that is kept":
        # Another file of the batch has changed, so this one's points would be copied.
        shutil.copy(project.folder / "male/a.wav", project.folder / "male/c.wav")
        done = project.run()
        assert project.done()["analyze"] >= 1
    else:
        (project.output / "models/male.safetensors").unlink()
        done = project.run()
        assert "note: stored points were damaged and made again from the audio" in done.out
        assert project.results()["models/male.safetensors"] == before["models/male.safetensors"]
    assert project.document()["status"] == "done"


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
