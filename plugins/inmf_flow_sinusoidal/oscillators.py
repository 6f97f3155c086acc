"""Partials back to audio: cubic phases and linear amplitudes, all segments in bulk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
# Values of segments that are computed at a time: bounds the memory, and stays in the processor's cache.
_VALUES_AT_ONCE = 1 << 16


def cubic_phase(
    start: tuple[Float64, Float64], stop: tuple[Float64, Float64], length: Float64 | float
) -> tuple[Float64, Float64, Float64, Float64]:
    """Return the coefficients of the smoothest cubic with given phases and frequencies at both ends.

    R. J. McAulay and T. F. Quatieri, "Speech analysis/synthesis based on a sinusoidal representation", IEEE Trans. ASSP
    34(4), 1986, eqs. 34-37.

    Parameters
    ----------
    start, stop
        Phase in radians and frequency in radians per sample, where the segment begins and ends.
    length
        Samples in the segment.

    Returns
    -------
    coefficients
        Of the powers 0 to 3 of the sample's number.
    """
    (phase, frequency), (phase_after, frequency_after) = start, stop
    ahead = phase + frequency * length - phase_after
    bend = frequency_after - frequency
    turns = np.round((ahead + 0.5 * bend * length) / (2 * np.pi))
    missing = 2 * np.pi * turns - ahead
    square = 3 * missing / length**2 - bend / length
    cube = -2 * missing / length**3 + bend / length**2
    return phase, frequency, square, cube


def add_segments(
    target: Float64,
    intervals: NDArray[np.int64],
    phases: tuple[Float64, Float64, Float64, Float64],
    start: Float64,
    stop: Float64,
) -> None:
    """Add sinusoids, each of which lasts one interval.

    Parameters
    ----------
    target
        Shape [channels, intervals, samples], changed in place.
    intervals
        Where each segment goes, [S].
    phases
        Coefficients of the powers of the sample's number, each of a shape that broadcasts to [channels, S].
    start, stop
        Amplitudes at the interval's beginning and at the next one's, [channels, S].
    """
    channels, _, samples = target.shape
    order = np.argsort(intervals, kind="stable")
    time = np.arange(samples, dtype=np.float64)
    share = time / samples
    phases = tuple(np.broadcast_to(part, start.shape)[:, order] for part in phases)  # type: ignore[assignment]
    start, change, intervals = start[:, order], (stop - start)[:, order], intervals[order]
    size = max(_VALUES_AT_ONCE // (samples * channels), 1)
    for begin in range(0, len(order), size):
        part = slice(begin, begin + size)
        constant, linear, square, cube = (coefficient[:, part, None] for coefficient in phases)
        values = cube * time
        values += square
        values *= time
        values += linear
        values *= time
        values += constant
        np.cos(values, out=values)
        envelope = change[:, part, None] * share
        envelope += start[:, part, None]
        values *= envelope
        here = intervals[part]
        firsts = np.flatnonzero(np.diff(here, prepend=-1))
        target[:, here[firsts]] += np.add.reduceat(values, firsts, axis=1)
