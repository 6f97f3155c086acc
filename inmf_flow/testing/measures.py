"""What is measured of point sets to judge the transform that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.plugins.probe import snr_db
from inmf_flow.points import Block, GridBlock, PointSet

__all__ = ["JoinedBlock", "join_in_time", "peak", "relative_error", "snr_db", "time_centroids"]


@dataclass(frozen=True)
class JoinedBlock:
    """The same block of consecutive spans, put together again.

    Attributes
    ----------
    times, frequencies
        Seconds [T] and hertz [F] of a grid, or [P] and [P] of scattered points sorted by time and frequency.
    magnitudes
        [..., F, T] or [..., P].
    weights
        Seconds x hertz, [F, T] or [P].
    """

    times: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    magnitudes: NDArray[np.float32]
    weights: NDArray[np.float32]


def join_in_time(parts: Sequence[PointSet]) -> list[JoinedBlock]:
    """Put the points of consecutive spans of one recording together.

    Grids belong together when they have the same frequencies; all scattered points become one last block.

    Returns
    -------
    blocks
        In an order that depends on their frequencies alone.
    """
    grids: dict[tuple[bytes, int], list[GridBlock]] = {}
    scattered: list[Any] = []
    for part in parts:
        seen: dict[bytes, int] = {}
        for block in part.blocks:
            if not isinstance(block, GridBlock):
                scattered.append(block)
                continue
            key = block.frequencies.tobytes()
            seen[key] = seen.get(key, 0) + 1
            grids.setdefault((key, seen[key]), []).append(block)
    joined = [_join_grids(grids[key]) for key in sorted(grids)]
    return [*joined, _join_scattered(scattered)] if scattered else joined


def _join_grids(blocks: list[GridBlock]) -> JoinedBlock:
    return JoinedBlock(
        np.concatenate([block.times for block in blocks]),
        blocks[0].frequencies,
        np.concatenate([block.magnitudes for block in blocks], axis=-1),
        np.concatenate([block.weights for block in blocks], axis=-1),
    )


def _join_scattered(blocks: list[Any]) -> JoinedBlock:
    times = np.concatenate([block.times for block in blocks])
    frequencies = np.concatenate([block.frequencies for block in blocks])
    order = np.lexsort((frequencies, times))
    magnitudes = np.concatenate([block.magnitudes for block in blocks], axis=-1)
    weights = np.concatenate([block.weights for block in blocks])
    return JoinedBlock(times[order], frequencies[order], magnitudes[..., order], weights[order])


def time_centroids(points: PointSet, around: float) -> list[tuple[float, float]]:
    """Return for each grid block that has energy the centroid of its energy in time, and its hop near a time.

    Parameters
    ----------
    points
        Of one channel.
    around
        The time in seconds at which the hop is taken.

    Returns
    -------
    centroids
        Pairs of seconds: centroid and hop.
    """
    found = []
    for block in points.blocks:
        if not isinstance(block, GridBlock) or not len(block.times):
            continue
        energy = np.sum(block.magnitudes.astype(np.float64) ** 2, axis=0)
        if energy.sum() > 0:
            hop = float(block.time_weights[np.argmin(np.abs(block.times - around))])
            found.append((float(np.sum(block.times * energy) / energy.sum()), hop))
    return found


def peak(block: Block, start: float, stop: float) -> tuple[float, float, float] | None:
    """Return where a block's energy between two times is largest.

    Parameters
    ----------
    block
        Of one channel.
    start, stop
        Seconds.

    Returns
    -------
    peak
        Hertz of the largest, the width of its cell in hertz (0 for scattered points), and its magnitude: the
        root mean square over the grid's times. None where the block has no points there.
    """
    inside = (block.times >= start) & (block.times <= stop)
    if not inside.any():
        return None
    if isinstance(block, GridBlock):
        level = np.sqrt(np.mean(block.magnitudes[:, inside].astype(np.float64) ** 2, axis=1))
        best = int(np.argmax(level))
        return float(block.frequencies[best]), float(block.frequency_weights[best]), float(level[best])
    magnitudes = np.where(inside, block.magnitudes, 0)
    best = int(np.argmax(magnitudes))
    return float(block.frequencies[best]), 0.0, float(magnitudes[best])


def relative_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of two arrays, relative to the largest value that was expected."""
    largest = float(np.abs(expected).max(initial=0))
    return float(np.abs(got - expected).max(initial=0)) / (largest or 1)
