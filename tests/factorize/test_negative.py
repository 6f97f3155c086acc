"""Data with negative values: fitted by Nearly-NMF or Shift-NMF, without what clipping them adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize import Axis, BetaDivergence, HatField, MatrixField
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.penalties import Penalties, Weights
from inmf_flow.factorize.solvers import Bound, Rules, fit_multiplicative
from inmf_flow.points import GridBlock

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
WAYS = ("nearly", "shift")


def lowered(points: PointSet, by: float) -> PointSet:
    """Return points with so much taken off each magnitude."""
    blocks = tuple(replace(block, magnitudes=block.magnitudes - np.float32(by)) for block in points.blocks)
    return replace(points, blocks=blocks)


def model_of(negative: str | None, n_components: int = 3, **settings: Any) -> INMF:
    return INMF(n_components, beta_loss="frobenius", power=1, negative=negative, **settings)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    way=st.sampled_from(WAYS),
    kind=st.sampled_from(KINDS),
    field=st.sampled_from([HatField, MatrixField]),
    by=st.floats(0, 2),
    uniform=st.booleans(),
    sparsity=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 1000),
)
def test_no_plain_update_raises_the_squared_error(
    way: str,
    kind: str,
    field: type[HatField],
    by: float,
    uniform: bool,
    sparsity: float,
    seed: int,
    make_points: Callable[..., PointSet],
    oracle: Any,
    without_looks: Callable[..., Any],
) -> None:
    points = lowered(make_points(kind, seed), by)
    weights = "uniform" if uniform else "area"
    penalties = Penalties(Weights(sparsity), prepare_data(points, 1.0, weights, "cpu", negative=way))
    data = without_looks(prepare_data(points, 1.0, weights, "cpu", negative=way))
    truth = oracle(points, 1.0, uniform)
    v = truth._v * truth.scale / float(data.scale)
    random = np.random.default_rng(seed)
    w = field.build(Axis("frequency", data.frequencies, 0.0, 4000.0), 3, {}, random, "cpu")
    h = field.build(Axis("time", data.times, 0.0, 1.0), 3, {}, random, "cpu")
    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    rules = Rules(relaxation=1.0, penalties=penalties if sparsity else None, signed=way == "nearly")

    def objective() -> float:
        tables = bounds[0].values(), bounds[1].values()
        model = (tables[0].double()[truth._f] * tables[1].double()[truth._t]).sum(1)
        return float((truth._weights * 0.5 * (v - model) ** 2).sum()) / truth.weight + penalties.value(*tables)

    values = [objective()]
    for _ in range(15):
        fit_multiplicative(data, *bounds, BetaDivergence(2.0), 1, 0.0, rules)
        values.append(objective())
    assert (np.diff(values) <= 1e-5 * np.abs(values[:-1]) + 1e-7).all()
    assert values[-1] < values[0]
    if kind != "channels" and not sparsity:  # the mean of channels has an error of its own
        data = prepare_data(points, 1.0, weights, "cpu", negative=way)
        loss = data.loss(BetaDivergence(2.0), bounds[0].values(), bounds[1].values())
        assert loss == pytest.approx(values[-1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_one_update_is_the_papers(way: str) -> None:
    random = np.random.default_rng(0)
    x, w, h = random.normal(0.1, 1, (7, 9)), random.random((7, 2)) + 0.1, random.random((2, 9)) + 0.1
    points = PointSet.from_grid(np.arange(9) / 9, np.arange(7) * 100.0, x)
    model = model_of(way, 2, field="matrix", weights="uniform", max_iter=1).fit(points, templates=w, activations=h)
    shift = -x.min() if way == "shift" else 0.0
    up, down = (x + shift) @ h.T, (w @ h + shift) @ h.T
    w = w * np.maximum(up, 0) / (down + np.maximum(-up, 0))
    up, down = w.T @ (x + shift), w.T @ (w @ h + shift)
    h = h * np.maximum(up, 0) / (down + np.maximum(-up, 0))
    assert ((up < 0).any(), (up > 0).any()) == (way == "nearly", True)
    assert np.allclose(model.predict(points)[0], w @ h, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def noisy() -> tuple[PointSet, NDArray[np.float64]]:
    """Three smooth spectra and their activations, in noise twice as large as their mean; and the truth."""
    random = np.random.default_rng(0)
    times, hertz = np.arange(150) / 30, np.arange(80) * 100.0
    spectra = np.exp(-0.5 * ((hertz[:, None] - [1500, 4000, 6000]) / 600) ** 2)
    truth = spectra @ random.gamma(0.5, 1.0, (3, 150))
    noise = random.normal(0, 2 * truth.mean(), truth.shape)
    return PointSet.from_grid(times, hertz, truth + noise), truth


@pytest.mark.parametrize("field", ["hat:nodes=20", "matrix"])
@pytest.mark.parametrize("way", WAYS)
def test_what_noise_hides_is_found_without_an_offset(
    way: str, field: str, noisy: tuple[PointSet, NDArray[np.float64]]
) -> None:
    points, truth = noisy
    found = model_of(way, field=field, max_iter=150).fit(points).predict(points)[0]
    clipped = PointSet.from_grid(
        points.blocks[0].times, points.blocks[0].frequencies, points.blocks[0].magnitudes.clip(0)
    )
    raised = model_of(None, field=field, max_iter=150).fit(clipped).predict(points)[0]
    # Activations cannot be negative: a few percent stay.
    assert found.mean() == pytest.approx(truth.mean(), rel=0.1)
    assert raised.mean() > 1.4 * truth.mean()
    assert np.sqrt(np.mean((found - truth) ** 2)) < 0.7 * np.sqrt(np.mean((raised - truth) ** 2))


def test_both_ways_come_to_the_same_and_nearly_comes_sooner(noisy: tuple[PointSet, NDArray[np.float64]]) -> None:
    points, _ = noisy
    ends = {
        (way, n_iter): model_of(way, relaxation=1.0, max_iter=n_iter, tol=0).fit(points).divergence(points)
        for way in WAYS
        for n_iter in (20, 300)
    }
    assert ends["nearly", 300] == pytest.approx(ends["shift", 300], rel=5e-3)
    assert ends["nearly", 20] < ends["shift", 20]


def test_frames_that_noise_makes_negative_do_not_start_at_the_floor() -> None:
    random = np.random.default_rng(0)
    times, hertz = np.arange(200) / 30, np.arange(12) * 100.0
    truth = np.exp(-0.5 * ((hertz[:, None] - [200, 800]) / 150) ** 2) @ random.gamma(0.5, 1.0, (2, 200))
    values = truth + random.normal(0, 3 * truth.mean(), truth.shape)
    assert (values.sum(0) < 0).mean() > 0.2
    points = PointSet.from_grid(times, hertz, values)
    ends = [
        model_of(way, 2, field="matrix", weights="uniform", max_iter=n_iter, tol=0).fit(points).divergence(points)
        for way, n_iter in (("nearly", 200), ("shift", 100))
    ]
    assert ends[1] == pytest.approx(ends[0], rel=2e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", ["hat", "matrix"])
def test_weightless_and_missing_points_have_no_say(way: str, field: str) -> None:
    random = np.random.default_rng(2)
    times, hertz, values = np.arange(12) / 12, np.arange(15) * 100.0, random.normal(0.5, 1.0, (15, 12))
    fitted = []
    for column in (0.0, -1e4, np.nan):
        changed = values.copy()
        changed[:, 5] = column
        changed[3, 4] = np.nan
        weights = np.ones(12)
        weights[5] = 0
        points = PointSet((GridBlock.build(times, hertz, changed, time_weights=weights),))
        model = model_of(way, field=field, tol=0, max_iter=30).fit(points)
        fitted.append((model.templates(hertz), np.delete(model.activations(times), 5, axis=1)))
    for templates, activations in fitted[1:]:
        assert np.array_equal(templates, fitted[0][0])
        assert np.array_equal(activations, fitted[0][1])


def test_points_that_weigh_more_are_fitted_better() -> None:
    random = np.random.default_rng(0)
    times, hertz, values = np.arange(30) / 30, np.arange(20) * 100.0, random.normal(0.3, 1.0, (20, 30))
    loud = np.where(np.arange(30) < 15, 100.0, 1.0)
    for way in WAYS:
        errors = []
        for weights in (loud, loud[::-1].copy()):
            points = PointSet((GridBlock.build(times, hertz, values, time_weights=weights),))
            model = model_of(way, field="matrix", max_iter=80).fit(points)
            errors.append(float(((model.predict(points)[0] - values)[:, :15] ** 2).mean()))
        assert errors[0] < 0.9 * errors[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_data_without_negative_values_are_fitted_as_ever(
    way: str, kind: str, make_points: Callable[..., PointSet]
) -> None:
    points, hertz, times = make_points(kind), np.linspace(0, 4000, 30), np.linspace(0, 1, 20)
    plain, other = (model_of(name, max_iter=25, tol=0).fit(points) for name in (None, way))
    assert np.allclose(other.templates(hertz), plain.templates(hertz), atol=1e-4)
    expected = plain.activations(times)
    assert np.allclose(other.activations(times), expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("way", WAYS)
def test_speech_spectrum_less_its_noise_floor_is_fitted(way: str, voice: NDArray[np.float32]) -> None:
    random = np.random.default_rng(0)
    stft = get_transform("stft", n_fft=512)
    hiss = (0.05 * random.standard_normal(len(voice))).astype(np.float32)
    clean, noise, both = (stft.analyze(audio, 16000) for audio in (voice, hiss, voice + hiss))
    block, power = both.blocks[0], (clean.blocks[0].magnitudes ** 2)
    less = block.magnitudes**2 - (noise.blocks[0].magnitudes ** 2).mean()
    assert (less < 0).mean() > 0.3
    points = PointSet.from_grid(block.times, block.frequencies, less)
    clipped = PointSet.from_grid(block.times, block.frequencies, less.clip(0))
    biases = [
        float(model_of(name, 8, max_iter=60).fit(data).predict(points)[0].mean() / power.mean() - 1)
        for name, data in ((way, points), (None, clipped))
    ]
    assert abs(biases[0]) < 0.5 * biases[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"negative": "clip", "beta_loss": "frobenius", "power": 1},
        {"negative": "nearly"},
        {"negative": "shift", "beta_loss": "kullback-leibler", "power": 1},
        {"negative": "nearly", "beta_loss": "frobenius", "power": 0.5},
        {"negative": "shift", "beta_loss": 2.5, "power": 1},
    ],
)
def test_other_divergences_and_powers_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="negative"):
        INMF(2, **settings)


def test_negative_magnitudes_are_refused_unless_asked_for() -> None:
    points = PointSet.from_grid([0.0, 0.1], [100.0, 200.0], [[1.0, -0.5], [2.0, np.nan]])
    with pytest.raises(PointsError, match=r"negative.*nearly"):
        model_of(None).fit(points)
    for way in WAYS:
        model = model_of(way, 1, max_iter=5).fit(points)
        assert np.isfinite(model.predict(points)[0]).all()
    everywhere = PointSet.from_grid([0.0, 0.1], [100.0, 200.0], -torch.ones(2, 2).numpy())
    for way in WAYS:
        assert model_of(way, 1, max_iter=100).fit(everywhere).predict(everywhere)[0].max() < 0.1
