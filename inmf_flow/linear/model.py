"""What linear models of points have in common: a mean, components and scores, as functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, NotFittedError, PointsError
from inmf_flow.linear.hats import Float64, Hats, choose_nodes
from inmf_flow.linear.samples import Samples, prepare_samples
from inmf_flow.points import GridBlock, PointSet

# Added to the diagonal of normal equations, as a share of its mean: a node may have fewer points than functions.
_JITTER = 1e-10
# A frequency at the very edge must not fall outside by a rounding error.
_EDGE = 1 + 1e-9


@dataclass(frozen=True, repr=False)
class Scores:
    """K functions of time: call it with seconds [T] to get scores [K, T].

    Attributes
    ----------
    times
        Seconds of the nodes, rising, [M]; between them scores are straight lines, outside they stay level.
    values
        Scores at the nodes, [K, M].
    """

    times: Float64
    values: Float64

    def __call__(self, times: ArrayLike) -> Float64:
        """Return the scores at any seconds [T], shape [K, T]."""
        return np.array(Hats.build(self.times, _coordinates(times)).values(self.values.T).T, order="C")

    def __repr__(self) -> str:
        return f"Scores({len(self.values)} components, {len(self.times)} times)"


class LinearModel(ABC):
    """m(t, f) ~ mean(f) + sum_k W_k(f) H_k(t) with functions of any sign."""

    def __init__(
        self,
        n_components: int,
        *,
        field: str | Mapping[str, Any],
        time_field: str | Mapping[str, Any],
        max_iter: int,
        tol: float,
        random_state: int,
        weights: str,
    ) -> None:
        self.n_components = n_components
        self.field = field
        self.time_field = time_field
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.weights = weights
        self._nodes: Float64 | None = None
        self._mean: Float64
        self._components: Float64
        self._scores: Scores
        self._check()

    def _check(self) -> None:
        for name, least in {"n_components": 1, "max_iter": 1, "n_init": 1, "random_state": 0}.items():
            value = getattr(self, name, least)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ArgumentError(f"{name} must be a whole number", got=repr(value), expected=f">= {least}")
        if not (np.isfinite(self.tol) and self.tol >= 0):
            raise ArgumentError("tol must not be negative", got=self.tol)
        if self.weights not in ("area", "uniform"):
            raise ArgumentError("no such weights", got=repr(self.weights), expected="'area' or 'uniform'")
        # Names and options are checked here, on an axis that stands for any.
        for choice in (self.field, *([] if self.time_field == "auto" else [self.time_field])):
            choose_nodes(choice, np.zeros(1), "time", 1, 1)

    @abstractmethod
    def fit(self, points: PointSet) -> Self:
        """Fit mean, components and scores to points."""

    @abstractmethod
    def transform(self, points: PointSet) -> Scores:
        """Return the scores of other points, with mean and components as they are."""

    def mean(self, frequencies: ArrayLike) -> Float64:
        """Return the mean at any hertz [F], shape [F]."""
        return Hats.build(self._fitted(), _coordinates(frequencies)).values(self._mean.copy())

    def components(self, frequencies: ArrayLike) -> Float64:
        """Return the components at any hertz [F], shape [F, K]; outside the fitted range they keep their last value."""
        return Hats.build(self._fitted(), _coordinates(frequencies)).values(self._components.copy())

    def scores(self, times: ArrayLike) -> Float64:
        """Return the scores of the fitted points at any seconds [T], shape [K, T]."""
        self._fitted()
        return self._scores(times)

    def predict(self, points: PointSet, scores: Callable[[ArrayLike], Float64] | None = None) -> list[Float64]:
        """Return the model at each block's points, [F, T] for grids and [P] for scattered points.

        Parameters
        ----------
        points
            Where to evaluate; magnitudes play no part.
        scores
            From `transform`, for points other than those that were fitted.
        """
        self._fitted()
        of_time = self._scores if scores is None else scores
        result = []
        for block in points.blocks:
            mean, w, h = self.mean(block.frequencies), self.components(block.frequencies), of_time(block.times)
            if isinstance(block, GridBlock):
                result.append(mean[:, None] + w @ h)
            else:
                result.append(mean + np.einsum("pk,kp->p", w, h))
        return result

    def _fitted(self) -> Float64:
        if self._nodes is None:
            raise NotFittedError("this model is not fitted yet", hint="Call fit(points).")
        return self._nodes

    def _prepare(self, points: PointSet) -> tuple[Samples, Hats, Hats]:
        """Return samples of points to be fitted, and the hats of both axes at their distinct coordinates."""
        samples = prepare_samples(points, self.weights)
        count = samples.n_points, self.n_components + 1
        nodes = choose_nodes(self.field, samples.frequencies, "frequency", *count)
        return samples, Hats.build(nodes, samples.frequencies), self._time_hats(points, samples)

    def _prepare_others(self, points: PointSet) -> tuple[Samples, Hats]:
        """Return samples of other points, less those above all nodes, and the hats of their times."""
        top = float(self._fitted()[-1])
        # Downwards where hertz are negative, as other people's coordinates may be.
        known = points.below(top + abs(top) * (_EDGE - 1))
        try:
            samples = prepare_samples(known, self.weights)
        except PointsError as error:
            raise PointsError(
                "there are no points that the model knows", got=repr(points), expected=f"points at or below {top:g} Hz"
            ) from error
        return samples, self._time_hats(points, samples)

    def _time_hats(self, points: PointSet, samples: Samples) -> Hats:
        choice = self.time_field
        if choice == "auto":
            choice = "matrix" if _are_apart(points) else "hat"
        nodes = choose_nodes(choice, samples.times, "time", samples.n_points, self.n_components + 1)
        return Hats.build(nodes, samples.times)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_components={self.n_components}, field={self.field!r})"


def add_jitter(diagonal: Float64) -> Float64:
    """Return the diagonal blocks [M, J, J] of normal equations, made safely positive definite."""
    j = diagonal.shape[-1]
    level = float(np.trace(diagonal, axis1=1, axis2=2).mean()) / j
    result: Float64 = diagonal + max(_JITTER * level, np.finfo(float).tiny) * np.eye(j)
    return result


def _are_apart(points: PointSet) -> bool:
    """Return whether all points lie on grids that follow one another in time, so that no two share a frame."""
    if not all(isinstance(block, GridBlock) for block in points.blocks):
        return False
    spans = sorted((block.times[0], block.times[-1]) for block in points.blocks if len(block.times))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _coordinates(values: ArrayLike) -> NDArray[np.float64]:
    return np.atleast_1d(np.asarray(values, np.float64))


class Metric:
    """The inner product of functions, sum_x measure(x) g(x) h(x), by their values at nodes."""

    def __init__(self, hats: Hats, measure: Float64) -> None:
        self._diagonal = np.sqrt(measure) if hats.identity else None
        if self._diagonal is None:
            own, beside = hats.chain(measure)
            gram = np.diag(own) + np.diag(beside, 1) + np.diag(beside, -1)
            self._root = np.linalg.cholesky(gram).T
            self._inverse = np.linalg.inv(gram)

    def root(self, coefficients: Float64) -> Float64:
        """Return R c for the inner product g' R'R h, [M, K]."""
        return self._root @ coefficients if self._diagonal is None else self._diagonal[:, None] * coefficients

    def from_root(self, values: Float64) -> Float64:
        """Return R^-1 v, [M, K]."""
        if self._diagonal is not None:
            return values / self._diagonal[:, None]
        solution: Float64 = np.linalg.solve(self._root, values)
        return solution

    def dual(self, gradient: Float64) -> Float64:
        """Return (R'R)^-1 g, the gradient as a function, [M, K]."""
        if self._diagonal is not None:
            return self.from_root(gradient / self._diagonal[:, None])
        dual: Float64 = self._inverse @ gradient
        return dual

    def norms(self, coefficients: Float64) -> Float64:
        """Return the norm of each function, [K]."""
        norms: Float64 = np.linalg.norm(self.root(coefficients), axis=0)
        return norms
