"""Fast fits of neural fields: linear fields first, then networks by damped steps in the space of functions.

A step of Levenberg and Marquardt towards a target needs J^T (J J^T + damping)^-1 only, and J J^T, the neural tangent
kernel, is cheap where coordinates are few (see `inmf_flow.factorize.neural.Linearization`): for 20 networks of 14,000
parameters a step over 1000 coordinates takes half a second, and a network that starts calm is near its target after the
first.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from inmf_flow.factorize.data import Data, Side
from inmf_flow.factorize.divergences import Divergence
from inmf_flow.factorize.fields import FLOOR, Axis, LinearField
from inmf_flow.factorize.hat import HatField
from inmf_flow.factorize.neural import Linearization, NeuralField
from inmf_flow.factorize.solvers import Bound, Trace, fit_multiplicative

# Of the linear fields that are fitted first; they are good enough when ten updates improve them by less than this.
_START_UPDATES, _START_TOL = 300, 1e-4
# Nodes of the hats that stand in for networks.
_NODES = {"frequency": 512, "time": 2048}
# Coordinates of a step at most: its cost grows with their third power.
_MOST_ROWS = 1024
# While a network of which all layers move is far from its target, many steps on fewer coordinates do more.
_ROUGH_STEPS, _ROUGH_ROWS = 6, 384
_REGRESSION_STEPS = 8
# The regression ends when its weighted squared error is this share of that at its start, or hardly falls any more.
_CLOSE, _STALLED = 0.003, 0.98
# Damping as shares of the kernel's mean diagonal, of the regression and of the refinement, where random features stay
# as they are and where all layers move; and its bounds, the lower one from the resolution of single precision.
_DAMPING, _REFINING_DAMPING = 1e-4, 1e-3
_FULL_DAMPING, _FULL_REFINING_DAMPING = 1e-3, 1e-4
_LEAST_DAMPING, _MOST_DAMPING = 1e-5, 1e3
# Power put on the weights of the regression: all of them alike (0) fits silence as well as sound, and with 1 what has
# little mass is left wherever the step takes it.
_REGRESSION_WEIGHT = 0.5
# No coordinate weighs less than this share of the mean.
_LEAST_WEIGHT = 1e-3
# A function's peak over its gain, where softplus is nearly the identity; and the least output that is regressed on.
_PEAK, _LEAST_OUTPUT = 4.0, -7.0
_HALVINGS = 4
# A kernel lasts for one more step for so many networks.
_NETWORKS_A_KERNEL = 4
_SIDES: tuple[Side, Side] = ("frequency", "time")


def fit_warm(
    data: Data,
    templates: Bound,
    activations: Bound,
    divergence: Divergence,
    max_iter: int,
    tol: float,
    *,
    axes: tuple[Axis, Axis],
    random: np.random.Generator,
) -> Trace:
    """Fit two fields of which one or both are neural, the other linear.

    Parameters
    ----------
    max_iter
        Most iterations of the refinement: the start is not counted. In one, each field moves once.
    tol
        Stop where an iteration improves the divergence by less than this share of it.
    axes
        Of the templates and of the activations.
    random
        Draws the starts of the linear fields, and the coordinates of steps where there are too many for one.

    Returns
    -------
    trace
        Iteration 0 is where the refinement starts. The divergence is that of the fields themselves.
    """
    bounds = templates, activations
    places = data.frequencies, data.times
    first, second = (_stand_in(*each, random) for each in zip(bounds, axes, places, strict=True))
    fit_multiplicative(data, first, second, divergence, _START_UPDATES, _START_TOL)
    with torch.no_grad():
        w, h = first.values(), second.values()
        sides: list[_Network | None] = []
        for side, bound, target, coordinates in zip(_SIDES, bounds, (w, h), places, strict=True):
            if not isinstance(bound.field, NeuralField):
                sides.append(None)
                continue
            mass = data.parts(divergence, w, h, side)[1] / data.weight
            network = _Network(side, bound.field, coordinates, random)
            network.regress(target.T.contiguous(), mass.T.contiguous())
            sides.append(network)
        return _refine(data, bounds, sides, divergence, max_iter, tol)


def _refine(
    data: Data,
    bounds: tuple[Bound, Bound],
    sides: list[_Network | None],
    divergence: Divergence,
    max_iter: int,
    tol: float,
) -> Trace:
    trace = Trace()
    tables = [bound.values() if side is None else side.values() for bound, side in zip(bounds, sides, strict=True)]
    loss = data.loss(divergence, tables[0], tables[1])
    trace.add(0, loss)
    for iteration in range(1, max_iter + 1):
        for i in (1, 0):
            network = sides[i]
            if network is not None:
                loss = network.descend(data, tables, loss, divergence)
            else:
                _update(bounds[i], data.parts(divergence, tables[0], tables[1], _SIDES[i]), divergence.exponent)
                tables[i] = bounds[i].values()
                loss = data.loss(divergence, tables[0], tables[1])
        trace.add(iteration, loss)
        if trace.has_settled(tol):
            break
    return trace


def _update(bound: Bound, parts: tuple[Tensor, Tensor], exponent: float) -> None:
    """Update a linear field multiplicatively, from the two parts of the gradient."""
    field = bound.field
    assert isinstance(field, LinearField)
    field.coefficients = (field.coefficients * field.ratio(bound.prepared, *parts).pow(exponent)).clamp_min(FLOOR)


def _stand_in(bound: Bound, axis: Axis, coordinates: NDArray[np.float64], random: np.random.Generator) -> Bound:
    """Return the field itself where it is linear, else a linear one on its axis."""
    field = bound.field
    if isinstance(field, LinearField):
        return bound
    assert isinstance(field, NeuralField)
    # Hats, not a matrix, also where coordinates are few: what is rough between them would be lost on a network, and
    # templates that are smooth serve other windows better.
    nodes = min(_NODES[axis.kind], len(axis.coordinates))
    linear = HatField.build(axis, field.n_components, {"nodes": nodes}, random, str(field.gain.device))
    return Bound(linear, linear.prepare(coordinates))


class _Network:
    """One side of the model: a neural field at the data's coordinates, and the steps that move it."""

    def __init__(self, side: Side, field: NeuralField, coordinates: NDArray[np.float64], random: np.random.Generator):
        self.side, self.field, self.random = side, field, random
        self.n = len(coordinates)
        field.calm()
        self.first, self.end = field.lazy_layers(min(self.n, _MOST_ROWS))
        self.x = field.trunk(field.prepare(coordinates), self.first)
        self._kernel: _Kernel | None = None
        self._age = 0
        self._damping = _REFINING_DAMPING if self.first else _FULL_REFINING_DAMPING

    def outputs(self) -> Tensor:
        """Return the networks' outputs before softplus, [K, N]."""
        return self.field.head(self.x, self.first)

    def values(self) -> Tensor:
        """Return the functions, [N, K]."""
        return self._values(self.outputs())

    def _values(self, outputs: Tensor) -> Tensor:
        return (softplus(outputs) * self.field.gain[:, None]).T.contiguous()

    def _move(self, steps: list[tuple[Tensor, Tensor | None]], factors: Tensor) -> None:
        self.field.add(steps, factors, self.first, self.end)

    def _linearize(self, weight: Tensor, most: int) -> tuple[Linearization, Callable[[Tensor], Tensor]]:
        """Return the linearization at ``most`` coordinates, and what adds a table [K, N] up around each of them.

        Where there are more, each stands for neighbours on which networks hardly differ, so that every point has its
        say. Half of the shares are equal in number and half in ``weight``, [K, N]: thousands of coordinates of
        scattered points would leave few for a grid beside them. Where shares begin changes from step to step.
        """
        if self.n <= most:
            return self.field.linearize(self.x, self.first, self.end), lambda table: table
        mass = weight.sum(0).double().cpu().numpy()
        share = np.cumsum(mass / max(mass.sum(), FLOOR) + 1 / self.n)
        cuts = np.searchsorted(share, (np.arange(most) + self.random.random()) / most * share[-1])
        edges = np.unique(np.concatenate([[0], cuts, [self.n]]))
        device, count = self.field.gain.device, len(edges) - 1
        rows = torch.from_numpy((edges[:-1] + edges[1:]) // 2).to(device)
        groups = torch.from_numpy(np.repeat(np.arange(count), np.diff(edges))).to(device)

        def pool(table: Tensor) -> Tensor:
            return table.new_zeros(len(table), count).index_add_(1, groups, table)

        return self.field.linearize(self.field.take(self.x, rows), self.first, self.end), pool

    def regress(self, target: Tensor, mass: Tensor) -> None:
        """Bring the functions to a target; both tables are [K, N].

        ``mass`` says how much a function's value at a coordinate matters: half the weighted Kullback-Leibler divergence
        from the target is the squared error of outputs, weighted with mass times value.
        """
        field = self.field
        field.gain = target.amax(1).clamp_min(torch.finfo(target.dtype).tiny) / _PEAK
        wanted = _inverse_softplus(target / field.gain[:, None]).clamp_min(_LEAST_OUTPUT)
        field.biases[-1].copy_(wanted.mean(1)[:, None, None])
        weights = _evened((mass * target).pow_(_REGRESSION_WEIGHT))
        damping = torch.full_like(field.gain, _DAMPING if self.first else _FULL_DAMPING)
        start = errors = (weights * (wanted - self.outputs()).square_()).mean(1)
        # The kernel of random features hardly changes: a second step would be as good as one of the refinement, and
        # costs as much as ten.
        for step in range(1 if self.first else _REGRESSION_STEPS):
            before = errors
            rough = not self.first and step < _ROUGH_STEPS
            linear, pool = self._linearize(weights, _ROUGH_ROWS if rough else _MOST_ROWS)
            pooled = pool(weights)
            kernel = _Kernel(linear, pooled)
            residual = pool(weights * wanted) - pooled * linear.outputs
            moving = torch.ones_like(damping)
            for _ in range(_HALVINGS):
                kernel.factor(damping, moving)
                steps = linear.pull_back(kernel.solve(residual, moving))
                self._move(steps, moving)
                now = (weights * (wanted - self.outputs()).square_()).mean(1)
                worse = moving * ~(now < errors)
                self._move(steps, -worse)
                damping = torch.where(worse > 0, damping * 6, torch.where(moving > 0, damping / 4, damping))
                damping.clamp_(_LEAST_DAMPING, _MOST_DAMPING)
                errors = torch.where((moving > 0) & (worse == 0), now, errors)
                moving = worse
                if not moving.any():
                    break
            if errors.mean() <= _CLOSE * start.mean() or (not rough and errors.mean() > _STALLED * before.mean()):
                break

    def descend(self, data: Data, tables: list[Tensor], loss: float, divergence: Divergence) -> float:
        """Move the functions by one damped Gauss-Newton step of the divergence, and their table with them.

        In the logarithm of a function the majorizer that multiplicative updates minimize has the curvature (added part
        of the gradient) x (value) / exponent, independent between coordinates and components. Returns the divergence,
        which never rises: a step that would raise it is halved, at last not taken.
        """
        i = 0 if self.side == "frequency" else 1
        negative, positive = (part.T / data.weight for part in data.parts(divergence, tables[0], tables[1], self.side))
        curvature = positive * tables[i].T
        linear, pool = self._linearize(curvature, _MOST_ROWS)
        # Where all layers move, so does the kernel: it is made anew as often as it costs no more than the passes over
        # the points, whose cost does not grow with the number of networks.
        self._age += 1
        stale = not self.first and self._age > len(self.field.gain) // _NETWORKS_A_KERNEL
        if self._kernel is None or stale or self.n > _MOST_ROWS:
            self._age = 0
            curvature = pool(curvature)
            self._kernel = _Kernel(linear, _evened(curvature))
            self._kernel.level = curvature.mean(1, keepdim=True).clamp_min(torch.finfo(curvature.dtype).tiny)
            self._kernel.factor(torch.full_like(self.field.gain, self._damping), torch.ones_like(self.field.gain))
        slope = pool(negative - positive) * torch.sigmoid(linear.outputs) * self.field.gain[:, None]
        every = torch.ones_like(self.field.gain)
        steps = linear.pull_back(self._kernel.solve(divergence.exponent * slope / self._kernel.level, every))
        size = 1.0
        self._move(steps, every)
        before = tables[i]
        for _ in range(_HALVINGS):
            tables[i] = self.values()
            now = data.loss(divergence, tables[0], tables[1])
            if now <= loss:
                break
            size /= 2
            self._move(steps, -size * every)
        else:
            self._move(steps, -size * every)
            tables[i], now = before, loss
        if size < 1:
            self._kernel = None
            self._damping = min(4 * self._damping, _MOST_DAMPING)
        else:
            self._damping = max(self._damping / 2, _LEAST_DAMPING)
        return now


class _Kernel:
    """S^(1/2) J J^T S^(1/2) of each network, and the solution of systems with it and some damping."""

    def __init__(self, linear: Linearization, weights: Tensor) -> None:
        self.roots = weights.sqrt()
        self.grams = torch.stack([linear.gram(k) for k in range(len(weights))])
        self.grams *= self.roots[:, :, None]
        self.grams *= self.roots[:, None, :]
        self.level: Tensor = torch.ones(1)
        self.factors = torch.empty_like(self.grams)

    def factor(self, damping: Tensor, which: Tensor) -> None:
        """Factor the kernels of some networks, damping given as shares of their mean diagonals, [K]."""
        for k in which.nonzero()[:, 0].tolist():
            gram = self.grams[k].clone()
            diagonal = gram.diagonal()
            diagonal += damping[k] * diagonal.mean()
            level = float(diagonal.mean())
            factor, failed = torch.linalg.cholesky_ex(gram)
            while failed and level < torch.inf:
                # The kernel's least eigenvalues are below what single precision resolves.
                diagonal += level * _LEAST_DAMPING
                level *= 10
                factor, failed = torch.linalg.cholesky_ex(gram)
            self.factors[k] = factor

    def solve(self, slopes: Tensor, which: Tensor) -> Tensor:
        """Return S^(1/2) (kernel + damping)^-1 S^(-1/2) slopes, [K, N]; 0 for the other networks."""
        result = torch.zeros_like(slopes)
        for k in which.nonzero()[:, 0].tolist():
            right = (slopes[k] / self.roots[k])[:, None]
            result[k] = torch.cholesky_solve(right, self.factors[k])[:, 0] * self.roots[k]
        return result


def _evened(weights: Tensor) -> Tensor:
    """Return weights [K, N] with mean 1, none so small that its coordinate is left free."""
    weights = weights / weights.mean(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return weights.clamp_min(_LEAST_WEIGHT)


def _inverse_softplus(values: Tensor) -> Tensor:
    values = values.clamp_min(1e-6)
    return values + torch.log(-torch.expm1(-values))
