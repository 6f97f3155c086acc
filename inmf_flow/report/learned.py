"""What a model has learned, as pictures' content: its templates and activations in decibels, low components first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ModelFileError
from inmf_flow.report.spectrum import row_frequencies

Float64 = NDArray[np.float64]

TEMPLATE_RANGE = 60.0
ACTIVATION_RANGE = 60.0
_COLUMNS = 720


class Model(Protocol):
    """What the report asks of a fitted model."""

    max_frequency_: Any
    duration_: Any

    def templates(self, frequencies: Any) -> Any:
        """Return the spectral templates at frequencies in hertz, [F, K]."""

    def activations(self, times: Any) -> Any:
        """Return the activations at times in seconds, [K, T]."""


@dataclass(frozen=True)
class Learned:
    """The learned functions of one source.

    Attributes
    ----------
    templates
        dB relative to each template's own peak, shape [rows, K], rows evenly spaced in mel over [0, top].
    activations
        dB relative to the strongest one, shape [K, T]; None where the model keeps none.
    top
        The highest frequency that the model has seen, in hertz.
    seconds
        Length of what it was learned from.
    """

    templates: Float64
    activations: Float64 | None
    top: float
    seconds: float


def load_model(path: Path) -> Model:
    """Load a model file."""
    from inmf_flow.factorize import INMF

    model: Model = INMF.load(path)
    return model


def learned_parts(model: Model, ordered: bool = True) -> Learned:
    """Sample a model's templates and activations for display.

    Parameters
    ----------
    model
        Fitted.
    ordered
        Components by their spectral centroid, low ones first; else in the model's own order.

    Raises
    ------
    ModelFileError
        The model holds no template with a positive finite value.
    """
    top = float(model.max_frequency_)
    templates = _clean(model.templates(row_frequencies(top)))
    peaks = templates.max(axis=0, initial=0.0)
    if not (peaks > 0).any():
        raise ModelFileError("the model's templates are zero everywhere")
    rows = np.arange(len(templates))[:, None]
    centroids = (templates * rows).sum(axis=0) / np.maximum(templates.sum(axis=0), np.finfo(np.float64).tiny)
    # Components that learned nothing have no centroid: they go last.
    order = np.lexsort((centroids, peaks <= 0)) if ordered else np.arange(len(peaks))
    power = float(getattr(model, "power", 1.0) or 1.0)
    seconds = float(getattr(model, "duration_", 0.0) or 0.0)
    activations = None
    if seconds > 0:
        times = (np.arange(_COLUMNS) + 0.5) * seconds / _COLUMNS
        # What the scale of a template takes, its activation gives: their product is what is heard.
        activations = (_clean(model.activations(times)) * peaks[:, None])[order]
        activations = _decibels(activations, activations.max(initial=0.0), power, ACTIVATION_RANGE)
    return Learned(_decibels(templates, peaks, power, TEMPLATE_RANGE)[:, order], activations, top, seconds)


def _clean(values: ArrayLike) -> Float64:
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _decibels(values: Float64, peak: Float64 | float, power: float, floor: float) -> Float64:
    """Return dB of magnitude: the model explains magnitudes raised to ``power``."""
    relative = values / np.where(np.asarray(peak) > 0, peak, 1.0)
    return np.asarray(np.clip(20.0 / power * np.log10(np.maximum(relative, 1e-30)), -floor, 0.0))
