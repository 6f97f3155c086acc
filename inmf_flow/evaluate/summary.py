"""Scores in short: by source, and over all."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from inmf_flow.evaluate.items import MetricRow
from inmf_flow.evaluate.resampling import group_number, mean_interval, median_interval


def summarize(rows: Iterable[MetricRow], *, seed: int = 0, resamples: int = 1000) -> list[dict[str, Any]]:
    """Summarise scores over items, for each source and metric and then for all sources together.

    Rows are looked at once, and three numbers are held of each. Upper bounds are left out: see `summarize_oracles`.

    Parameters
    ----------
    rows
        Scores.
    seed, resamples
        Of the intervals: `mean_interval` over items. 0 resamples give none (NaN).

    Returns
    -------
    summaries
        Each with ``source`` (``"all"`` in the last ones), ``metric``, ``n`` (scores that are defined), ``items`` (that
        they are of), ``mean``, ``median``, ``q25``, ``q75`` and ``mean_improvement`` (over scores with a baseline);
        and the limits of 95 % intervals: ``mean_low``, ``mean_high``, ``median_low``, ``median_high``,
        ``improvement_low`` and ``improvement_high``. NaN where there is none.
    """
    tables = _Tables()
    for row in rows:
        if not row.oracle:
            tables.add(row)
    return tables.describe(seed, resamples)


def summarize_oracles(rows: Iterable[MetricRow], *, seed: int = 0, resamples: int = 1000) -> list[dict[str, Any]]:
    """Summarise upper bounds as `summarize` does estimates, one oracle after the other under the key ``oracle``."""
    found: dict[str, _Tables] = {}
    for row in rows:
        if row.oracle:
            found.setdefault(row.oracle, _Tables()).add(row)
    return [
        {"oracle": oracle, **entry} for oracle, tables in found.items() for entry in tables.describe(seed, resamples)
    ]


class _Tables:
    """Scores by source and metric, and by metric."""

    def __init__(self) -> None:
        self._sources: dict[str, dict[str, _Scores]] = {}
        self._metrics: dict[str, _Scores] = {}

    def add(self, row: MetricRow) -> None:
        groups = self._sources.setdefault(row.source, {})
        group = group_number(row.item)
        for scores in (groups.setdefault(row.metric, _Scores()), self._metrics.setdefault(row.metric, _Scores())):
            scores.values.append(row.value)
            scores.gains.append(row.improvement)
            scores.items.append(group)

    def describe(self, seed: int, resamples: int) -> list[dict[str, Any]]:
        found = list(self._sources.items())
        if self._metrics:
            found.append(("all", self._metrics))
        return [
            {"source": source, "metric": metric, **groups[metric].describe(seed, resamples)}
            for source, groups in found
            for metric in self._metrics
            if metric in groups
        ]


class _Scores:
    """The scores of one source and metric, their improvements, and the numbers of their items."""

    def __init__(self) -> None:
        self.values = array("d")
        self.gains = array("d")
        self.items = array("L")

    def describe(self, seed: int, resamples: int) -> dict[str, Any]:
        values, gains, items = np.array(self.values), np.array(self.gains), np.array(self.items, dtype=np.int64)
        of_values, of_gains = items[~np.isnan(values)], items[~np.isnan(gains)]
        values, gains = values[~np.isnan(values)], gains[~np.isnan(gains)]
        nan = float("nan")
        mean = median = gain = (nan, nan)
        if resamples:
            mean = mean_interval(values, of_values, seed=seed, resamples=resamples)
            median = median_interval(values, of_values, seed=seed, resamples=resamples)
            gain = mean_interval(gains, of_gains, seed=seed, resamples=resamples)
        with np.errstate(invalid="ignore"):  # a plugin's scores may be infinite
            q25, middle, q75 = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else (nan, nan, nan)
            return {
                "n": len(values),
                "items": len(np.unique(of_values)),
                "mean": float(values.mean()) if len(values) else nan,
                "mean_low": mean[0],
                "mean_high": mean[1],
                "median": float(middle),
                "median_low": median[0],
                "median_high": median[1],
                "q25": float(q25),
                "q75": float(q75),
                "mean_improvement": float(gains.mean()) if len(gains) else nan,
                "improvement_low": gain[0],
                "improvement_high": gain[1],
            }
