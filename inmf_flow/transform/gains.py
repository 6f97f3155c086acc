"""Gains in any of the forms that ``synthesize`` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform.contract import Gains


def resolve_gains(points: PointSet, gains: Gains | None, where: str) -> list[NDArray[Any]] | None:
    """Return one array of gains per block, or None where nothing is to be changed.

    Raises
    ------
    TransformError
        When their number or shapes do not fit the blocks, or a gain is not a finite real number.
    """
    if gains is None:
        return None
    if callable(gains):
        arrays = [np.asarray(gains(block.times, block.frequencies)) for block in points.blocks]
        for number, (array, block) in enumerate(zip(arrays, points.blocks, strict=True)):
            # A lone axis could be taken for the other one where both are as long.
            if array.ndim not in (0, block.magnitudes.ndim - block.has_channels, block.magnitudes.ndim):
                raise TransformError(
                    f"the gain function returned the wrong shape for block {number}",
                    where=where,
                    got=f"shape {array.shape}",
                    expected=f"{block.magnitudes.shape}, [frequencies, times] on a grid",
                )
    else:
        arrays = [np.asarray(array) for array in gains]
    if len(arrays) != len(points.blocks):
        raise TransformError(
            "one array of gains is needed for each block",
            where=where,
            got=len(arrays),
            expected=len(points.blocks),
        )
    for number, (array, block) in enumerate(zip(arrays, points.blocks, strict=True)):
        try:
            fits = np.broadcast_shapes(array.shape, block.magnitudes.shape) == block.magnitudes.shape
        except ValueError:
            fits = False
        if not fits:
            raise TransformError(
                f"the gains of block {number} do not fit its points",
                where=where,
                got=f"shape {array.shape}",
                expected=f"one that broadcasts to {block.magnitudes.shape}",
            )
        if array.dtype.kind not in "fiub":
            raise TransformError(f"the gains of block {number} are not real numbers", where=where, got=array.dtype)
        if not np.isfinite(array).all():
            raise TransformError(f"the gains of block {number} are not all finite", where=where)
    return arrays
