"""Multiplicative updates with momentum: as safe as plain ones, and faster; restarts and stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.factorize import Axis, BetaDivergence, HatField, MatrixField, get_divergence
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.solvers import Bound, Rules, Trace, fit_multiplicative
from inmf_flow.points import GridBlock
from inmf_flow.registry import divergences

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")


def functions(model: INMF) -> bytes:
    """Return all that a model has learned, bit by bit."""
    return b"".join(array.tobytes() for field in model._fitted() for array in field.state().values())


def fit(
    points: PointSet, beta: float, relaxation: float, n_iter: int, field: type[HatField] = MatrixField, seed: int = 0
) -> tuple[Trace, Any, Any]:
    """Return how a fit with the plain solver went, and the tables of templates and activations."""
    data = prepare_data(points, 0.5, "area", "cpu")
    random = np.random.default_rng(seed)
    w = field.build(Axis("frequency", data.frequencies, 0.0, 4000.0), 3, {}, random, "cpu")
    h = field.build(Axis("time", data.times, 0.0, 1.0), 3, {}, random, "cpu")
    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    trace = fit_multiplicative(data, *bounds, get_divergence(beta), n_iter, 0.0, Rules(relaxation=relaxation))
    return trace, bounds[0].values(), bounds[1].values()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    beta=st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-0.5, 3.5)),
    relaxation=st.floats(1, 2),
    kind=st.sampled_from(KINDS),
    field=st.sampled_from([HatField, MatrixField]),
    n_iter=st.integers(1, 75),
    seed=st.integers(0, 1000),
)
def test_divergence_never_rises_between_looks_and_is_that_of_the_result(
    beta: float,
    relaxation: float,
    kind: str,
    field: type[HatField],
    n_iter: int,
    seed: int,
    make_points: Callable[..., PointSet],
    oracle: Any,
) -> None:
    # The general formula cancels near 0 and 1, where it is a limit.
    beta = float(round(beta)) if abs(beta - round(beta)) < 1e-2 else beta
    points = make_points(kind, seed)
    trace, w, h = fit(points, beta, relaxation, n_iter, field, seed)
    steps = [step for step, _ in trace.curve]
    assert steps == sorted({*range(0, n_iter + 1, 10), n_iter})
    values = np.array([value for _, value in trace.curve])
    # A plain update rises by no more than rounding.
    assert (np.diff(values) <= 3e-5 * np.abs(values[:-1]) + 1e-6).all()
    assert values[-1] < values[0]
    if kind != "channels":  # the mean of channels has a divergence of its own
        truth = oracle(points, 0.5)
        assert values[-1] == pytest.approx(float(truth.loss(w, h, beta)) / truth.weight, rel=1e-3, abs=1e-5)


def test_rises_that_momentum_brings_are_taken_back(make_points: Callable[..., PointSet]) -> None:
    held = 0
    for seed in range(12):
        values = np.array([value for _, value in fit(make_points("grid", seed), 1.0, 2.0, 150, seed=seed)[0].curve])
        assert (np.diff(values) <= 1e-5 * values[:-1]).all()
        held += int((np.diff(values[:-1]) == 0).sum())
    # There are such rises: looks that kept the divergence before them.
    assert held > 0


@pytest.mark.parametrize("beta", ["kullback-leibler", "itakura-saito", "frobenius"])
def test_momentum_on_speech_saves_nearly_half_of_the_iterations(beta: str, voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice, 16000)
    curves = {
        relaxation: dict(
            INMF(8, field="hat:nodes=128", beta_loss=beta, relaxation=relaxation, tol=0, max_iter=n_iter)
            .fit(points)
            .divergence_curve_
        )
        for relaxation, n_iter in ((1.0, 200), (1.9, 110))
    }
    for curve in curves.values():
        values = np.array(list(curve.values()))
        assert (np.diff(values) <= 0).all()
    assert curves[1.9][110] < curves[1.0][200]
    assert curves[1.9][50] < curves[1.0][50]


def test_plain_updates_are_those_of_one_iteration_again_and_again(make_points: Callable[..., PointSet]) -> None:
    points = make_points("grid")
    data = prepare_data(points, 0.5, "area", "cpu")

    def bounds() -> tuple[Bound, Bound]:
        random = np.random.default_rng(0)
        w = MatrixField.build(Axis("frequency", data.frequencies, 0.0, 4000.0), 3, {}, random, "cpu")
        h = MatrixField.build(Axis("time", data.times, 0.0, 1.0), 3, {}, random, "cpu")
        return Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))

    tables = {}
    for relaxation in (1.0, 1.5):
        whole, single = bounds(), bounds()
        fit_multiplicative(data, *whole, get_divergence(1.0), 25, 0.0, Rules(relaxation=relaxation))
        for _ in range(25):
            fit_multiplicative(data, *single, get_divergence(1.0), 1, 0.0, Rules(relaxation=relaxation))
        tables[relaxation] = whole[0].values(), single[0].values()
    assert torch.equal(*tables[1.0])
    assert not torch.allclose(*tables[1.5], rtol=1e-3)


@dataclass(frozen=True)
class Hasty(BetaDivergence):
    """A divergence whose updates go far too far."""

    @property
    def exponent(self) -> float:  # type: ignore[override]
        return 2.5


@pytest.mark.parametrize("relaxation", [1.0, 1.9])
def test_updates_that_are_not_monotone_end_with_what_was_said(
    relaxation: float, make_points: Callable[..., PointSet]
) -> None:
    points = make_points("grid")
    divergences.register("hasty", Hasty(1.0))
    try:
        model = INMF(3, beta_loss="hasty", relaxation=relaxation, weights="uniform", tol=0, max_iter=95).fit(points)
        assert model.divergence(points) == pytest.approx(
            model.divergence_curve_[-1][1] * float(np.sqrt(points.blocks[0].magnitudes).mean()), rel=1e-3
        )
    finally:
        divergences.unregister("hasty")
    assert model.n_iter_ == 95
    assert np.isfinite(model.templates(np.arange(0, 4000, 100))).all()
    assert np.isfinite([value for _, value in model.divergence_curve_]).all()


def test_best_of_several_starts_is_kept(make_points: Callable[..., PointSet]) -> None:
    points = make_points("hybrid")
    settings = {"max_iter": 20, "tol": 0}
    single = [INMF(3, random_state=seed, **settings).fit(points) for seed in range(6, 11)]
    ends = [model.divergence_curve_[-1][1] for model in single]
    assert len(set(ends)) == 5
    for n_init in (1, 2, 5):
        best = int(np.argmin(ends[:n_init]))
        model = INMF(3, random_state=6, n_init=n_init, **settings).fit(points)
        assert functions(model) == functions(single[best])
        assert model.divergence_curve_ == single[best].divergence_curve_
    assert min(ends) < ends[0]


@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_repeats_are_equal_to_the_bit(field: str, voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice[:24000], 16000)
    first, second = (INMF(6, field=field, n_init=2, max_iter=60).fit(points) for _ in range(2))
    assert functions(first) == functions(second)
    assert first.divergence_curve_ == second.divergence_curve_


def test_tolerance_ends_a_fit_at_the_first_look_that_gains_less(voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice[:24000], 16000)
    patient = INMF(4, max_iter=200, tol=0).fit(points)
    assert patient.n_iter_ == 200
    for tol in (3e-2, 3e-3):
        hasty = INMF(4, max_iter=200, tol=tol).fit(points)
        values = [value for _, value in hasty.divergence_curve_]
        assert hasty.divergence_curve_ == patient.divergence_curve_[: len(values)]
        gains = -np.diff(values) / values[:-1]
        assert hasty.n_iter_ < 200
        assert gains[-1] <= tol
        assert (gains[1:-1] > tol).all()


@pytest.mark.parametrize("field", ["hat", "matrix"])
@pytest.mark.parametrize("relaxation", [1.0, 2.0])
def test_weightless_and_missing_points_have_no_say_with_momentum(relaxation: float, field: str) -> None:
    random = np.random.default_rng(2)
    times, hertz, values = np.arange(12) / 12, np.arange(15) * 100.0, random.gamma(0.5, 1.0, (15, 12)) + 0.01
    out = random.random(values.shape) < 0.2
    fitted = []
    for column in (0.0, 1e6, np.nan):
        changed = values.copy()
        changed[:, 5] = column
        changed[out] = np.nan
        weights = np.ones(12)
        weights[5] = 0
        points = PointSet((GridBlock.build(times, hertz, changed, time_weights=weights),))
        model = INMF(3, field=field, relaxation=relaxation, tol=0, max_iter=45).fit(points)
        fitted.append((model.templates(hertz), np.delete(model.activations(times), 5, axis=1)))
    for templates, activations in fitted[1:]:
        assert np.array_equal(templates, fitted[0][0])
        assert np.array_equal(activations, fitted[0][1])
