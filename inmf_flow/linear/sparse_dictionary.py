"""`SparseDictionary`: functions of which few are needed at any moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.fields import Side
from inmf_flow.linear.functional_pca import find_components, fit_functions
from inmf_flow.linear.hats import Float64, Hats
from inmf_flow.linear.model import LinearModel, Metric, Scores
from inmf_flow.linear.samples import Samples
from inmf_flow.points import PointSet

# Passes over atoms or codes within one iteration. Each lowers the objective: none need be waited out.
_ATOM_PASSES = 10
_CODE_SWEEPS = 30
# Share of the largest change that still counts, while fitting and for the codes that are handed out.
_LOOSE, _TIGHT = 1e-4, 1e-7
_TRANSFORM_SWEEPS = 2000


class SparseDictionary(LinearModel):
    """Sparse dictionary of points: m(t, f) ~ sum_k W_k(f) H_k(t) with atoms W_k of norm <= 1 and codes H_k mostly 0.

    It makes ``1/2 sum_i w_i (m_i - model_i)^2 + alpha sum_k,t |H_k(t)|`` small, by turns in codes (cyclic coordinate
    descent; Friedman, Hastie & Tibshirani, J. Stat. Softw. 33, 2010) and in atoms (block coordinate descent; Mairal,
    Bach, Ponce & Sapiro, "Online Learning for Matrix Factorization and Sparse Coding", JMLR 11, 2010, algorithm 2, with
    a bound on the curvature where points are missing or scattered). No step raises it. On a complete grid with
    ``field="matrix"`` and ``weights="uniform"`` the objective is that of scikit-learn's ``DictionaryLearning``.

    Parameters
    ----------
    n_components
        Number of atoms K, >= 1; there may be more than frequencies.
    alpha
        Price of the codes' absolute values, > 0. With ``weights="area"`` each moment's error is a mean square over
        hertz and an atom's norm its root mean square, so that ``alpha`` is in the data's own unit: what correlates less
        with an atom is left out, on a coarse grid and on a fine one. With ``"uniform"`` they are sums, as in
        scikit-learn.
    center
        Whether to take a mean function away first; without it `mean` is 0.
    dict_init
        Atoms to begin with, scaled to norm 1: a function from hertz [F] to atoms [F, K], such as another model's
        ``components``. By default moments of the data, completed by principal components where points are missing.
    n_init
        Number of starts, of which the one with the lowest objective is kept; there are poor local minima.
    field, time_field
        What atoms and codes are; see `FunctionalPCA`.
    max_iter
        Most iterations.
    tol
        Stop when an iteration lowers the objective by less than this share of it.
    random_state
        Seed of the start.
    weights
        ``"area"``: points count by the area that they stand for. ``"uniform"``: all alike.

    Attributes
    ----------
    objective_curve_
        The objective after each iteration, never rising.
    n_iter_
        Iterations that were run.

    Examples
    --------
    >>> import numpy as np
    >>> from inmf_flow import PointSet
    >>> t, f = np.random.default_rng(0).random((2, 400))
    >>> points = PointSet.from_points(t, f, np.where(t < 0.5, np.cos(3 * f), -f))
    >>> model = SparseDictionary(n_components=2, alpha=0.1, field="hat:nodes=12").fit(points)
    >>> model.components([0.25, 0.5]).shape, model.scores([0.1, 0.2, 0.3]).shape
    ((2, 2), (2, 3))
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        alpha: float = 1.0,
        center: bool = False,
        dict_init: Callable[[NDArray[np.float64]], ArrayLike] | None = None,
        n_init: int = 1,
        field: str | Mapping[str, Any] = "hat",
        time_field: str | Mapping[str, Any] = "auto",
        max_iter: int = 200,
        tol: float = 1e-5,
        random_state: int = 0,
        weights: str = "area",
    ) -> None:
        if not (np.isfinite(alpha) and alpha > 0):
            raise ArgumentError("alpha must be positive", got=alpha)
        self.alpha = alpha
        self.center = center
        self.dict_init = dict_init
        self.n_init = n_init
        super().__init__(
            n_components,
            field=field,
            time_field=time_field,
            max_iter=max_iter,
            tol=tol,
            random_state=random_state,
            weights=weights,
        )

    def fit(self, points: PointSet) -> Self:
        """Fit atoms and codes to points; several channels are averaged.

        Raises
        ------
        PointsError
            When no point has weight, or all are missing.
        ArgumentError
            When ``dict_init`` returns something else than K finite functions.
        """
        samples, w, h = self._prepare(points)
        mean = np.zeros(len(w.nodes))
        if self.center:
            mean = fit_functions(w, *samples.moments("frequency", np.ones((len(samples.times), 1))))[:, 0]
        scene = self._scene(samples.less(w.values(mean)), h)
        measure = samples.frequency_measure / (1 if self.weights == "uniform" else samples.frequency_measure.sum())
        dictionary = Dictionary(w, measure)
        random = np.random.default_rng(self.random_state)
        runs = [self._run(scene, dictionary, self._start(scene, dictionary, random)) for _ in range(self._starts())]
        atoms, codes, curve = min(runs, key=lambda run: run[2][-1])
        codes = scene.encode(w.values(atoms), codes, _TRANSFORM_SWEEPS, _TIGHT)
        self._nodes, self._mean, self._components = w.nodes, mean, atoms
        self._scores = Scores(h.nodes, np.ascontiguousarray(codes.T))
        self.n_iter_, self.objective_curve_ = len(curve), curve
        return self

    def _starts(self) -> int:
        # Atoms that are given lead to the same end each time.
        return 1 if self.dict_init is not None else self.n_init

    def _run(self, scene: Scene, dictionary: Dictionary, atoms: Float64) -> tuple[Float64, Float64, list[float]]:
        """Return atoms [M, K], codes [L, K] and the objective after each iteration."""
        codes, curve = np.zeros((len(scene.h.nodes), self.n_components)), list[float]()
        for _ in range(self.max_iter):
            codes = scene.encode(dictionary.w.values(atoms), codes, _CODE_SWEEPS, _LOOSE)
            products, sums = scene.moments("frequency", scene.h.values(codes))
            atoms = dictionary.improve(products, sums, atoms)
            at = dictionary.w.values(atoms)
            square = scene.energy - 2 * (sums * at).sum() + np.einsum("fj,fjk,fk->", at, products, at)
            curve.append(0.5 * max(float(square), 0.0) + float((scene.penalty[:, None] * np.abs(codes)).sum()))
            if len(curve) > 1 and curve[-2] - curve[-1] <= self.tol * curve[-2]:
                break
        return atoms, codes, curve

    def transform(self, points: PointSet) -> Scores:
        """Return the codes of other points, with atoms as they are. Points above the fitted frequencies have no say."""
        samples, h = self._prepare_others(points)
        atoms = self.components(samples.frequencies)
        scene = self._scene(samples.less(self.mean(samples.frequencies)), h)
        codes = scene.encode(atoms, np.zeros((len(h.nodes), self.n_components)), _TRANSFORM_SWEEPS, _TIGHT)
        return Scores(h.nodes, np.ascontiguousarray(codes.T))

    def _scene(self, samples: Samples, h: Hats) -> Scene:
        if self.weights == "uniform":
            return Scene(samples, h, 1.0, self.alpha * h.adjoint(samples.time_measure))
        widths = samples.time_measure / samples.time_measure.mean()
        return Scene(samples, h, samples.weight() / len(samples.times), self.alpha * h.adjoint(widths))

    def _start(self, scene: Scene, dictionary: Dictionary, random: np.random.Generator) -> Float64:
        """Return the atoms to begin with, by their values at nodes, [M, K]."""
        w, h, metric = dictionary.w, scene.h, dictionary.metric
        shape = len(w.nodes), self.n_components
        if self.dict_init is not None:
            given = np.array(self.dict_init(w.nodes), np.float64)
            if given.shape != shape or not np.isfinite(given).all():
                raise ArgumentError(
                    "dict_init must give a finite value of every atom at every frequency",
                    got=f"shape {given.shape}",
                    expected=f"finite values of shape {shape} for {shape[0]} frequencies",
                )
            # A short atom has dear codes: all would be 0, and the fit over before it began.
            return given / np.maximum(metric.norms(given), np.finfo(float).tiny)
        k = min(self.n_components, len(w.nodes), len(h.nodes))
        found = find_components(scene.samples, w, h, k, 30, 1e-4, random)
        moments = found.mean[:, None] + found.components @ found.scores.T
        atoms = random.standard_normal(shape)
        energies = metric.norms(moments) ** 2
        # Silent moments make no atoms.
        loud = np.flatnonzero(energies > 1e-12 * energies.max())
        if len(loud):
            chance = energies[loud] / energies[loud].sum()
            chosen = random.choice(loud, min(self.n_components, len(loud)), replace=False, p=chance)
            atoms[:, : len(chosen)] = moments[:, chosen]
        return atoms / metric.norms(atoms)


