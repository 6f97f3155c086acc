"""Gains and spans that the conformance tests try."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from inmf_flow.points import GridBlock, PointSet


def wave(times: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains between 0 and 1 that depend on true coordinates alone: blocks and the whole get the same."""
    return np.asarray(0.5 + 0.5 * np.cos(13 * times + 0.01 * frequencies))


def wave_on_axes(times: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `wave` on a grid's axes, [F, T]."""
    return wave(times.reshape(1, -1), frequencies.reshape(-1, 1))


def wavy_gains(points: PointSet) -> list[NDArray[np.float64]]:
    """Return `wave` at the points of each block."""
    return [
        (wave_on_axes if isinstance(block, GridBlock) else wave)(block.times, block.frequencies)
        for block in points.blocks
    ]


def random_spans(length: int, seed: int) -> list[tuple[int, int]]:
    """Cut [0, length) at random: spans from one sample to most of the recording."""
    random = np.random.default_rng(seed)
    cuts = {0, length, int(random.integers(1, length))}
    # Neighbouring cuts, so that some spans hold a single sample and, mostly, no point.
    cuts |= {min(cut + 1, length) for cut in cuts} | set(random.integers(1, length, seed).tolist())
    edges = sorted(cuts)
    return list(itertools.pairwise(edges))
