"""Points as tensors: distinct coordinates once, blocks as matrices or as lists that point into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.divergences import EPSILON, BetaDivergence, Divergence
from inmf_flow.points import Block, GridBlock, PointSet

Side = Literal["frequency", "time"]
# Scattered points that are gathered at a time: bounds the [points, K] copies.
_POINTS_AT_ONCE = 1 << 18


@dataclass
class GridData:
    """A grid block: data [F, T] + epsilon, weights of its axes, rows of the coordinate tables it uses."""

    v: Tensor
    mask: Tensor | None
    frequency_weights: Tensor
    time_weights: Tensor
    frequency_rows: Tensor | None
    time_rows: Tensor | None

    def __post_init__(self) -> None:
        self._model = torch.empty_like(self.v)

    def model(self, w: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return this block's templates [F, K], activations [T, K] and model [F, T] (a buffer) + epsilon."""
        w = w if self.frequency_rows is None else w.index_select(0, self.frequency_rows)
        h = h if self.time_rows is None else h.index_select(0, self.time_rows)
        torch.mm(w, h.T, out=self._model)
        return w, h, self._model.add_(EPSILON)

    def add_parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side, out: tuple[Tensor, Tensor]) -> None:
        """Add the two parts of the gradient by the templates or the activations to ``out``."""
        w, h, model = self.model(w, h)
        positive = divergence.positive_part(self.v, model)
        if positive is self._model:
            positive = positive.clone()
        negative = divergence.negative_part(self.v, model, out=model)
        if self.mask is not None:
            negative.mul_(self.mask)
            positive = self.mask if positive is None else positive * self.mask
        if side == "frequency":
            mine, other, factor, rows = (
                self.frequency_weights,
                h * self.time_weights[:, None],
                negative,
                self.frequency_rows,
            )
        else:
            mine, other, factor, rows = (
                self.time_weights,
                w * self.frequency_weights[:, None],
                negative.T,
                self.time_rows,
            )
        parts = factor @ other
        if positive is None:
            sums = other.sum(0, keepdim=True).expand_as(parts)
        else:
            sums = (positive if side == "frequency" else positive.T) @ other
        for target, part in zip(out, (parts * mine[:, None], sums * mine[:, None]), strict=True):
            if rows is None:
                target.add_(part)
            else:
                target.index_add_(0, rows, part)

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted sum of the divergence."""
        model = self.model(w, h)[2]
        values = divergence.value(self.v, model)
        if self.mask is not None:
            values = values * self.mask
        # Double precision only for the sums: late improvements are smaller than float32 can add up.
        rows = (values @ self.time_weights).double()
        return float(rows @ self.frequency_weights.double())


@dataclass
class ScatteredData:
    """Scattered points: data [P] + epsilon, weights, and each point's rows in the coordinate tables."""

    v: Tensor
    weights: Tensor
    frequency_rows: Tensor
    time_rows: Tensor

    def add_parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side, out: tuple[Tensor, Tensor]) -> None:
        """Add the two parts of the gradient by the templates or the activations to ``out``."""
        rows = self.frequency_rows if side == "frequency" else self.time_rows
        for begin in range(0, len(self.v), _POINTS_AT_ONCE):
            part = slice(begin, begin + _POINTS_AT_ONCE)
            v, weights = self.v[part], self.weights[part]
            wp, hp = w[self.frequency_rows[part]], h[self.time_rows[part]]
            model = (wp * hp).sum(1).add_(EPSILON)
            positive = divergence.positive_part(v, model)
            positive = weights if positive is None else positive * weights
            negative = divergence.negative_part(v, model, out=torch.empty_like(v)) * weights
            other = hp if side == "frequency" else wp
            out[0].index_add_(0, rows[part], other * negative[:, None])
            out[1].index_add_(0, rows[part], other * positive[:, None])

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted sum of the divergence."""
        total = 0.0
        for begin in range(0, len(self.v), _POINTS_AT_ONCE):
            part = slice(begin, begin + _POINTS_AT_ONCE)
            model = (w[self.frequency_rows[part]] * h[self.time_rows[part]]).sum(1).add_(EPSILON)
            values = divergence.value(self.v[part], model)
            total += float((values.double() * self.weights[part].double()).sum())
        return total


@dataclass
class Data:
    """A point set made ready for fitting.

    Attributes
    ----------
    frequencies, times
        The distinct coordinates of all blocks, rising, hertz [NF] and seconds [NT].
    scale
        The weighted mean of magnitudes^power that the data were divided by, so that they have mean 1: shape [], or
        [NT] where each frame was divided by its own.
    weight
        The sum of all points' weights: losses and gradients are divided by it.
    one_grid
        Whether all points lie on a single grid.
    apart
        Whether all points lie on grids that follow one another in time, as recordings laid end to end do: then no two
        share a frame, and activations may be a free matrix.
    """

    frequencies: NDArray[np.float64]
    times: NDArray[np.float64]
    blocks: list[GridData | ScatteredData]
    scale: NDArray[np.float32]
    weight: float
    one_grid: bool
    apart: bool

    def parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """Return the subtracted and the added part of the gradient of the weighted sum, each [NF or NT, K]."""
        like = w if side == "frequency" else h
        out = (torch.zeros_like(like), torch.zeros_like(like))
        for block in self.blocks:
            block.add_parts(divergence, w, h, side, out)
        return out

    def known(self, side: Side) -> NDArray[np.float64]:
        """Return the coordinates of points that have weight, rising; all coordinates where no point has any."""
        table = self.frequencies if side == "frequency" else self.times
        w, h = (torch.ones(len(axis), 1, device=self.blocks[0].v.device) for axis in (self.frequencies, self.times))
        # The added part of the Kullback-Leibler gradient of all-ones is the sum of each coordinate's weights.
        sums = self.parts(BetaDivergence(1.0), w, h, side)[1][:, 0].cpu().numpy()
        return table[sums > 0] if (sums > 0).any() else table

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted mean divergence of the scaled data."""
        total = sum(block.loss(divergence, w, h) for block in self.blocks)
        return total / self.weight if self.weight > 0 else 0.0


