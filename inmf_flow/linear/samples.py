"""Points as least squares needs them: distinct coordinates once, and the sums that normal equations are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from inmf_flow.errors import PointsError
from inmf_flow.factorize.fields import Side
from inmf_flow.linear.hats import Float64
from inmf_flow.points import Block, GridBlock, PointSet
from inmf_flow.points.cells import cell_widths

# Scattered points whose products are made at a time: bounds the [points, J, J] copies.
_POINTS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Table:
    """Points of one block: values and weights, [F, T] or [P], and their rows in the tables of coordinates.

    ``separate`` holds the weights of frequencies and times where no point is missing: weights are their product.
    """

    values: Float64
    weights: Float64
    frequency_rows: NDArray[np.int64]
    time_rows: NDArray[np.int64]
    separate: tuple[Float64, Float64] | None

    @property
    def is_grid(self) -> bool:
        """Whether the points are a grid's."""
        return self.values.ndim == 2


@dataclass(frozen=True)
class Samples:
    """A point set made ready for least squares.

    Attributes
    ----------
    frequencies, times
        The distinct coordinates of the points that have weight, rising, hertz [NF] and seconds [NT].
    frequency_measure, time_measure
        What each coordinate stands for, [NF] and [NT]: the width of its cell, or 1 where weights are uniform.
    tables
        The points, block by block.
    n_points
        The number of points that have weight.
    """

    frequencies: Float64
    times: Float64
    frequency_measure: Float64
    time_measure: Float64
    tables: tuple[Table, ...]
    n_points: int

    def weight(self) -> float:
        """Return the sum of all weights."""
        return float(sum(table.weights.sum() for table in self.tables))

    def energy(self) -> float:
        """Return the weighted sum of squares."""
        return float(sum((table.weights * table.values**2).sum() for table in self.tables))

    def complete(self) -> tuple[Float64, Float64, Float64] | None:
        """Return values [NF, NT] and weights of both axes where all points are one grid without missing ones."""
        table = self.tables[0]
        if len(self.tables) > 1 or table.separate is None:
            return None
        return table.values, *table.separate

    def less(self, mean: Float64) -> Samples:
        """Return the samples less a function of frequency, given at the distinct frequencies, [NF]."""
        tables = []
        for table in self.tables:
            own = mean[table.frequency_rows]
            tables.append(replace(table, values=table.values - (own[:, None] if table.is_grid else own)))
        return replace(self, tables=tuple(tables))

    def moments(self, side: Side, first: Float64, second: Float64 | None = None) -> tuple[Float64, Float64]:
        """Return the sums of the normal equations of one side, given the regressors on the other one.

        Parameters
        ----------
        side
            The side to be solved for.
        first
            Regressors z of the other side's coordinates, [N', J].
        second
            What to put in place of z z', [N', J, J]: its expectation where z is not certain.

        Returns
        -------
        products, sums
            The weighted sums over each coordinate's points of z z', [N, J, J], and of value x z, [N, J].
        """
        j = first.shape[1]
        pairs = (first[:, :, None] * first[:, None, :] if second is None else second).reshape(len(first), j * j)
        n = len(self.frequencies if side == "frequency" else self.times)
        products, sums = np.zeros((n, j * j)), np.zeros((n, j))
        for table in self.tables:
            rows, others = table.frequency_rows, table.time_rows
            if side == "time":
                rows, others = others, rows
            if table.is_grid:
                _add_grid(table, side, rows, first[others], pairs[others], products, sums)
            else:
                _add_scattered(table, rows, others, first, pairs, products, sums)
        return products.reshape(n, j, j), sums


def _add_grid(
    table: Table,
    side: Side,
    rows: NDArray[np.int64],
    first: Float64,
    pairs: Float64,
    products: Float64,
    sums: Float64,
) -> None:
    weights, values = table.weights, table.values
    if side == "time":
        weights, values = weights.T, values.T
    if table.separate is None:
        products[rows] += weights @ pairs
    else:
        mine, other = table.separate if side == "frequency" else table.separate[::-1]
        products[rows] += np.outer(mine, other @ pairs)
    sums[rows] += (weights * values) @ first


