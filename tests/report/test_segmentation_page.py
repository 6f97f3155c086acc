"""The page of a segmentation: from a real one, from damaged ones, and from names that are no help."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from inmf_flow.errors import ConfigError
from inmf_flow.report.segmentation import write_segmentation_report
from inmf_flow.report.segmentation_figures import draw_timeline
from inmf_flow.report.violins import draw_violins
from inmf_flow.segmentation import ExplainedSegment, Segment, run_segmentation
from inmf_flow.segmentation.record import item_record, read_probabilities

HOSTILE = "a$b$ <img src=x onerror=alert(1)> \\frac$"
SETTINGS = """
name: noisy
dictionary: {{components: 6, max_iter: 10}}
probe: {{multilabel: {multilabel}}}
classes: ["speech", '{odd}']
train:
  - {{audio: "{audio}/speech/female_train.flac", label: speech}}
  - {{audio: "{audio}/noise/train.flac", label: '{odd}'}}
segment:
  - {{audio: "{here}/*.flac", labels: "{here}/{{item}}.csv"}}
  - {{audio: "{audio}/speech/male_test.flac"}}
  - {{audio: "{here}/broken.wav"}}
"""


def segmented(folder: Path, audio_dir: Path, *, multilabel: bool = False) -> Path:
    """Segment a track whose name and one of whose classes are hostile, a recording without labels and a broken one."""
    shutil.copy(audio_dir / "noise" / "noise_test.flac", folder / f"{HOSTILE}.flac")
    (folder / f"{HOSTILE}.csv").write_text(f'start,stop,label\n0,2,"{HOSTILE}"\n')
    (folder / "broken.wav").write_bytes(b"RIFF no sound")
    settings = folder / "settings.yaml"
    given = {"odd": HOSTILE, "audio": audio_dir, "here": folder, "multilabel": str(multilabel).lower()}
    settings.write_text(SETTINGS.format(**given))
    run_segmentation(settings, folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, audio_dir: Path) -> Path:
    return segmented(tmp_path_factory.mktemp("segmented"), audio_dir)


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of a segmentation's folder; its recordings and settings are in the folder that ``made`` is in."""
    return Path(shutil.copytree(made, tmp_path / "out"))


@pytest.mark.parametrize("multilabel", [False, True])
def test_the_page_shows_scores_components_reasons_and_failures(
    tmp_path: Path, audio_dir: Path, multilabel: bool
) -> None:
    out = segmented(tmp_path, audio_dir, multilabel=multilabel)
    text = write_segmentation_report(out).read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text
    assert "cannot be drawn" not in text
    assert "cannot be shown" not in text
    assert "cannot be played" not in text
    assert text.count("<audio ") == 2
    # Components, and a timeline each.
    assert text.count('<img src="data:image/svg') == 3
    assert "broken" in text
    assert ("decided to be" in text) != multilabel
    record = json.loads((out / "segmentation.json").read_text())
    first = record["items"]["male_test"]["segments"][0]
    number, value = first["components"][0]
    assert 1 <= number <= 6
    assert f"{number} ({value:+.2f})".replace("-", "−") in text


def test_probabilities_are_those_of_the_segments(out: Path) -> None:
    times, probabilities = read_probabilities(out / "probabilities" / "male_test.csv", ["speech", HOSTILE])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=2e-4)
    record = json.loads((out / "segmentation.json").read_text())
    for segment in record["items"]["male_test"]["segments"]:
        inside = (times >= segment["start"]) & (times < segment["stop"])
        column = probabilities[inside, record["classes"].index(segment["label"])]
        assert segment["probability"] == pytest.approx(column.mean(), abs=1e-3)


