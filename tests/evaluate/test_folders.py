import math
import shutil

import numpy as np
import pytest

from inmf_flow.audio import read_audio, write_audio
from inmf_flow.errors import ArgumentError, UnknownNameError
from inmf_flow.evaluate import evaluate_folders


@pytest.fixture
def folders(speech, tmp_path):
    """Two items of two sources each; the estimates are the references with a little of the other."""
    clips = {name: read_audio(speech[f"{name}_test"])[0] for name in ("male", "female")}
    for item, leak in (("one", 0.1), ("two", 0.2)):
        (tmp_path / "references" / item).mkdir(parents=True)
        for source, other in (("male", "female"), ("female", "male")):
            shutil.copy(speech[f"{source}_test"], tmp_path / "references" / item / f"{source}.flac")
            write_audio(tmp_path / "estimates" / item / f"{source}.wav", clips[source] + leak * clips[other], 16000)
    return tmp_path


def evaluate(folders, **options):
    return evaluate_folders(folders / "estimates", folders / "references", ["si_sdr"], **options)


def test_every_item_and_source_is_scored(folders):
    outcome = evaluate(folders)
    assert [(row.item, row.source) for row in outcome.rows] == [
        ("one", "female"),
        ("one", "male"),
        ("two", "female"),
        ("two", "male"),
    ]
    assert outcome.failures == {}
    assert outcome.missing == []
    assert all(row.improvement > 5 for row in outcome.rows)


def test_a_bad_item_is_recorded_with_its_reason_and_the_others_are_scored(folders):
    estimates = folders / "estimates"
    (estimates / "one" / "male.wav").write_text("no audio")
    (estimates / "empty").mkdir()
    (estimates / "unknown").mkdir()
    (folders / "references" / "empty").mkdir()
    (folders / "references" / "absent").mkdir()
    outcome = evaluate(folders)
    assert {row.item for row in outcome.rows} == {"two"}
    assert list(outcome.failures) == ["empty", "one", "unknown"]
    assert "got estimates none" in outcome.failures["empty"]
    assert "male.wav: the file cannot be read as audio" in outcome.failures["one"]
    assert "the item has no references" in outcome.failures["unknown"]
    assert outcome.missing == ["absent"]


def test_two_files_of_one_source_are_ambiguous(folders):
    shutil.copy(folders / "references" / "one" / "male.flac", folders / "references" / "one" / "male.FLAC")
    shutil.copy(folders / "estimates" / "two" / "male.wav", folders / "estimates" / "two" / "male.aiff")
    outcome = evaluate(folders)
    assert outcome.rows == []
    assert "male.FLAC and male.flac" in outcome.failures["one"]
    assert "male.aiff and male.wav" in outcome.failures["two"]


def test_what_is_no_audio_by_name_is_not_looked_at(folders):
    for name in ("notes.txt", ".hidden.wav", ".inmf-tmp-12-male.wav"):
        (folders / "estimates" / "one" / name).write_text("x")
    (folders / "estimates" / "one" / "folder.wav").mkdir()
    (folders / "estimates" / ".cache").mkdir()
    (folders / "estimates" / "summary.csv").write_text("x")
    assert len(evaluate(folders).rows) == 4


def test_a_mixture_beside_the_references_is_the_baseline_and_no_source(folders, speech):
    without = evaluate(folders)
    silent = np.zeros((1, 64000), np.float32)
    shutil.copy(speech["mixture"], folders / "references" / "one" / "mixture.flac")
    write_audio(folders / "references" / "two" / "mixture.wav", silent, 16000)
    outcome = evaluate(folders)
    for row, plain in zip(outcome.rows, without.rows, strict=True):
        assert row.value == plain.value
        if row.item == "one":
            assert row.baseline == pytest.approx(plain.baseline, abs=1e-3)
        else:
            assert math.isnan(row.baseline)


def test_mixtures_are_found_by_item_or_inside_it(folders, speech):
    (folders / "mixtures" / "two").mkdir(parents=True)
    shutil.copy(speech["mixture"], folders / "mixtures" / "one.flac")
    shutil.copy(speech["mixture"], folders / "mixtures" / "two" / "mixture.flac")
    with_mixtures = evaluate(folders, mixtures=folders / "mixtures")
    assert with_mixtures.failures == {}
    for row, plain in zip(with_mixtures.rows, evaluate(folders).rows, strict=True):
        assert row.baseline == pytest.approx(plain.baseline, abs=1e-3)
    (folders / "mixtures" / "one.flac").unlink()
    assert "has no mixture" in evaluate(folders, mixtures=folders / "mixtures").failures["one"]


def test_folders_that_cannot_work_are_refused_at_once(folders):
    with pytest.raises(ArgumentError, match="folder of estimates is not there; got nothing of that name"):
        evaluate_folders(folders / "none", folders / "references", ["si_sdr"])
    with pytest.raises(ArgumentError, match="folder of references is not there; got a file"):
        evaluate_folders(folders / "estimates", folders / "estimates" / "one" / "male.wav", ["si_sdr"])
    with pytest.raises(ArgumentError, match="folder of mixtures"):
        evaluate(folders, mixtures=folders / "none")
    with pytest.raises(ArgumentError, match=r"no sub-folders; expected ITEM/SOURCE\.wav"):
        evaluate_folders(folders / "estimates" / "one", folders / "references", ["si_sdr"])
    with pytest.raises(UnknownNameError):
        evaluate_folders(folders / "estimates", folders / "references", ["nothing"])
