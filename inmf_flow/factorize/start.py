"""Where a fit starts: random moments of the data, noise, harmonic series, or what the caller gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.context import SPAN, table_of
from inmf_flow.factorize.data import Data
from inmf_flow.factorize.fields import FLOOR, Field, LinearField
from inmf_flow.registry import parse_choice

if TYPE_CHECKING:
    from inmf_flow.factorize.solvers import Bound

# Moments of the data that one template starts from: one is too special, many are all alike.
_MOMENTS = 3
_HARMONIC = {"low": 55.0, "high": 1760.0, "width": 30.0, "partials": 20}


def parse_init(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of a start.

    Raises
    ------
    ArgumentError
        For a start or an option that does not exist, or a value out of range.
    """
    name, options = parse_choice(spec)
    if name not in ("moments", "random", "harmonic"):
        raise ArgumentError("no such init", got=repr(name), expected="moments, random or harmonic")
    known = _HARMONIC if name == "harmonic" else {}
    for key, value in options.items():
        if key not in known:
            raise ArgumentError(
                f"init {name!r} has no option {key!r}", expected=", ".join(known) if known else "no options"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ArgumentError(f"{key} must be positive and finite", where=f"init {name}", got=repr(value))
        if key == "partials" and value != int(value):
            raise ArgumentError(f"{key} must be a whole number", where=f"init {name}", got=repr(value))
    merged: dict[str, Any] = {**known, **options}
    if known and merged["low"] > merged["high"]:
        raise ArgumentError("low is above high", where="init harmonic", got=f"{merged['low']} and {merged['high']}")
    return name, merged


def start(
    data: Data, templates: Bound, activations: Bound, init: str | Mapping[str, Any], power: float, random: Any
) -> None:
    """Set the coefficients of two linear fields to where multiplicative updates begin; random ones stay as drawn."""
    name, options = parse_init(init)
    if name == "moments":
        _start_from_moments(data, templates, activations, random)
    elif name == "harmonic":
        w = templates.field
        assert isinstance(w, LinearField)
        values = harmonic_templates(w.places() % SPAN, w.coefficients.shape[1], power=power, **options)
        w.coefficients = _tensor(values / np.sqrt(values.shape[1]), w.coefficients)


def _start_from_moments(data: Data, templates: Bound, activations: Bound, random: np.random.Generator) -> None:
    """Start each template as the mean of the data at a few random moments, loud ones more likely.

    The same as starting a matrix from the means of a few columns (Langville et al. 2006, "Initializations for the
    nonnegative matrix factorization": random Acol), in terms of what any field and any points have: the activations
    are set to those moments and a little everywhere, and the data's means under them are the templates.
    """
    w, h = templates.field, activations.field
    assert isinstance(w, LinearField)
    assert isinstance(h, LinearField)
    k = len(w.evaluate(data.frequencies[:1])[0])
    if h.coefficients.shape[1:] != (k,) or w.coefficients.shape[1:] != (k,):
        # A plugin's field may keep its coefficients in another form: it starts as it was drawn.
        return
    moments = len(h.coefficients)
    mass, weight = (
        h.adjoint(activations.prepared, sums[:, None].expand(-1, k).contiguous())[:, 0].double()
        for sums in data.sums("time")
    )
    above = mass.clamp_min(0)
    if not float(above.sum()) > 0:
        return
    share = (above / above.sum()).cpu().numpy()
    count = min(_MOMENTS, int((share > 0).sum()))
    spikes = np.full((moments, k), 0.1 * count / moments, np.float32)
    # The first of exponential waiting times at these rates: drawn without replacement, as likely as their shares.
    with np.errstate(divide="ignore"):
        waiting = random.exponential(size=(moments, k)) / share[:, None]
    spikes[np.argpartition(waiting, count - 1, axis=0)[:count], np.arange(k)] += 1
    h.coefficients = _tensor(spikes, h.coefficients)
    sums = data.sums("frequency", h.values(activations.prepared))
    total, norm = (w.adjoint(templates.prepared, part) for part in sums)
    mean = torch.where(norm > 0, total / norm.clamp_min(1e-30), 0.0).clamp_min(0)
    level = mean.mean(0).clamp_min(FLOOR)
    w.coefficients = (mean / level + 0.01) / np.sqrt(k)
    # Moments begin as loud as the data are there; where no point is, as loud as on average. Where noise makes the sum
    # negative its size will do: from the floor, updates of shifted data would take hundreds of iterations.
    loud = torch.where(weight > 0, mass.abs() / weight.clamp_min(1e-30), torch.ones_like(mass)).float()
    noise = random.uniform(0.5, 1.5, (moments, k)) / np.sqrt(k)
    h.coefficients = (_tensor(noise, h.coefficients) * loud[:, None]).clamp_min(FLOOR)


def harmonic_templates(
    frequencies: NDArray[np.float64],
    n_components: int,
    *,
    low: float = 55.0,
    high: float = 1760.0,
    width: float = 30.0,
    partials: int = 20,
    power: float = 0.5,
) -> NDArray[np.float32]:
    """Return harmonic series on fundamentals that rise geometrically, [F, K], each with mean 1.

    Parameters
    ----------
    frequencies
        Hertz, [F].
    low, high
        Lowest and highest fundamental, hertz.
    width
        Standard deviation of a partial's lobe, hertz.
    partials
        Number of partials; the n-th has amplitude 1 / n.
    power
        Put on amplitudes, as on the data.
    """
    fundamentals = np.geomspace(low, high, n_components) if n_components > 1 else np.array([low])
    result = np.full((len(frequencies), n_components), 0.01)
    for number in range(1, int(partials) + 1):
        distance = (frequencies[:, None] - number * fundamentals) / width
        result += number**-power * np.exp(-0.5 * distance**2)
    level: NDArray[np.float64] = result.mean(0)
    return (result / level).astype(np.float32)


def set_templates(field: Field, given: Any, table: NDArray[np.float64], lags: NDArray[np.float64]) -> int:
    """Set the first templates to given functions, at the field's places; return how many.

    Parameters
    ----------
    given
        A model, a function from hertz [N] to [N, J], or values [NF, J] at the data's distinct frequencies ``table``.
        All but a model are the same at all lags.
    lags
        Seconds at which the field has templates; see `inmf_flow.factorize.context`.
    """
    if len(lags) > 1:
        given, table = _over_lags(given, table[table < SPAN / 2], lags), table[table < SPAN / 2]
    return _set(field, given, table, "templates", 1.0)


def _over_lags(given: Any, table: NDArray[np.float64], lags: NDArray[np.float64]) -> Any:
    """Return what was given for hertz as a function of the coordinates that lags have."""
    if hasattr(given, "context"):
        return table_of(given.templates, lags)
    if not callable(getattr(given, "templates", given)):
        values = np.asarray(given, np.float64)
        if values.ndim != 2 or len(values) != len(table):
            return given
        return table_of(lambda f, _: np.stack([np.interp(f, table, column) for column in values.T], axis=1), lags)
    function = getattr(given, "templates", given)
    return table_of(lambda f, _: function(f), lags)


def set_activations(field: Field, given: Any, table: NDArray[np.float64], level: float) -> int:
    """Set the first activations to given functions of seconds, [J, T], divided by a level; return how many."""
    return _set(field, given, table, "activations", level)


def _set(field: Field, given: Any, table: NDArray[np.float64], kind: str, level: float) -> int:
    if not isinstance(field, LinearField):
        raise ArgumentError(f"only linear fields start from given {kind}", got=field.name, expected="hat or matrix")
    values = _sampled(given, field.places(), table, kind)
    count, most = int(values.shape[1]), int(field.coefficients.shape[1])
    if count > most:
        raise ArgumentError(f"too many {kind} are given", got=count, expected=f"at most n_components={most}")
    # Free values of a gradient method, drawn before, would hide what is given.
    field.settle()
    field.coefficients = field.coefficients.clone()
    field.coefficients[:, :count] = _tensor(values / level, field.coefficients).clamp_min(FLOOR)
    return count


def _sampled(given: Any, places: NDArray[np.float64], table: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return given functions at a field's places, [M, J]."""
    if hasattr(given, kind):
        given = getattr(given, kind)
    values = np.asarray(given(places) if callable(given) else given, np.float64)
    count = len(places) if callable(given) else len(table)
    wanted = f"[{count}, J]" if kind == "templates" else f"[J, {count}]"
    if values.ndim != 2 or values.shape[0 if kind == "templates" else 1] != count:
        raise ArgumentError(f"given {kind} have the wrong shape", got=values.shape, expected=wanted)
    values = values if kind == "templates" else values.T
    if not np.isfinite(values).all() or (values < 0).any():
        raise ArgumentError(f"given {kind} are negative or not finite", expected="finite values >= 0")
    if callable(given):
        return values
    return np.stack([np.interp(places, table, column) for column in values.T], axis=1)


def _tensor(values: NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(like.device)
