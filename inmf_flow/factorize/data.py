"""Points as tensors: distinct coordinates once, blocks as matrices or as lists that point into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.divergences import EPSILON, Divergence
from inmf_flow.factorize.fields import Side
from inmf_flow.factorize.grid import GridData
from inmf_flow.factorize.scattered import ScatteredData
from inmf_flow.points import Block, GridBlock, PointSet

__all__ = ["Data", "GridData", "ScatteredData", "Side", "are_apart", "prepare_data"]


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
    _sums: dict[Side, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def parts(self, divergence: Divergence, w: Tensor, h: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """Return the subtracted and the added part of the gradient of the weighted sum, each [NF or NT, K]."""
        if self.one_grid:
            # Its coordinates are the tables': nothing to gather or to add up.
            block = self.blocks[0]
            assert isinstance(block, GridData)
            return block.parts(divergence, w, h, side)
        like = w if side == "frequency" else h
        out = (torch.zeros_like(like), torch.zeros_like(like))
        for each in self.blocks:
            each.add_parts(divergence, w, h, side, out)
        return out

    def sums(self, side: Side, under: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the weighted sums of the data and of the weights alone at each coordinate, [NF] or [NT].

        With ``under``, a table of the other side [N, K], they are taken under its functions: [NF or NT, K].
        """
        if under is None and side in self._sums:
            return self._sums[side]
        shape = [
            len(self.frequencies if side == "frequency" else self.times),
            *(() if under is None else under.shape[1:]),
        ]
        out = (self.blocks[0].v.new_zeros(shape), self.blocks[0].v.new_zeros(shape))
        for block in self.blocks:
            rows = block.frequency_rows if side == "frequency" else block.time_rows
            for target, part in zip(out, block.sums(side, under), strict=True):
                if isinstance(block, ScatteredData) or rows is None:
                    target[: len(part)] += part
                else:
                    target.index_add_(0, rows, part)
        if under is None:
            self._sums[side] = out
        return out

    def known(self, side: Side) -> NDArray[np.float64]:
        """Return the coordinates of points that have weight, rising; all coordinates where no point has any."""
        table = self.frequencies if side == "frequency" else self.times
        seen = (self.sums(side)[1] > 0).cpu().numpy()
        return table[seen] if seen.any() else table

    def mass(self, side: Side) -> NDArray[np.float64]:
        """Return the weighted sum of the data at each of the `known` coordinates, >= 0."""
        mass, weights = (part.double().cpu().numpy() for part in self.sums(side))
        seen = weights > 0
        found: NDArray[np.float64] = (mass[seen] if seen.any() else mass).clip(0)
        return found

    def loss(self, divergence: Divergence, w: Tensor, h: Tensor) -> float:
        """Return the weighted mean divergence of the scaled data."""
        total = sum(block.loss(divergence, w, h) for block in self.blocks)
        return total / self.weight if self.weight > 0 else 0.0


