"""Windows by name, and overlap-add without a loop over frames."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAME = re.compile(r"^\s*([a-zA-Z_]+)\s*(?:\(([^()]*)\))?\s*$")


def window_samples(name: str, length: int) -> NDArray[np.float64]:
    """Return a periodic window of so many samples.

    Parameters
    ----------
    name
        ``sqrt_hann``, or a window of `scipy.signal.get_window`, parameters in brackets: ``kaiser(8.6)``.

    Raises
    ------
    ValueError
        When there is no such window, or it has values that are not finite or none above zero.
    """
    if name == "sqrt_hann":
        # The square root of a periodic Hann window is half a period of a sine.
        return np.sin(np.pi * np.arange(length) / length)
    match = _NAME.match(name)
    try:
        from scipy.signal import get_window

        if match is None:
            raise ValueError("not a name")
        parameters = [float(value) for value in (match[2] or "").split(",") if value.strip()]
        # Parameters out of range are told by the samples that they give.
        with np.errstate(all="ignore"):
            window = np.asarray(get_window((match[1], *parameters) if parameters else match[1], length), np.float64)
    except (ValueError, TypeError, IndexError):
        raise ValueError(
            f"no window {name!r}: expected sqrt_hann, hann, hamming, blackman, boxcar, kaiser(8.6) "
            "or another of scipy.signal.get_window"
        ) from None
    if not np.isfinite(window).all() or not window.sum() > 0:
        raise ValueError(f"the window {name!r} has no usable samples at length {length}")
    return window


def overlap_add(target: NDArray[Any], frames: NDArray[Any], hop: int) -> None:
    """Add frames into a signal, each ``hop`` samples after the one before.

    Parameters
    ----------
    target
        Shape [channels, >= (frames - 1) * hop + length], changed in place.
    frames
        Shape [channels, frames, length].
    """
    channels, count, length = frames.shape
    # Every stride-th frame overlaps no other of its group, so a group is added in one go as rows of a matrix.
    stride = -(-length // hop)
    row = stride * hop
    for group in range(min(stride, count)):
        members = frames[:, group::stride]
        begin = group * hop
        head = members.shape[1] - 1
        if head:
            rows = target[:, begin : begin + head * row].reshape(channels, head, row)
            rows[:, :, :length] += members[:, :head]
        tail = begin + head * row
        target[:, tail : tail + length] += members[:, head]
