"""How far decisions of frames are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class FrameScores:
    """Scores of the frames that have a truth.

    Attributes
    ----------
    frames
        How many there are.
    accuracy
        Share of frames whose classes are all right; NaN without frames.
    precision, recall, f1
        By class; NaN where a class neither is nor was decided.
    confusion
        Frames by true class (rows) and decided class, [C, C]; empty where classes may overlap. Frames in which none was
        decided are in no column.
    """

    frames: int
    accuracy: float
    precision: dict[str, float]
    recall: dict[str, float]
    f1: dict[str, float]
    confusion: list[list[int]]

    @property
    def mean_f1(self) -> float:
        """Mean of the classes' F1, those that are NaN left out."""
        known = [value for value in self.f1.values() if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Return plain data, None for what is not known."""
        plain = {**asdict(self), "mean_f1": self.mean_f1}
        return {key: _without_nan(value) for key, value in plain.items()}


def score_frames(
    truth: Bools, decided: Bools, classes: Sequence[str], *, multilabel: bool = False, known: Bools | None = None
) -> FrameScores:
    """Score decisions of frames.

    Parameters
    ----------
    truth, decided
        Which classes each frame has, [T, C].
    classes
        Names.
    multilabel
        Whether classes may overlap.
    known
        Which frames have a truth, [T]; by default all, or unless ``multilabel`` those with a class.
    """
    if truth.shape != decided.shape or truth.shape[1:] != (len(classes),):
        raise ArgumentError(
            "truth and decisions do not fit", got=f"{truth.shape} and {decided.shape}", expected="[T, C]"
        )
    if known is None:
        known = np.ones(len(truth), bool) if multilabel else np.asarray(truth.any(1), bool)
    truth, decided = truth[known], decided[known]
    hits = (truth & decided).sum(0)
    precision = _ratio(hits, decided.sum(0))
    recall = _ratio(hits, truth.sum(0))
    f1 = _ratio(2 * hits, truth.sum(0) + decided.sum(0))
    confusion = [] if multilabel else (truth.astype(np.int64).T @ decided.astype(np.int64)).tolist()
    return FrameScores(
        len(truth),
        float((truth == decided).all(1).mean()) if len(truth) else float("nan"),
        dict(zip(classes, precision, strict=True)),
        dict(zip(classes, recall, strict=True)),
        dict(zip(classes, f1, strict=True)),
        confusion,
    )


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> list[float]:
    return [float(p / w) if w else float("nan") for p, w in zip(part, whole, strict=True)]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
