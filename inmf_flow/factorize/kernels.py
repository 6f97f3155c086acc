"""Compiled passes over scattered points. Needs Numba: only ``scattered`` imports this module, and does without it.

The points are ordered by their row in one table (``mine``), so that a pass reads one row of it at a time and gathers
rows of the ``other`` table. Four points go at a time: a row of sums is then read and written once for the four. Up to
four components stay in registers instead, because loops over so few cost more than what they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

# Typed in some releases only.
numba: Any = import_module("numba")

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Float32s = NDArray[np.float32]
_Int32s = NDArray[np.int32]

# Products may be fused, but infinities and NaN keep their meaning: they tell that a fit failed.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "arcp"}}
# Sums over components may be reordered too. Where there is no loop over components, the compiler would reorder those
# over points instead, whose rows lie anywhere: vectors gathered from so many places take twice as long as single ones.
_REORDERED = _OPTIONS | {"fastmath": {"contract", "nsz", "arcp", "reassoc"}}


@cache
def compiled(name: str) -> Callable[..., Any]:
    """Return ``"add_parts"``, ``"add_parts_narrow"`` or ``"weighted_loss"``, compiled now or read from disk.

    The types are explicit, so that this happens once; the result is kept on disk where there is a place for it.
    """
    function, signature, options = _PASSES[name]
    try:
        made = numba.njit(signature, cache=True, **options)(function)
    except Exception:
        # No folder can be written, the disk is full, or a file was cut short: what is not on disk works all the same.
        made = numba.njit(signature, **options)(function)
    return cast("Callable[..., Any]", made)


def _inlined(function: _Function) -> _Function:
    return cast("_Function", numba.njit(**_OPTIONS)(function))


@_inlined
def _factors(v: np.float32, weight: np.float32, model: np.float32, beta: np.float32) -> tuple[np.float32, np.float32]:
    """Return weight * v * model^(beta - 2) and weight * model^(beta - 1)."""
    if beta == np.float32(1):
        return weight * v / model, weight
    if beta == np.float32(2):
        return weight * v, weight * model
    if beta == np.float32(0):
        positive = weight / model
    else:
        positive = weight * model ** (beta - np.float32(1))
    return positive * v / model, positive


@_inlined
def _value(v: float, model: float, beta: float) -> float:
    """Return the beta-divergence of one point."""
    if beta == 1:
        return v * math.log(v / model) - v + model
    if beta == 2:
        return 0.5 * (v - model) ** 2
    if beta == 0:
        return v / model - math.log(v / model) - 1
    power = model ** (beta - 1)
    return float(v**beta + (beta - 1) * power * model - beta * v * power) / (beta * (beta - 1))


def add_parts(
    starts: NDArray[np.int64],
    rows: _Int32s,
    others: _Int32s,
    v: _Float32s,
    weights: _Float32s,
    mine: _Float32s,
    other: _Float32s,
    negative: _Float32s,
    positive: _Float32s,
    beta: float,
    epsilon: np.float32,
) -> None:
    """Add both parts of the beta-divergence's gradient by one table.

    Févotte & Idier (2011, "Algorithms for nonnegative matrix factorization with the beta-divergence", equation 11)
    give both parts; here their sums run over the points there are.

    Parameters
    ----------
    starts
        Where each run of points that share a row of ``mine`` begins, then the number of points, [R + 1].
    rows
        The row of ``mine`` of each run, [R]; no row comes twice.
    others, v, weights
        Each point's row of ``other``, data and weight, [P].
    mine, other
        Templates and activations, or activations and templates, [N, K] and [M, K].
    negative, positive
        The sums that the subtracted and the added part are added to, [N, K].
    epsilon
        Added to the model.
    """
    k_all = mine.shape[1]
    b = np.float32(beta)
    for r in range(len(rows)):
        row = np.uintp(rows[r])
        a, low, high = mine[row], negative[row], positive[row]
        p, end = starts[r], starts[r + 1]
        while p + 4 <= end:
            x0, x1 = other[np.uintp(others[p])], other[np.uintp(others[p + 1])]
            x2, x3 = other[np.uintp(others[p + 2])], other[np.uintp(others[p + 3])]
            m0 = m1 = m2 = m3 = epsilon
            for k in range(k_all):
                m0 += a[k] * x0[k]
                m1 += a[k] * x1[k]
                m2 += a[k] * x2[k]
                m3 += a[k] * x3[k]
            n0, q0 = _factors(v[p], weights[p], m0, b)
            n1, q1 = _factors(v[p + 1], weights[p + 1], m1, b)
            n2, q2 = _factors(v[p + 2], weights[p + 2], m2, b)
            n3, q3 = _factors(v[p + 3], weights[p + 3], m3, b)
            for k in range(k_all):
                low[k] += n0 * x0[k] + n1 * x1[k] + n2 * x2[k] + n3 * x3[k]
                high[k] += q0 * x0[k] + q1 * x1[k] + q2 * x2[k] + q3 * x3[k]
            p += 4
        while p < end:
            x = other[np.uintp(others[p])]
            m = epsilon
            for k in range(k_all):
                m += a[k] * x[k]
            n, q = _factors(v[p], weights[p], m, b)
            for k in range(k_all):
                low[k] += n * x[k]
                high[k] += q * x[k]
            p += 1


def add_parts_narrow(
    starts: NDArray[np.int64],
    rows: _Int32s,
    others: _Int32s,
    v: _Float32s,
    weights: _Float32s,
    mine: _Float32s,
    other: _Float32s,
    negative: _Float32s,
    positive: _Float32s,
    beta: float,
    epsilon: np.float32,
) -> None:
    """Do what ``add_parts`` does for 1 to 4 components; those that are not there repeat the last, at 0 in the model."""
    k_all = mine.shape[1]
    i1, i2, i3 = min(1, k_all - 1), min(2, k_all - 1), min(3, k_all - 1)
    b, zero = np.float32(beta), np.float32(0)
    for r in range(len(rows)):
        row = np.uintp(rows[r])
        a0 = mine[row, 0]
        a1 = mine[row, 1] if k_all > 1 else zero
        a2 = mine[row, 2] if k_all > 2 else zero
        a3 = mine[row, 3] if k_all > 3 else zero
        low0 = low1 = low2 = low3 = high0 = high1 = high2 = high3 = zero
        for p in range(starts[r], starts[r + 1]):
            at = np.uintp(others[p])
            x0, x1, x2, x3 = other[at, 0], other[at, i1], other[at, i2], other[at, i3]
            m = a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + epsilon
            n, q = _factors(v[p], weights[p], m, b)
            low0 += n * x0
            low1 += n * x1
            low2 += n * x2
            low3 += n * x3
            high0 += q * x0
            high1 += q * x1
            high2 += q * x2
            high3 += q * x3
        lows, highs = (low0, low1, low2, low3), (high0, high1, high2, high3)
        for k in range(k_all):
            negative[row, k] += lows[k]
            positive[row, k] += highs[k]


def weighted_loss(
    starts: NDArray[np.int64],
    rows: _Int32s,
    others: _Int32s,
    v: _Float32s,
    weights: _Float32s,
    mine: _Float32s,
    other: _Float32s,
    beta: float,
    epsilon: np.float32,
) -> float:
    """Return the weighted sum of the beta-divergence in double precision; parameters as in ``add_parts``."""
    k_all = mine.shape[1]
    loss = 0.0
    for r in range(len(rows)):
        a = mine[np.uintp(rows[r])]
        for p in range(starts[r], starts[r + 1]):
            x = other[np.uintp(others[p])]
            m = epsilon
            for k in range(k_all):
                m += a[k] * x[k]
            loss += weights[p] * _value(float(v[p]), float(m), beta)
    return loss


_POINTS = "int64[::1], int32[::1], int32[::1], float32[::1], float32[::1]"
_TABLE = "float32[:, ::1]"
_GRADIENT = f"{_POINTS}, {_TABLE}, {_TABLE}, {_TABLE}, {_TABLE}, float64, float32"
_PASSES: dict[str, tuple[Callable[..., Any], str, dict[str, Any]]] = {
    "add_parts": (add_parts, f"void({_GRADIENT})", _REORDERED),
    "add_parts_narrow": (add_parts_narrow, f"void({_GRADIENT})", _OPTIONS),
    "weighted_loss": (weighted_loss, f"float64({_POINTS}, {_TABLE}, {_TABLE}, float64, float32)", _REORDERED),
}
