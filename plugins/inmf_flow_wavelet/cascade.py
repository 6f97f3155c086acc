"""Cascades of filter banks on arrays: packets, the discrete and the stationary wavelet transform, and back.

Coefficient K of a band at depth j is counted from the recording's start: with hop 2**j it depends on samples from
K 2**j - (2**j - 1)(taps - 2) to K 2**j + 2**j - 1, and without decimation on those from K - (2**j - 1)(taps - 1) to K.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inmf_flow_wavelet.filters import FilterBank, in_frequency_order


class Band(NamedTuple):
    """Coefficients of bands with one hop: [channels, bands, coefficients], and the number of the first one."""

    first: int
    values: NDArray[Any]

    def between(self, first: int, stop: int) -> NDArray[Any]:
        """Return coefficients [first, stop), zeros where there are none."""
        inside = self.values[..., max(first - self.first, 0) : max(stop - self.first, 0)]
        before = min(max(self.first - first, 0), stop - first)
        missing = stop - first - before - inside.shape[-1]
        return np.pad(inside, [(0, 0), (0, 0), (before, missing)]) if before or missing else inside


def packets(samples: NDArray[Any], start: int, bank: FilterBank, level: int) -> Band:
    """Return all packets in the order of their frequency, of samples [channels, samples] from number ``start``."""
    import pywt

    samples, first = _aligned(samples, start, level)
    nodes = samples[:, None]
    for _ in range(level):
        low, high = pywt.dwt(nodes, bank.wavelet, "zero", axis=-1)
        nodes = in_frequency_order(low, high, axis=1)
    return Band(first, nodes)


def from_packets(band: Band, start: int, stop: int, bank: FilterBank, level: int) -> NDArray[Any]:
    """Return samples [start, stop) of packets, as far as all coefficients are there; [channels, samples]."""
    ranges = _decimated_ranges(start, stop, bank.taps, level)
    nodes = band.between(*ranges[level])
    for depth in range(level, 0, -1):
        low = np.empty((nodes.shape[0], nodes.shape[1] // 2, nodes.shape[2]), nodes.dtype)
        high = np.empty_like(low)
        low[:, 0::2], high[:, 0::2] = nodes[:, 0::4], nodes[:, 1::4]
        high[:, 1::2], low[:, 1::2] = nodes[:, 2::4], nodes[:, 3::4]
        nodes = _merged(low, high, ranges[depth - 1], ranges[depth][0], bank)
    return nodes[:, 0]


def shifted_packets(samples: NDArray[Any], start: int, bank: FilterBank, level: int, shifts: int) -> Band:
    """Return the packets of the samples and of the same some samples later, in turn: of hop ``2**level / shifts``.

    Coefficient K begins K hops after the recording does; every ``shifts``-th belongs to one transform.
    """
    if shifts == 1:
        return packets(samples, start, bank, level)
    hop = (1 << level) // shifts
    made = [packets(samples, start - turn * hop, bank, level) for turn in range(shifts)]
    first = min(band.first for band in made)
    stop = max(band.first + band.values.shape[-1] for band in made)
    turns = np.stack([band.between(first, stop) for band in made], axis=-1)
    return Band(first * shifts, turns.reshape(*turns.shape[:2], -1))


def from_shifted_packets(band: Band, start: int, stop: int, bank: FilterBank, level: int, shifts: int) -> NDArray[Any]:
    """Return samples [start, stop) as the mean of what each of the transforms gives; [channels, samples].

    Coifman and Donoho, "Translation-invariant de-noising" (1995).
    """
    if shifts == 1:
        return from_packets(band, start, stop, bank, level)
    hop = (1 << level) // shifts
    total: Any = 0
    for turn in range(shifts):
        first = -((turn - band.first) // shifts)
        own = Band(first, band.values[..., first * shifts + turn - band.first :: shifts])
        total = total + from_packets(own, start - turn * hop, stop - turn * hop, bank, level)
    return np.asarray(total / total.dtype.type(shifts))


def octaves(samples: NDArray[Any], start: int, bank: FilterBank, level: int) -> list[Band]:
    """Return the discrete wavelet transform: the approximation, then details from the deepest to the first."""
    import pywt

    samples, first = _aligned(samples, start, level)
    rest, details = samples[:, None], []
    for depth in range(level):
        rest, detail = pywt.dwt(rest, bank.wavelet, "zero", axis=-1)
        details.append(Band(first << (level - depth - 1), detail))
    return [Band(first, rest), *reversed(details)]


def from_octaves(bands: list[Band], start: int, stop: int, bank: FilterBank) -> NDArray[Any]:
    """Return samples [start, stop) of a discrete wavelet transform, as far as all coefficients are there."""
    level = len(bands) - 1
    ranges = _decimated_ranges(start, stop, bank.taps, level)
    rest = bands[0].between(*ranges[level])
    for depth, band in zip(range(level, 0, -1), bands[1:], strict=True):
        rest = _merged(rest, band.between(*ranges[depth]), ranges[depth - 1], ranges[depth][0], bank)
    return rest[:, 0]


def stationary(samples: NDArray[Any], start: int, bank: FilterBank, level: int) -> Band:
    """Return the undecimated transform: the approximation, then details from the deepest to the first."""
    low, high = ((taps / np.sqrt(2)).astype(samples.dtype) for taps in (bank.low, bank.high))
    bands = np.empty((samples.shape[0], level + 1, samples.shape[1]), samples.dtype)
    rest = samples
    for depth in range(level):
        bands[:, level - depth] = _spread_filter(rest, high, 1 << depth)[:, : samples.shape[1]]
        rest = _spread_filter(rest, low, 1 << depth)[:, : samples.shape[1]]
    bands[:, 0] = rest
    return Band(start, bands)


def from_stationary(band: Band, start: int, stop: int, bank: FilterBank) -> NDArray[Any]:
    """Return samples [start, stop) of an undecimated transform, as far as all coefficients are there."""
    level, dtype = band.values.shape[1] - 1, band.values.dtype
    filters = bank.wavelet.rec_lo, bank.wavelet.rec_hi
    low, high = ((np.array(taps) / np.sqrt(2)).astype(dtype) for taps in filters)
    reaches = [((1 << depth) - 1) * (bank.taps - 1) for depth in range(level + 1)]
    every = band.between(start, stop + reaches[level])
    rest = every[:, 0]
    for depth in range(level - 1, -1, -1):
        detail = every[:, level - depth, : stop - start + reaches[depth + 1]]
        delay = (1 << depth) * (bank.taps - 1)
        both = _spread_filter(rest, low, 1 << depth) + _spread_filter(detail, high, 1 << depth)
        rest = both[:, delay : delay + stop - start + reaches[depth]]
    return rest


def _aligned(samples: NDArray[Any], start: int, level: int) -> tuple[NDArray[Any], int]:
    """Return samples from a multiple of 2**level on, and the number of the first coefficient there."""
    first = start >> level
    return np.pad(samples, ((0, 0), (start - (first << level), 0))), first


def _decimated_ranges(start: int, stop: int, taps: int, level: int) -> list[tuple[int, int]]:
    """Return for each depth the coefficients [first, stop) that samples [start, stop) are made of."""
    ranges = [(start, stop)]
    for _ in range(level):
        start, stop = start // 2, (stop + taps - 3) // 2 + 1
        ranges.append((start, stop))
    return ranges


def _merged(
    low: NDArray[Any], high: NDArray[Any], wanted: tuple[int, int], first: int, bank: FilterBank
) -> NDArray[Any]:
    import pywt

    merged = pywt.idwt(low, high, bank.wavelet, "zero", axis=-1)
    return np.asarray(merged[..., wanted[0] - 2 * first : wanted[1] - 2 * first])


def _spread_filter(samples: NDArray[Any], taps: NDArray[Any], step: int) -> NDArray[Any]:
    """Return the whole convolution with a filter that has ``step - 1`` zeros after each tap."""
    from scipy.signal import upfirdn

    channels, count = samples.shape
    phases = np.pad(samples, ((0, 0), (0, -count % step))).reshape(channels, -1, step)
    return np.asarray(upfirdn(taps, phases, axis=1)).reshape(channels, -1)
