"""The closed-form gradient parts and the loss against autograd and a sum over single points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from inmf_flow.factorize import Axis, HatField, get_divergence
from inmf_flow.factorize.data import prepare_data
from inmf_flow.points import PointSet

KINDS = ("grid", "missing", "channels", "scattered", "hybrid")
BETAS = (-1.0, 0.0, 0.5, 1.0, 1.3, 2.0, 3.0)


@pytest.mark.parametrize("weights", ["area", "uniform"])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_parts_are_those_of_autograd(
    kind: str, beta: float, weights: str, make_points: Callable[..., PointSet], oracle: Any
) -> None:
    points = make_points(kind)
    data = prepare_data(points, 0.5, weights, "cpu")
    truth = oracle(points, 0.5, weights == "uniform")
    assert np.array_equal(data.frequencies, truth.frequencies)
    assert np.array_equal(data.times, truth.times)
    assert float(data.scale) == pytest.approx(truth.scale, rel=1e-5)
    assert data.weight == pytest.approx(truth.weight, rel=1e-5)

    torch.manual_seed(1)
    w = (torch.rand(len(data.frequencies), 3) + 0.05).requires_grad_(True)
    h = (torch.rand(len(data.times), 3) + 0.05).requires_grad_(True)
    loss = truth.loss(w, h, beta)
    gradients = dict(zip(("frequency", "time"), torch.autograd.grad(loss, [w, h]), strict=True))
    with torch.no_grad():
        rule = get_divergence(beta)
        if kind != "channels":  # the mean of channels has the same gradient, but a divergence of its own
            assert data.loss(rule, w, h) == pytest.approx(float(loss.detach()) / truth.weight, rel=2e-4)
        for side, gradient in gradients.items():
            negative, positive = data.parts(rule, w, h, side)  # type: ignore[arg-type]
            assert (negative >= 0).all()
            assert (positive >= 0).all()
            size = float(torch.maximum(negative, positive).max())
            assert float((positive - negative - gradient).abs().max()) < 2e-5 * size


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("kind", ["grid", "missing", "hybrid"])
def test_passes_over_few_frames_at_a_time_add_up_to_the_same(
    kind: str, beta: float, make_points: Callable[..., PointSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    points, rule = make_points(kind), get_divergence(beta)
    results = []
    for entries in (1 << 20, 30, 1):
        monkeypatch.setattr("inmf_flow.factorize.grid._ENTRIES_AT_ONCE", entries)
        data = prepare_data(points, 0.5, "area", "cpu")
        torch.manual_seed(1)
        w, h = torch.rand(len(data.frequencies), 3) + 0.05, torch.rand(len(data.times), 3) + 0.05
        tables = [part.clone() for side in ("frequency", "time") for part in data.parts(rule, w, h, side)]  # type: ignore[arg-type]
        results.append((data.loss(rule, w, h), tables))
    for loss, tables in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-5)
        for table, expected in zip(tables, results[0][1], strict=True):
            assert torch.allclose(table, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_are_those_over_single_points(kind: str, make_points: Callable[..., PointSet], oracle: Any) -> None:
    points = make_points(kind)
    data, truth = prepare_data(points, 0.5, "area", "cpu"), oracle(points, 0.5)
    for side, axis, rows in (("frequency", truth.frequencies, truth._f), ("time", truth.times, truth._t)):
        for found, values in zip(data.sums(side), (truth._weights * truth._v, truth._weights), strict=True):  # type: ignore[arg-type]
            expected = torch.zeros(len(axis), dtype=torch.float64).index_add_(0, rows, values)
            assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-9)
        assert data.mass(side).shape == data.known(side).shape  # type: ignore[arg-type]


def test_known_coordinates_are_those_with_a_present_point(make_points: Callable[..., PointSet]) -> None:
    points = make_points("missing")
    data = prepare_data(points, 0.5, "area", "cpu")
    block = points.blocks[0]
    assert np.array_equal(data.known("frequency"), block.frequencies[:-1])
    assert np.array_equal(data.known("time"), np.delete(block.times, 4))


@pytest.mark.parametrize("nodes", [1, 2, 7, 40])
def test_adjoint_of_hats_is_the_transpose_of_interpolation(nodes: int) -> None:
    coordinates = np.sort(np.random.default_rng(2).uniform(0, 5, 11))
    axis = Axis("frequency", coordinates, 0.0, 5.0)
    field = HatField.build(axis, 2, {"nodes": nodes}, np.random.default_rng(0), "cpu")
    elsewhere = field.prepare(np.linspace(-1, 6, 23))
    matrix = torch.zeros(23, len(field.nodes))
    for node in range(len(field.nodes)):
        field.coefficients = torch.zeros(len(field.nodes), 1)
        field.coefficients[node] = 1
        matrix[:, node] = field.values(elsewhere)[:, 0]
    assert torch.allclose(matrix.sum(1), torch.ones(23))
    gradient = torch.rand(23, 1)
    assert torch.allclose(field.adjoint(elsewhere, gradient), matrix.T @ gradient, atol=1e-6)
