"""Scores in short: by source, and over all."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

from inmf_flow.evaluate.items import MetricRow


def summarize(rows: Iterable[MetricRow]) -> list[dict[str, Any]]:
    """Summarise scores over items, for each source and metric and then for all sources together.

    Rows are looked at once, and two numbers are held of each.

    Returns
    -------
    summaries
        Each with ``source`` (``"all"`` in the last ones), ``metric``, ``n`` (scores that are defined),
        ``mean``, ``median``, ``q25``, ``q75`` and ``mean_improvement`` (over scores with a baseline); NaN
        where there is none.
    """
    sources: dict[str, dict[str, _Scores]] = {}
    metrics: dict[str, _Scores] = {}
    for row in rows:
        groups = sources.setdefault(row.source, {})
        for scores in (groups.setdefault(row.metric, _Scores()), metrics.setdefault(row.metric, _Scores())):
            scores.values.append(row.value)
            scores.gains.append(row.improvement)
    found = list(sources.items())
    if metrics:
        found.append(("all", metrics))
    return [
        {"source": source, "metric": metric, **groups[metric].describe()}
        for source, groups in found
        for metric in metrics
        if metric in groups
    ]


class _Scores:
    """The scores of one source and metric, and their improvements."""

    def __init__(self) -> None:
        self.values = array("d")
        self.gains = array("d")

    def describe(self) -> dict[str, Any]:
        values, gains = np.array(self.values), np.array(self.gains)
        values, gains = values[~np.isnan(values)], gains[~np.isnan(gains)]
        nan = float("nan")
        with np.errstate(invalid="ignore"):  # a plugin's scores may be infinite
            q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else (nan, nan, nan)
            return {
                "n": len(values),
                "mean": float(values.mean()) if len(values) else nan,
                "median": float(median),
                "q25": float(q25),
                "q75": float(q75),
                "mean_improvement": float(gains.mean()) if len(gains) else nan,
            }