def test_the_command_writes_the_page_again_and_leaves_it_out_on_request(
    out: Path, made: Path, tmp_path: Path, inmf: Callable[..., object]
) -> None:
    assert not (out / "report.html").exists()
    done = inmf("report", out)
    assert done.out.strip() == str(out / "report.html")  # type: ignore[attr-defined]
    page = (out / "report.html").read_bytes()
    done = inmf("segment", made.parent / "settings.yaml", "-o", out)
    assert f"report: {out / 'report.html'}" in done.out  # type: ignore[attr-defined]
    assert (out / "report.html").read_bytes() == page
    inmf("segment", made.parent / "settings.yaml", "-o", tmp_path / "bare", "--no-pictures")
    assert not (tmp_path / "bare" / "report.html").exists()
    assert (tmp_path / "bare" / "segmentation.json").read_bytes() == (out / "segmentation.json").read_bytes()


def test_what_is_missing_or_damaged_is_named_and_the_rest_is_shown(tmp_path: Path, audio_dir: Path) -> None:
    out = segmented(tmp_path, audio_dir)
    (out / "probabilities" / "male_test.csv").write_text("seconds,other\n1,2\n")
    (tmp_path / f"{HOSTILE}.flac").unlink()
    (out / "dictionary.safetensors").write_bytes(b"no dictionary")
    text = write_segmentation_report(out).read_text()
    assert "male_test.csv: the table has other columns" in text
    assert "It cannot be played here" in text
    assert "The components cannot be shown" in text
    assert text.count('<img src="data:image/svg') == 1


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("segmentation.json", lambda text: text[: len(text) // 2], "not the record of a segmentation"),
        ("segmentation.json", lambda text: re.sub('"format": 1', '"format": 7', text), "format: Input should be 1"),
        ("segmentation.json", lambda _: "[]", "not the record"),
        ("scores.json", lambda text: text.replace("relevance", "importance"), "relevance: Field required"),
        ("scores.json", lambda text: text.replace('"speech": [', '"sp": ['), "scores are of other classes"),
    ],
)
def test_a_record_that_cannot_be_read_is_one_clear_error(
    out: Path, name: str, change: Callable[[str], str], said: str
) -> None:
    (out / name).write_text(change((out / name).read_text()))
    with pytest.raises(ConfigError, match=said):
        write_segmentation_report(out)


def test_labels_of_violins_are_no_formulas() -> None:
    picture = draw_violins({("a$b$", r"$\frac$"): [1.0, 2.0, 4.0]}, ["a$b$"], [r"$\frac$"], "dB", "violins")
    assert "a$b$" in unquote(picture.uri)


def test_many_classes_are_all_in_the_legend_whole() -> None:
    names = [f"_class {number} with a long name" for number in range(12)]
    times, probabilities = np.arange(10.0), np.full((10, 12), 1 / 12)
    picture = draw_timeline(times, probabilities, 10.0, names, {"decided": [(0.0, 9.0, 3)]}, "timeline")
    svg = unquote(picture.uri)
    for number in range(12):
        places = [float(y) for y in re.findall(rf'y="([-0-9.]+)"[^>]*>\u200b_class {number} with', svg)]
        assert len(places) == 1
        assert places[0] > 8


def test_relevance_that_does_not_fit_is_said_and_the_rest_is_shown(out: Path) -> None:
    scores = json.loads((out / "scores.json").read_text())
    scores["relevance"]["speech"].pop()
    (out / "scores.json").write_text(json.dumps(scores))
    text = write_segmentation_report(out).read_text()
    assert "The components cannot be shown" in text
    assert text.count('<img src="data:image/svg') == 2


def test_reasons_for_and_against_are_the_strongest_of_each() -> None:
    contributions = np.array([0.9, 0.8, 0.7, 0.6, -0.1, -0.3, 0.0, -0.2, -0.05])
    found = ExplainedSegment(Segment(0, 1, "speech"), 0.9, contributions)
    (segment,) = item_record(Path("a.wav"), 1.0, [found], None).segments
    assert segment.components == ((1, 0.9), (2, 0.8), (3, 0.7), (6, -0.3), (8, -0.2), (5, -0.1))
