"""The network field against the paper's networks, written plainly as one module a component."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inmf_flow import INMF, PointSet
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import Axis, NetworkField, get_divergence
from inmf_flow.factorize.data import prepare_data
from inmf_flow.factorize.solvers import Bound, fit_rprop


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class PaperNetwork(nn.Module):
    """One component on one axis: arXiv 2404.04439, section III."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.register_buffer("phases", torch.randn(10))
        self.layers = nn.Sequential(
            nn.Linear(20, hidden),
            nn.Linear(hidden, hidden),
            Sine(),
            nn.Linear(hidden, hidden),
            Sine(),
            nn.Linear(hidden, hidden),
            Sine(),
            nn.Linear(hidden, 1),
            nn.Softplus(),
        )

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for wave in (torch.cos, torch.sin):
            features += [wave(torch.pi * 2**j * x + self.phases[j]) for j in range(10)]
        return self.layers(torch.stack(features, dim=-1))[:, 0]

    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]


def copied(field: NetworkField, hidden: int = 64) -> nn.ModuleList:
    """Return the paper's networks with the field's parameters, in double precision."""
    networks = nn.ModuleList()
    for k in range(len(field.gain)):
        network = PaperNetwork(hidden)
        network.phases.copy_(field.phases[k, 0])
        with torch.no_grad():
            for layer, weight, bias in zip(network.linears(), field.weights, field.biases, strict=True):
                layer.weight.copy_(weight[k].T)
                layer.bias.copy_(bias[k, 0])
        networks.append(network)
    return networks.double()


def table(networks: nn.ModuleList, x: np.ndarray[Any, Any]) -> Tensor:
    return torch.stack([network(torch.from_numpy(x)) for network in networks], dim=1)


def build(
    n_components: int, seed: int = 0, kind: str = "frequency", high: float = 8000.0, **options: int
) -> NetworkField:
    axis = Axis(kind, np.linspace(0, high, 5), 0.0, high)
    return NetworkField.build(axis, n_components, options, np.random.default_rng(seed), "cpu")


def test_values_are_the_papers() -> None:
    field = build(5)
    hertz = np.linspace(0, 8000, 401)
    expected = table(copied(field), hertz / 8000 - 0.5).detach().numpy()
    assert np.abs(field.evaluate(hertz) - expected).max() < 1e-4
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_start_has_the_distribution_of_torchs_linear_layers() -> None:
    from scipy.stats import ks_2samp, kstest

    field = build(20)
    assert [tuple(weight.shape[1:]) for weight in field.weights] == [(20, 64), *[(64, 64)] * 3, (64, 1)]
    torch.manual_seed(0)
    reference = [PaperNetwork() for _ in range(20)]
    for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
        bound = weight.shape[1] ** -0.5
        for mine, name in ((weight, "weight"), (bias, "bias")):
            theirs = torch.cat([getattr(network.linears()[i], name).detach().flatten() for network in reference])
            assert float(mine.detach().abs().max()) <= bound * (1 + 1e-6)
            assert ks_2samp(mine.detach().flatten().numpy(), theirs.numpy()).pvalue > 1e-4
    assert kstest(build(200).phases.flatten().numpy(), "norm").pvalue > 1e-4
    assert len(np.unique(field.phases.numpy())) == 200


def test_fit_follows_the_papers_program(make_points: Callable[..., PointSet], oracle: Any) -> None:
    points = make_points("hybrid")
    data = prepare_data(points, 0.5, "area", "cpu")
    truth = oracle(points)
    top = float(data.frequencies[-1])
    w, h = build(2, 1, high=top, hidden=16), build(2, 2, kind="time", high=1.0, hidden=16)
    networks = nn.ModuleList([copied(w, 16), copied(h, 16)])
    optimizer = torch.optim.Rprop(networks.parameters(), lr=1e-3)
    curve = []
    for iteration in range(31):
        optimizer.zero_grad()
        tables = table(networks[0], truth.frequencies / top - 0.5), table(networks[1], truth.times - 0.5)
        loss = truth.loss(*tables, 1.0) / truth.weight
        if iteration % 10 == 0:
            curve.append(float(loss.detach()))
        loss.backward()
        if iteration == 0:
            first = [[layer.weight.grad.clone() for layer in network.linears()] for network in networks[0]]
        optimizer.step()

    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    before = [weight.detach().clone() for weight in w.weights]
    one = fit_rprop(data, *bounds, get_divergence("kullback-leibler"), 1, 0.0)
    assert one.n_iter == 1
    for i, (old, new) in enumerate(zip(before, w.weights, strict=True)):
        gradient = torch.stack([layers[i].T for layers in first])
        clear = gradient.abs() > 1e-3 * gradient.abs().max()
        assert torch.allclose((new.detach() - old)[clear], -1e-3 * gradient.sign()[clear].float(), atol=1e-6)

    w, h = build(2, 1, high=top, hidden=16), build(2, 2, kind="time", high=1.0, hidden=16)
    bounds = Bound(w, w.prepare(data.frequencies)), Bound(h, h.prepare(data.times))
    trace = fit_rprop(data, *bounds, get_divergence("kullback-leibler"), 30, 0.0)
    assert [iteration for iteration, _ in trace.curve] == [0, 10, 20, 30]
    assert np.allclose([value for _, value in trace.curve], curve, rtol=0.02)
    assert curve[-1] < 0.7 * curve[0]


@pytest.mark.parametrize("field", ["network", "hat", "matrix"])
def test_rprop_lowers_the_divergence_of_any_field(field: str, make_points: Callable[..., PointSet]) -> None:
    model = INMF(3, field=field, optimizer="rprop", max_iter=60, tol=0).fit(make_points("grid"))
    values = [value for _, value in model.divergence_curve_]
    assert model.n_iter_ == 60
    assert values[-1] < 0.6 * values[0]


def test_one_grid_gets_a_network_for_templates_and_a_matrix_for_activations(
    make_points: Callable[..., PointSet],
) -> None:
    fitted = {
        kind: INMF(2, field="network", max_iter=3).fit(make_points(kind)) for kind in ("grid", "hybrid", "scattered")
    }
    kinds = {kind: (type(model._w).__name__, type(model._h).__name__) for kind, model in fitted.items()}
    assert kinds == {
        "grid": ("NetworkField", "MatrixField"),
        "hybrid": ("NetworkField", "NetworkField"),
        "scattered": ("NetworkField", "NetworkField"),
    }


@pytest.mark.parametrize("spec", ["network:hidden=0", "network:layers=99", "network:features=2.5", "network:width=3"])
def test_bad_options_are_named(spec: str, make_points: Callable[..., PointSet]) -> None:
    with pytest.raises(ArgumentError, match=r"hidden|layers|features|width"):
        INMF(2, field=spec).fit(make_points("grid"))


def test_sizes_of_every_layer_follow_the_options() -> None:
    field = build(2, hidden=8, layers=2, features=4)
    sizes = [weight.shape[1] for weight in field.weights] + [1]
    assert list(pairwise(sizes)) == [(8, 8), (8, 8), (8, 8), (8, 1)]
