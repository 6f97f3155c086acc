"""Activations as features of frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.segmentation.timeline import frame_clock

POOLINGS = ("mean", "deviation")
# Activations are held against the recording's mean: less than this share of it is as good as nothing.
_FLOOR = 0.01
# Moments at which activations are read in each frame.
_MOMENTS = 4

Float64 = NDArray[np.float64]


def activation_features(
    activations: Callable[[Float64], NDArray[np.float32]],
    duration: float,
    *,
    frame_rate: float = 25.0,
    context: float = 0.3,
    pooling: Sequence[str] = ("mean",),
) -> Float64:
    """Return log-compressed activations on a regular clock.

    A recording's level makes no difference: activations count relative to their mean over time and components.

    Parameters
    ----------
    activations
        A function from seconds [T] to [K, T], such as `INMF.transform` returns.
    duration
        Seconds of the recording.
    frame_rate
        Frames a second.
    context
        Seconds around each frame over which features are pooled; 0 takes frames by themselves.
    pooling
        ``"mean"``, ``"deviation"`` (standard deviation, which tells what flutters from what lasts) or both, which gives
        one feature a component and pooling, poolings one after the other.

    Returns
    -------
    features
        [T, K * poolings].
    """
    unknown = [name for name in pooling if name not in POOLINGS]
    if unknown or not pooling:
        raise ArgumentError("no such pooling", got=unknown or "none", expected=" or ".join(POOLINGS))
    if not 0 <= context < 3600:
        raise ArgumentError("the context is out of range", got=context, expected="seconds, 0 to 3600")
    if "deviation" in pooling and not context:
        raise ArgumentError("a deviation needs a context", got="context=0", hint="Use pooling=('mean',).")
    clock = frame_clock(duration, frame_rate)
    steps = ((np.arange(_MOMENTS) + 0.5) / _MOMENTS - 0.5) / frame_rate
    h = activations((clock[:, None] + steps).ravel()).astype(np.float64)
    frames = h.reshape(len(h), len(clock), _MOMENTS).mean(2)
    level = frames.mean()
    logs = np.log(_FLOOR + frames / (level if level > 0 else 1.0))
    return np.concatenate([_pooled(logs, name, context * frame_rate) for name in pooling]).T


def _pooled(logs: Float64, pooling: str, frames: float) -> Float64:
    from scipy.ndimage import uniform_filter1d

    # Odd, so that the frame is in the middle.
    size = 2 * int(frames / 2) + 1
    mean = uniform_filter1d(logs, size, axis=1, mode="nearest")
    if pooling == "mean":
        return np.asarray(mean, np.float64)
    squares = uniform_filter1d(logs**2, size, axis=1, mode="nearest")
    return np.asarray(np.sqrt(np.maximum(squares - mean**2, 0)), np.float64)
