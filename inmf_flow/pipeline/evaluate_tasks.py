"""Tasks that score separated mixtures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from inmf_flow.pipeline.modes import made
from inmf_flow.pipeline.places import place_of, split_place
from inmf_flow.pipeline.separate_tasks import dictionary_of
from inmf_flow.pipeline.task import Receipt, Task, attempt
from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow


def evaluate(task: Task) -> list[Receipt]:
    """Score a batch of separated mixtures."""
    return [attempt(item, inputs, partial(_evaluate_item, item, payload, task)) for item, inputs, payload in task.items]


def _evaluate_item(
    item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    from inmf_flow.evaluate import evaluate_item

    mixture, start, stop = split_place(place_of(payload))
    rows = [_divergence_row(item, payload, task)] if "models" in task.settings else []
    settings = task.settings
    if payload["references"] or settings["permute"]:
        estimates = settings["estimated"] if settings["permute"] else payload["references"]
        rows += evaluate_item(
            item,
            {source: as_path(path) for source, path in payload["references"].items()},
            {source: task.run_folder / "separated" / item / f"{source}.wav" for source in estimates},
            mixture,
            settings["metrics"],
            start=start,
            stop=stop,
            permute=settings["permute"],
            window=settings["window"],
            oracles={mask: partial(_oracle, settings["oracle_transform"], mask) for mask in settings["oracle"]},
        )
    numbers = [[_number(x) for x in (row.value, row.baseline, row.improvement)] for row in rows]
    further = [[row.oracle, row.estimate] if row.oracle or row.estimate else [] for row in rows]
    described = zip(rows, numbers, further, strict=True)
    return {}, {"rows": [[row.source, row.metric, *n, *more] for row, n, more in described]}


def _oracle(choice: Mapping[str, Any], mask: str, mixture: Any, references: Any, sample_rate: int) -> Any:
    """Return estimates of one window by a mask that knows the references."""
    from inmf_flow.separation import oracle_estimates

    (transform,) = made([choice])
    return oracle_estimates(mixture, references, sample_rate, transform, mask)


def _divergence_row(item: str, payload: Mapping[str, Any], task: Task) -> MetricRow:
    """Return the mean divergence of a mixture's points from what its dictionaries make of them."""
    from inmf_flow.evaluate import MetricRow
    from inmf_flow.separation.reconstruction import reconstruction_divergence

    settings = task.settings
    path, start, stop = split_place(place_of(payload))
    value = reconstruction_divergence(
        str(path),
        dictionary_of(settings["models"] | payload.get("models", {}), task),
        made(settings["transforms"]),
        settings["sample_rate"],
        max_iter=settings["max_iter"],
        start=start,
        stop=stop,
    )
    return MetricRow(item, "mixture", "divergence", value, math.nan, math.nan)


def _number(value: float) -> float | str:
    """Return a number that JSON has; NaN and infinity as text."""
    return value if abs(value) < float("inf") else str(value)