@dataclass(frozen=True)
class Scene:
    """Points to be explained, and what their errors and codes cost.

    Attributes
    ----------
    samples, h
        The points less a mean, and the hats of their times.
    unit
        What weights are divided by.
    penalty
        Price of codes at each node of time, [L].
    """

    samples: Samples
    h: Hats
    unit: float
    penalty: Float64

    @property
    def energy(self) -> float:
        """The weighted sum of squares."""
        return self.samples.energy() / self.unit

    def moments(self, side: Side, regressors: Float64) -> tuple[Float64, Float64]:
        """Return `Samples.moments` in this unit."""
        products, sums = self.samples.moments(side, regressors)
        return products / self.unit, sums / self.unit

    def encode(self, atoms: Float64, codes: Float64, sweeps: int, tol: float) -> Float64:
        """Return better codes [L, K] under atoms given at the distinct frequencies, [NF, K]."""
        products, sums = self.moments("time", atoms)
        return sparse_codes(*self.h.chain(products), self.h.adjoint(sums), self.penalty, codes, sweeps, tol)


class Dictionary:
    """Atoms on the nodes of hats ``w``, with norms in the measure of the distinct frequencies, [NF]."""

    def __init__(self, w: Hats, measure: Float64) -> None:
        self.w = w
        self.metric = Metric(w, measure)
        self._measure = measure

    def improve(self, products: Float64, sums: Float64, atoms: Float64) -> Float64:
        """Return atoms that explain the points better with codes as they are; no norm exceeds 1.

        Along one atom the objective is a quadratic. A step of one over a bound on its curvature never overshoots; where
        no point is missing it is exact.
        """
        atoms, at = atoms.copy(), self.w.values(atoms).copy()
        curvature = [self._curvature(products[:, k, k]) for k in range(atoms.shape[1])]
        for _ in range(_ATOM_PASSES):
            largest = 0.0
            for k in np.flatnonzero(curvature):
                gradient = np.einsum("fj,fj->f", products[:, k], at) - sums[:, k]
                atom = atoms[:, [k]] - self.metric.dual(self.w.adjoint(gradient[:, None])) / curvature[k]
                atom /= max(float(self.metric.norms(atom)[0]), 1.0)
                largest = max(largest, float(self.metric.norms(atom - atoms[:, [k]])[0]))
                atoms[:, k], at[:, k] = atom[:, 0], self.w.values(atom)[:, 0]
            if largest <= _LOOSE:
                break
        return atoms

    def _curvature(self, values: Float64) -> float:
        """Return a bound c for which sum_x values[x] g(x)^2 <= c sum_x measure[x] g(x)^2 for all functions g.

        Between two nodes g is a straight line, so that both sums are forms of two variables; the largest ratio over all
        pieces bounds the ratio of the wholes.
        """
        if self.w.identity or len(self.w.nodes) == 1:
            return float((values / self._measure).max())
        ours, theirs = self._pieces(values), self._pieces(self._measure)
        # So that one coordinate alone in its piece divides nothing by 0.
        theirs = theirs + 1e-9 * np.trace(theirs, axis1=1, axis2=2)[:, None, None] * np.eye(2)
        ratios = np.linalg.eigvals(np.linalg.solve(theirs, ours)).real
        return float(ratios.max()) * (1 + 1e-6)

    def _pieces(self, values: Float64) -> Float64:
        """Return the quadratic forms of g's values at both ends of each piece, [M - 1, 2, 2]."""
        share, n = self.w.share, len(self.w.nodes) - 1
        own = [np.bincount(self.w.left, part * values, n) for part in ((1 - share) ** 2, share * (1 - share), share**2)]
        return np.stack([np.stack([own[0], own[1]], -1), np.stack([own[1], own[2]], -1)], -2)


