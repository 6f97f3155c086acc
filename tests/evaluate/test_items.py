import math
from dataclasses import astuple, replace

import numpy as np
import pytest

from inmf_flow import registry
from inmf_flow.audio import read_audio, write_audio
from inmf_flow.errors import ArgumentError, AudioError, AudioNotFoundError, UnknownNameError
from inmf_flow.evaluate import Metric, evaluate_item, si_sdr


@pytest.fixture(scope="module")
def references(speech):
    return {"male": speech["male_test"], "female": speech["female_test"]}


@pytest.fixture(scope="module")
def clips(references):
    return {source: read_audio(path)[0] for source, path in references.items()}


@pytest.fixture(scope="module")
def estimates(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimates")
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, 64000)).astype(np.float32)
    write_audio(folder / "male.wav", clips["male"] + 0.3 * clips["female"] + noise[0], 16000)
    write_audio(folder / "female.wav", clips["female"] + 0.2 * clips["male"] + noise[1], 16000)
    return {"male": folder / "male.wav", "female": folder / "female.wav"}


def test_rows_hold_value_baseline_and_improvement(references, estimates, speech, clips):
    rows = evaluate_item("talk", references, estimates, speech["mixture"], ["si_sdr", "stoi"])
    assert [(row.source, row.metric) for row in rows] == [
        ("male", "si_sdr"),
        ("male", "stoi"),
        ("female", "si_sdr"),
        ("female", "stoi"),
    ]
    first = rows[0]
    mixture = read_audio(speech["mixture"])[0][0]
    assert first.item == "talk"
    assert first.value == si_sdr(clips["male"][0], read_audio(estimates["male"])[0][0])
    assert first.baseline == si_sdr(clips["male"][0], mixture)
    assert first.improvement == first.value - first.baseline
    assert all(row.improvement > 0 for row in rows)


def test_without_a_mixture_the_sum_of_the_references_is_the_baseline(references, estimates, speech):
    metrics = ["si_sdr", "sdr", "sir", "sar", "stoi"]
    with_mixture = evaluate_item("talk", references, estimates, speech["mixture"], metrics)
    without = evaluate_item("talk", references, estimates, None, metrics)
    for one, other in zip(with_mixture, without, strict=True):
        assert one.baseline == pytest.approx(other.baseline, abs=1e-3, nan_ok=True)
        assert replace(one, baseline=0.0, improvement=0.0) == replace(other, baseline=0.0, improvement=0.0)


def test_doing_nothing_is_no_improvement(references, speech):
    for row in evaluate_item("talk", references, dict.fromkeys(references, speech["mixture"]), None, ["si_sdr"]):
        assert row.improvement == pytest.approx(0.0, abs=1e-4)


def test_an_estimate_without_a_reference_is_left_out_and_then_the_mixture_is_not_known(references, estimates):
    rows = evaluate_item("talk", {"male": references["male"]}, estimates, None, ["si_sdr"])
    assert [row.source for row in rows] == ["male"]
    assert not math.isnan(rows[0].value)
    assert math.isnan(rows[0].baseline)
    assert math.isnan(rows[0].improvement)


def test_a_reference_without_an_estimate_still_interferes(references, estimates):
    metrics = ["si_sdr", "sdr", "sir", "sar"]
    both = evaluate_item("talk", references, estimates, None, metrics)
    one = evaluate_item("talk", references, {"male": estimates["male"]}, None, metrics)
    # NaN is equal to NaN here: SAR has no baseline.
    np.testing.assert_equal([astuple(row) for row in one], [astuple(row) for row in both[: len(metrics)]])


def test_no_pair_at_all_is_an_error_that_names_both_sides(references, estimates):
    with pytest.raises(ArgumentError, match=r"talk: no estimate has a reference.*got estimates vocals.*female, male"):
        evaluate_item("talk", references, {"vocals": estimates["male"]}, None, ["si_sdr"])


def test_channels_are_scored_apart_and_averaged_where_defined(clips, tmp_path):
    male, female = clips["male"][0], clips["female"][0]
    write_audio(tmp_path / "truth.wav", np.stack([male, female, np.zeros_like(male)]), 16000)
    write_audio(tmp_path / "guess.wav", np.stack([male + 0.1 * female, female + 0.5 * male, male]), 16000)
    (row,) = evaluate_item("x", {"a": tmp_path / "truth.wav"}, {"a": tmp_path / "guess.wav"}, None, ["si_sdr"])
    expected = [si_sdr(male, male + 0.1 * female), si_sdr(female, female + 0.5 * male)]
    assert row.value == pytest.approx(np.mean(expected), abs=1e-3)


def test_a_silent_item_has_rows_without_numbers(tmp_path):
    write_audio(tmp_path / "silence.wav", np.zeros((1, 16000), np.float32), 16000)
    paths = {"a": tmp_path / "silence.wav"}
    rows = evaluate_item("x", paths, paths, None, ["si_sdr", "sdr", "sir", "sar", "stoi"])
    assert len(rows) == 5
    assert all(math.isnan(row.value) and math.isnan(row.improvement) for row in rows)


@pytest.mark.parametrize("extra", [-1600, -1, 1, 1600])
def test_a_small_difference_in_length_is_cut_off(references, clips, tmp_path, extra):
    clip = np.pad(clips["male"], [(0, 0), (0, max(extra, 0))])[:, : 64000 + extra]
    write_audio(tmp_path / "male.wav", clip, 16000)
    (row,) = evaluate_item("x", references, {"male": tmp_path / "male.wav"}, None, ["si_sdr"])
    assert row.value == 120.0


@pytest.mark.parametrize(
    ("frames", "channels", "rate", "message"),
    [
        (64000 + 1601, 1, 16000, "the lengths differ; got 4.100 s; expected 4.000 s, as in .*male_test.flac"),
        (30000, 1, 16000, "the lengths differ"),
        (64000, 1, 22050, "the sample rates differ; got 22050 Hz; expected 16000 Hz"),
        (64000, 2, 16000, "the channels differ; got 2 channels; expected 1 channels"),
    ],
)
@pytest.mark.parametrize("which", ["estimate", "mixture"])
def test_files_that_do_not_belong_together_are_refused(
    references, speech, tmp_path, frames, channels, rate, message, which
):
    path = tmp_path / "other.wav"
    write_audio(path, np.ones((channels, frames), np.float32), rate)
    estimate = path if which == "estimate" else references["male"]
    mixture = path if which == "mixture" else speech["mixture"]
    with pytest.raises(AudioError, match=f"other.wav: {message}"):
        evaluate_item("x", references, {"male": estimate}, mixture, ["si_sdr"])


def test_a_missing_file_and_an_unknown_metric_are_clear(references, tmp_path):
    with pytest.raises(AudioNotFoundError, match="no such audio file"):
        evaluate_item("x", references, {"male": tmp_path / "none.wav"}, None, ["si_sdr"])
    with pytest.raises(UnknownNameError, match="'sisdr'"):
        evaluate_item("x", references, references, None, ["sisdr"])


def test_a_metric_of_a_plugin_is_used_and_may_want_to_be_low(references, estimates):
    def distance(truth, guess, rate):
        assert truth.flags.c_contiguous
        assert guess.shape == truth.shape == (2, 64000)
        return np.sqrt(np.mean((truth - guess) ** 2, axis=1)) * rate

    registry.metrics.register("distance", Metric("distance", distance, higher_is_better=False, unit=""))
    try:
        rows = evaluate_item("x", references, estimates, None, ["distance"])
    finally:
        registry.metrics.unregister("distance")
    assert all(row.value < row.baseline and row.improvement > 0 for row in rows)
