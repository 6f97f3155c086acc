"""`inmf segment` from its file to its folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inmf_flow.segmentation import read_segments, run_segmentation

SETTINGS = """
name: scene
dictionary: {{components: 8, max_iter: 20}}
classes: [speech, music, noise]
train:
  - {{audio: "{audio}/speech/female_train.flac", label: speech}}
  - {{audio: "{audio}/music/guitar_train.flac", label: music}}
  - {{audio: "{audio}/noise/train.flac", label: noise}}
segment:
  - {{audio: "{audio}/segmentation/*.flac", labels: "{audio}/segmentation/{{item}}.csv"}}
  - {{audio: broken.wav}}
"""


@pytest.fixture
def settings(tmp_path: Path, audio_dir: Path) -> Path:
    (tmp_path / "broken.wav").write_bytes(b"RIFF no sound")
    path = tmp_path / "scene.yaml"
    path.write_text(SETTINGS.format(audio=audio_dir))
    return path


def test_recordings_are_segmented_scored_and_drawn_and_a_broken_one_stops_nothing(
    settings: Path, tmp_path: Path, inmf: Callable[..., object], audio_dir: Path
) -> None:
    done = inmf("segment", settings, "-o", tmp_path / "out")
    assert done.code == 1  # type: ignore[attr-defined]
    assert "failed: broken" in done.err  # type: ignore[attr-defined]
    assert "F1: speech" in done.out  # type: ignore[attr-defined]
    found = read_segments(tmp_path / "out" / "segments" / "test.csv")
    assert {segment.label for segment in found} == {"speech", "music", "noise"}
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["total"]["frames"] == 500
    assert scores["total"]["accuracy"] > 0.8
    assert len(scores["relevance"]["music"]) == 8
    assert list(scores["failures"]) == ["broken"]
    for name in ("pictures/test", "relevance"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_example_of_the_repository_gives_what_its_page_says(repository: Path, tmp_path: Path) -> None:
    done = run_segmentation(repository / "pipelines" / "segmentation.yaml", tmp_path, pictures=False)
    assert done.total is not None
    assert done.total.accuracy > 0.97
    truth = read_segments(repository / "pipelines" / "audio" / "segmentation" / "test.csv")
    assert [segment.label for segment in done.segments["test"]] == [segment.label for segment in truth]
    assert not (tmp_path / "pictures").exists()
    # Equal input gives equal bytes.
    run_segmentation(repository / "pipelines" / "segmentation.yaml", tmp_path / "again", pictures=False)
    for name in ("probe.safetensors", "scores.json", "segments/test.csv"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_denoising_of_the_repository_is_a_pipeline(repository: Path) -> None:
    from inmf_flow.pipeline.config import load_pipeline

    pipeline = load_pipeline(repository / "pipelines" / "denoising.yaml")
    assert list(pipeline.sources) == ["voice", "noise"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("label: noise", "label: nois", "not among the classes; got nois"),
        ("name: scene", "name: scene\nframes: 3", "frames: Extra inputs"),
        (", label: speech", "", "give label"),
        ("broken.wav", "none*.wav", "no recording matches"),
        ("components: 8", "components: 0", "dictionary.components"),
        ("classes: [", "classes: [[", "no YAML"),
        ("classes: [", 'classes: ["a\\x07", ', "cannot be printed"),
    ],
)
def test_a_wrong_file_is_one_clear_message(
    settings: Path, tmp_path: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from inmf_flow.cli import _run

    settings.write_text(settings.read_text().replace(old, new))
    assert _run(["segment", str(settings), "-o", str(tmp_path / "out")]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert said in message
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_text_and_labels_that_are_no_class_stop_nothing(
    tmp_path: Path, audio_dir: Path, inmf: Callable[..., object]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (os.fsdecode(b"caf\xe9"), "relevance", "\N{CJK UNIFIED IDEOGRAPH-65E5}$x", "other"):
        shutil.copy(audio_dir / "noise" / "noise_test.flac", folder / f"{name}.flac")
    path = tmp_path / "scene.yaml"
    path.write_text(SETTINGS.format(audio=audio_dir).replace("broken.wav", f"'{folder}/[!o]*.flac'"))
    text = path.read_text() + f"  - {{audio: {folder}/other.flac, labels: {tmp_path}/other.csv}}\n"
    path.write_text(text)
    (tmp_path / "other.csv").write_text("start,stop,label\n0,1,rain\n")
    out = tmp_path / "out"
    done = inmf("segment", path, "-o", out)
    assert done.code == 1  # type: ignore[attr-defined]
    # Nothing of matplotlib's.
    assert done.err.splitlines() == [  # type: ignore[attr-defined]
        "inmf: failed: other: a label is not among the classes; got rain; expected speech, music, noise"
    ]
    record = json.loads((out / "segmentation.json").read_text())
    assert sorted(record["items"]) == sorted([os.fsdecode(b"caf\xe9"), "relevance", "test", "\u65e5$x"])
    assert len(list((out / "pictures").iterdir())) == 4
    assert not (out / "segments" / "other.csv").exists()
    # Segmented again, without some of them.
    path.write_text(SETTINGS.format(audio=audio_dir).replace("  - {audio: broken.wav}\n", ""))
    done = inmf("segment", path, "-o", out, "--no-pictures")
    assert done.code == 0  # type: ignore[attr-defined]
    assert [each.name for each in (out / "segments").iterdir()] == ["test.csv"]
    assert [each.name for each in (out / "pictures").iterdir()] == ["test.png"]
    assert not (out / "report.html").exists()
