import math

import numpy as np
import pytest

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate import MetricRow, mean_interval, median_interval, paired_difference, summarize

NAN = float("nan")


def rows(values, sources="a"):
    """Rows of items 0, 1, ...: [items, sources] values."""
    table = np.reshape(values, (-1, len(sources)))
    return [
        MetricRow(f"item-{i}", source, "sdr", float(v), 0.0, float(v))
        for i, line in enumerate(table)
        for source, v in zip(sources, line, strict=True)
    ]


def test_the_mean_s_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        low, high = mean_interval(rng.normal(3.0, 2.0, 40), np.arange(40), seed=trial, resamples=400)
        hits += low <= 3.0 <= high
    assert 180 <= hits <= 199  # 95 %, less a little for 40 values


def test_the_sources_of_an_item_do_not_count_as_independent():
    shared = np.random.default_rng(2).normal(size=200)
    low, high = mean_interval(shared, np.arange(200))
    twice = np.repeat(shared, 4)
    by_item = mean_interval(twice, np.repeat(np.arange(200), 4))
    assert by_item == pytest.approx((low, high), abs=1e-12)
    naive = mean_interval(twice, np.arange(800))
    assert naive[1] - naive[0] < 0.6 * (high - low)


@pytest.mark.parametrize(("interval", "spread"), [(mean_interval, 1.0), (median_interval, math.sqrt(math.pi / 2))])
def test_many_items_give_the_interval_of_large_numbers(interval, spread):
    values = np.random.default_rng(3).normal(5.0, 1.0, 100_000)
    low, high = interval(values, np.arange(100_000))
    assert low < 5.02
    assert high > 4.98
    assert high - low == pytest.approx(2 * 1.96 * spread / math.sqrt(100_000), rel=0.15)


def test_a_seed_settles_the_interval():
    values = np.random.default_rng(4).normal(size=30)
    assert median_interval(values, np.arange(30)) == median_interval(values, np.arange(30))
    assert mean_interval(values, np.arange(30), seed=1) != mean_interval(values, np.arange(30), seed=2)


def test_one_item_says_nothing_about_spread():
    assert all(map(math.isnan, mean_interval([1.0, 2.0], [7, 7])))
    assert all(map(math.isnan, median_interval([], [])))
    with pytest.raises(ArgumentError, match="too few resamples"):
        mean_interval([1.0, 2.0], [0, 1], resamples=10)


def test_paired_differences_are_far_surer_than_their_parts():
    rng = np.random.default_rng(5)
    hard = rng.normal(0, 10, (50, 2))
    better = hard + 1.0 + rng.normal(0, 0.1, (50, 2))
    found = paired_difference(rows(better, "ab"), rows(hard, "ab")[::-1], "sdr")
    assert found.n == 100
    assert found.low < 1.0 < found.high
    assert found.high - found.low < 0.1
    assert found.mean == pytest.approx(np.mean(better - hard))


def test_only_what_both_have_is_paired():
    one = [*rows([1.0, 2.0, 3.0]), MetricRow("item-0", "a", "stoi", 9.0, 0, 0), MetricRow("x", "a", "sdr", 9.0, 0, 0)]
    other = rows([0.0, NAN, 1.0])
    found = paired_difference(one, other, "sdr")
    assert (found.mean, found.n) == (1.5, 2)
    nothing = paired_difference(one, [], "sdr")
    assert nothing.n == 0
    assert math.isnan(nothing.mean)
    bound = [MetricRow("item-0", "a", "sdr", 30.0, 0, 0, "ratio")]
    assert paired_difference([*one, *bound], other, "sdr") == found


def test_two_scores_of_the_same_are_refused():
    with pytest.raises(ArgumentError, match=r"two scores sdr .* rows b"):
        paired_difference(rows([1.0]), rows([1.0]) * 2, "sdr")
    with pytest.raises(ArgumentError, match="'item' or 'row'"):
        paired_difference([], [], "sdr", by="speaker")  # type: ignore[arg-type]


def test_summaries_have_intervals_by_item():
    values = np.random.default_rng(6).normal(4.0, 1.0, (60, 2))
    *_, whole = summarize(rows(values, "ab"))
    assert (whole["source"], whole["n"], whole["items"]) == ("all", 120, 60)
    assert whole["mean_low"] < whole["mean"] < whole["mean_high"]
    assert whole["median_low"] <= whole["median"] <= whole["median_high"]
    assert (whole["improvement_low"], whole["improvement_high"]) == (whole["mean_low"], whole["mean_high"])
    assert math.isnan(summarize(rows([1.0]), resamples=0)[0]["mean_low"])
