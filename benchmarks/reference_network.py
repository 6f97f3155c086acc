"""The published method, as an opponent: arXiv 2404.04439, with the loop over points written as array operations.

Written from the paper's description. What is kept of the published way of computing: one network per component, run
one after the other; networks run at every point (for one STFT: at every bin), however many share a coordinate;
gradients by autograd; Rprop on all points. What is not kept: its loop over points in Python, which would make the
opponent hundreds of times slower and any comparison worthless.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from inmf_flow.points import GridBlock, PointSet

EPSILON = 1e-8
Callback = Callable[[int, float, float], None]


class Network(nn.Module):
    """A non-negative function of a coordinate in [-0.5, 0.5): Fourier features, sine layers, softplus."""

    def __init__(self, hidden: int, octaves: int = 10, layers: int = 3) -> None:
        super().__init__()
        self.register_buffer("scales", torch.pi * 2.0 ** torch.arange(octaves))
        self.register_buffer("phases", torch.randn(octaves))
        self.first = nn.Linear(2 * octaves, hidden)
        self.hidden = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(layers)])
        self.last = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the function at coordinates [N], shape [N]."""
        angles = x[:, None] * self.scales + self.phases
        x = self.first(torch.cat([angles.cos(), angles.sin()], dim=1))
        for layer in self.hidden:
            x = layer(x).sin()
        return nn.functional.softplus(self.last(x)).squeeze(1)


class ScatteredModel(nn.Module):
    """Networks for templates and for activations, run at every point: the paper's model for irregular points."""

    def __init__(self, points: PointSet, n_components: int, hidden: int, power: float) -> None:
        super().__init__()
        times, frequencies, magnitudes = flatten(points)
        self.register_buffer("f", coordinate(frequencies))
        self.register_buffer("t", coordinate(times))
        self.register_buffer("v", torch.from_numpy(magnitudes**power))
        self.w = nn.ModuleList([Network(hidden) for _ in range(n_components)])
        self.h = nn.ModuleList([Network(hidden) for _ in range(n_components)])

    def forward(self) -> Tensor:
        """Return the model at every point, [P]."""
        return torch.stack([w(self.f) * h(self.t) for w, h in zip(self.w, self.h, strict=True)]).sum(0)


class StftModel(nn.Module):
    """Networks for templates and a free matrix, through softplus, for activations: the paper's model for one STFT."""

    def __init__(self, points: PointSet, n_components: int, hidden: int, power: float) -> None:
        super().__init__()
        block = points.blocks[0]
        self.register_buffer("f", coordinate(block.frequencies))
        self.register_buffer("v", torch.from_numpy(block.magnitudes**power))
        self.w = nn.ModuleList([Network(hidden) for _ in range(n_components)])
        self.h = nn.Parameter(torch.rand(n_components, len(block.times)))

    def forward(self) -> Tensor:
        """Return the model at every point, [F, T]."""
        templates = torch.stack([w(self.f) for w in self.w], dim=1)
        return templates @ nn.functional.softplus(self.h)


@dataclass
class Run:
    """How a fit went: (iteration, CPU seconds spent so far, divergence), the last one after all iterations."""

    seed: int
    curve: list[tuple[int, float, float]] = field(default_factory=list)

    @property
    def divergence(self) -> float:
        """The divergence at the end."""
        return self.curve[-1][2]

    @property
    def seconds(self) -> float:
        """CPU seconds of the whole fit."""
        return self.curve[-1][1]

    @property
    def iterations(self) -> int:
        """Iterations after which the divergence was first as low as at the end."""
        return next(iteration for iteration, _, value in self.curve if value <= self.divergence)


class Reference:
    """The published fit of a point set, to be run step by step.

    Parameters
    ----------
    points
        A single grid is fitted with a matrix of activations, anything else with networks for both factors.
    n_components
        Number of components.
    hidden
        Width of the networks: 64, or 16 in the paper's scene of two notes.
    seed
        Of weights, phases and activations.
    """

    def __init__(
        self, points: PointSet, n_components: int, hidden: int = 64, seed: int = 0, power: float = 0.5
    ) -> None:
        one_grid = len(points.blocks) == 1 and isinstance(points.blocks[0], GridBlock)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model: nn.Module = (StftModel if one_grid else ScatteredModel)(points, n_components, hidden, power)
        self.seed = seed
        self.optimizer = torch.optim.Rprop(self.model.parameters(), lr=1e-3)

    def loss(self) -> Tensor:
        """Return the mean generalized Kullback-Leibler divergence over the points."""
        v, model = self.model.v, self.model()
        return (v * torch.log((v + EPSILON) / (model + EPSILON)) - v + model).mean()

    def step(self) -> float:
        """Run one iteration; return the divergence before it."""
        self.optimizer.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def fit(self, iterations: int = 1000, callback: Callback | None = None) -> Run:
        """Run the fit; the callback gets (iterations done, CPU seconds, divergence), its own time not counted."""
        run, spent = Run(self.seed), 0.0
        for iteration in range(iterations + 1):
            begin = time.process_time()
            if iteration < iterations:
                divergence = self.step()
            else:
                with torch.no_grad():
                    divergence = self.loss().item()
            # A step's loss is that of the steps before it, and so is the time until then.
            run.curve.append((iteration, spent, divergence))
            if iteration < iterations:
                spent += time.process_time() - begin
            if callback is not None:
                callback(*run.curve[-1])
        return run


def flatten(points: PointSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return seconds, hertz and magnitudes of every point, each [P]."""
    times, frequencies, magnitudes = [], [], []
    for block in points.blocks:
        t, f = block.times, block.frequencies
        if isinstance(block, GridBlock):
            t, f = np.broadcast_to(t, block.magnitudes.shape), np.broadcast_to(f[:, None], block.magnitudes.shape)
        times.append(t.ravel())
        frequencies.append(f.ravel())
        magnitudes.append(block.magnitudes.ravel())
    return np.concatenate(times), np.concatenate(frequencies), np.concatenate(magnitudes)


def coordinate(values: np.ndarray) -> Tensor:
    """Map coordinates from 0 to their largest onto -0.5 to 0.5."""
    return torch.from_numpy((values / values.max() - 0.5).astype(np.float32))
