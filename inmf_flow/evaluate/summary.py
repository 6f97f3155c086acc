"""Scores in short: by source, and over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from inmf_flow.evaluate.items import MetricRow


def summarize(rows: Sequence[MetricRow]) -> list[dict[str, Any]]:
    """Summarise scores over items, for each source and metric and then for all sources together.

    Returns
    -------
    summaries
        Each with ``source`` (``"all"`` in the last ones), ``metric``, ``n`` (scores that are defined),
        ``mean``, ``median``, ``q25``, ``q75`` and ``mean_improvement`` (over scores with a baseline); NaN
        where there is none.
    """
    sources = dict.fromkeys(row.source for row in rows)
    metrics = dict.fromkeys(row.metric for row in rows)
    groups = [(source, [row for row in rows if row.source == source]) for source in sources]
    if rows:
        groups.append(("all", list(rows)))
    summaries = []
    for source, members in groups:
        for metric in metrics:
            chosen = [row for row in members if row.metric == metric]
            if chosen:
                summaries.append({"source": source, "metric": metric, **_describe(chosen)})
    return summaries


def _describe(rows: Sequence[MetricRow]) -> dict[str, Any]:
    values = np.array([row.value for row in rows])
    values = values[~np.isnan(values)]
    gains = np.array([row.improvement for row in rows])
    gains = gains[~np.isnan(gains)]
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
