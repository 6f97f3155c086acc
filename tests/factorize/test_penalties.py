"""Penalties: their values and gradients, updates that never raise the sum, and what they do to speech."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow import INMF, PointSet, get_transform
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import Axis, HatField, MatrixField, get_divergence
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.penalties import Penalties, Weights
from inmf_flow.factorize.solvers import Bound, Rules, fit_multiplicative

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
NAMES = ("sparsity", "smoothness", "decorrelation")
AMOUNTS = {"sparsity": 0.7, "smoothness": 1.3, "decorrelation": 0.4}


class Written:
    """The penalties term by term in double precision, each weight of a coordinate summed over single points."""

    def __init__(self, truth: Any) -> None:
        self.a, self.b = (
            torch.zeros(len(axis), dtype=torch.float64).index_add_(0, rows, truth._weights) / truth.weight
            for axis, rows in ((truth.frequencies, truth._f), (truth.times, truth._t))
        )
        steps = np.diff(truth.times)
        # A step shorter than a tenth of the usual one counts as that.
        self.ratios = [float(np.median(steps) / max(step, 0.1 * np.median(steps))) for step in steps]

    def value(self, given: dict[str, float], w: Tensor, h: Tensor) -> Tensor:
        w, h = w.double(), h.double()
        k = w.shape[1]
        total = torch.zeros((), dtype=torch.float64)
        for j in range(k):
            norm2, mean = (self.a * w[:, j] ** 2).sum(), (self.b * h[:, j]).sum()
            total = total + given.get("sparsity", 0.0) * norm2.sqrt() * mean
            rough = sum(
                (ratio * (h[i + 1, j] - h[i, j]) ** 2 for i, ratio in enumerate(self.ratios)),
                start=torch.zeros((), dtype=torch.float64),
            )
            total = total + 0.5 * given.get("smoothness", 0.0) * norm2 * rough / len(self.ratios)
            for other in range(k):
                if other != j:
                    overlap = (self.a * w[:, j] * w[:, other]).sum() * mean * (self.b * h[:, other]).sum()
                    total = total + 0.5 * given.get("decorrelation", 0.0) * overlap
        return total


@pytest.mark.parametrize("names", [*((name,) for name in NAMES), NAMES])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("uniform", [False, True])
def test_value_and_gradient_are_those_of_the_written_out_sums(
    uniform: bool, kind: str, names: tuple[str, ...], make_points: Callable[..., PointSet], oracle: Any
) -> None:
    points = make_points(kind)
    data = prepare_data(points, 0.5, "uniform" if uniform else "area", "cpu")
    given = {name: AMOUNTS[name] for name in names}
    penalties, truth = Penalties(Weights(**given), data), Written(oracle(points, 0.5, uniform))
    torch.manual_seed(1)
    w = (torch.rand(len(data.frequencies), 3) + 0.05).requires_grad_(True)
    h = (torch.rand(len(data.times), 3) + 0.05).requires_grad_(True)
    value = truth.value(given, w, h)
    gradients = torch.autograd.grad(value, [w, h])
    with torch.no_grad():
        assert penalties.value(w, h) == pytest.approx(float(value.detach()), rel=1e-5)
        assert penalties.value(4 * w, h / 4) == pytest.approx(float(value.detach()), rel=1e-5)
        for side, table, gradient in (("frequency", w, gradients[0]), ("time", h, gradients[1])):
            zero = torch.zeros_like(table)
            negative, positive = penalties.add_parts(w, h, side, (zero, zero.clone()))  # type: ignore[arg-type]
            assert (negative >= 0).all()
            assert (positive >= 0).all()
            assert not zero.any(), "what is added to must stay as it was"
            size = float(torch.maximum(negative, positive).max())
            assert size > 0
            assert float((positive - negative - data.weight * gradient).abs().max()) < 1e-5 * size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    beta=st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0]),
    amounts=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.01, 1.0, 1e5]) for name in NAMES}),
    level=st.sampled_from([1e-3, 1.0]),
    kind=st.sampled_from(KINDS),
    field=st.sampled_from([HatField, MatrixField]),
    seed=st.integers(0, 1000),
)
def test_no_plain_update_raises_divergence_and_penalties_together(
    beta: float,
    amounts: dict[str, float],
    level: float,
    kind: str,
    field: type[HatField],
    seed: int,
    make_points: Callable[..., PointSet],
    oracle: Any,
    without_looks: Callable[..., Any],
) -> None:
    points = make_points(kind, seed)
    data = without_looks(prepare_data(points, 0.5, "area", "cpu"))
    truth = oracle(points, 0.5)
    written, penalties = Written(truth), Penalties(Weights(**amounts), data)
    random = np.random.default_rng(seed)
    w = field.build(Axis("frequency", data.frequencies, 0.0, 4000.0), 3, {}, random, "cpu")
    h = field.build(Axis("time", data.times, 0.0, 1.0), 3, {}, random, "cpu")
    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    # From far below the data updates are largest.
    h.scale(torch.full((3,), level))
    rules = Rules(relaxation=1.0, penalties=penalties)

    def objective() -> float:
        tables = bounds[0].values(), bounds[1].values()
        return float(truth.loss(*tables, beta)) / truth.weight + float(written.value(amounts, *tables))

    values = [objective()]
    for _ in range(12):
        fit_multiplicative(data, *bounds, get_divergence(beta), 1, 0.0, rules)
        values.append(objective())
    assert (np.diff(values) <= 1e-5 * np.abs(values[:-1]) + 1e-7).all()
    assert values[-1] < values[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    beta=st.sampled_from([0.0, 1.0, 2.0]),
    amounts=st.fixed_dictionaries({name: st.sampled_from([0.0, 0.03, 1.0]) for name in NAMES}),
    relaxation=st.floats(1, 2),
    seed=st.integers(0, 1000),
)
def test_curve_holds_divergence_and_penalties_and_never_rises_with_momentum(
    beta: float, amounts: dict[str, float], relaxation: float, seed: int, make_points: Callable[..., PointSet]
) -> None:
    points = make_points("hybrid", seed)
    model = INMF(3, beta_loss=beta, relaxation=relaxation, tol=0, max_iter=45, **amounts).fit(points)
    values = np.array([value for _, value in model.divergence_curve_])
    assert (np.diff(values) <= 3e-5 * np.abs(values[:-1])).all()
    data = prepare_data(points, 0.5, "area", "cpu")
    w = torch.from_numpy(model.templates(data.frequencies))
    h = torch.from_numpy(model.activations(data.times).T / data.scale)
    both = data.loss(get_divergence(beta), w, h) + Penalties(Weights(**amounts), data).value(w, h)
    assert values[-1] == pytest.approx(both, rel=1e-3, abs=1e-5)


def hoyer(activations: NDArray[np.float32]) -> float:
    """Return the mean sparseness of components (Hoyer 2004): 0 for constant activations, 1 for a single one."""
    n = np.sqrt(activations.shape[1])
    return float(np.mean((n - activations.sum(1) / np.linalg.norm(activations, axis=1)) / (n - 1)))


def roughness(activations: NDArray[np.float32]) -> float:
    return float(np.mean((np.diff(activations) ** 2).sum(1) / (activations**2).sum(1)))


def overlap(templates: NDArray[np.float32]) -> float:
    """Return the mean cosine of different templates."""
    unit = templates / np.linalg.norm(templates, axis=0)
    cosines = unit.T @ unit
    k = len(cosines)
    return float((cosines.sum() - k) / (k * (k - 1)))


@pytest.mark.parametrize("optimizer", ["mu", "rprop"])
def test_each_penalty_does_to_speech_what_it_is_named_for(optimizer: str, voice: NDArray[np.float32]) -> None:
    # Rprop changes slowly: less to fit, and only the larger amount.
    quick = optimizer == "mu"
    points = get_transform("stft", n_fft=512).analyze(voice[: 32000 if quick else 12000], 16000)
    block = points.blocks[0]

    def look(**amounts: float) -> tuple[dict[str, float], float]:
        model = INMF(6, field="hat:nodes=64", optimizer=optimizer, max_iter=120, tol=0, **amounts).fit(points)
        h = model.activations(block.times)
        looks = {
            "sparsity": hoyer(h[h.max(1) > 1e-6 * h.max()]),
            "smoothness": -roughness(h),
            "decorrelation": -overlap(model.templates(block.frequencies)),
        }
        return looks, model.divergence(points)

    plain, divergence = look()
    for name, amount in (("sparsity", 0.05), ("smoothness", 0.2), ("decorrelation", 0.1)):
        much, cost = look(**{name: 4 * amount})
        assert plain[name] < much[name]
        assert cost > divergence
        if quick:
            some, cheaper = look(**{name: amount})
            assert plain[name] < some[name]
            assert cost > cheaper > divergence


def test_penalties_do_not_depend_on_the_gain_of_the_audio(voice: NDArray[np.float32]) -> None:
    stft = get_transform("stft", n_fft=512)
    hertz = np.linspace(0, 8000, 200)
    models = [
        INMF(4, sparsity=0.1, smoothness=0.1, decorrelation=0.1, max_iter=30, tol=0).fit(
            stft.analyze(voice[:16000] * np.float32(gain), 16000)
        )
        for gain in (1.0, 1e-3)
    ]
    assert np.abs(models[0].templates(hertz) - models[1].templates(hertz)).max() < 2e-3
    assert models[0].divergence_curve_[-1][1] == pytest.approx(models[1].divergence_curve_[-1][1], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_points_of_a_single_moment_or_frequency_are_fitted(name: str) -> None:
    random = np.random.default_rng(0)
    for shape in ((1, 8), (8, 1), (1, 1)):
        times, hertz = np.arange(shape[1]) / 10, np.arange(1, shape[0] + 1) * 100.0
        points = PointSet.from_grid(times, hertz, random.gamma(0.5, 1.0, shape) + 0.01)
        model = INMF(2, max_iter=20, **{name: 0.1}).fit(points)
        assert np.isfinite(model.predict(points)[0]).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_amounts_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=name):
        INMF(2, **{name: value})


def test_fixed_templates_and_penalties_go_together(voice: NDArray[np.float32]) -> None:
    points = get_transform("stft", n_fft=512).analyze(voice[:16000], 16000)
    hertz, times = points.blocks[0].frequencies, points.blocks[0].times
    given = INMF(4, field="matrix", max_iter=30).fit(points).templates(hertz)
    sparse, plain = (
        INMF(4, field="matrix", max_iter=60, tol=0, sparsity=amount).fit(points, templates=given, fixed=True)
        for amount in (0.3, 0.0)
    )
    assert np.allclose(sparse.templates(hertz), given, atol=1e-6)
    assert sparse.activations(times).sum() < 0.9 * plain.activations(times).sum()
