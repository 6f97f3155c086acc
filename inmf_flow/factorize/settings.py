"""What the settings of a model may be, and what they come to for given points and fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.context import MOST_CONTEXT, SPAN
from inmf_flow.factorize.data import Data
from inmf_flow.factorize.divergences import BetaDivergence, get_divergence
from inmf_flow.factorize.fields import Axis, Field, LinearField
from inmf_flow.factorize.neural import NeuralField
from inmf_flow.factorize.start import parse_init
from inmf_flow.points import PointSet
from inmf_flow.registry import fields, parse_choice

if TYPE_CHECKING:
    from inmf_flow.factorize.model import INMF


def check_settings(model: INMF) -> None:
    """Raise `ArgumentError` for the first setting that no fit can have, and `UnknownNameError` for a missing name."""
    whole = {
        "n_components": model.n_components,
        "max_iter": model.max_iter,
        "random_state": model.random_state,
        "n_init": model.n_init,
    }
    for name, value in whole.items():
        least = 0 if name == "random_state" else 1
        if value is None and name == "max_iter":
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ArgumentError(f"{name} must be a whole number", got=repr(value), expected=f">= {least}")
    _real("power", model.power, "must be positive", holds=lambda value: value > 0)
    _real("tol", model.tol, "must not be negative", holds=lambda value: value >= 0)
    _real("relaxation", model.relaxation, "is out of range 1 (plain updates) to 2", holds=lambda value: 1 <= value <= 2)
    _real(
        "context",
        model.context,
        f"is out of range 0 to {MOST_CONTEXT:g} seconds",
        holds=lambda value: 0 <= value <= MOST_CONTEXT,
    )
    for name in ("sparsity", "smoothness", "decorrelation"):
        _real(name, getattr(model, name), "must not be negative", holds=lambda value: value >= 0)
    if model.optimizer not in (None, "mu", "warm", "rprop"):
        raise ArgumentError("no such optimizer", got=repr(model.optimizer), expected="'mu', 'warm', 'rprop' or None")
    if model.negative not in (None, "nearly", "shift"):
        raise ArgumentError("negative is unknown", got=repr(model.negative), expected="None, 'nearly' or 'shift'")
    if model.negative and (get_divergence(model.beta_loss) != BetaDivergence(2.0) or model.power != 1):
        raise ArgumentError(
            "negative magnitudes can only be fitted by least squares as they are",
            got=f"beta_loss={model.beta_loss!r}, power={model.power}",
            expected="beta_loss='frobenius', power=1",
        )
    parse_init(model.init)
    if model.weights not in ("area", "uniform"):
        raise ArgumentError("no such weights", got=repr(model.weights), expected="'area' or 'uniform'")
    get_divergence(model.beta_loss)
    fields.get(parse_choice(model.field)[0])
    if model.time_field != "auto":
        fields.get(parse_choice(model.time_field)[0])


def refuse_context(model: INMF, what: str) -> None:
    """Raise `ArgumentError` for a model with a context where points are not fitted all at once."""
    if model.context:
        raise ArgumentError(
            f"{what} cannot learn templates that move", got=f"context={model.context:g}", hint="Use fit, or context=0."
        )


def choose_optimizer(model: INMF, w: Field, h: Field) -> str:
    """Return the optimizer that is asked for, or the one that suits the fields; refuse one that cannot fit them."""
    linear = isinstance(w, LinearField) and isinstance(h, LinearField)
    warm = not linear and all(isinstance(side, LinearField | NeuralField) for side in (w, h))
    if model.optimizer == "mu" and not linear:
        raise ArgumentError(
            "multiplicative updates fit linear fields only",
            got=f"field={model.field!r}, time_field={model.time_field!r}",
            expected="hat or matrix",
            hint="Use optimizer='warm' or 'rprop'.",
        )
    if model.optimizer == "warm" and not warm:
        raise ArgumentError(
            "a warm start is for the package's neural fields, with linear ones or each other",
            got=f"field={model.field!r}, time_field={model.time_field!r}",
            hint="Use optimizer='mu'." if linear else "Use optimizer='rprop'.",
        )
    return model.optimizer or ("mu" if linear else "warm" if warm else "rprop")


def fixed_components(model: INMF, fixed: bool | Sequence[bool], given: int) -> torch.Tensor | None:
    """Return which components' templates stay as they are, bool [K], or None."""
    flags = np.asarray(fixed, bool)
    if not flags.any():
        return None
    if flags.ndim and flags.shape != (given,):
        raise ArgumentError("fixed does not fit the templates", got=flags.shape, expected=f"({given},), or True")
    if not given:
        raise ArgumentError("there are no templates to fix", got=f"fixed={fixed!r}", hint="Give templates=...")
    result = torch.zeros(model.n_components, dtype=torch.bool)
    result[:given] = torch.from_numpy(np.broadcast_to(flags, given).copy())
    return result.to(model.device)


def axes_of(data: Data, points: PointSet) -> tuple[tuple[Axis, Axis], float]:
    """Return the axes of templates and activations, and hertz of the highest frequency that the points show.

    That is 0 where no point has weight; a row of missing points alone was not seen either.
    """
    known, times = data.known("frequency"), data.known("time")
    # Copies at later lags lie on stretches of the axis of their own; all lags have the frequencies of the first.
    known = known[known < SPAN / 2]
    max_frequency = min(points.max_frequency, float(known[-1]))
    top = max_frequency or float(data.frequencies[data.frequencies < SPAN / 2][-1])
    low = min(0.0, float(data.frequencies[0]))
    frequency = Axis("frequency", known, low, top, data.mass("frequency")[: len(known)])
    time = Axis("time", times, min(0.0, float(data.times[0])), points.end, data.mass("time"))
    return (frequency, time), max_frequency


def _real(name: str, value: Any, what: str, *, holds: Callable[[float], bool]) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not holds(float(value)):
        raise ArgumentError(f"{name} {what}", got=repr(value), expected="a finite number" if not number else None)
