"""`FunctionalPCA`: principal components that are functions of frequency, from points anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from inmf_flow.errors import ArgumentError
from inmf_flow.linear.hats import Float64, Hats, invert_chain, solve_chain
from inmf_flow.linear.model import LinearModel, Metric, Scores, add_jitter
from inmf_flow.linear.samples import Samples
from inmf_flow.points import PointSet

# Least noise, as a share of the data's variance: without noise the likelihood has no maximum. And as a share of the
# mean square: magnitudes are single precision.
_LEAST_NOISE, _ROUNDING = 1e-8, 1e-14


class FunctionalPCA(LinearModel):
    """Principal components of points: m(t, f) ~ mean(f) + sum_k W_k(f) H_k(t) with orthonormal functions W_k.

    On a complete grid this is PCA with moments of time as samples and frequencies as features; with ``field="matrix"``
    and ``weights="uniform"`` it equals scikit-learn's. Points that are scattered, missing or on several grids are
    fitted by maximum likelihood: scores are normal with unknown variances, and a point of weight w has noise of
    variance sigma^2 / w. Tipping & Bishop, "Probabilistic Principal Component Analysis" (J. R. Stat. Soc. B 61, 1999)
    for free values; James, Hastie & Sugar, "Principal component models for sparse functional data" (Biometrika 87,
    2000) for functions. Expectation maximisation is sped up by freeing mean and covariance of the scores in each step
    (Liu, Rubin & Wu, "Parameter expansion to accelerate EM", Biometrika 85, 1998).

    Parameters
    ----------
    n_components
        Number of components K, >= 1.
    field
        What mean and components are: ``"hat"`` (piecewise linear on up to 256 nodes of a logarithmic axis, fewer where
        there would be less than eight points to a value) or ``"matrix"`` (free values), with options as in
        ``"hat:nodes=40,warp=linear"``.
    time_field
        What scores are. ``"auto"``: a matrix where all points lie on one grid, or on several one after the other, else
        hats. ``"matrix"`` also fits curves of which each was seen at a few points of its own.
    max_iter
        Most iterations of expectation maximisation.
    tol
        Stop when an iteration raises the log-likelihood by less than this a point.
    random_state
        Seed of the start.
    weights
        ``"area"``: points count by the area that they stand for, and components are orthonormal over hertz.
        ``"uniform"``: points, and distinct frequencies, count alike.

    Attributes
    ----------
    explained_variance_
        Variances of the scores, falling, [K]. On a complete grid that of the data, noise included, as in PCA; else
        of the model's scores, noise taken away.
    noise_variance_
        Variance of what the components leave, at a point of mean weight.
    n_iter_
        Iterations that were run; 0 where none was needed.
    log_likelihood_curve_
        Log-likelihood before each iteration, never falling.

    Examples
    --------
    >>> import numpy as np
    >>> from inmf_flow import PointSet
    >>> t, f = np.random.default_rng(0).random((2, 400))
    >>> points = PointSet.from_points(t, f, np.sin(6 * t) * np.cos(3 * f))
    >>> model = FunctionalPCA(n_components=1, field="hat:nodes=12").fit(points)
    >>> model.components([0.25, 0.5]).shape, model.scores([0.1, 0.2, 0.3]).shape
    ((2, 1), (1, 3))
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        field: str | Mapping[str, Any] = "hat",
        time_field: str | Mapping[str, Any] = "auto",
        max_iter: int = 300,
        tol: float = 1e-6,
        random_state: int = 0,
        weights: str = "area",
    ) -> None:
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
        """Fit mean, components and scores to points; several channels are averaged.

        Raises
        ------
        PointsError
            When no point has weight, or all are missing.
        ArgumentError
            When there are fewer nodes than components.
        """
        samples, w, h = self._prepare(points)
        most = min(len(w.nodes), len(h.nodes))
        if self.n_components > most:
            raise ArgumentError(
                "there are more components than the points can tell apart",
                where="n_components",
                got=self.n_components,
                expected=f"at most {most}: {len(w.nodes)} nodes of frequency, {len(h.nodes)} of time",
            )
        random = np.random.default_rng(self.random_state)
        found = find_components(samples, w, h, self.n_components, self.max_iter, self.tol, random)
        self._nodes, self._mean, self._components = w.nodes, found.mean, found.components
        self._scores = Scores(h.nodes, np.ascontiguousarray(found.scores.T))
        self.explained_variance_, self.noise_variance_ = found.variances, found.noise
        self.n_iter_, self.log_likelihood_curve_ = len(found.curve), found.curve
        # What a point of weight 1 tells: other points may have another mean weight.
        self._precision = samples.n_points / (max(found.noise, found.least_noise) * samples.weight())
        return self

    def transform(self, points: PointSet) -> Scores:
        """Return the scores of other points, with mean and components as they are.

        On a complete grid that is the weighted projection, as in PCA; else the conditional mean, which shrinks towards
        0 what few points cannot tell. Points above the fitted frequencies have no say.
        """
        samples, h = self._prepare_others(points)
        mean, w = self.mean(samples.frequencies), self.components(samples.frequencies)
        if samples.complete() is not None and h.identity:
            scores = _project(samples, mean, w)
        else:
            tiny = np.finfo(float).tiny
            prior = 1 / np.maximum(self.explained_variance_, max(1e-12 * self.explained_variance_[0], tiny))
            scores = _expect(samples, h, mean, w, self._precision, np.diag(prior))[0]
        return Scores(h.nodes, np.ascontiguousarray(scores.T))


