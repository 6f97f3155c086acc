"""Functional PCA: scikit-learn's on a grid, the most likely functions elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow.linear import FunctionalPCA
from inmf_flow.points import PointSet

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")


def aligned(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return functions [F, K] with the signs of others."""
    return found * np.sign((found * expected).sum(0))


def test_a_grid_gives_scikit_learns_components_variances_and_scores(decibels: PointSet) -> None:
    from sklearn.decomposition import PCA

    block = decibels.blocks[0]
    frames = block.magnitudes.T.astype(float)
    expected = PCA(5, svd_solver="full").fit(frames)
    model = FunctionalPCA(5, field="matrix", weights="uniform").fit(decibels)
    signs = np.sign((model.components(block.frequencies).T * expected.components_).sum(1))
    np.testing.assert_allclose(model.components(block.frequencies).T * signs[:, None], expected.components_, atol=1e-6)
    np.testing.assert_allclose(model.mean(block.frequencies), expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(model.explained_variance_, expected.explained_variance_, rtol=1e-6)
    assert model.noise_variance_ == pytest.approx(expected.noise_variance_, rel=1e-6)
    scores = expected.transform(frames)
    np.testing.assert_allclose(model.scores(block.times).T * signs, scores, atol=1e-5 * np.abs(scores).max())
    np.testing.assert_allclose(
        model.predict(decibels)[0].T, expected.inverse_transform(scores), atol=1e-5 * np.abs(frames).max()
    )


def test_other_frames_of_a_grid_are_projected_as_scikit_learn_does(decibels: PointSet) -> None:
    from sklearn.decomposition import PCA

    block = decibels.blocks[0]
    first, last = (
        PointSet.from_grid(block.times[part], block.frequencies, block.magnitudes[:, part])
        for part in (slice(0, 120), slice(120, None))
    )
    expected = PCA(4, svd_solver="full").fit(block.magnitudes[:, :120].T.astype(float))
    model = FunctionalPCA(4, field="matrix", weights="uniform").fit(first)
    wanted = expected.transform(block.magnitudes[:, 120:].T.astype(float))
    found = model.transform(last)(block.times[120:]).T
    np.testing.assert_allclose(aligned(found, wanted), wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_most_likely_components_of_a_grids_points_are_those_of_its_decomposition(decibels: PointSet) -> None:
    # Tipping & Bishop (1999), section 3.2: the same directions, and variances less the noise's.
    block = decibels.blocks[0]
    t, f = np.meshgrid(block.times[:60], block.frequencies[::4])
    levels = block.magnitudes[::4, :60]
    grid = PointSet.from_grid(block.times[:60], block.frequencies[::4], levels)
    points = PointSet.from_points(t.ravel(), f.ravel(), levels.ravel())
    exact = FunctionalPCA(3, field="matrix", weights="uniform").fit(grid)
    model = FunctionalPCA(3, field="matrix", time_field="matrix", weights="uniform", tol=1e-10).fit(points)
    at = block.frequencies[::4]
    np.testing.assert_allclose(model.components(at), exact.components(at), atol=1e-3)
    assert model.noise_variance_ == pytest.approx(exact.noise_variance_ * 59 / 60, rel=1e-3)
    likely = exact.explained_variance_ * 59 / 60 - model.noise_variance_
    np.testing.assert_allclose(model.explained_variance_, likely, rtol=1e-3)


def two_functions(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two functions of 0 to 1 that are orthonormal, [F, 2]."""
    return np.sqrt(2) * np.stack([np.cos(np.pi * f), np.cos(2 * np.pi * f)], 1)


@pytest.mark.parametrize("seed", range(3))
def test_scattered_points_give_the_functions_they_were_made_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t, f = rng.uniform(0, 4, 3000), rng.random(3000)
    scores = np.stack([3 * np.sin(5 * t), np.cos(8 * t)], 1)
    values = 5 * f + (two_functions(f) * scores).sum(1) + 0.3 * rng.standard_normal(3000)
    model = FunctionalPCA(2, field="hat:nodes=20,warp=linear", time_field="hat:nodes=60")
    model.fit(PointSet.from_points(t, f, values))
    at, when = np.linspace(0.02, 0.98, 200), np.linspace(0.05, 3.95, 100)
    for expected in two_functions(at).T:
        # Inside what both components span, whatever their order: scores here are not quite uncorrelated.
        span = np.linalg.qr(model.components(at))[0]
        assert np.linalg.norm(span.T @ expected) > 0.99 * np.linalg.norm(expected)
    truth = 5 * at[:, None] + two_functions(at) @ np.stack([3 * np.sin(5 * when), np.cos(8 * when)])
    error = model.predict(PointSet.from_grid(when, at, np.zeros((200, 100))))[0] - truth
    assert np.sqrt((error**2).mean()) < 0.2
    assert model.noise_variance_ == pytest.approx(0.09, rel=0.3)


def test_curves_seen_at_a_few_points_each_give_variances_and_functions() -> None:
    rng = np.random.default_rng(0)
    curves, seen = 400, 5
    scores = rng.standard_normal((curves, 2)) * [2.0, 1.0]
    f = rng.random((curves, seen))
    values = np.einsum("csk,ck->cs", two_functions(f.ravel()).reshape(curves, seen, 2), scores)
    values += 0.2 * rng.standard_normal(values.shape)
    times = np.repeat(np.arange(curves) * 1.0, seen)
    points = PointSet.from_points(times, f.ravel(), values.ravel())
    model = FunctionalPCA(2, field="hat:nodes=16,warp=linear", time_field="matrix").fit(points)
    at = np.linspace(0.02, 0.98, 100)
    found, expected = model.components(at), two_functions(at)
    likeness = np.abs((found * expected).sum(0)) / np.linalg.norm(found, axis=0) / np.linalg.norm(expected, axis=0)
    assert (likeness > 0.98).all()
    np.testing.assert_allclose(model.explained_variance_, [4, 1], rtol=0.25)
    assert np.corrcoef(model.scores(np.arange(curves))[0], scores[:, 0])[0, 1] ** 2 > 0.9


def test_missing_points_of_a_spectrogram_are_filled_better_than_by_the_mean(decibels: PointSet) -> None:
    block = decibels.blocks[0]
    hidden = np.random.default_rng(0).random(block.magnitudes.shape) < 0.3
    points = PointSet.from_grid(block.times, block.frequencies, np.where(hidden, np.nan, block.magnitudes))
    model = FunctionalPCA(8, field="matrix").fit(points)
    error = (model.predict(points)[0] - block.magnitudes)[hidden]
    plain = (np.nanmean(points.blocks[0].magnitudes, 1)[:, None] - block.magnitudes)[hidden]
    assert (error**2).mean() < 0.35 * (plain**2).mean()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)
@given(
    kind=st.sampled_from(KINDS),
    field=st.sampled_from(["hat:nodes=6", "matrix"]),
    time_field=st.sampled_from(["auto", "hat:nodes=5", "matrix"]),
    uniform=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_components_are_orthonormal_ordered_and_likelier_in_each_iteration(
    kind: str, field: str, time_field: str, uniform: bool, seed: int, make_points: Callable[..., PointSet]
) -> None:
    points = make_points(kind, seed)
    model = FunctionalPCA(
        2, field=field, time_field=time_field, weights="uniform" if uniform else "area", max_iter=40, tol=0
    )
    model.fit(points)
    curve = np.array(model.log_likelihood_curve_)
    assert (np.diff(curve) >= -1e-7 * np.abs(curve[:-1]) - 1e-7).all()
    assert (np.diff(model.explained_variance_) <= 0).all()
    assert (model.explained_variance_ >= 0).all()
    seen = points.blocks[0].frequencies
    if kind == "grid":
        block = points.blocks[0]
        measure = np.ones(len(seen)) if uniform else block.frequency_weights
        w = model.components(seen)
        np.testing.assert_allclose(w.T @ (measure[:, None] * w), np.eye(2), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time_field", ["auto", "hat:nodes=5"])
def test_transform_of_the_fitted_points_gives_their_scores(
    kind: str, time_field: str, make_points: Callable[..., PointSet]
) -> None:
    points = make_points(kind)
    model = FunctionalPCA(2, field="matrix", time_field=time_field).fit(points)
    times = points.blocks[0].times
    np.testing.assert_allclose(model.transform(points)(times), model.scores(times), rtol=1e-6, atol=1e-8)


def test_a_finer_grid_of_the_same_function_gives_the_same_functions() -> None:
    found = []
    for n in (41, 161):
        f, t = np.linspace(0, 1, n), np.linspace(0, 1, 25)
        values = two_functions(f) @ np.stack([3 * np.sin(9 * t), np.cos(7 * t)])
        found.append(FunctionalPCA(2, field="matrix").fit(PointSet.from_grid(t, f, values, duration=1, nyquist=1)))
    at = np.linspace(0, 1, 33)
    np.testing.assert_allclose(found[0].components(at), found[1].components(at), atol=0.02)
    np.testing.assert_allclose(found[0].explained_variance_, found[1].explained_variance_, rtol=0.02)


def test_weights_decide_which_points_count() -> None:
    rng = np.random.default_rng(0)
    t, f = np.repeat(np.arange(60) / 10, 20), np.tile(np.arange(20.0), 60)
    clean = np.sin(f / 3) * np.sin(2 * t)
    spoilt = rng.random(len(t)) < 0.3
    values = np.where(spoilt, 10 * rng.standard_normal(len(t)), clean)
    points = PointSet.from_points(t, f, values, np.where(spoilt, 0, 1))
    model = FunctionalPCA(1, field="matrix", time_field="matrix").fit(points)
    assert np.abs(model.predict(points)[0] - clean).max() < 1e-2
    assert np.abs(model.predict(points)[0] - np.where(spoilt, values, clean)).max() > 5


def test_equal_seeds_give_equal_models(make_points: Callable[..., PointSet]) -> None:
    points = make_points("hybrid")
    at = np.linspace(0, 4000, 50)
    first, second = (FunctionalPCA(2, random_state=3).fit(points).components(at) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_points_without_any_variation_have_a_mean_and_no_variance() -> None:
    for points in (
        PointSet.from_grid([0.0, 0.5, 1.0], [1.0, 2.0, 3.0], np.full((3, 3), -2.0)),
        PointSet.from_points(np.arange(40) / 10, np.arange(40) % 7, np.full(40, -2.0)),
    ):
        model = FunctionalPCA(1, field="matrix", time_field="matrix").fit(points)
        assert model.explained_variance_[0] == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(model.mean([1.5, 2.5]), -2)
        np.testing.assert_allclose(model.predict(points)[0], -2, atol=1e-6)
