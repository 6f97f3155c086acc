"""Windows, permutations and upper bounds of one item; SDR, SIR and SAR against mir_eval."""

import tracemalloc
import warnings

import numpy as np
import pytest

from inmf_flow.audio import read_audio, write_audio
from inmf_flow.errors import ArgumentError, AudioError
from inmf_flow.evaluate import evaluate_folders, evaluate_item, get_metrics, si_sdr
from inmf_flow.separation import oracle_estimates

RATE = 16000


@pytest.fixture(scope="module")
def voices(speech):
    return np.stack([read_audio(speech[name])[0][0] for name in ("male_test", "female_test")])


@pytest.fixture
def item(voices, tmp_path):
    """A folder of references and one of estimates of an item, and how to write others."""

    def write(folder, **clips):
        for name, clip in clips.items():
            write_audio(tmp_path / folder / "one" / f"{name}.wav", np.atleast_2d(clip).astype(np.float32), RATE)
        return {name: tmp_path / folder / "one" / f"{name}.wav" for name in clips}

    return write


def test_sdr_sir_and_sar_are_those_of_mir_eval(voices):
    separation = pytest.importorskip("mir_eval.separation")
    noise = 0.01 * np.random.default_rng(0).standard_normal(voices.shape)
    estimates = 0.7 * voices + 0.2 * voices[::-1] + noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the module is deprecated, and is the field's yardstick all the same
        expected = separation.bss_eval_sources(voices, estimates, compute_permutation=False)[:3]
    for metric, values in zip(get_metrics(["sdr", "sir", "sar"]), expected, strict=True):
        np.testing.assert_allclose(metric(voices.astype(float), estimates.astype(float), RATE), values, atol=0.01)


def test_an_item_s_score_is_the_median_of_the_windows_where_all_references_sound(voices, item):
    male, female = voices.copy()
    female[: RATE + 100] = 0.0  # the first window does not count
    leaks = np.repeat([0.9, 0.1, 0.2, 0.4], RATE)
    references = item("references", male=male, female=female)
    estimates = item("estimates", male=male + leaks * female + 0.01 * leaks, female=female + 0.1 * male)
    (row, *_) = evaluate_item("one", references, estimates, None, ["si_sdr"], window=1.0)
    male, female, guess = (
        read_audio(path)[0][0].astype(float) for path in (references["male"], references["female"], estimates["male"])
    )
    parts = [slice(second * RATE, (second + 1) * RATE) for second in (1, 2, 3)]
    assert row.value == pytest.approx(np.median([si_sdr(male[p], guess[p]) for p in parts]), abs=1e-9)
    assert row.baseline == pytest.approx(np.median([si_sdr(male[p], (male + female)[p]) for p in parts]), abs=1e-6)


def test_an_incomplete_last_window_counts_only_alone(voices, item):
    references = item("references", male=voices[0], female=voices[1])
    estimates = item("estimates", male=voices[0] + 0.2 * voices[1], female=voices[1])

    def score(window):
        return evaluate_item("one", references, estimates, None, ["si_sdr"], window=window)[0].value

    assert score(10.0) == score(None)
    first = slice(0, 3 * RATE)
    truth, guess = (read_audio(path["male"])[0][0][first] for path in (references, estimates))
    assert score(3.0) == pytest.approx(float(si_sdr(truth, guess)), abs=1e-9)
    with pytest.raises(ArgumentError, match="the window is no length of time; got 0"):
        score(0)


def test_a_source_that_never_sounds_does_not_take_the_others_windows(voices, item):
    references = item("references", male=voices[0], none=0 * voices[0])
    estimates = item("estimates", male=voices[0] + 0.2 * voices[1], none=voices[1])
    male, none = evaluate_item("one", references, estimates, None, ["si_sdr"], window=1.0)
    assert np.isfinite(male.value)
    assert np.isnan(none.value)


def test_lengths_are_held_against_each_other_in_windows_too(voices, item):
    references = item("references", male=voices[0])
    estimates = item("estimates", male=voices[0][:-3000])
    with pytest.raises(AudioError, match="the lengths differ"):
        evaluate_item("one", references, estimates, None, ["si_sdr"], window=1.0)


