"""Multiplicative updates: they never raise the divergence, and on a matrix they are scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import Axis, HatField, MatrixField, get_divergence
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.solvers import Bound, Rules, fit_multiplicative

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    beta=st.one_of(st.sampled_from([0.0, 1.0, 2.0]), st.floats(-1, 4)),
    kind=st.sampled_from(KINDS),
    field=st.sampled_from([HatField, MatrixField]),
    uniform=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_divergence_never_rises(
    beta: float,
    kind: str,
    field: type[HatField],
    uniform: bool,
    seed: int,
    make_points: Callable[..., PointSet],
    oracle: Any,
    without_looks: Callable[..., Any],
) -> None:
    # The general formula cancels near 0 and 1, where it is a limit.
    beta = float(round(beta)) if abs(beta - round(beta)) < 1e-3 else beta
    points = make_points(kind, seed)
    data = without_looks(prepare_data(points, 0.5, "uniform" if uniform else "area", "cpu"))
    truth = oracle(points, 0.5, uniform)
    random = np.random.default_rng(seed)
    w = field.build(Axis("frequency", data.frequencies, 0.0, 4000.0), 3, {}, random, "cpu")
    h = field.build(Axis("time", data.times, 0.0, 1.0), 3, {}, random, "cpu")
    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    values = [float(truth.loss(bounds[0].values(), bounds[1].values(), beta))]
    for _ in range(15):
        fit_multiplicative(data, *bounds, get_divergence(beta), 1, 0.0, Rules(relaxation=1.0))
        values.append(float(truth.loss(bounds[0].values(), bounds[1].values(), beta)))
    assert (np.diff(values) <= 1e-5 * np.abs(values[:-1]) + 1e-7).all()
    assert values[-1] < values[0]


@pytest.mark.parametrize("beta", ["kullback-leibler", "frobenius", "itakura-saito", 0.5, 1.5, 2.5])
def test_matrix_field_is_scikit_learns_factorization(beta: str | float, voice: NDArray[np.float32]) -> None:
    from sklearn.decomposition import NMF

    n_iter = 25
    block = get_transform("stft", n_fft=512).analyze(voice[:16000], 16000).blocks[0]
    points = PointSet.from_grid(block.times, block.frequencies, block.magnitudes)
    x = np.sqrt(block.magnitudes.astype(float))
    random = np.random.default_rng(3)
    w0, h0 = random.uniform(0.5, 1.5, (x.shape[0], 6)), x.mean() * random.uniform(0.5, 1.5, (6, x.shape[1])) / 6
    theirs = NMF(6, init="custom", solver="mu", beta_loss=beta, tol=0, max_iter=n_iter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that so few updates do not converge
        w = theirs.fit_transform(x, W=w0.copy(), H=h0.copy())
    h = theirs.components_
    ours = INMF(6, field="matrix", weights="uniform", beta_loss=beta, relaxation=1.0, tol=0, max_iter=n_iter)
    ours.fit(points, templates=w0, activations=h0)
    peaks = w.max(axis=0)
    templates, activations = ours.templates(block.frequencies), ours.activations(block.times)
    assert np.linalg.norm(templates - w / peaks) < 1e-4 * np.linalg.norm(w / peaks)
    assert np.linalg.norm(activations - h * peaks[:, None]) < 1e-4 * np.linalg.norm(h * peaks[:, None])
    assert np.abs(ours.predict(points)[0] - w @ h).max() < 1e-4 * (w @ h).max()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_gain_of_the_audio_leaves_templates_alone(field: str, power: float, voice: NDArray[np.float32]) -> None:
    stft = get_transform("stft", n_fft=512)

    def fit(gain: float) -> INMF:
        points = stft.analyze(voice[:16000] * np.float32(gain), 16000)
        return INMF(5, field=field, power=power, max_iter=30, tol=0).fit(points)

    hertz, seconds = np.linspace(0, 8000, 301), np.linspace(0, 1, 40)
    plain = fit(1.0)
    for gain in (1e-5, 0.37, 3e4):
        scaled = fit(gain)
        assert np.abs(scaled.templates(hertz) - plain.templates(hertz)).max() < 2e-3
        expected = plain.activations(seconds) * gain**power
        assert np.abs(scaled.activations(seconds) - expected).max() < 2e-3 * expected.max()
        assert scaled.divergence_curve_[-1][1] == pytest.approx(plain.divergence_curve_[-1][1], rel=1e-3)


def test_early_stop_ends_where_improvement_is_small(make_points: Callable[..., PointSet]) -> None:
    points = make_points("grid")
    patient, hasty = INMF(2, tol=0, max_iter=200).fit(points), INMF(2, tol=1e-2, max_iter=200).fit(points)
    assert patient.n_iter_ == 200
    assert hasty.n_iter_ < 200
    before, now = (value for _, value in hasty.divergence_curve_[-2:])
    assert before - now <= 1e-2 * before
    assert hasty.divergence_curve_ == patient.divergence_curve_[: len(hasty.divergence_curve_)]


@pytest.mark.parametrize("beta", [-60.0, 60.0])
def test_divergence_beyond_single_precision_is_an_error_not_nan(
    beta: float, make_points: Callable[..., PointSet]
) -> None:
    with pytest.raises(ArgumentError, match="single precision"):
        INMF(2, beta_loss=beta, power=1).fit(make_points("grid"))


@pytest.mark.parametrize("signed", [False, True])
def test_coefficients_that_no_point_touches_stay_as_they_are(signed: bool) -> None:
    axis = Axis("time", np.arange(4.0), 0.0, 3.0)
    field = MatrixField.build(axis, 2, {}, np.random.default_rng(0), "cpu")
    parts = torch.full((4, 2), 3.0), torch.full((4, 2), 2.0)
    for part in parts:
        part[1] = 0
    ratio = field.ratio(field.prepare(axis.coordinates), *parts, signed=signed)
    assert torch.equal(ratio[1], torch.ones(2))
    assert torch.allclose(ratio[[0, 2, 3]], torch.tensor(1.5))
