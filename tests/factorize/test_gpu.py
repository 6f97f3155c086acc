"""On a GPU the same fit gives the same model, within single precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inmf_flow.factorize import INMF
from inmf_flow.points import PointSet

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


@pytest.fixture(scope="module")
def points() -> PointSet:
    random = np.random.default_rng(0)
    v = (random.random((257, 4)) @ random.random((4, 100))) ** 2
    return PointSet.from_grid(np.arange(100) / 50, np.linspace(0, 8000, 257), v)


@pytest.mark.parametrize("field", ["hat", "matrix", "network"])
def test_fitting_on_a_gpu_equals_fitting_on_the_cpu(points: PointSet, field: str) -> None:
    fits = [INMF(4, field=field, max_iter=50, tol=0, device=device).fit(points) for device in ("cpu", "cuda")]
    cpu, gpu = (model.divergence(points) for model in fits)
    assert gpu == pytest.approx(cpu, rel=0.01)


def test_a_model_fitted_on_a_gpu_is_used_on_the_cpu(points: PointSet, tmp_path: Path) -> None:
    fitted = INMF(4, max_iter=50, device="cuda").fit(points)
    fitted.save(tmp_path / "model.safetensors")
    loaded = INMF.load(tmp_path / "model.safetensors")
    frequencies = np.linspace(0, 8000, 300)
    np.testing.assert_allclose(loaded.templates(frequencies), fitted.templates(frequencies), rtol=1e-4, atol=1e-6)
