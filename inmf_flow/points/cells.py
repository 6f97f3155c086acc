"""Areas of the cells that points stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cell_widths(centres: NDArray[np.float64], lower: float = 0.0, upper: float | None = None) -> NDArray[np.float64]:
    """Return the width of each sample's cell on one axis: half-way to its neighbours, clipped to the range.

    Parameters
    ----------
    centres
        Coordinates in rising order (seconds or hertz), shape [N].
    lower, upper
        The range that is filled, in the same unit. Without ``upper`` the last cell ends as far above its centre
        as it begins below it.

    Returns
    -------
    widths
        Shape [N], >= 0. They add up to ``upper - lower`` when the centres span that range.
    """
    n = len(centres)
    if n == 0:
        return np.zeros(0)
    if n == 1:
        top = upper if upper is not None else max(2.0 * float(centres[0]) - lower, lower + 1.0)
        return np.array([max(top - lower, 0.0)])
    inner = 0.5 * (centres[1:] + centres[:-1])
    last = float(centres[-1] + (centres[-1] - inner[-1]))
    # Where the range is known the outermost cells reach its ends, however far the outermost centres are.
    first = lower if upper is not None else max(lower, float(centres[0] - (inner[0] - centres[0])))
    edges = np.concatenate([[first], inner, [last if upper is None else upper]])
    edges = np.clip(edges, lower, None if upper is None else upper)
    widths: NDArray[np.float64] = np.maximum(np.diff(edges), 0.0)
    return widths
