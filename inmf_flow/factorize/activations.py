"""Activations of points under frozen templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.data import Data, GridData, prepare_data
from inmf_flow.factorize.divergences import get_divergence
from inmf_flow.factorize.fields import FLOOR
from inmf_flow.factorize.hat import HatField
from inmf_flow.factorize.solvers import Bound, fit_activations_multiplicative
from inmf_flow.points import PointSet

# Activations of points that share no frames are straight lines between ticks of this clock.
_NODES_A_SECOND = 64

Templates = Callable[[NDArray[np.float64]], NDArray[np.float32]]


@dataclass(frozen=True, repr=False)
class Activations:
    """K non-negative functions of time: call it with seconds [T] to get activations [K, T].

    Attributes
    ----------
    times
        Seconds of the nodes, rising, [M]; between them activations are straight lines, outside they stay level.
    values
        Activations at the nodes, [K, M].
    """

    times: NDArray[np.float64]
    values: NDArray[np.float32]

    def __repr__(self) -> str:
        span = f"{self.times[0]:.3f} to {self.times[-1]:.3f} s" if len(self.times) else "no time"
        return f"Activations({len(self.values)} components, {len(self.times)} times, {span})"

    def __call__(self, times: ArrayLike) -> NDArray[np.float32]:
        """Return the activations at any seconds [T], shape [K, T]."""
        wanted = np.atleast_1d(np.asarray(times, np.float64))
        if np.array_equal(wanted, self.times):
            return self.values.copy()
        return np.stack([np.interp(wanted, self.times, row) for row in self.values]).astype(np.float32)


def fit_activations(
    points: PointSet,
    templates: Templates,
    *,
    power: float = 0.5,
    beta_loss: str | float = "kullback-leibler",
    max_iter: int = 100,
    weights: str = "area",
    negative: str | None = None,
    device: str = "cpu",
) -> Activations:
    """Fit activations to points with templates frozen, by a fixed number of multiplicative updates.

    Parameters
    ----------
    points
        The points to explain. On a single grid each frame is fitted for itself, so a recording may be cut anywhere
        between frames without changing the result; else activations are hats at the ticks of a clock.
    templates
        A function from hertz [F] to templates [F, K].
    power, beta_loss, weights, negative
        As the templates were learned with. Negative data are fitted by Nearly-NMF in either case: with templates frozen
        both have the same solution, and a shift would depend on all frames.
    max_iter
        Number of updates, >= 1.

    Returns
    -------
    activations
        In the domain of magnitudes^power.
    """
    if max_iter < 1:
        raise ArgumentError("max_iter must be at least 1", got=max_iter)
    # Each frame has a scale of its own: frames must not depend on each other through a common one.
    signed = "nearly" if negative else None
    data = prepare_data(points, power, weights, device, each_frame=True, negative=signed)
    w = np.asarray(templates(data.frequencies), np.float32)
    if w.ndim != 2 or w.shape[0] != len(data.frequencies):
        raise PointsError("templates have the wrong shape", got=w.shape, expected=f"[{len(data.frequencies)}, K]")
    nodes = data.times if data.one_grid else data.known("time")
    if not data.apart:
        nodes = _clock_nodes(nodes)
    activations = HatField(nodes, torch.ones((len(nodes), w.shape[1]), device=device))
    w_tensor = torch.from_numpy(w).to(device)
    _level_start(data, w_tensor, activations)
    bound = Bound(activations, activations.prepare(data.times))
    fit_activations_multiplicative(data, w_tensor, bound, get_divergence(beta_loss), max_iter, signed=bool(signed))
    values = np.ascontiguousarray(activations.coefficients.cpu().numpy().T)
    return Activations(activations.nodes, values * data.scale)


def _clock_nodes(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times nearest to the ticks of a clock that starts at 0, wherever a recording is cut.

    More nodes than times would leave some without data, so two ticks at one time are one node.
    """
    ticks = np.arange(np.floor(times[0] * _NODES_A_SECOND), np.ceil(times[-1] * _NODES_A_SECOND) + 1) / _NODES_A_SECOND
    half_way = 0.5 * (times[1:] + times[:-1])
    return times[np.unique(np.searchsorted(half_way, ticks))]


def _level_start(data: Data, w: torch.Tensor, activations: HatField) -> None:
    """Start every component of a frame alike, at the level that makes the model's energy the frame's."""
    if data.one_grid:
        block = data.blocks[0]
        assert isinstance(block, GridData)
        fw = block.frequency_weights.float()
        row_weights = fw / fw.sum().clamp_min(FLOOR)
        level = row_weights @ block.v
        per_component = (row_weights @ w).sum().clamp_min(FLOOR)
        activations.coefficients = (level / per_component)[:, None].expand(-1, w.shape[1]).clamp_min(FLOOR).clone()
        return
    mass = sum(float(block.v.sum()) for block in data.blocks) / max(sum(block.v.numel() for block in data.blocks), 1)
    level_all = mass / max(float(w.sum(1).mean()), FLOOR)
    activations.coefficients.fill_(max(level_all, FLOOR))