@dataclass(frozen=True)
class Found:
    """What `find_components` found: values at nodes, mean [M], components [M, K], scores [L, K]."""

    mean: Float64
    components: Float64
    scores: Float64
    variances: Float64
    noise: float
    least_noise: float
    curve: list[float]


def find_components(
    samples: Samples, w: Hats, h: Hats, n_components: int, max_iter: int, tol: float, random: np.random.Generator
) -> Found:
    """Return mean, components and scores: at once for a complete grid, else by expectation maximisation."""
    if samples.complete() is not None and h.identity:
        return _decompose(samples, w, n_components)
    return _maximize(samples, w, h, n_components, max_iter, tol, random)


def _decompose(samples: Samples, w: Hats, n_components: int) -> Found:
    """Find the components of a complete grid from a singular value decomposition."""
    complete = samples.complete()
    assert complete is not None
    values, along_f, along_t = complete
    # Least squares at each moment is a projection on the hats; the rest is in no component.
    projected = values
    if not w.identity:
        own, beside = w.chain(along_f)
        right = w.adjoint(along_f[:, None] * values)
        gram = np.diag(own) + np.diag(beside, 1) + np.diag(beside, -1)
        projected = np.asarray(np.linalg.solve(gram, right), np.float64)
    mean = projected @ (along_t / along_t.sum())
    metric = Metric(w, along_f)
    centred = metric.root(projected - mean[:, None])
    u, s, _ = np.linalg.svd(centred * np.sqrt(along_t), full_matrices=False)
    k = n_components
    # The rule of reliability weights; times - 1 where all weigh the same.
    total = along_t.sum()
    freedom = max(total - (along_t**2).sum() / total, np.finfo(float).tiny)
    left = samples.less(w.values(mean)).energy() - float((s[:k] ** 2).sum())
    share = max((1 - k / len(along_f)) * (1 - 1 / len(along_t)), 1 / samples.n_points)
    noise = max(left, 0.0) / (samples.weight() * share)
    # The factors of the weights are known up to a number: measures say what the unit of functions is.
    unit = np.sqrt(samples.frequency_measure.sum() / along_f.sum())
    signs = _signs(metric.from_root(u[:, :k]))
    return Found(
        mean,
        metric.from_root(u[:, :k]) * signs / unit,
        (centred.T @ u[:, :k]) * signs * unit,
        s[:k] ** 2 / freedom * unit**2,
        noise,
        _LEAST_NOISE * samples.energy() / samples.weight() + np.finfo(float).tiny,
        [],
    )


