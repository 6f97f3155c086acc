"""What a cascade of two-band filter banks does to sound: its delays, its energies and its peak responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
# Frequencies at which a band's response is sampled, and neighbouring bands among which its peak is looked for.
_POINTS_A_BAND = 32
_NEIGHBOURS = 8
# Frequencies at which the response of a bank, or of one branch of octaves, is sampled.
_FREQUENCIES = 1 << 15


@dataclass(frozen=True, eq=False)
class FilterBank:
    """The four filters of a wavelet, all of the same even length.

    Attributes
    ----------
    wavelet
        The `pywt.Wavelet`.
    low, high
        Analysis filters [taps].
    """

    wavelet: Any
    low: Float64
    high: Float64

    @property
    def taps(self) -> int:
        """The filters' length."""
        return len(self.low)

    @property
    def orthogonal(self) -> bool:
        """Whether synthesis is the transpose of analysis, so that rounding errors do not grow."""
        return bool(self.wavelet.orthogonal)

    @property
    def distortion(self) -> float:
        """The largest error of the response of one analysis and synthesis, relative to 1."""
        low = np.convolve(self.wavelet.dec_lo, self.wavelet.rec_lo)
        through = low + np.convolve(self.wavelet.dec_hi, self.wavelet.rec_hi)
        through[self.taps - 1] -= 2
        return float(np.abs(np.fft.rfft(through, _FREQUENCIES)).max()) / 2


@lru_cache(maxsize=32)
def filter_bank(name: str) -> FilterBank:
    """Return the filters of a discrete wavelet of PyWavelets by its name."""
    import pywt

    wavelet = pywt.Wavelet(name)
    return FilterBank(wavelet, np.array(wavelet.dec_lo), np.array(wavelet.dec_hi))


@dataclass(frozen=True, eq=False)
class Response:
    """What the filters that lead to some bands do, as one filter a band: all arrays [bands].

    Attributes
    ----------
    delays
        Samples from the newest sample that a coefficient depends on back to the energy centroid of what it depends
        on: where an asymmetric wavelet has its middle.
    energies
        Sum of the squared impulse response: the mean square of the coefficients of white noise of variance 1.
    peaks
        Largest magnitude of the frequency response.
    """

    delays: Float64
    energies: Float64
    peaks: Float64


def packet_response(bank: FilterBank, level: int) -> Response:
    """Return the response of all 2**level wavelet packets, in the order of their frequency."""
    moments = _Moments.of_an_impulse(bank.taps)
    for depth in range(level):
        low, high = moments.filtered(bank.low, depth), moments.filtered(bank.high, depth)
        moments = _Moments(in_frequency_order(low.energies, high.energies), in_frequency_order(low.firsts, high.firsts))
    return Response(moments.delays, moments.energies[:, bank.taps - 1], _packet_peaks(bank, level))


def octave_response(bank: FilterBank, level: int) -> Response:
    """Return the response of the approximation and of the details from the deepest to the first."""
    approximation = _Moments.of_an_impulse(bank.taps)
    found, peaks = [], []
    for depth in range(level):
        found.append(approximation.filtered(bank.high, depth))
        peaks.append(_octave_peak(bank, depth + 1, bank.high))
        approximation = approximation.filtered(bank.low, depth)
    found = [approximation, *reversed(found)]
    return Response(
        np.concatenate([moments.delays for moments in found]),
        np.concatenate([moments.energies[:, bank.taps - 1] for moments in found]),
        np.array([_octave_peak(bank, level, bank.low), *reversed(peaks)]),
    )


def in_frequency_order(low: NDArray[Any], high: NDArray[Any], axis: int = 0) -> NDArray[Any]:
    """Return the children of nodes that are in the order of their frequency, in that order again.

    Each high-pass branch turns the spectrum of its band around, so its children come high-pass first.
    """
    low, high = np.moveaxis(low, axis, 0), np.moveaxis(high, axis, 0)
    children = np.empty((2 * low.shape[0], *low.shape[1:]), low.dtype)
    children[0::4], children[1::4] = low[0::2], high[0::2]
    children[2::4], children[3::4] = high[1::2], low[1::2]
    return np.moveaxis(children, 0, axis)


