"""Two ways to fit: multiplicative updates for linear fields, and the paper's Rprop for any."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.data import Data, Side
from inmf_flow.factorize.divergences import Divergence
from inmf_flow.factorize.fields import FLOOR, Field, LinearField
from inmf_flow.factorize.penalties import Penalties

#: 1 + the largest share of the last change that is added by extrapolation: 1 is plain multiplicative updates.
RELAXATION = 1.9
# The divergence costs as much as an update: it is looked at this often.
CHECK_EVERY = 10
# Rprop's divergence is not monotone: only this many checks without a better one count as settled.
_RPROP_PATIENCE = 5
# A coefficient may grow by extrapolation up to this factor: one that comes up from the floor must not overshoot.
MOST_GROWTH = 10.0


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


@dataclass(frozen=True)
class Rules:
    """What multiplicative updates keep to besides the divergence.

    Attributes
    ----------
    relaxation
        1 for plain updates; above, coefficients are extrapolated by up to ``relaxation`` - 1 of their last change.
    penalties
        Added to the divergence.
    fixed
        Which components' templates stay as they are, bool [K]; None: none.
    signed
        Whether data are negative in places, as they are (Nearly-NMF).
    """

    relaxation: float = RELAXATION
    penalties: Penalties | None = None
    fixed: Tensor | None = None
    signed: bool = False


class _Factor:
    """The coefficients of one factor on their way: extrapolated, updated, or put back to where they were."""

    def __init__(self, side: Side, bound: Bound, fixed: Tensor | None) -> None:
        assert isinstance(bound.field, LinearField)
        self.side, self.bound, self.field, self.fixed = side, bound, bound.field, fixed
        self.before = self.kept = self.last = self.field.coefficients

    def extrapolate(self, momentum: float) -> None:
        """Go on along the last relative change of the coefficients: below 1 it leaves them positive."""
        self.last = self.field.coefficients
        if momentum > 0:
            growth = (self.last / self.before).sub_(1).mul_(momentum).add_(1).clamp_(max=MOST_GROWTH)
            self._put(growth.mul_(self.last).clamp_(min=FLOOR))

    def update(self, parts: tuple[Tensor, Tensor], exponent: float, signed: bool) -> None:
        ratio = self.field.ratio(self.bound.prepared, *parts, signed=signed)
        if exponent != 1:
            ratio.pow_(exponent)
        self._put(ratio.mul_(self.field.coefficients).clamp_(min=FLOOR))
        self.before = self.last

    def keep(self) -> None:
        """Note the coefficients, to go back to them."""
        self.kept = self.field.coefficients

    def go_back(self) -> None:
        """Return to the coefficients that were noted; the next step has no momentum, so needs none before them."""
        self.field.coefficients = self.kept

    def _put(self, coefficients: Tensor) -> None:
        if self.fixed is not None:
            coefficients = torch.where(self.fixed, self.last, coefficients)
        self.field.coefficients = coefficients


def fit_multiplicative(
    data: Data,
    templates: Bound,
    activations: Bound,
    divergence: Divergence,
    max_iter: int,
    tol: float,
    rules: Rules | None = None,
) -> Trace:
    """Fit the coefficients of two linear fields by alternating multiplicative updates, templates first.

    Each plain update minimizes a majorizer of the weighted divergence, so it never rises (Lee & Seung 2001; for every
    beta Févotte & Idier 2011). Coefficients of hats behave as a factorization with fixed non-negative factors outside.

    With relaxation, both factors are first extrapolated along their last relative change, by a share of it that grows
    as Nesterov's momentum does, (i - 1) / (i + 3), up to ``relaxation - 1`` (after Hien, Leplat & Gillis 2022, "Block
    Majorization Minimization with Extrapolation and Application to beta-NMF", who extrapolate the values). This alone
    is not monotone: where the divergence is found to have risen, the factors go back to the last look at it and start
    without momentum; where it happens again, the next look is after plain updates.
    """
    rules = rules or Rules()
    trace = Trace()
    exponent = divergence.exponent if rules.penalties is None else rules.penalties.exponent(divergence)
    factors = _Factor("frequency", templates, rules.fixed), _Factor("time", activations, None)
    plain = rules.relaxation == 1
    # Iterations since momentum was last at rest; looks in a row that found a rise.
    moving, rises = 0, 0
    with torch.no_grad():
        trace.add(0, _objective(data, templates, activations, divergence, rules))
        for iteration in range(1, max_iter + 1):
            momentum = 0.0 if plain or rises > 1 else min(moving / (moving + 4), rules.relaxation - 1)
            moving += 1
            for factor in factors:
                factor.extrapolate(momentum)
            for factor in factors:
                w, h = templates.values(), activations.values()
                parts = data.parts(divergence, w, h, factor.side)
                if rules.penalties is not None:
                    parts = rules.penalties.add_parts(w, h, factor.side, parts)
                factor.update(parts, exponent, rules.signed)
            if iteration % CHECK_EVERY and iteration != max_iter:
                continue
            value, best = _objective(data, templates, activations, divergence, rules), trace.curve[-1][1]
            # Plain updates rise by rounding alone, or for a registered divergence whose updates are not monotone.
            if not plain and rises <= 1 and not value <= best:
                for factor in factors:
                    factor.go_back()
                moving, rises = 0, rises + 1
                trace.add(iteration, best)
                continue
            for factor in factors:
                factor.keep()
            moving, rises = (moving, 0) if rises <= 1 else (0, 0)
            trace.add(iteration, value)
            if trace.has_settled(tol):
                break
    return trace


def _objective(data: Data, templates: Bound, activations: Bound, divergence: Divergence, rules: Rules) -> float:
    w, h = templates.values(), activations.values()
    return data.loss(divergence, w, h) + (rules.penalties.value(w, h) if rules.penalties is not None else 0.0)


def fit_activations_multiplicative(
    data: Data,
    w: Tensor,
    activations: Bound,
    divergence: Divergence,
    max_iter: int,
    fixed: Tensor | None = None,
    *,
    signed: bool = False,
) -> None:
    """Fit the activations alone, templates [NF, K] frozen; on one grid each frame is a problem of its own.

    ``fixed``: which coefficients stay as they are, bool, broadcast to [M, K]. ``signed``: data are negative in places.
    """
    factor = _Factor("time", activations, fixed)
    with torch.no_grad():
        for _ in range(max_iter):
            factor.extrapolate(0.0)
            factor.update(data.parts(divergence, w, activations.values(), "time"), divergence.exponent, signed)


def fit_rprop(
    data: Data,
    templates: Bound,
    activations: Bound,
    divergence: Divergence,
    max_iter: int,
    tol: float,
    penalties: Penalties | None = None,
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
            if iteration % CHECK_EVERY == 0 or iteration == max_iter:
                trace.add(iteration, data.loss(divergence, w, h) + (penalties.value(w, h) if penalties else 0.0))
                if iteration == max_iter or trace.has_settled(tol, _RPROP_PATIENCE):
                    break
            gradients = []
            for side in ("frequency", "time"):
                parts = data.parts(divergence, w, h, side)
                negative, positive = parts if penalties is None else penalties.add_parts(w, h, side, parts)
                gradients.append((positive - negative) / data.weight if data.weight > 0 else positive)
        torch.autograd.backward([w, h], gradients)
        optimizer.step()
    templates.field.settle()
    activations.field.settle()
    return trace
