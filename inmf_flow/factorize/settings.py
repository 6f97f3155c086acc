"""What the settings of a model may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.divergences import BetaDivergence, get_divergence
from inmf_flow.factorize.start import parse_init
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


def _real(name: str, value: Any, what: str, *, holds: Callable[[float], bool]) -> None:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not holds(float(value)):
        raise ArgumentError(f"{name} {what}", got=repr(value), expected="a finite number" if not number else None)
