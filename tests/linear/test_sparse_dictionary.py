"""Sparse dictionaries: scikit-learn's objective on a grid, and one that never rises anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow.linear import FunctionalPCA, SparseDictionary
from inmf_flow.linear.sparse_dictionary import sparse_codes
from inmf_flow.points import PointSet

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")


def sparse_scene(seed: int) -> tuple[PointSet, NDArray[np.float64], NDArray[np.float64]]:
    """Return a grid made from five atoms [16, 5] of which a third sound in each of 80 frames, and other atoms."""
    rng = np.random.default_rng(seed)
    atoms, start = rng.standard_normal((2, 16, 5))
    atoms, start = atoms / np.linalg.norm(atoms, axis=0), start / np.linalg.norm(start, axis=0)
    codes = rng.laplace(0, 1, (5, 80)) * (rng.random((5, 80)) < 0.35)
    values = atoms @ codes + 0.05 * rng.standard_normal((16, 80))
    return PointSet.from_grid(np.arange(80) / 10, np.arange(16.0), values), atoms, start


def by_scikit_learn(points: PointSet, start: NDArray[np.float64], alpha: float) -> Any:
    from sklearn.decomposition import DictionaryLearning

    frames, k = points.blocks[0].magnitudes.T.astype(float), start.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that coordinate descent stops at its own tolerance
        learned = DictionaryLearning(
            k,
            alpha=alpha,
            fit_algorithm="cd",
            dict_init=start.T.copy(),
            code_init=np.zeros((len(frames), k)),
            max_iter=500,
            tol=1e-8,
        )
        return learned.fit(frames)


@pytest.mark.parametrize("seed", range(3))
def test_a_grid_gives_scikit_learns_objective_from_the_same_start(seed: int) -> None:
    points, _, start = sparse_scene(seed)
    model = SparseDictionary(
        5, alpha=0.1, field="matrix", weights="uniform", dict_init=lambda f: start, max_iter=500, tol=1e-8
    ).fit(points)
    assert model.objective_curve_[-1] <= by_scikit_learn(points, start, 0.1).error_[-1] * (1 + 1e-5)


def test_the_objective_is_what_it_says(make_points: Callable[..., PointSet]) -> None:
    points = make_points("grid")
    block = points.blocks[0]
    model = SparseDictionary(3, alpha=0.2, field="matrix", weights="uniform", tol=1e-10, max_iter=500).fit(points)
    error = block.magnitudes - model.predict(points)[0]
    objective = 0.5 * (error**2).sum() + 0.2 * np.abs(model.scores(block.times)).sum()
    assert objective == pytest.approx(model.objective_curve_[-1], rel=1e-5)


def test_codes_of_speech_are_scikit_learns(decibels: PointSet) -> None:
    from sklearn.decomposition import sparse_encode

    block = decibels.blocks[0]
    model = SparseDictionary(12, alpha=20, center=True, field="matrix", weights="uniform", max_iter=20).fit(decibels)
    centred = block.magnitudes.T.astype(float) - model.mean(block.frequencies)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a duality gap is not quite closed
        expected = sparse_encode(
            centred, model.components(block.frequencies).T, algorithm="lasso_cd", alpha=20, max_iter=20000
        )
    # scikit-learn stops at a duality gap of 1e-4 of the signal's energy.
    found = model.transform(decibels)(block.times).T
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(model.scores(block.times).T, found, atol=1e-6 * np.abs(found).max())
    assert 0.2 < (found == 0).mean() < 0.95


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)
@given(
    kind=st.sampled_from(KINDS),
    field=st.sampled_from(["hat:nodes=6", "matrix"]),
    time_field=st.sampled_from(["auto", "hat:nodes=5", "matrix"]),
    uniform=st.booleans(),
    center=st.booleans(),
    alpha=st.sampled_from([0.02, 0.3, 5.0]),
    seed=st.integers(0, 1000),
)
def test_the_objective_never_rises_and_atoms_are_short(
    kind: str,
    field: str,
    time_field: str,
    uniform: bool,
    center: bool,
    alpha: float,
    seed: int,
    make_points: Callable[..., PointSet],
) -> None:
    points = make_points(kind, seed)
    model = SparseDictionary(
        4,
        alpha=alpha,
        center=center,
        field=field,
        time_field=time_field,
        weights="uniform" if uniform else "area",
        max_iter=25,
        tol=0,
    ).fit(points)
    curve = np.array(model.objective_curve_)
    assert (np.diff(curve) <= 1e-10 * curve[:-1]).all()
    block = points.blocks[0]
    if kind == "grid":
        measure = np.ones(13) if uniform else block.frequency_weights / block.frequency_weights.sum()
        assert ((measure[:, None] * model.components(block.frequencies) ** 2).sum(0) <= 1 + 1e-6).all()
    # Codes need not be unique, where two atoms are alike; what they explain is.
    for own, again in zip(model.predict(points), model.predict(points, model.transform(points)), strict=True):
        np.testing.assert_allclose(again, own, atol=1e-3 * max(np.abs(own).max(initial=0), 1))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), coupled=st.booleans(), price=st.floats(0.01, 3))
def test_codes_meet_the_conditions_of_the_minimum(seed: int, coupled: bool, price: float) -> None:
    rng = np.random.default_rng(seed)
    n, k = 7, 3
    root = (
        rng.standard_normal((n, k, n, k))
        * (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < 0.5 + coupled)[:, None, :, None]
    )
    # A chain: each row of the root touches two neighbours at most.
    root *= (np.arange(n)[None, :] >= np.arange(n)[:, None])[:, None, :, None]
    flat = root.reshape(n * k, n * k)
    whole = (flat.T @ flat + 0.1 * np.eye(n * k)).reshape(n, k, n, k)
    diagonal = np.stack([whole[m, :, m] for m in range(n)])
    beside = np.stack([whole[m, :, m + 1] for m in range(n - 1)])
    right, penalty = rng.standard_normal((n, k)), price * rng.uniform(0.5, 1, n)
    codes = sparse_codes(diagonal, beside, right, penalty, np.zeros((n, k)), 20_000, 1e-12)
    gradient = (whole.reshape(n * k, -1) @ codes.ravel()).reshape(n, k) - right
    bound = np.broadcast_to(penalty[:, None], (n, k))
    active = codes != 0
    np.testing.assert_allclose(gradient[active], -(np.sign(codes) * bound)[active], atol=1e-7)
    assert (np.abs(gradient) <= bound + 1e-7).all()


def three_atoms(f: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return three functions of 0 to 1, one of them negative in places, [F, 3]."""
    bump = np.exp(-0.5 * ((f[:, None] - [0.2, 0.75]) / [0.08, 0.1]) ** 2)
    return np.hstack([bump, np.sin(4 * np.pi * f)[:, None]])