def prepare_data(
    points: PointSet,
    power: float,
    weights: str,
    device: str,
    *,
    each_frame: bool = False,
    negative: str | None = None,
) -> Data:
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
    negative
        Keep negative data as they are (``"nearly"``), or lift data and model alike above zero (``"shift"``).

    Raises
    ------
    PointsError
        When there are no points, or magnitudes are negative and ``negative`` is None.
    """
    if weights not in ("area", "uniform"):
        raise ArgumentError("no such weights", got=repr(weights), expected="'area' or 'uniform'")
    if not points.blocks or points.n_points == 0:
        raise PointsError("there are no points to fit", got=repr(points))
    frequencies = np.unique(np.concatenate([block.frequencies for block in points.blocks]))
    times = np.unique(np.concatenate([block.times for block in points.blocks]))
    prepared = [_channel_mean(block, power, negative is not None) for block in points.blocks]
    weighed = [_weights(block, v, weights) for block, v in zip(points.blocks, prepared, strict=True)]
    weight = sum(_sum(block, w) for block, w in zip(points.blocks, weighed, strict=True))
    one_grid = len(points.blocks) == 1 and isinstance(points.blocks[0], GridBlock)
    if each_frame and one_grid:
        fw, tw, present = weighed[0]
        weighed = [(fw, np.ones_like(tw), present)]
        scale = _frame_means(prepared[0], fw)
    else:
        mass = sum(_mass(block, v, w) for block, v, w in zip(points.blocks, prepared, weighed, strict=True))
        scale = np.asarray(mass / weight if weight > 0 and mass > 0 else 1.0, np.float32)
    offset = EPSILON
    if negative == "shift":
        least = min(_least(block, v, w) for block, v, w in zip(points.blocks, prepared, weighed, strict=True))
        offset = EPSILON - least / float(scale.min())
    elif negative is not None:
        offset = 0.0
    blocks: list[GridData | ScatteredData] = []
    for block, v, (fw, tw, present) in zip(points.blocks, prepared, weighed, strict=True):
        v /= scale
        v += np.float32(offset)
        values = torch.from_numpy(np.nan_to_num(v, copy=False, nan=EPSILON)).to(device)
        f_rows = np.searchsorted(frequencies, block.frequencies)
        t_rows = np.searchsorted(times, block.times)
        if isinstance(block, GridBlock):
            identity_f, identity_t = len(frequencies) == len(f_rows), len(times) == len(t_rows)
            blocks.append(
                GridData(
                    values,
                    None if present is None else torch.from_numpy(present.astype(np.float32)).to(device),
                    torch.from_numpy(fw).to(device),
                    torch.from_numpy(tw).to(device),
                    None if identity_f else torch.from_numpy(f_rows).to(device),
                    None if identity_t else torch.from_numpy(t_rows).to(device),
                    offset,
                )
            )
        else:
            rows = torch.from_numpy(f_rows).to(device), torch.from_numpy(t_rows).to(device)
            blocks.append(ScatteredData(values, torch.from_numpy(fw).to(device), *rows, offset))
    return Data(frequencies, times, blocks, scale, weight, one_grid, are_apart(points.blocks))


def are_apart(blocks: Sequence[Block]) -> bool:
    """Return whether all blocks are grids, each of which begins after the one before has ended."""
    if not all(isinstance(block, GridBlock) for block in blocks):
        return False
    spans = sorted((block.times[0], block.times[-1]) for block in blocks if len(block.times))
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _channel_mean(block: Block, power: float, may_be_negative: bool) -> NDArray[np.float32]:
    """Return magnitudes^power averaged over channels, [F, T] or [P], a copy; NaN where every channel is missing."""
    m = block.magnitudes
    if not may_be_negative and (m < 0).any():
        raise PointsError(
            "magnitudes are negative",
            got=f"{int((m < 0).sum())} of {m.size}",
            expected="values >= 0, or NaN for missing",
            hint="For noisy data that may be negative give negative='nearly' or 'shift'.",
        )
    with np.errstate(over="ignore"):
        values = m if power == 1 else np.sqrt(m) if power == 0.5 else m ** np.float32(power)
    if power > 1 and np.isinf(values).any():
        raise PointsError("magnitudes^power are beyond single precision", got=f"power={power}", hint="Scale them down.")
    if block.has_channels:
        present = ~np.isnan(values)
        counts = present.sum(0)
        total = np.where(present, values, 0).sum(0)
        values = np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
    return np.array(values, dtype=np.float32, order="C", copy=values is m)


def _frame_means(v: NDArray[np.float32], frequency_weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted mean of each frame's present values, [T]; 1 for silent frames."""
    weights = frequency_weights[:, None] * ~np.isnan(v)
    totals = weights.sum(0, dtype=np.float64)
    mass = (np.nan_to_num(v) * weights).sum(0, dtype=np.float64)
    return np.where(mass > 0, mass / np.where(totals > 0, totals, 1), 1).astype(np.float32)


# Weights along frequency and time for grids, of each point twice for scattered ones; which points are present (None:
# all of them, or scattered: their weight says it).
_Weights = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_] | None]


def _weights(block: Block, v: NDArray[np.float32], kind: str) -> _Weights:
    missing = np.isnan(v)
    if isinstance(block, GridBlock):
        fw, tw = block.frequency_weights, block.time_weights
        if kind == "uniform":
            fw, tw = (fw > 0).astype(np.float32), (tw > 0).astype(np.float32)
        return fw, tw, ~missing if missing.any() else None
    each = block.point_weights if kind == "area" else (block.point_weights > 0).astype(np.float32)
    each = (each * ~missing).astype(np.float32)
    return each, each, None


def _sum(block: Block, weights: _Weights) -> float:
    """Return the sum of a block's weights."""
    fw, tw, present = weights
    if not isinstance(block, GridBlock):
        return float(fw.sum(dtype=np.float64))
    rows = tw.astype(np.float64) if present is None else present.T @ fw.astype(np.float64) * tw
    return float(rows.sum() * fw.sum(dtype=np.float64)) if present is None else float(rows.sum())


def _mass(block: Block, v: NDArray[np.float32], weights: _Weights) -> float:
    """Return the weighted sum of a block's data, by their size where they are negative."""
    fw, tw, present = weights
    v = v if (present is None and isinstance(block, GridBlock)) else np.nan_to_num(v)
    v = np.abs(v) if v.size and v.min() < 0 else v
    if not isinstance(block, GridBlock):
        return float((v * fw).sum(dtype=np.float64))
    return float((v @ tw).astype(np.float64) @ fw.astype(np.float64))


def _least(block: Block, v: NDArray[np.float32], weights: _Weights) -> float:
    """Return the least of a block's data that have weight, 0 where none is negative."""
    fw, tw, _ = weights
    counts = np.outer(fw, tw) > 0 if isinstance(block, GridBlock) else fw > 0
    return float(np.nanmin(v, where=counts, initial=0.0))
