"""The fields made of networks: their derivatives, their files, and that that order and chunks change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize.feature_grid import FeatureGridField
from inmf_flow.factorize.fields import Axis
from inmf_flow.factorize.network import NetworkField
from inmf_flow.factorize.neural import NeuralField
from inmf_flow.factorize.siren import SirenField

KINDS: dict[type[NeuralField], dict[str, Any]] = {
    NetworkField: {"hidden": 6, "layers": 2, "features": 4},
    SirenField: {"hidden": 6, "layers": 3, "omega": 20.0},
    FeatureGridField: {"levels": 3, "finest": 12, "features": 2, "hidden": 5},
}
HERTZ = np.sort(np.random.default_rng(3).uniform(0, 8000, 23))

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def build(kind: type[NeuralField], n_components: int = 3, seed: int = 0, **options: Any) -> NeuralField:
    axis = Axis("frequency", HERTZ, 0.0, 8000.0)
    field = kind.build(axis, n_components, {**KINDS[kind], **options}, np.random.default_rng(seed), "cpu")
    assert isinstance(field, kind)
    return field


def moved(kind: type[NeuralField]) -> NeuralField:
    """A field away from its start, where the tables of a grid are nearly 0."""
    field = build(kind)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter += 0.3 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.3)
    return field


def jacobian(field: NeuralField, k: int, parameters: list[torch.Tensor]) -> torch.Tensor:
    rows = []
    for n in range(len(HERTZ)):
        output = field.head(field.prepare(HERTZ), 0)[k, n]
        rows.append(torch.cat([g[k].flatten() for g in torch.autograd.grad(output, parameters)]))
    return torch.stack(rows)


@kinds
@pytest.mark.parametrize("first", [0, 1])
def test_kernel_is_that_of_autograds_jacobian(kind: type[NeuralField], first: int) -> None:
    field = moved(kind)
    prepared = field.prepare(HERTZ)
    with torch.no_grad():
        linear = field.linearize(field.trunk(prepared, first), first)
        assert torch.allclose(linear.outputs, field.head(prepared, 0), atol=1e-5)
    parameters = [tensor for pair in field.linear_parameters(first) for tensor in pair if tensor is not None]
    assert len(parameters) == len(field.parameters()) if first == 0 else len(parameters) < len(field.parameters())
    cotangent = torch.randn(3, len(HERTZ), generator=torch.Generator().manual_seed(1))
    steps = [tensor for pair in linear.pull_back(cotangent) for tensor in pair if tensor is not None]
    for k in range(3):
        full = jacobian(field, k, parameters)
        expected = full @ full.T
        assert float((linear.gram(k) - expected).abs().max()) < 1e-4 * float(expected.abs().max())
        pulled = torch.cat([step[k].flatten() for step in steps])
        assert torch.allclose(pulled, full.T @ cotangent[k], rtol=1e-3, atol=1e-4 * float(pulled.abs().max()))


@kinds
def test_order_and_number_of_coordinates_change_nothing(kind: type[NeuralField]) -> None:
    field = moved(kind)
    hertz = np.linspace(-100, 8300, 61)
    whole = field.evaluate(hertz)
    order = np.random.default_rng(0).permutation(61)
    assert (whole >= 0).all()
    assert np.ptp(whole, axis=0).min() > 1e-3
    assert np.allclose(field.evaluate(hertz[order]), whole[order], atol=1e-6)
    pieces = [field.evaluate(piece) for piece in np.array_split(hertz, 7)]
    assert np.allclose(np.concatenate(pieces), whole, atol=1e-6)
    assert np.allclose(whole[hertz > 8000], field.evaluate(np.array([8000.0])), atol=1e-6)


@kinds
def test_state_gives_the_same_field(kind: type[NeuralField]) -> None:
    field = moved(kind)
    field.scale(torch.tensor([0.5, 2.0, 3.0]))
    state = field.state()
    again = kind.from_state({name: array.copy() for name, array in state.items()}, 3, "cpu")
    assert isinstance(again, kind)
    assert np.array_equal(again.evaluate(HERTZ), field.evaluate(HERTZ))
    assert {name: array.tobytes() for name, array in again.state().items()} == {
        name: array.tobytes() for name, array in state.items()
    }
    assert all(parameter.requires_grad for parameter in again.parameters())


def damages(name: str, array: NDArray[Any]) -> list[NDArray[Any]]:
    spoiled = array.copy()
    spoiled.flat[0] = np.nan
    other = np.float32 if array.dtype == np.float64 else np.float64
    return [spoiled, array.astype(other), array[..., :0], np.concatenate([array, array]), array[None]]


@kinds
def test_damaged_state_is_refused(kind: type[NeuralField]) -> None:
    state = build(kind).state()
    for name, array in state.items():
        for damaged in damages(name, array):
            with pytest.raises(ValueError, match=r"network|siren|grid|layer|weight|bias|table|range|gain|omega|phases"):
                kind.from_state({**state, name: damaged}, 3, "cpu")
        with pytest.raises((KeyError, ValueError)):
            kind.from_state({key: value for key, value in state.items() if key != name}, 3, "cpu")
    with pytest.raises(ValueError, match=r"fit|follow"):
        kind.from_state(state, 4, "cpu")
    with pytest.raises(ValueError, match="negative"):
        kind.from_state({**state, "range": state["range"][::-1].copy()}, 3, "cpu")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SirenField, {"omega": 0}),
        (SirenField, {"omega": True}),
        (SirenField, {"hidden": 0}),
        (SirenField, {"features": 3}),
        (FeatureGridField, {"levels": 0}),
        (FeatureGridField, {"finest": 1}),
        (FeatureGridField, {"features": 1.5}),
        (FeatureGridField, {"layers": 2}),
    ],
)
def test_bad_options_are_named(kind: type[NeuralField], options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        build(kind, **options)


def test_siren_starts_as_published() -> None:
    field = build(SirenField, 20, hidden=40, omega=100.0)
    assert float(field.weights[0].detach().abs().max()) <= 1
    bound = (6 / 40) ** 0.5 / 30
    for weight in field.weights[1:]:
        assert 0.95 * bound < float(weight.detach().abs().max()) <= bound * (1 + 1e-6)
    x = np.linspace(-1, 1, 9)
    with torch.no_grad():
        plain = torch.from_numpy(x).float()[:, None]
        for i, (weight, bias) in enumerate(zip(field.weights, field.biases, strict=True)):
            plain = plain @ weight[7] + bias[7]
            if i < 3:
                plain = torch.sin((100 if i == 0 else 30) * plain)
    expected = torch.nn.functional.softplus(plain[:, 0]).numpy()
    assert np.allclose(field.evaluate((x + 1) * 4000)[:, 7], expected, atol=1e-4)


def test_grid_is_linear_between_entries_of_its_finest_table() -> None:
    field = build(FeatureGridField, levels=1, finest=5)
    assert isinstance(field, FeatureGridField)
    with torch.no_grad():
        field.tables[0].uniform_(-1, 1)
        entries = field.features(field.prepare(np.linspace(0, 8000, 5)))
        between = field.features(field.prepare(np.array([500.0, 7000.0])))
    assert torch.allclose(entries, field.tables[0].detach(), atol=1e-6)
    assert torch.allclose(between[:, 0], 0.75 * entries[:, 0] + 0.25 * entries[:, 1], atol=1e-6)
    assert torch.allclose(between[:, 1], 0.5 * (entries[:, 3] + entries[:, 4]), atol=1e-6)
