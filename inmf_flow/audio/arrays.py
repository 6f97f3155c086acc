"""Audio as arrays: what is accepted, and clips of a wanted length."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError

Audio = NDArray[np.floating[Any]]


def as_audio(audio: ArrayLike) -> Audio:
    """Check that an array is audio: floating point, [samples] or [channels, samples].

    Returns
    -------
    audio
        The array itself where it is float32 or float64, else a float32 copy; the shape is kept.

    Raises
    ------
    ArgumentError
        For integers (their full scale is unknown), complex numbers, no channels, or other dimensions.
    """
    array = np.asarray(audio)
    if not np.issubdtype(array.dtype, np.floating):
        raise ArgumentError(
            "audio must be floating point",
            got=f"dtype {array.dtype}",
            expected="float32 or float64 with full scale at 1.0",
            hint="Divide 16-bit integers by 32768.0.",
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[0] == 0):
        raise ArgumentError(
            "audio has the wrong shape",
            got=f"shape {array.shape}",
            expected="[samples] or [channels, samples]",
        )
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32)


def as_count(value: Any, name: str, unit: str, minimum: int = 1) -> int:
    """Check that an argument is a whole number of at least ``minimum``; ``unit`` is for the message."""
    numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    # Also refuses NaN and infinity, which equal no floor of theirs.
    if not numeric or value != value // 1 or value < minimum:
        raise ArgumentError(f"{name} must be a whole number of {unit}", got=repr(value), expected=f"at least {minimum}")
    return int(value)


def fit_length(audio: ArrayLike, frames: int) -> Audio:
    """Trim the last axis, or pad it with zeros at its end, to a length.

    Parameters
    ----------
    audio
        [samples] or [channels, samples].
    frames
        The wanted length in samples.

    Examples
    --------
    >>> fit_length(np.ones((1, 2)), 4)
    array([[1., 1., 0., 0.]])
    """
    array = as_audio(audio)
    frames = as_count(frames, "frames", "samples", minimum=0)
    missing = frames - array.shape[-1]
    if missing <= 0:
        return array[..., :frames]
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
