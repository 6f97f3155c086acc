"""The numbers of a comparison: what each variant scored, and by how much variants differ on the same items."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inmf_flow.errors import ConfigError

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

Labels = tuple[str, ...]
"""A variant's label on each axis."""
Scores = Mapping[tuple[str, str], float]
"""From item and source to a score that is a number."""

COLUMNS = ("item", "source", "metric", "value", "baseline", "improvement", "oracle")
_RESAMPLES = 2000


@dataclass(frozen=True)
class Distribution:
    """One variant's scores by one metric.

    Attributes
    ----------
    values
        All scores, in the order of items and sources.
    items
        How many items they are of.
    mean, median, q25, q75
        Over all scores.
    low, high
        Of the 95 % interval of the mean: bootstrap over items, whose sources stay together. NaN of less than two.
    """

    values: tuple[float, ...]
    items: int
    mean: float
    median: float
    q25: float
    q75: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """By how much a variant's scores are greater than those of another one on the items that both have.

    Attributes
    ----------
    items
        How many items both have.
    mean, low, high
        Of the differences, with the 95 % interval of their mean (see `Distribution`).
    """

    items: int
    mean: float
    low: float
    high: float


def comparison_csv_lines(axes: Sequence[str], rows: Iterable[tuple[Mapping[str, str], MetricRow]]) -> Iterator[str]:
    """Yield the text of ``comparison.csv``, a row at a time: the labels on each axis, then a row of ``metrics.csv``.

    Parameters
    ----------
    axes
        Names of the first columns.
    rows
        Each with the labels of its variant by axis.
    """
    yield _csv_line([*axes, *COLUMNS])
    for labels, row in rows:
        numbers = ("" if math.isnan(x) else repr(float(x)) for x in (row.value, row.baseline, row.improvement))
        yield _csv_line([*(labels[axis] for axis in axes), row.item, row.source, row.metric, *numbers, row.oracle])


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    if any("\r" in cell for cell in cells):
        # A carriage return alone is quoted only where everything is.
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(cells)
    else:
        csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def read_scores(path: Path, axes: Sequence[str]) -> dict[str, dict[Labels, dict[tuple[str, str], float]]]:
    """Return the scores of ``comparison.csv`` by metric, variant, item and source; those that are not defined,
    and upper bounds, are left out.

    Raises
    ------
    ConfigError
        When it is not there, or is no such table.
    """
    found: dict[str, dict[Labels, dict[tuple[str, str], float]]] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            for row in csv.DictReader(stream, strict=True):
                if row["oracle"]:
                    continue
                value = float(row["value"] or "nan")
                labels = tuple(row[axis] for axis in axes)
                scores = found.setdefault(row["metric"], {}).setdefault(labels, {})
                if math.isfinite(value):
                    scores[row["item"], row["source"]] = value
    except OSError as error:
        raise ConfigError("the table of a comparison cannot be read", where=path, got=error.strerror) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ConfigError("this is not the table of a comparison", where=path, got=repr(error)) from None
    return found


def distribution(scores: Scores) -> Distribution:
    """Describe the scores of a variant by a metric."""
    values = np.array(list(scores.values()))
    if not len(values):
        return Distribution((), 0, *[math.nan] * 6)
    q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
    items, low, high = _interval(scores)
    mean = float(values.mean())
    return Distribution(tuple(values.tolist()), items, mean, float(median), float(q25), float(q75), low, high)


def difference(scores: Scores, reference: Scores) -> Difference:
    """Compare a variant's scores with a reference's, pair by pair."""
    paired = {key: value - reference[key] for key, value in scores.items() if key in reference}
    if not paired:
        return Difference(0, math.nan, math.nan, math.nan)
    items, low, high = _interval(paired)
    return Difference(items, float(np.mean(list(paired.values()))), low, high)


def _interval(scores: Scores) -> tuple[int, float, float]:
    """Return the number of items, and the interval of the mean."""
    from inmf_flow.evaluate.resampling import group_numbers, mean_interval

    items = group_numbers(item for item, _ in scores)
    low, high = mean_interval(list(scores.values()), items, resamples=_RESAMPLES)
    return len({item for item, _ in scores}), low, high
