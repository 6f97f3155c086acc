"""Points at a regular distance in time: which of them are in a span, and how many seconds each stands for."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from inmf_flow.transform import Span


def points_in(span: Span, hop: int, offset: float) -> tuple[int, int]:
    """Return the numbers [first, last) of the points ``n * hop + offset`` samples that belong to a span.

    The last span also has the first point at or after the recording's last sample, so every recording has a point.

    Parameters
    ----------
    span
        The span, in samples.
    hop
        Samples between points.
    offset
        Samples from the recording's start to point 0, in [0, hop).
    """
    first = math.ceil((span.start - offset) / hop)
    if span.is_last:
        assert span.length is not None
        return first, max(math.ceil((span.length - 1 - offset) / hop) + 1, first)
    return first, max(math.ceil((span.stop - offset) / hop), first)


def cell_seconds(
    span: Span, hop: int, offset: float, numbers: tuple[int, int], sample_rate: int
) -> NDArray[np.float64]:
    """Return the seconds that each of these points stands for: half-way to its neighbours, within the recording.

    A point of a span gets what it gets in the whole recording.
    """
    times = np.arange(*numbers) * hop + offset
    lower, upper = times - hop / 2, times + hop / 2
    lower[np.arange(*numbers) <= 0] = 0
    if span.length is not None:
        upper[times >= span.length - 1] = span.length
        lower, upper = np.clip(lower, 0, span.length), np.clip(upper, 0, span.length)
    widths: NDArray[np.float64] = np.maximum(upper - np.maximum(lower, 0), 0) / sample_rate
    return widths