def prepare_data(points: PointSet, power: float, weights: str, device: str, *, each_frame: bool = False) -> Data:
    """Return tensors of a point set.

    Parameters
    ----------
    points
        Any blocks. Several channels are averaged: model and gradient are the same for all of them, and the gradient of
        every beta-divergence is linear in the data.
    power
        Exponent put on the magnitudes.
    weights
        ``"area"`` (each point counts as the area it stands for) or ``"uniform"``.
    each_frame
        Divide each frame of a single grid by its own mean, so that no frame depends on another, and let all frames
        weigh 1: the last one's cell may lie after the recording's end, but synthesis needs it. Else all points are
        divided by their mean.

    Raises
    ------
    PointsError
        When there are no points, or magnitudes are negative.
    """
    if weights not in ("area", "uniform"):
        raise ArgumentError("no such weights", got=repr(weights), expected="'area' or 'uniform'")
    if not points.blocks or points.n_points == 0:
        raise PointsError("there are no points to fit", got=repr(points))
    frequencies = np.unique(np.concatenate([block.frequencies for block in points.blocks]))
    times = np.unique(np.concatenate([block.times for block in points.blocks]))
    prepared = [_channel_mean(block, power) for block in points.blocks]
    weighed = [_weights(block, v, weights) for block, v in zip(points.blocks, prepared, strict=True)]
    weight = sum(float(w.sum(dtype=np.float64)) for *_, w in weighed)
    one_grid = len(points.blocks) == 1 and isinstance(points.blocks[0], GridBlock)
    if each_frame and one_grid:
        fw, tw, full = weighed[0]
        weighed = [(fw, np.ones_like(tw), full)]
        scale = _frame_means(prepared[0], fw)
    else:
        mass = sum(
            float((np.nan_to_num(v) * w).sum(dtype=np.float64)) for v, (*_, w) in zip(prepared, weighed, strict=True)
        )
        scale = np.asarray(mass / weight if weight > 0 and mass > 0 else 1.0, np.float32)
    blocks: list[GridData | ScatteredData] = []
    for block, v, (fw, tw, full) in zip(points.blocks, prepared, weighed, strict=True):
        values = torch.from_numpy(np.nan_to_num(v / scale) + np.float32(EPSILON)).to(device)
        f_rows = _rows(frequencies, block.frequencies, device)
        t_rows = _rows(times, block.times, device)
        if isinstance(block, GridBlock):
            missing = np.isnan(v)
            mask = torch.from_numpy((~missing).astype(np.float32)).to(device) if missing.any() else None
            identity_f = len(frequencies) == len(block.frequencies)
            identity_t = len(times) == len(block.times)
            blocks.append(
                GridData(
                    values,
                    mask,
                    torch.from_numpy(fw).to(device),
                    torch.from_numpy(tw).to(device),
                    None if identity_f else f_rows,
                    None if identity_t else t_rows,
                )
            )
        else:
            blocks.append(ScatteredData(values, torch.from_numpy(full).to(device), f_rows, t_rows))
    return Data(frequencies, times, blocks, scale, weight, one_grid, _are_apart(points.blocks))


def _are_apart(blocks: Sequence[Block]) -> bool:
    """Return whether all blocks are grids, each of which begins after the one before has ended."""
    if not all(isinstance(block, GridBlock) for block in blocks):
        return False
    spans = sorted((block.times[0], block.times[-1]) for block in blocks if len(block.times))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _channel_mean(block: Block, power: float) -> NDArray[np.float32]:
    """Return magnitudes^power averaged over channels, [F, T] or [P]; NaN where every channel is missing."""
    m = block.magnitudes
    if (m < 0).any():
        raise PointsError(
            "magnitudes are negative",
            got=f"{int((m < 0).sum())} of {m.size}",
            expected="values >= 0, or NaN for missing",
        )
    values = m if power == 1 else np.sqrt(m) if power == 0.5 else m ** np.float32(power)
    if block.has_channels:
        present = ~np.isnan(values)
        counts = present.sum(0)
        total = np.where(present, values, 0).sum(0)
        values = np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)


def _frame_means(v: NDArray[np.float32], frequency_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted mean of each frame's present values, [T]; 1 for silent frames."""
    weights = frequency_weights[:, None] * ~np.isnan(v)
    totals = weights.sum(0, dtype=np.float64)
    mass = (np.nan_to_num(v) * weights).sum(0, dtype=np.float64)
    return np.where(mass > 0, mass / np.where(totals > 0, totals, 1), 1).astype(np.float32)


def _weights(
    block: Block, v: NDArray[np.float32], kind: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return weights along frequency and time (for grids) and of every point; missing points weigh 0."""
    present = ~np.isnan(v)
    if isinstance(block, GridBlock):
        fw, tw = block.frequency_weights, block.time_weights
        if kind == "uniform":
            fw, tw = (fw > 0).astype(np.float32), (tw > 0).astype(np.float32)
        return fw, tw, np.outer(fw, tw) * present
    full = block.point_weights if kind == "area" else (block.point_weights > 0).astype(np.float32)
    full = (full * present).astype(np.float32)
    return full, full, full


def _rows(table: NDArray[np.float64], coordinates: NDArray[np.float64], device: str) -> Tensor:
    return torch.from_numpy(np.searchsorted(table, coordinates)).to(device)
