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
