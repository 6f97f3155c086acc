"""Point sets of every kind, and the loss written out point by point in double precision as an oracle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.points import GridBlock, PointSet, ScatteredBlock

if TYPE_CHECKING:
    from inmf_flow.factorize.data import Data

EPSILON = 1e-8
KINDS = ("grid", "missing", "channels", "scattered", "hybrid")


def make_points(kind: str, seed: int = 0) -> PointSet:
    """Return small points: a grid, one with NaN and zero weights, one of two channels, scattered ones, or all."""
    rng = np.random.default_rng(seed)
    times, frequencies = np.sort(rng.uniform(0, 1, 9)), np.sort(rng.uniform(0, 4000, 13))
    values = rng.gamma(0.4, 1.0, (13, 9)) + 0.01
    grid = GridBlock.build(times, frequencies, values)
    holes = np.where(rng.random(values.shape) < 0.2, np.nan, values)
    keep = np.ones(9)
    keep[4] = 0
    missing = GridBlock.build(times, frequencies, holes, time_weights=keep).below(float(frequencies[-2]))
    channels = GridBlock.build(times, frequencies, rng.gamma(0.4, 1.0, (2, 13, 9)) + 0.01)
    place = rng.integers(0, 12, (2, 60))
    heights = rng.gamma(0.4, 1.0, 60) + 0.01
    heights[5] = np.nan
    weights = rng.random(60)
    weights[7] = 0
    scattered = ScatteredBlock.build(place[0] / 12, place[1] * 300.0, heights, weights=weights)
    other = GridBlock.build(np.linspace(0, 1, 5), frequencies[::2], rng.gamma(0.4, 1.0, (7, 5)) + 0.01)
    blocks = {
        "grid": (grid,),
        "missing": (missing,),
        "channels": (channels,),
        "scattered": (scattered,),
        "hybrid": (missing, scattered, ScatteredBlock.build([], [], []), other),
    }
    return PointSet(blocks[kind], duration=1.0)


def each_point(points: PointSet, power: float, uniform: bool) -> Iterator[tuple[float, float, float, float]]:
    """Yield (seconds, hertz, magnitude^power, weight) of each present point; channels share their point's weight."""
    for block in points.blocks:
        if isinstance(block, GridBlock):
            f_grid, t_grid = np.meshgrid(block.frequencies, block.times, indexing="ij")
        else:
            f_grid, t_grid = block.frequencies, block.times
        layers = block.magnitudes if block.magnitudes.ndim > f_grid.ndim else block.magnitudes[None]
        weights = (block.weights > 0).astype(float) if uniform else block.weights.astype(float)
        for layer in layers.astype(float) ** power:
            for t, f, v, weight in zip(t_grid.flat, f_grid.flat, layer.flat, weights.flat, strict=True):
                if np.isfinite(v) and weight > 0:
                    yield t, f, v, weight / len(layers)


def divergence(v: Tensor, v_hat: Tensor, beta: float) -> Tensor:
    """Return the beta-divergence as Févotte & Idier (2011), equation 2, define it."""
    if beta == 1:
        return v * torch.log(v / v_hat) - v + v_hat
    if beta == 0:
        return v / v_hat - torch.log(v / v_hat) - 1
    return (v**beta + (beta - 1) * v_hat**beta - beta * v * v_hat ** (beta - 1)) / (beta * (beta - 1))


class Oracle:
    """The weighted loss of all points in double precision, differentiable by the tables of W [NF, K] and H [NT, K]."""

    def __init__(self, points: PointSet, power: float = 0.5, uniform: bool = False) -> None:
        rows = np.array(list(each_point(points, power, uniform)))
        self.times = np.unique(np.concatenate([block.times for block in points.blocks]))
        self.frequencies = np.unique(np.concatenate([block.frequencies for block in points.blocks]))
        self.scale = float((rows[:, 2] * rows[:, 3]).sum() / rows[:, 3].sum())
        self.weight = float(rows[:, 3].sum())
        self._v = torch.from_numpy(rows[:, 2] / self.scale + EPSILON)
        self._weights = torch.from_numpy(rows[:, 3])
        self._t = torch.from_numpy(np.searchsorted(self.times, rows[:, 0]))
        self._f = torch.from_numpy(np.searchsorted(self.frequencies, rows[:, 1]))

    def loss(self, w: Tensor, h: Tensor, beta: float) -> Tensor:
        model = (w.double()[self._f] * h.double()[self._t]).sum(1) + EPSILON
        return (divergence(self._v, model, beta) * self._weights).sum()


def without_looks(data: Data) -> Data:
    """Return data whose divergence seems to fall at each look: no update is taken back, as rises must show in tests."""
    falling = count(0.0, -1e9)
    data.loss = lambda *_: next(falling)  # type: ignore[method-assign]
    return data


@pytest.fixture(name="without_looks")
def without_looks_fixture() -> Callable[[Data], Data]:
    return without_looks


@pytest.fixture(name="make_points")
def make_points_fixture() -> Callable[..., PointSet]:
    return make_points


@pytest.fixture
def oracle() -> type[Oracle]:
    return Oracle


@pytest.fixture(scope="session")
def voice(speech: dict[str, Path]) -> NDArray[np.float32]:
    """Three seconds of read speech at 16 kHz."""
    from inmf_flow.audio import read_audio

    audio, rate = read_audio(speech["female_train"])
    assert rate == 16000
    return audio[0, 16000 : 4 * 16000]
