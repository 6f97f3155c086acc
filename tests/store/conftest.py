from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.store import PointsStore


def make_points(seed: int, times: int = 40) -> PointSet:
    """Return points of every kind: grids (one with channels and NaN), scattered points, an empty block."""
    rng = np.random.default_rng(seed)
    clock = np.cumsum(rng.uniform(0.01, 0.02, times))
    with_gaps = rng.random((2, 7, times)).astype(np.float32)
    with_gaps[0, 3, 5:9] = np.nan
    blocks = (
        GridBlock.build(clock, np.linspace(0, 8000, 33), rng.random((33, times)), duration=1.0, nyquist=8000.0),
        GridBlock.build(clock, np.geomspace(50, 800, 7), with_gaps),
        ScatteredBlock.build(rng.random(60), rng.random(60) * 8000, rng.random(60), weights=rng.random(60)),
        ScatteredBlock.build([], [], []),
    )
    return PointSet(blocks, sample_rate=16000, duration=1.0, calibration="tone")


def bits(points: PointSet) -> list[tuple[object, ...]]:
    """Return everything that a store keeps of a point set in a form that compares bit by bit."""
    rows: list[tuple[object, ...]] = [(points.sample_rate, points.duration, points.calibration)]
    for block in points.blocks:
        names = ["times", "frequencies", "magnitudes"]
        grid = isinstance(block, GridBlock)
        names += ["time_weights", "frequency_weights"] if grid else ["point_weights"]
        arrays = [getattr(block, name) for name in names]
        rows.append((type(block).__name__, *((a.shape, a.dtype.str, a.tobytes()) for a in arrays)))
    return rows


@pytest.fixture(name="make_points")
def make_points_fixture() -> Callable[..., PointSet]:
    return make_points


@pytest.fixture(name="bits")
def bits_fixture() -> Callable[[PointSet], list[tuple[object, ...]]]:
    return bits


@pytest.fixture
def filled(tmp_path: Path) -> PointsStore:
    """Return a store of two parts: p0 with items a and b, p1 with item c."""
    store = PointsStore.create(tmp_path / "points.zarr")
    store.write_part("p0", {"a": make_points(0), "b": make_points(1, 50)}, {"a": "ka", "b": "kb"}, "hash")
    store.write_part("p1", {"c": make_points(2)}, {"c": "kc"}, "hash")
    return store
