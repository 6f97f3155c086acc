"""docs/plugins.md: its fields and its divergence work as written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inmf_flow import INMF, PointSet, registry
from inmf_flow.errors import ArgumentError, ModelFileError
from inmf_flow.factorize import Axis, Field, LinearField

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()


def _module(title: str) -> dict[str, Any]:
    found = re.search(rf'^```python title="{re.escape(title)}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the page has no listing {title}"
    namespace: dict[str, Any] = {"__name__": title.removesuffix(".py")}
    exec(compile(found[1], f"docs/plugins.md {title}", "exec"), namespace)
    return namespace


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Everything that the listings register."""
    for title in ("inmf_steps.py", "inmf_bells.py"):
        _module(title)["register_fields"](lambda cls: registry.fields.register(cls.name, cls))
    _module("inmf_hellinger.py")["register_divergences"](lambda one: registry.divergences.register(one.name, one))
    yield
    registry.fields.unregister("steps")
    registry.fields.unregister("bells")
    registry.divergences.unregister("hellinger")


@pytest.fixture
def points() -> PointSet:
    frequencies, times = np.linspace(0, 8000, 65), np.arange(50) / 50
    bell = np.exp(-(((frequencies[:, None] - np.array([800, 3000])) / 500) ** 2))
    magnitudes = bell @ np.random.default_rng(0).uniform(0, 1, (2, 50)) + 0.01
    return PointSet.from_grid(times, frequencies, magnitudes)


@pytest.mark.parametrize("field", ["steps", "steps:bands=64", "bells"])
@pytest.mark.parametrize("time_field", ["auto", "matrix", "same"])
def test_a_field_learns_is_saved_and_serves_to_separate(
    points: PointSet, tmp_path: Path, field: str, time_field: str
) -> None:
    model = INMF(2, field=field, time_field=field if time_field == "same" else time_field, max_iter=200).fit(points)
    curve = [value for _, value in model.divergence_curve_]
    assert min(curve) < 0.8 * curve[0]
    model.save(tmp_path / "m.safetensors")
    loaded = INMF.load(tmp_path / "m.safetensors")
    wanted = np.array([0.0, 123.4, 7999.0, 8000.0, 9000.0])
    np.testing.assert_array_equal(loaded.templates(wanted), model.templates(wanted))
    np.testing.assert_array_equal(loaded.activations([0.0, 0.33, 5.0]), model.activations([0.0, 0.33, 5.0]))
    assert np.isfinite(loaded.templates(wanted)).all()
    assert (loaded.templates(wanted) >= 0).all()
    assert loaded.templates(points.blocks[0].frequencies).max() == pytest.approx(1)
    assert loaded.transform(points).values.shape == (2, 50)


def test_steps_fit_without_ever_rising_and_by_rprop_too(points: PointSet) -> None:
    model = INMF(2, field="steps", max_iter=100, tol=0).fit(points)
    curve = [value for _, value in model.divergence_curve_]
    assert all(b <= a * (1 + 1e-5) for a, b in pairwise(curve))
    model = INMF(2, field="steps", optimizer="rprop", max_iter=200).fit(points)
    assert model.divergence_curve_[-1][1] < model.divergence_curve_[0][1]


def test_the_adjoint_of_steps_is_the_transpose_of_values() -> None:
    axis = Axis("frequency", np.linspace(0, 100, 40), 0.0, 100.0)
    steps: Any = registry.fields.get("steps").build(axis, 3, {"bands": 7}, np.random.default_rng(0), "cpu")  # type: ignore[attr-defined]
    assert isinstance(steps, LinearField)
    prepared = steps.prepare(axis.coordinates)
    other = torch.randn(40, 3)
    left = (steps.values(prepared) * other).sum()
    right = (steps.coefficients * steps.adjoint(prepared, other)).sum()
    torch.testing.assert_close(left, right)


def test_what_is_wrong_is_refused(points: PointSet, tmp_path: Path) -> None:
    for spec in ("steps:bands=0", "steps:bands=x", "steps:band=3", "bells:width=2"):
        with pytest.raises(ArgumentError):
            INMF(2, field=spec).fit(points)
    model = INMF(2, field="steps", max_iter=5).fit(points)
    model.save(tmp_path / "m.safetensors")
    registry.fields.unregister("steps")
    with pytest.raises(ModelFileError, match="steps"):
        INMF.load(tmp_path / "m.safetensors")


def test_the_divergence_never_rises_and_is_what_it_says(points: PointSet) -> None:
    model = INMF(2, beta_loss="hellinger", max_iter=100, tol=0).fit(points)
    curve = [value for _, value in model.divergence_curve_]
    assert curve[-1] < 0.1 * curve[0]
    assert all(b <= a * (1 + 1e-5) + 1e-12 for a, b in pairwise(curve))


def test_the_parts_of_the_divergence_are_its_derivative() -> None:
    rule: Any = registry.divergences.get("hellinger")
    v = torch.rand(50, dtype=torch.float64) + 0.1
    v_hat = (torch.rand(50, dtype=torch.float64) + 0.1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(rule.value(v, v_hat).sum(), v_hat)
    buffer = v_hat.detach().clone()
    assert rule.positive_part(v, buffer) is None
    torch.testing.assert_close(1 - rule.negative_part(v, buffer, out=buffer), gradient)


def test_every_part_of_the_contracts_is_in_a_table() -> None:
    from inmf_flow.factorize import Divergence

    for cls in (Field, LinearField, Divergence):
        for name in cls.__abstractmethods__:
            assert re.search(rf"^\| .*`{name}\(", PAGE, re.MULTILINE), name