def _add_scattered(
    table: Table,
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    first: Float64,
    pairs: Float64,
    products: Float64,
    sums: Float64,
) -> None:
    # Views of the arrays' own memory.
    into = torch.from_numpy(products), torch.from_numpy(sums)
    for begin in range(0, len(rows), _POINTS_AT_ONCE):
        part = slice(begin, begin + _POINTS_AT_ONCE)
        to, weights = torch.from_numpy(rows[part]), table.weights[part, None]
        into[0].index_add_(0, to, torch.from_numpy(pairs[others[part]] * weights))
        into[1].index_add_(0, to, torch.from_numpy(first[others[part]] * weights * table.values[part, None]))


def prepare_samples(points: PointSet, weights: str) -> Samples:
    """Return values, weights and distinct coordinates of a point set; several channels are averaged.

    Raises
    ------
    PointsError
        When there are no points, or none that has weight and is not missing.
    """
    weighed = [(block, *_values_and_weights(block, weights)) for block in points.blocks if block.n_points]
    if not any((w > 0).any() for *_, w in weighed):
        raise PointsError(
            "there are no points to fit", got=repr(points), expected="points that have weight and are not missing"
        )
    kept = [_without_empty_rows(*block) for block in weighed]
    frequencies = np.unique(np.concatenate([f for f, *_ in kept]))
    times = np.unique(np.concatenate([t for _, t, *_ in kept]))
    tables = tuple(
        Table(v, w, np.searchsorted(frequencies, f), np.searchsorted(times, t), _factors(w))
        for f, t, v, w in kept
        if w.size
    )
    return Samples(
        frequencies,
        times,
        _measure(points, frequencies, "frequency", weights),
        _measure(points, times, "time", weights),
        tables,
        n_points=sum(int((table.weights > 0).sum()) for table in tables),
    )


def _values_and_weights(block: Block, kind: str) -> tuple[Float64, Float64]:
    """Return the mean of the channels that are there, 0 where none is, and the points' weights: [F, T] or [P]."""
    m = block.magnitudes.astype(np.float64)
    layers = m if block.has_channels else m[None]
    present = ~np.isnan(layers)
    counts = present.sum(0)
    values = np.where(present, layers, 0).sum(0) / np.maximum(counts, 1)
    weights = block.weights.astype(np.float64)
    return values, (weights if kind == "area" else (weights > 0).astype(np.float64)) * (counts > 0)


def _without_empty_rows(block: Block, values: Float64, weights: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """Return frequencies, times, values and weights without coordinates at which no point has weight."""
    if isinstance(block, GridBlock):
        f, t = (weights > 0).any(1), (weights > 0).any(0)
        return block.frequencies[f], block.times[t], values[f][:, t], weights[f][:, t]
    kept = weights > 0
    return block.frequencies[kept], block.times[kept], values[kept], weights[kept]


def _factors(weights: Float64) -> tuple[Float64, Float64] | None:
    """Return weights of both axes where a grid's weights are their product, as they are where no point is missing."""
    if weights.ndim == 1 or not (weights > 0).all():
        return None
    total = weights.sum()
    return weights.sum(1) / np.sqrt(total), weights.sum(0) / np.sqrt(total)


def _measure(points: PointSet, axis: Float64, side: Side, kind: str) -> Float64:
    """Return the width of each coordinate's cell: a lone grid's own, else half-way to the neighbours; 1 if uniform."""
    if kind == "uniform" or len(axis) == 1:
        return np.ones(len(axis))
    block = points.blocks[0]
    if len(points.blocks) == 1 and isinstance(block, GridBlock):
        if side == "frequency":
            return block.frequency_weights[np.searchsorted(block.frequencies, axis)].astype(np.float64)
        return block.time_weights[np.searchsorted(block.times, axis)].astype(np.float64)
    widths = cell_widths(axis, -np.inf)
    # Two coordinates that a rounding error parts must not make a metric that has no inverse.
    least: Float64 = np.maximum(widths, 1e-9 * widths.max())
    return least
