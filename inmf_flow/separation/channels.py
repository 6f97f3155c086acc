"""Several channels with common activations: a source is heard in each of them by a gain of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inmf_flow.factorize.context import SPAN
from inmf_flow.points import Block, GridBlock, PointSet

#: Hertz from one channel's stretch of the frequency axis to the next: beyond all lags of the one before.
CHANNEL_SPAN = SPAN * 4096
_TINY = 1e-12

Float64 = NDArray[np.float64]


def side_by_side(points: PointSet) -> PointSet:
    """Return the points of all channels as those of one, each channel on a stretch of the frequency axis of its own."""
    count = points.channels
    blocks: list[Block] = []
    for block in points.blocks:
        moved = [block.frequencies + channel * CHANNEL_SPAN for channel in range(count)]
        if isinstance(block, GridBlock):
            blocks.append(
                GridBlock.build(
                    block.times,
                    np.concatenate(moved),
                    block.magnitudes.reshape(-1, len(block.times)),
                    time_weights=block.time_weights,
                    frequency_weights=np.tile(block.frequency_weights, count),
                )
            )
        else:
            blocks += [
                replace(block, frequencies=frequencies, magnitudes=block.magnitudes[channel], coefficients=None)
                for channel, frequencies in enumerate(moved)
            ]
    return replace(points, blocks=tuple(blocks), synthesis=None)


def spread(table: Callable[[Float64], NDArray[np.float32]], gains: Float64) -> Callable[[Float64], NDArray[np.float32]]:
    """Return templates as a function of the coordinates that `side_by_side` makes, [N] to [N, K].

    Parameters
    ----------
    table
        Templates of one channel.
    gains
        Of each component in each channel, [C, K].
    """

    def spread_table(coordinates: Float64) -> NDArray[np.float32]:
        edges = np.searchsorted(coordinates, (np.arange(len(gains) + 1) - 0.5) * CHANNEL_SPAN)
        parts = [
            table(coordinates[edges[c] : edges[c + 1]] - c * CHANNEL_SPAN) * gains[c].astype(np.float32)
            for c in range(len(gains))
        ]
        return np.concatenate(parts)

    return spread_table


def updated_gains(
    gains: Float64, data: Sequence[Sequence[NDArray[np.float32]]], models: Sequence[Sequence[NDArray[np.float32]]]
) -> Float64:
    """Return the gains after one multiplicative update of the Kullback-Leibler divergence, [C, S], of mean 1 a source.

    As in non-negative tensor factorization (FitzGerald, Cranitch & Coyle 2005, "Non-negative tensor factorisation for
    sound source separation"), with one gain for all components of a source.

    Parameters
    ----------
    gains
        So far, [C, S].
    data
        Magnitudes^power of each channel's blocks; NaN is missing.
    models
        Of each source, what its components come to in each block without gains.
    """
    result = gains.copy()
    for channel, blocks in enumerate(data):
        negative, positive = np.zeros(gains.shape[1]), np.zeros(gains.shape[1])
        for number, values in enumerate(blocks):
            parts = [model[number] for model in models]
            total = np.full_like(parts[0], _TINY)
            for gain, part in zip(gains[channel], parts, strict=True):
                total += np.float32(gain) * part
            known = np.isfinite(values)
            ratio = np.where(known, values, 0) / total
            for source, part in enumerate(parts):
                negative[source] += float(np.sum(part * ratio, dtype=np.float64))
                positive[source] += float(np.sum(part * known, dtype=np.float64))
        result[channel] *= (negative + _TINY) / (positive + _TINY)
    mean: Float64 = result / np.maximum(result.mean(0), _TINY)
    return mean
