"""On a GPU the same fit gives the same model, within single precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inmf_flow.factorize import INMF
from inmf_flow.factorize.batch import fit_batch
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


@pytest.fixture(scope="module")
def clips() -> list[PointSet]:
    """Clips of several lengths and frequency axes, one with holes."""
    result = []
    for seed, (n_times, n_frequencies) in enumerate([(100, 257), (63, 257), (100, 129), (1, 257)]):
        draw = np.random.default_rng(seed)
        v = (draw.random((n_frequencies, 4)) @ draw.random((4, n_times))) ** 2
        v[draw.random(v.shape) < (0.2 if seed == 1 else 0)] = np.nan
        result.append(
            PointSet.from_grid(np.arange(n_times) / 50, np.linspace(0, 31.25 * (n_frequencies - 1), v.shape[0]), v)
        )
    return result


@pytest.mark.parametrize("beta_loss", ["kullback-leibler", "itakura-saito", "frobenius", 0.5])
@pytest.mark.parametrize("field", ["hat", "matrix"])
@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_batch_on_a_gpu_equals_fits_on_the_cpu(
    clips: list[PointSet], field: str, beta_loss: str | float, batch_size: int | None
) -> None:
    # Full periods, replayed, and a rest of 5.
    options: dict[str, Any] = {"field": field, "beta_loss": beta_loss, "max_iter": 65, "tol": 0.0}
    models = fit_batch(clips, 4, **options, batch_size=batch_size, device="cuda")
    for points, model in zip(clips, models, strict=True):
        alone = INMF(4, **options).fit(points)
        assert model.divergence(points) == pytest.approx(alone.divergence(points), rel=0.01, abs=1e-7)
        assert [at for at, _ in model.divergence_curve_] == [at for at, _ in alone.divergence_curve_]


def test_clips_of_a_batch_on_a_gpu_stop_when_they_have_settled(clips: list[PointSet]) -> None:
    models = fit_batch(clips[:3], 4, tol=1e-3, max_iter=1000, device="cuda")
    for points, model in zip(clips, models, strict=False):
        alone = INMF(4, tol=1e-3, max_iter=1000).fit(points)
        # The last digits may decide between two looks at the divergence.
        assert abs(model.n_iter_ - alone.n_iter_) <= 10


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_on_a_gpu_costs_little_divergence(clips: list[PointSet], precision: str) -> None:
    # Noise, as sound has it: a model that is exact would leave rounding alone.
    draw = np.random.default_rng(9)
    noisy = []
    for points in clips[:3]:
        block = points.blocks[0]
        values = block.magnitudes * draw.gamma(4.0, 0.25, block.magnitudes.shape)
        noisy.append(PointSet.from_grid(block.times, block.frequencies, values))
    before = torch.backends.cuda.matmul.allow_tf32
    exact, rough = (fit_batch(noisy, 4, max_iter=60, device="cuda", precision=each) for each in ("float32", precision))
    assert torch.backends.cuda.matmul.allow_tf32 == before
    for points, one, other in zip(noisy, exact, rough, strict=True):
        assert other.divergence(points) == pytest.approx(one.divergence(points), rel=0.005)


def test_equal_batches_on_a_gpu_give_equal_bits(clips: list[PointSet]) -> None:
    first, second = (fit_batch(clips, 4, max_iter=60, device="cuda") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.templates(np.arange(100) * 50.0).tobytes() == other.templates(np.arange(100) * 50.0).tobytes()


def test_updates_of_a_batch_are_replayed_as_a_graph(clips: list[PointSet], monkeypatch: pytest.MonkeyPatch) -> None:
    replays = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: replays.append(1) or replay(graph))
    fit_batch(clips, 4, max_iter=60, device="cuda", batch_size=4)
    assert len(replays) == 5


def test_a_model_fitted_on_a_gpu_is_used_on_the_cpu(points: PointSet, tmp_path: Path) -> None:
    fitted = INMF(4, max_iter=50, device="cuda").fit(points)
    fitted.save(tmp_path / "model.safetensors")
    loaded = INMF.load(tmp_path / "model.safetensors")
    frequencies = np.linspace(0, 8000, 300)
    np.testing.assert_allclose(loaded.templates(frequencies), fitted.templates(frequencies), rtol=1e-4, atol=1e-6)
