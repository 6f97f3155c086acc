"""Wavelets of the continuous transform by their frequency responses."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
_MORLET = re.compile(r"^cmor(\d+(?:\.\d*)?)-(\d+(?:\.\d*)?)$")
_KNOWN = "cmorB-C such as cmor20.0-1.0, morl, mexh, gaus2, gaus4, gaus6 or gaus8"
# A Morlet wavelet whose response at 0 Hz is larger than this sees offsets; no correction is made for it.
_LEAST_SHAPE = 0.8
# Above it a thousand bins in an octave would leave gaps.
_LARGEST_SHAPE = 5000.0
# Relative size of an impulse response where it is cut off.
_TAIL = 1e-8
# Relative ripple of the sum of all bands' responses that the bands may have.
_RIPPLE = 0.01


@dataclass(frozen=True)
class Mother:
    """An analysing wavelet, as a function of the ratio of a frequency to that of the wavelet.

    Attributes
    ----------
    name
        As PyWavelets spells it.
    shape
        For a Morlet wavelet exp(-u**2 / shape) is its envelope u cycles from its middle; for a derivative of a
        Gaussian the order.
    morlet
        Which of the two it is.
    real
        Whether coefficients are real and oscillate.
    """

    name: str
    shape: float
    morlet: bool
    real: bool

    def response(self, ratio: Float64) -> Float64:
        """Return the response, 1 at a ratio of 1 (Torrence and Compo 1998, table 1)."""
        if self.morlet:
            response: Float64 = np.exp(-(np.pi**2) * self.shape * (ratio - 1) ** 2)
            return response
        square = ratio**2
        powers: Float64 = (square * np.exp(1 - square)) ** (self.shape / 2)
        return powers

    @property
    def reach(self) -> float:
        """Cycles from its middle to where it has died away."""
        if self.morlet:
            return math.sqrt(self.shape * -math.log(_TAIL))
        # exp(-t**2) and its Hermite polynomial, t being u 2 pi / sqrt(2 order).
        t = np.linspace(0, 12, 4801)
        size = np.abs(np.polynomial.hermite.hermval(t, [0] * int(self.shape) + [1])) * np.exp(-(t**2))
        last = t[np.flatnonzero(size > _TAIL * size.max())[-1]]
        return float(last) * math.sqrt(2 * self.shape) / (2 * math.pi)

    @property
    def support(self) -> tuple[float, float]:
        """Ratios between which the response is not zero in double precision's eyes."""
        ratio = np.linspace(0, 12, 120_001)
        inside = ratio[self.response(ratio) > 1e-12]
        return float(inside[0]), float(inside[-1])

    @property
    def spread(self) -> float:
        """Standard deviation in cycles of the squared magnitude in time."""
        ratio = np.linspace(0, 12, 120_001)
        response = self.response(ratio)
        slope = np.gradient(response, ratio)
        return float(np.sqrt(np.sum(slope**2) / np.sum(response**2)) / (2 * np.pi))

    def sum_in_octaves(self) -> float:
        """Return the integral of the response over log2 of the ratio: what bands in each octave add up to."""
        octaves = np.linspace(-12, 4, 160_001)
        return float(np.sum(self.response(2.0**octaves)) * (octaves[1] - octaves[0]))

    def ripple(self, bins_per_octave: int) -> float:
        """Return by how much the sum of the responses of so many bands an octave varies, relative to its mean."""
        inside = np.linspace(0, 1 / bins_per_octave, 33)
        bands = np.arange(-12 * bins_per_octave, 4 * bins_per_octave) / bins_per_octave
        total = self.response(2.0 ** (inside[:, None] + bands)).sum(axis=1)
        return float(np.ptp(total) / total.mean())


@lru_cache(maxsize=32)
def mother_wavelet(name: str) -> Mother:
    """Return an analysing wavelet by its name in PyWavelets.

    Raises
    ------
    ValueError
        For a name that there is not, and for wavelets that cannot be inverted by a sum of their coefficients or do
        not die away fast enough for analysis block by block.
    """
    if name == "morl":
        # cos(5 t) exp(-t**2 / 2): the envelope in cycles.
        return Mother(name, 2 * (5 / (2 * math.pi)) ** 2, True, True)
    if name in ("mexh", "gaus2", "gaus4", "gaus6", "gaus8"):
        return Mother(name, 2.0 if name == "mexh" else float(name[4:]), False, True)
    match = _MORLET.match(name)
    if match is None:
        raise ValueError(f"no wavelet {name!r} for kind cwt: expected {_KNOWN}")
    shape = float(match[1]) * float(match[2]) ** 2
    if not _LEAST_SHAPE <= shape <= _LARGEST_SHAPE:
        raise ValueError(
            f"cmorB-C must have B x C**2 from {_LEAST_SHAPE:g} (below, it answers to 0 Hz) to {_LARGEST_SHAPE:g}, "
            f"got {shape:g} of {name!r}"
        )
    return Mother(name, shape, True, False)


@lru_cache(maxsize=32)
def least_bins(name: str) -> int:
    """Return the least number of bands in an octave between which nothing is lost."""
    mother = mother_wavelet(name)
    # Wider than this many bins, a narrow wavelet's ripple is all but its whole response.
    bins = max(int(2 * mother.spread), 1)
    while mother.ripple(bins) > _RIPPLE:
        bins += 1
    return bins