def _maximize(
    samples: Samples, w: Hats, h: Hats, n_components: int, max_iter: int, tol: float, random: np.random.Generator
) -> Found:
    """Find components by expectation maximisation; scores have variance 1 until the end."""
    n, unit = samples.n_points, samples.weight() / samples.n_points
    ones = np.ones((len(samples.times), 1))
    mean = fit_functions(w, *samples.moments("frequency", ones))[:, 0]
    variance = samples.less(w.values(mean)).energy() / (n * unit)
    least = max(_LEAST_NOISE * variance, _ROUNDING * samples.energy() / (n * unit), np.finfo(float).tiny)
    noise = max(0.5 * variance, least)
    components = random.standard_normal((len(w.nodes), n_components)) * np.sqrt(variance / (2 * n_components))
    prior, curve = np.eye(n_components), list[float]()
    for _ in range(max_iter):
        m, spread, likelihood = _expect(
            samples, h, w.values(mean), w.values(components), 1 / (noise * unit), prior, spread=True
        )
        assert spread is not None
        curve.append(likelihood - 0.5 * n * np.log(2 * np.pi * noise))
        if len(curve) > 1 and curve[-1] - curve[-2] < tol * n:
            break
        # Regressors [1, h] and the expectation of their products.
        first = np.hstack([ones, h.values(m)])
        second = first[:, :, None] * first[:, None, :]
        second[:, 1:, 1:] += h.unchain(*spread)
        products, sums = samples.moments("frequency", first, second)
        both = fit_functions(w, products, sums)
        at = w.values(both)
        error = samples.energy() - 2 * (sums * at).sum() + np.einsum("fj,fjk,fk->", at, products, at)
        noise = max(float(error) / (n * unit), least)
        # The scores' own mean and covariance go into the functions, which leaves variance 1.
        shift = m.mean(0)
        covariance = spread[0].mean(0) + (m - shift).T @ (m - shift) / len(m)
        mean = both[:, 0] + both[:, 1:] @ shift
        components = both[:, 1:] @ np.linalg.cholesky(covariance)
    m = _expect(samples, h, w.values(mean), w.values(components), 1 / (noise * unit), prior)[0]
    metric = Metric(w, samples.frequency_measure)
    u, s, vt = np.linalg.svd(metric.root(components), full_matrices=False)
    functions = metric.from_root(u)
    signs = _signs(functions)
    return Found(mean, functions * signs, m @ vt.T * s * signs, s**2, noise, least, curve)


def _expect(
    samples: Samples, h: Hats, mean: Float64, w: Float64, precision: float, prior: Float64, *, spread: bool = False
) -> tuple[Float64, tuple[Float64, Float64] | None, float]:
    """Return the conditional mean of scores at their nodes, [L, K], and what maximisation needs.

    Parameters
    ----------
    mean, w
        Mean [NF] and components [NF, K] at the distinct frequencies.
    precision
        1 / variance of the noise of a point of weight 1.
    prior
        Inverse covariance of the scores at one node, [K, K].
    spread
        Whether to compute the covariances too.

    Returns
    -------
    scores, covariances, log_likelihood
        Covariances within and between neighbouring nodes, None unless asked for; the log-likelihood less what the
        noise's variance alone adds to it (for a prior of variance 1).
    """
    products, sums = samples.moments("time", np.hstack([mean[:, None], w]))
    centred = (sums[:, 1:] - products[:, 1:, 0]) * precision
    square = precision * (samples.energy() - 2 * sums[:, 0].sum() + products[:, 0, 0].sum())
    diagonal, beside = h.chain(products[:, 1:, 1:] * precision)
    diagonal = diagonal + prior
    right = h.adjoint(centred)
    scores = solve_chain(diagonal, beside, right)
    if not spread:
        return scores, None, np.nan
    own, near, logarithm = invert_chain(diagonal, beside)
    return scores, (own, near), -0.5 * float(square - (scores * right).sum() + logarithm)


def _project(samples: Samples, mean: Float64, w: Float64) -> Float64:
    """Return the weighted least-squares scores of a complete grid, [NT, K]."""
    complete = samples.complete()
    assert complete is not None
    values, along_f, _ = complete
    weighted = w * along_f[:, None]
    scores: Float64 = (np.linalg.pinv(weighted.T @ w, hermitian=True) @ weighted.T @ (values - mean[:, None])).T
    return scores


def fit_functions(w: Hats, products: Float64, sums: Float64) -> Float64:
    """Solve the normal equations of J functions of frequency for their values at nodes, [M, J]."""
    diagonal, beside = w.chain(products)
    return solve_chain(add_jitter(diagonal), beside, w.adjoint(sums))


def _signs(functions: Float64) -> Float64:
    """Return the sign with which each function first reaches half its largest absolute value, [K].

    The sign at the largest value itself would be chance for waves, whose peaks are alike.
    """
    sizes = np.abs(functions)
    first = (sizes >= 0.5 * sizes.max(0)).argmax(0)
    return np.where(functions[first, np.arange(functions.shape[1])] < 0, -1.0, 1.0)
