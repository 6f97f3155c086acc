"""How sure a mean or a median of scores is: intervals by resampling items, and paired differences."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.items import MetricRow
from inmf_flow.evaluate.metric import Float64

Interval = tuple[float, float]

_NO_INTERVAL: Interval = (math.nan, math.nan)
# Of more groups than this, the spread is estimated from as many drawn at random: its relative error is about
# 1/sqrt(2 * 2048), 2 %, and the work no longer grows.
_MOST_GROUPS = 2048
# Weights held at once: resamples times scores.
_MOST_WEIGHTS = 1 << 22


@dataclass(frozen=True)
class PairedDifference:
    """The mean of a - b over what both have a score of.

    Attributes
    ----------
    mean
        The mean difference; NaN without pairs.
    low, high
        Limits of the 95 % interval of the mean; NaN where fewer than two groups are there to resample.
    n
        Number of pairs.
    """

    mean: float
    low: float
    high: float
    n: int


def paired_difference(
    rows_a: Iterable[MetricRow],
    rows_b: Iterable[MetricRow],
    metric: str,
    *,
    by: Literal["item", "row"] = "item",
    seed: int = 0,
    resamples: int = 2000,
) -> PairedDifference:
    """Compare two sets of scores of the same items: the mean of a - b with its 95 % interval.

    Scores of the same item, source and metric are paired, so that what makes an item hard is in neither; a score that
    only one of the two has, or that is NaN, is left out.

    Parameters
    ----------
    rows_a, rows_b
        Scores, as of `evaluate_folders` or `read_metrics_csv`. Rows of upper bounds are paired with their like.
    metric
        The metric to compare.
    by
        What is resampled: an ``"item"`` with all its sources, whose scores are not independent; or each ``"row"``.
    seed
        Of the resampling; the same seed gives the same interval.
    resamples
        Number of bootstrap resamples, at least 100.

    Raises
    ------
    ArgumentError
        When a set has two scores of the same item, source and metric, or ``by`` is neither.
    """
    if by not in ("item", "row"):
        raise ArgumentError("this cannot be resampled", where="by", got=repr(by), expected="'item' or 'row'")
    first, second = _scores_of(rows_a, metric, "a"), _scores_of(rows_b, metric, "b")
    keys = [key for key in first if key in second]
    differences = np.array([first[key] - second[key] for key in keys], dtype=np.float64)
    groups = group_numbers(key[0] for key in keys) if by == "item" else np.arange(len(keys))
    defined = ~np.isnan(differences)
    differences, groups = differences[defined], groups[defined]
    mean = float(differences.mean()) if len(differences) else math.nan
    low, high = mean_interval(differences, groups, seed=seed, resamples=resamples)
    return PairedDifference(mean, low, high, len(differences))


def _scores_of(rows: Iterable[MetricRow], metric: str, which: str) -> dict[tuple[str, str, str], float]:
    found: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.metric != metric:
            continue
        key = (row.item, row.source, row.oracle)
        if key in found:
            raise ArgumentError(
                f"there are two scores {metric} of the same item and source among the rows {which}",
                where=f"{row.item}, {row.source}",
            )
        found[key] = row.value
    return found


def group_number(name: str) -> int:
    """Return a number for an item's name, 32 bits and the same in every process.

    Two of a million items may share one, and are then resampled together, which hurts nobody.
    """
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def group_numbers(names: Iterable[str]) -> NDArray[np.int64]:
    """Return `group_number` of each name."""
    return np.fromiter((group_number(name) for name in names), dtype=np.int64)


def mean_interval(values: ArrayLike, groups: ArrayLike, *, seed: int = 0, resamples: int = 1000) -> Interval:
    """Return the 95 % interval of a mean by the percentile bootstrap over groups.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13, whole groups being drawn as in
    Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8. Beyond 2048 groups the spread is
    estimated from 2048 of them, drawn at random, and narrowed by sqrt(2048 / groups).

    Parameters
    ----------
    values
        Finite scores, [N].
    groups
        The group of each, [N] integers.
    seed, resamples
        Of the random draws, and their number.

    Returns
    -------
    low, high
        NaN where there are fewer than two groups.
    """
    return _interval(np.asarray(values, float), np.asarray(groups), _means, seed, resamples)


def median_interval(values: ArrayLike, groups: ArrayLike, *, seed: int = 0, resamples: int = 1000) -> Interval:
    """Return the 95 % interval of a median; all else as `mean_interval`."""
    return _interval(np.asarray(values, float), np.asarray(groups), _medians, seed, resamples)


_Statistic = Callable[[Float64, NDArray[np.int64], NDArray[np.int32]], Float64]


def _interval(values: Float64, groups: NDArray[np.int64], statistic: _Statistic, seed: int, resamples: int) -> Interval:
    if resamples < 100:
        raise ArgumentError("too few resamples for an interval", where="resamples", got=resamples, expected=">= 100")
    if len(values) == 0:
        return _NO_INTERVAL
    known, numbers = np.unique(groups, return_inverse=True)
    count = len(known)
    if count < 2:
        return _NO_INTERVAL
    rng = np.random.default_rng(seed)
    shrink, shift = 1.0, 0.0
    if count > _MOST_GROUPS:
        all_once = np.ones((1, count), np.int32)
        centre = statistic(values, numbers, all_once)[0]
        values, numbers = _subset(values, numbers, rng.choice(count, _MOST_GROUPS, replace=False), count)
        # Deviations of resamples from the subset's statistic are put around that of all.
        shift = (
            centre
            - (shrink := math.sqrt(_MOST_GROUPS / count))
            * statistic(values, numbers, np.ones((1, _MOST_GROUPS), np.int32))[0]
        )
        count = _MOST_GROUPS
    at_once = max(1, _MOST_WEIGHTS // max(count, len(values)))
    found = []
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        weights = rng.multinomial(count, np.full(count, 1.0 / count), size=size).astype(np.int32)
        found.append(statistic(values, numbers, weights))
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(shift + shrink * np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _subset(
    values: Float64, numbers: NDArray[np.int64], chosen: NDArray[np.int64], count: int
) -> tuple[Float64, NDArray[np.int64]]:
    """Return the scores of chosen groups, which are numbered anew."""
    new = np.full(count, -1)
    new[chosen] = np.arange(len(chosen))
    kept = new[numbers] >= 0
    return values[kept], new[numbers[kept]]


def _means(values: Float64, numbers: NDArray[np.int64], weights: NDArray[np.int32]) -> Float64:
    """Return the mean of each resample; weights [resamples, groups] say how often a group was drawn."""
    count = weights.shape[1]
    sums = np.bincount(numbers, values, minlength=count)
    sizes = np.bincount(numbers, minlength=count)
    with np.errstate(invalid="ignore"):  # a plugin's scores may be infinite
        return np.asarray((weights @ sums) / (weights @ sizes))


def _medians(values: Float64, numbers: NDArray[np.int64], weights: NDArray[np.int32]) -> Float64:
    """Return the median of each resample, between the two middle scores where their number is even."""
    order = np.argsort(values, kind="stable")
    ranks = np.cumsum(weights[:, numbers[order]], axis=1)
    totals = ranks[:, -1]
    lower = np.argmax(ranks >= ((totals + 1) // 2)[:, None], axis=1)
    upper = np.argmax(ranks >= (totals // 2 + 1)[:, None], axis=1)
    sorted_values = values[order]
    return np.asarray((sorted_values[lower] + sorted_values[upper]) / 2.0)