@pytest.mark.parametrize("seed", range(2))
def test_scattered_points_give_the_atoms_they_were_made_from(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Curves of which each was seen at twelve points of its own, and which hold one or two atoms.
    curves, seen = 150, 12
    codes = rng.uniform(1, 2, (curves, 3)) * rng.choice([-1, 1], (curves, 3))
    codes *= rng.permuted(np.tile([1, 0, 0], (curves, 1)), axis=1) | (rng.random((curves, 3)) < 0.15)
    f = rng.random((curves, seen))
    values = np.einsum("csk,ck->cs", three_atoms(f.ravel()).reshape(curves, seen, 3), codes)
    values += 0.05 * rng.standard_normal(values.shape)
    points = PointSet.from_points(np.repeat(np.arange(curves), seen), f.ravel(), values.ravel())
    model = SparseDictionary(3, alpha=0.02, n_init=3, field="hat:nodes=24,warp=linear", time_field="matrix").fit(points)
    at = np.linspace(0, 1, 200)
    found, expected = model.components(at), three_atoms(at)
    likeness = np.abs(found.T @ expected) / np.linalg.norm(found, axis=0)[:, None] / np.linalg.norm(expected, axis=0)
    assert (likeness.max(0) > 0.97).all()
    assert sorted(likeness.argmax(0)) == [0, 1, 2]
    matched = model.scores(np.arange(curves))[likeness.argmax(0)].T
    assert (matched[codes == 0] == 0).mean() > 0.5


def test_missing_points_of_a_sparse_scene_are_filled() -> None:
    points, *_ = sparse_scene(0)
    block = points.blocks[0]
    hidden = np.random.default_rng(1).random(block.magnitudes.shape) < 0.2
    seen = PointSet.from_grid(block.times, block.frequencies, np.where(hidden, np.nan, block.magnitudes))
    model = SparseDictionary(5, alpha=0.05, field="matrix", weights="uniform").fit(seen)
    error = (model.predict(seen)[0] - block.magnitudes)[hidden]
    assert (error**2).mean() < 0.3 * (block.magnitudes[hidden] ** 2).mean()


def test_a_dearer_alpha_leaves_fewer_codes(decibels: PointSet) -> None:
    times = decibels.blocks[0].times
    share = [
        (SparseDictionary(8, alpha=a, center=True, max_iter=5).fit(decibels).scores(times) != 0).mean()
        for a in (1.0, 5.0)
    ]
    assert share[1] < share[0] - 0.1


def test_alpha_means_the_same_on_a_finer_grid() -> None:
    f = {n: np.linspace(0, 1, n) for n in (41, 161)}
    t = np.linspace(0, 1, 30)
    codes = np.random.default_rng(0).laplace(0, 1, (3, 30))
    grids = {n: PointSet.from_grid(t, f[n], three_atoms(f[n]) @ codes) for n in f}
    model = SparseDictionary(3, alpha=0.05, dict_init=three_atoms, field="matrix", max_iter=50).fit(grids[41])
    coarse, fine = (model.transform(grids[n])(t) for n in f)
    np.testing.assert_allclose(fine, coarse, atol=0.05 * np.abs(coarse).max())


def test_another_models_components_are_a_start(decibels: PointSet) -> None:
    pca = FunctionalPCA(4).fit(decibels)
    model = SparseDictionary(4, alpha=2, center=True, dict_init=pca.components, max_iter=10).fit(decibels)
    assert model.objective_curve_[-1] < model.objective_curve_[0]


def test_equal_seeds_give_equal_models(make_points: Callable[..., PointSet]) -> None:
    points = make_points("hybrid")
    at = np.linspace(0, 4000, 50)
    first, second = (SparseDictionary(3, alpha=0.1, random_state=3).fit(points).components(at) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_silence_needs_no_codes() -> None:
    points = PointSet.from_grid([0.0, 0.5, 1.0], [1.0, 2.0, 3.0], np.zeros((3, 3)))
    model = SparseDictionary(2, alpha=0.1).fit(points)
    assert not model.scores([0.0, 0.7]).any()
    assert model.objective_curve_[-1] == 0
