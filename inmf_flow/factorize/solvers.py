"""Two ways to fit: multiplicative updates for linear fields, and the paper's Rprop for any."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.data import Data
from inmf_flow.factorize.divergences import Divergence
from inmf_flow.factorize.fields import Field, LinearField

# The divergence costs as much as an update: it is looked at this often.
_CHECK_EVERY = 10
# Rprop's divergence is not monotone: only this many checks without a better one count as settled.
_RPROP_PATIENCE = 5


@dataclass
class Trace:
    """How a fit went: ``curve`` holds (iteration, weighted mean divergence of the scaled data)."""

    n_iter: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def add(self, iteration: int, value: float) -> None:
        """Note the divergence after so many iterations."""
        if not math.isfinite(value):
            raise ArgumentError(
                "the divergence is beyond single precision",
                where=f"iteration {iteration}",
                got=value,
                hint="Choose a beta_loss nearer to 1, or a smaller power.",
            )
        self.n_iter = iteration
        self.curve.append((iteration, value))

    def has_settled(self, tol: float, checks: int = 1) -> bool:
        """Whether the best divergence of the last checks improves by less than ``tol`` on the best before them."""
        if tol <= 0 or len(self.curve) < checks + 2:
            return False
        values = [value for _, value in self.curve]
        before, now = min(values[:-checks]), min(values[-checks:])
        return before - now <= tol * abs(before)


@dataclass
class Bound:
    """A field with the coordinates of the data prepared for it."""

    field: Field
    prepared: Any

    def values(self) -> Tensor:
        """Return the functions at the data's coordinates, [N, K]."""
        return self.field.values(self.prepared)


def fit_multiplicative(
    data: Data, templates: Bound, activations: Bound, divergence: Divergence, max_iter: int, tol: float
) -> Trace:
    """Fit the coefficients of two linear fields by alternating multiplicative updates.

    Each update minimizes a majorizer of the weighted divergence, so it never rises (Lee & Seung 2001; for every beta
    Févotte & Idier 2011). Coefficients of hats behave as a factorization with fixed non-negative factors outside.
    """
    trace = Trace()
    w_field, h_field = templates.field, activations.field
    assert isinstance(w_field, LinearField)
    assert isinstance(h_field, LinearField)
    with torch.no_grad():
        trace.add(0, data.loss(divergence, templates.values(), activations.values()))
        for iteration in range(1, max_iter + 1):
            parts = data.parts(divergence, templates.values(), activations.values(), "frequency")
            w_field.update(templates.prepared, *parts, divergence.exponent)
            parts = data.parts(divergence, templates.values(), activations.values(), "time")
            h_field.update(activations.prepared, *parts, divergence.exponent)
            if iteration % _CHECK_EVERY == 0 or iteration == max_iter:
                trace.add(iteration, data.loss(divergence, templates.values(), activations.values()))
                if trace.has_settled(tol):
                    break
    return trace


def fit_activations_multiplicative(
    data: Data, w: Tensor, activations: Bound, divergence: Divergence, max_iter: int
) -> None:
    """Fit the activations alone, templates [NF, K] frozen; on one grid each frame is a problem of its own."""
    h_field = activations.field
    assert isinstance(h_field, LinearField)
    with torch.no_grad():
        for _ in range(max_iter):
            parts = data.parts(divergence, w, activations.values(), "time")
            h_field.update(activations.prepared, *parts, divergence.exponent)


def fit_rprop(
    data: Data,
    templates: Bound,
    activations: Bound,
    divergence: Divergence,
    max_iter: int,
    tol: float,
    rate: float = 1e-3,
) -> Trace:
    """Fit any two fields by Rprop on all points (the paper: learning rate 1e-3, 1000 iterations).

    The gradient by W and H is in closed form, so autograd only runs through the fields at distinct coordinates.
    """
    trace = Trace()
    optimizer = torch.optim.Rprop([*templates.field.parameters(), *activations.field.parameters()], lr=rate)
    for iteration in range(max_iter + 1):
        optimizer.zero_grad(set_to_none=True)
        w, h = templates.values(), activations.values()
        with torch.no_grad():
            if iteration % _CHECK_EVERY == 0 or iteration == max_iter:
                trace.add(iteration, data.loss(divergence, w, h))
                if iteration == max_iter or trace.has_settled(tol, _RPROP_PATIENCE):
                    break
            gradients = []
            for side in ("frequency", "time"):
                negative, positive = data.parts(divergence, w, h, side)
                gradients.append((positive - negative) / data.weight if data.weight > 0 else positive)
        torch.autograd.backward([w, h], gradients)
        optimizer.step()
    templates.field.settle()
    activations.field.settle()
    return trace
