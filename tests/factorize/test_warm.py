"""Fast fits of networks: as good as long ones by Rprop, never worse from one iteration to the next."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inmf_flow import PointSet
from inmf_flow.factorize.data import Data, prepare_data
from inmf_flow.factorize.divergences import get_divergence
from inmf_flow.factorize.feature_grid import FeatureGridField
from inmf_flow.factorize.fields import Axis, Field
from inmf_flow.factorize.hat import HatField, MatrixField
from inmf_flow.factorize.network import NetworkField
from inmf_flow.factorize.siren import SirenField
from inmf_flow.factorize.solvers import Bound, Trace, fit_activations_multiplicative, fit_multiplicative, fit_rprop
from inmf_flow.factorize.warm import fit_warm
from inmf_flow.transform import get_transform

K = 4


class Problem:
    """Data with two random fields on their axes."""

    def __init__(self, points: PointSet, w: type[Field], h: type[Field], seed: int = 0, **options: Any) -> None:
        self.data: Data = prepare_data(points, 0.5, "uniform", "cpu")
        frequencies, times = self.data.known("frequency"), self.data.known("time")
        self.axes = (
            Axis("frequency", frequencies, 0.0, float(frequencies[-1])),
            Axis("time", times, 0.0, max(points.end, float(times[-1]))),
        )
        self.random = np.random.default_rng(seed)
        fields = [
            kind.build(axis, K, options if kind is w and axis.kind == "frequency" else {}, self.random, "cpu")
            for kind, axis in zip((w, h), self.axes, strict=True)
        ]
        tables = self.data.frequencies, self.data.times
        self.w, self.h = (Bound(field, field.prepare(table)) for field, table in zip(fields, tables, strict=True))

    def warm(self, max_iter: int = 4, beta: float = 1.0, tol: float = 0.0) -> Trace:
        rule = get_divergence(beta)
        return fit_warm(self.data, self.w, self.h, rule, max_iter, tol, axes=self.axes, random=self.random)

    def divergence(self, beta: float = 1.0) -> float:
        with torch.no_grad():
            return self.data.loss(get_divergence(beta), self.w.values(), self.h.values())


@pytest.fixture(scope="module")
def spoken(voice: NDArray[np.float32]) -> Callable[[int], PointSet]:
    def points(n_fft: int) -> PointSet:
        return get_transform("stft", n_fft=n_fft).analyze(voice[:16000], 16000).without_synthesis()

    return points


@pytest.fixture(scope="module")
def fitted(spoken: Callable[[int], PointSet]) -> tuple[Problem, Trace]:
    problem = Problem(spoken(500), NetworkField, MatrixField)
    return problem, problem.warm()


def test_warm_fit_is_better_than_a_cold_one(fitted: tuple[Problem, Trace], spoken: Callable[[int], PointSet]) -> None:
    cold = Problem(spoken(500), NetworkField, MatrixField)
    field = cold.h.field
    assert isinstance(field, MatrixField)
    field.start_free(cold.random)
    long = fit_rprop(cold.data, cold.w, cold.h, get_divergence(1.0), 25, 0.0)
    assert fitted[1].curve[-1][1] < long.curve[-1][1]


def test_warm_fit_is_nearly_as_good_as_hats(fitted: tuple[Problem, Trace], spoken: Callable[[int], PointSet]) -> None:
    hats = Problem(spoken(500), HatField, MatrixField)
    trace = fit_multiplicative(hats.data, hats.w, hats.h, get_divergence(1.0), 300, 1e-4)
    assert fitted[1].curve[-1][1] < 1.03 * trace.curve[-1][1]


def test_trace_is_of_the_networks_themselves_and_never_rises(fitted: tuple[Problem, Trace]) -> None:
    problem, trace = fitted
    values = [value for _, value in trace.curve]
    assert [iteration for iteration, _ in trace.curve] == [0, 1, 2, 3, 4]
    assert trace.n_iter == 4
    assert values[-1] == pytest.approx(problem.divergence(), rel=1e-4)
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values))
    assert values[-1] < values[0]


def test_templates_serve_another_window(fitted: tuple[Problem, Trace], spoken: Callable[[int], PointSet]) -> None:
    templates = fitted[0].w.field
    found = {}
    for kind in ("frozen", "matrix"):
        there = Problem(spoken(700), MatrixField, MatrixField)
        if kind == "matrix":
            fit_multiplicative(there.data, there.w, there.h, get_divergence(1.0), 200, 1e-5)
        else:
            w = torch.from_numpy(templates.evaluate(there.data.frequencies))
            fit_activations_multiplicative(there.data, w, there.h, get_divergence(1.0), 200)
            there.w = Bound(there.w.field, there.w.prepared)
            there.w.field.coefficients = w  # type: ignore[attr-defined]
        found[kind] = there.divergence()
    assert found["frozen"] < 1.2 * found["matrix"]


def test_equal_seeds_give_equal_networks(make_points: Callable[..., PointSet]) -> None:
    states = []
    for _ in range(2):
        problem = Problem(make_points("hybrid"), NetworkField, NetworkField, seed=7)
        problem.warm(2)
        states.append([bound.field.state() for bound in (problem.w, problem.h)])
    for first, second in zip(*states, strict=True):
        assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("kind", [NetworkField, SirenField, FeatureGridField], ids=lambda kind: str(kind.name))
def test_any_network_any_divergence_any_points(
    kind: type[Field], beta: float, make_points: Callable[..., PointSet]
) -> None:
    problem = Problem(make_points("hybrid"), kind, kind)
    trace = problem.warm(12, beta)
    values = [value for _, value in trace.curve]
    assert all(after <= before * (1 + 1e-5) for before, after in pairwise(values))
    flat = Problem(make_points("hybrid"), HatField, HatField)
    with torch.no_grad():
        for bound in (flat.w, flat.h):
            bound.field.coefficients.fill_(K**-0.5)  # type: ignore[attr-defined]
    assert values[-1] < 0.6 * flat.divergence(beta)
    assert problem.divergence(beta) == pytest.approx(values[-1], rel=1e-3)


def test_many_coordinates_are_followed_by_narrow_networks() -> None:
    rng = np.random.default_rng(0)
    times, frequencies = np.sort(rng.uniform(0, 4, 1500)), rng.integers(1, 40, 1500) * 200.0
    # Two smooth spectra that come and go in turns.
    level = 0.5 + 0.5 * np.sin(2 * np.pi * times / 1.3)
    one, other = np.exp(-frequencies / 3000), np.exp(-(((frequencies - 5000) / 1500) ** 2))
    heights = level * one + (1 - level) * other + 0.01
    points = PointSet.from_points(times, frequencies, heights**2, duration=4.0)
    problem = Problem(points, NetworkField, NetworkField, hidden=8)
    before = problem.divergence()
    trace = problem.warm(3)
    assert trace.curve[-1][1] < 0.1 * before


def test_stops_where_iterations_no_longer_help(make_points: Callable[..., PointSet]) -> None:
    problem = Problem(make_points("grid"), NetworkField, MatrixField)
    assert problem.warm(50, tol=0.05).n_iter < 50