def sparse_codes(
    diagonal: Float64, beside: Float64, right: Float64, penalty: Float64, codes: Float64, sweeps: int, tol: float
) -> Float64:
    """Return the minimiser of 1/2 c'Qc - r'c + sum_l penalty_l |c_l| by cyclic coordinate descent.

    Parameters
    ----------
    diagonal, beside
        Blocks (l, l), [L, K, K], and (l, l + 1), [L - 1, K, K], of Q.
    right
        r, [L, K].
    penalty
        Price at each node, [L].
    codes
        Where to begin, [L, K].
    sweeps, tol
        Most sweeps, and the share of the largest code that a change must exceed to go on.
    """
    codes = codes.copy()
    n, k = codes.shape
    # Nodes that are not neighbours do not depend on each other: every second one can move at once.
    groups = [np.arange(n)] if not beside.any() else [np.arange(0, n, 2), np.arange(1, n, 2)]
    blocks = [np.ascontiguousarray(diagonal[group].transpose(1, 0, 2)) for group in groups]
    for _ in range(sweeps):
        change = 0.0
        for group, gram in zip(groups, blocks, strict=True):
            target = right[group] if len(groups) == 1 else _without_neighbours(right, beside, codes, group)
            mine = codes[group]
            for j in range(k):
                own = gram[j, :, j]
                pull = target[:, j] - np.einsum("lk,lk->l", gram[j], mine) + own * mine[:, j]
                size = np.maximum(np.abs(pull) - penalty[group], 0.0)
                moved = np.where(own > 0, np.sign(pull) * size / np.where(own > 0, own, 1.0), 0.0)
                change = max(change, float(np.abs(moved - mine[:, j]).max(initial=0.0)))
                mine[:, j] = moved
            codes[group] = mine
        if change <= tol * np.abs(codes).max(initial=0.0):
            break
    return codes


def _without_neighbours(right: Float64, beside: Float64, codes: Float64, group: NDArray[np.int64]) -> Float64:
    """Return r less what the codes of the nodes before and after explain, [len(group), K]."""
    result = right[group].copy()
    before, after = group > 0, group < len(codes) - 1
    result[before] -= np.einsum("ljk,lj->lk", beside[group[before] - 1], codes[group[before] - 1])
    result[after] -= np.einsum("ljk,lk->lj", beside[group[after]], codes[group[after] + 1])
    return result