@dataclass(frozen=True, eq=False)
class _Moments:
    """Lagged products of the impulse response f of a node at some depth, [nodes, lags -(taps-1) to taps-1].

    With s = 2**depth, ``energies[d]`` is the sum over n of f[n] f[n + s d] and ``firsts[d]`` that of n f[n] f[n + s d].
    One filter more (f'[n] = sum of h[k] f[n - s k]) is linear in them, so the impulse responses, which are as long as
    2**depth filters, are never made.
    """

    energies: Float64
    firsts: Float64

    @classmethod
    def of_an_impulse(cls, taps: int) -> _Moments:
        energies = np.zeros((1, 2 * taps - 1))
        energies[0, taps - 1] = 1
        return cls(energies, np.zeros_like(energies))

    @property
    def delays(self) -> Float64:
        middle = self.energies.shape[1] // 2
        delays: Float64 = self.firsts[:, middle] / self.energies[:, middle]
        return delays

    def filtered(self, taps: Float64, depth: int) -> _Moments:
        number = np.arange(len(taps))
        products = _lags(np.correlate(taps, taps, "full")[::-1])
        weighted = _lags(np.correlate(taps, number * taps, "full"))
        firsts = self.firsts @ products + (1 << depth) * (self.energies @ weighted)
        return _Moments(self.energies @ products, firsts)


def _lags(sequence: Float64) -> Float64:
    """Return the matrix that convolves with a sequence of lags and keeps every second lag."""
    middle = len(sequence) // 2
    numbers = np.arange(-middle, middle + 1)
    lags = 2 * numbers[None, :] - numbers[:, None]
    inside = np.abs(lags) <= middle
    return np.where(inside, sequence[np.clip(lags + middle, 0, len(sequence) - 1)], 0)


def _octave_peak(bank: FilterBank, depth: int, last: Float64) -> float:
    """Return the peak response of low-pass filters and a last filter at some depth."""
    # In units of the last filter's own frequency, up to some octaves above its first band.
    angles = np.linspace(0, np.pi * min(1 << depth, 8), _FREQUENCIES // 4 + 1)
    gain = _magnitude(last, angles / 2)
    for stage in range(2, depth + 1):
        gain = gain * _magnitude(bank.low, angles / (1 << stage))
    return float(gain.max())


def _magnitude(taps: Float64, angles: Float64) -> Float64:
    """Return the magnitude of a filter's response at angles of any size."""
    table = np.abs(np.fft.fft(taps, _FREQUENCIES))
    grid = np.arange(_FREQUENCIES + 1) * (2 * np.pi / _FREQUENCIES)
    magnitude: Float64 = np.interp(angles % (2 * np.pi), grid, np.append(table, table[0]))
    return magnitude


def _packet_peaks(bank: FilterBank, level: int) -> Float64:
    """Return the peak responses of all packets, each looked for around the band that the packet stands for."""
    bands = np.arange(1 << level)
    size = 2 * _POINTS_A_BAND << level
    around = np.arange(-_NEIGHBOURS * _POINTS_A_BAND, (_NEIGHBOURS + 1) * _POINTS_A_BAND + 1)
    tables = [np.abs(np.fft.fft(taps, size)) for taps in (bank.low, bank.high)]
    # The branches that lead to a packet are the Gray code of its place in the order of frequency.
    branches = bands ^ (bands >> 1)
    peaks = np.zeros(len(bands))
    for begin in range(0, len(bands), 256):
        some = slice(begin, begin + 256)
        places = np.clip(bands[some, None] * _POINTS_A_BAND + around, 0, size // 2)
        gain = np.ones(places.shape)
        for depth in range(level):
            at = (places << depth) % size
            high = ((branches[some] >> (level - 1 - depth)) & 1).astype(bool)
            gain *= np.where(high[:, None], tables[1][at], tables[0][at])
        peaks[some] = gain.max(axis=1)
    return peaks