def peak_of_minutes(minutes, folder):
    paths = {}
    rng = np.random.default_rng(0)
    for name in ("reference", "estimate"):
        paths[name] = folder / f"{name}-{minutes}.wav"
        write_audio(paths[name], 0.1 * rng.standard_normal((1, minutes * 60 * 8000)).astype(np.float32), 8000)
    tracemalloc.start()
    try:
        evaluate_item("x", {"a": paths["reference"]}, {"a": paths["estimate"]}, None, ["si_sdr"], window=5.0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_length(tmp_path):
    peak_of_minutes(1, tmp_path)
    assert peak_of_minutes(10, tmp_path) < 1.2 * peak_of_minutes(1, tmp_path)


def test_items_of_more_than_ten_minutes_are_scored_in_windows_by_themselves(tmp_path):
    rng = np.random.default_rng(0)
    clip = rng.standard_normal((1, 605 * 1000)).astype(np.float32)
    write_audio(tmp_path / "a.wav", 0.1 * clip, 1000)
    write_audio(tmp_path / "b.wav", 0.1 * clip + 0.01 * rng.standard_normal(clip.shape).astype(np.float32), 1000)
    files = {"a": tmp_path / "a.wav"}, {"a": tmp_path / "b.wav"}
    by_default = evaluate_item("x", *files, None, ["si_sdr"])
    assert by_default == evaluate_item("x", *files, None, ["si_sdr"], window=30.0)
    assert by_default != evaluate_item("x", *files, None, ["si_sdr"], window=700.0)


@pytest.mark.parametrize("window", [None, 1.0])
def test_a_permutation_finds_who_is_who(voices, item, window):
    references = item("references", male=voices[0], female=voices[1])
    named = item("estimates", male=voices[0] + 0.2 * voices[1], female=voices[1] + 0.3 * voices[0])
    unnamed = {"group-1": named["female"], "group-2": named["male"]}
    rows = evaluate_item("one", references, unnamed, None, ["si_sdr", "sdr"], permute=True, window=window)
    plain = evaluate_item("one", references, named, None, ["si_sdr", "sdr"], window=window)
    assert [(row.source, row.metric, row.value) for row in rows] == [(r.source, r.metric, r.value) for r in plain]
    assert [row.estimate for row in rows] == ["group-2", "group-2", "group-1", "group-1"]


def test_the_assignment_is_the_best_one_altogether(voices, item):
    """Taking each reference's best estimate in turn would give both the same."""
    noise = np.random.default_rng(0).standard_normal(voices.shape[1]) * 0.1
    references = item("references", male=voices[0], female=voices[1])
    estimates = item("estimates", both=voices.sum(axis=0), hum=voices[0] + noise, silence=0 * noise)
    rows = evaluate_item("one", references, estimates, None, ["si_sdr"], permute=True)
    assert {row.source: row.estimate for row in rows} == {"male": "hum", "female": "both"}


def test_what_a_permutation_leaves_over_is_said(voices, item, tmp_path):
    item("references", male=voices[0], female=voices[1])
    item("estimates", x=voices[1], y=voices[0], z=0.1 * voices[0] ** 2)
    folders = tmp_path / "estimates", tmp_path / "references"
    outcome = evaluate_folders(*folders, ["si_sdr"], permute=True)
    assert outcome.notes == {"one": "estimates without a reference: z"}
    for name in "xz":
        (tmp_path / f"estimates/one/{name}.wav").unlink()
    outcome = evaluate_folders(*folders, ["si_sdr"], permute=True)
    assert [(row.source, row.estimate) for row in outcome.rows] == [("male", "y")]
    assert outcome.notes == {"one": "references without an estimate: female"}


@pytest.mark.parametrize("mask", ["ratio", "power", "binary"])
@pytest.mark.parametrize("window", [None, 2.0])
def test_upper_bounds_are_further_rows(voices, item, mask, window):
    references = item("references", male=voices[0], female=voices[1])
    estimates = item("estimates", male=voices[0] + 0.5 * voices[1], female=voices[1] + 0.5 * voices[0])

    def oracle(mixture, truth, rate):
        return oracle_estimates(mixture, truth, rate, mask=mask)

    rows = evaluate_item("one", references, estimates, None, ["si_sdr"], window=window, oracles={mask: oracle})
    assert [(row.source, row.oracle) for row in rows] == [
        ("male", ""),
        ("female", ""),
        ("male", mask),
        ("female", mask),
    ]
    assert all(bound.value > row.value + 3 for row, bound in zip(rows[:2], rows[2:], strict=True))
    assert [row.baseline for row in rows[2:]] == [row.baseline for row in rows[:2]]
