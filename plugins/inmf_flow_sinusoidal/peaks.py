"""Peaks of frames' spectra: frequency, its slope, and complex amplitudes at the frame's centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow_sinusoidal.windows import WindowName, reassignment_windows, spectra, window_values

Float64 = NDArray[np.float64]
Complex128 = NDArray[np.complex128]
WINDOW: WindowName = "blackman_harris"
# Largest slope of a peak, in bins (1 / window length) per window length: beyond it three bins see too little of it.
STEEPEST = 24.0
# Least spread in time of what a peak's bins see, in window lengths; of a steady tone it is 0.1.
_SHORTEST = 0.02
# Frames that are transformed at a time: bounds the spectra that are held.
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class Peaks:
    """Peaks of several frames, ordered by frame, then frequency.

    Attributes
    ----------
    frames
        The frame's number, [P].
    frequencies, slopes
        Hertz, and hertz per second, at the frame's centre, [P].
    amplitudes
        Complex: amplitude and phase (of a cosine, at the frame's centre), [C, P].
    """

    frames: NDArray[np.int64]
    frequencies: Float64
    slopes: Float64
    amplitudes: Complex128

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def levels(self) -> Float64:
        """Root of the energy of all channels, [P]."""
        levels: Float64 = np.sqrt(np.sum(np.abs(self.amplitudes) ** 2, axis=0))
        return levels

    def take(self, which: NDArray[Any]) -> Peaks:
        """Return the chosen peaks."""
        return Peaks(self.frames[which], self.frequencies[which], self.slopes[which], self.amplitudes[:, which])

    @classmethod
    def join(cls, parts: Sequence[Peaks]) -> Peaks:
        """Return the peaks of consecutive frames as one."""
        return cls(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.frequencies for part in parts]),
            np.concatenate([part.slopes for part in parts]),
            np.concatenate([part.amplitudes for part in parts], axis=-1),
        )


@dataclass(frozen=True)
class Maxima:
    """All local maxima of the spectra, sinusoids or not, ordered by frame, then frequency.

    Attributes
    ----------
    frames, frequencies, levels
        The frame's number, hertz of the bin and amplitude over all channels, [M].
    """

    frames: NDArray[np.int64]
    frequencies: Float64
    levels: Float64


@dataclass(frozen=True)
class PeakRules:
    """What counts as a peak.

    Attributes
    ----------
    threshold, floor
        Least amplitude, as a share of the frame's largest, and by itself.
    scatter
        Most that the frequencies told by a peak's bins may differ, in bins; see `find_peaks`.
    most
        Peaks kept of a frame, the largest ones.
    """

    threshold: float
    floor: float
    scatter: float
    most: int


def find_peaks(
    samples: NDArray[Any], rate: int, length: int, hop: int, first: int, count: int, rules: PeakRules
) -> tuple[Peaks, Maxima]:
    """Return the peaks of frames, and all maxima among which they are.

    A peak is a local maximum over the bins of the power summed over channels. Around it the signal is taken for
    exp(a0 + a1 t + a2 t^2), whose derivative is (a1 + 2 a2 t) times itself: with X, X_t and X_d the spectra under the
    window, the time-weighted and the derived window, every bin says a1 X + 2 a2 X_t = i w X - X_d (M. Betser,
    "Sinusoidal polynomial parameter estimation using the distribution derivative", IEEE Trans. Signal Processing
    57(12), 2009). With a2 = 0 this is the reassigned frequency. The maximum and its two neighbours are solved for both
    by least squares; what is left over tells a sinusoid from noise and impulses.

    Parameters
    ----------
    samples
        What the frames cover, [channels, (count - 1) * hop + length].
    rate
        Hertz.
    length
        Samples in the window: an odd number, so that the centre is a sample.
    hop, first, count
        Samples between frames, the first frame's number and how many there are.
    rules
        What counts as a peak.
    """
    none = np.zeros(0)
    number = none.astype(np.int64)
    peaks = [Peaks(number, none, none, np.zeros((samples.shape[0], 0), np.complex128))]
    maxima = [Maxima(number, none, none)]
    if count > 0 and length >= 16:
        windows = reassignment_windows(WINDOW, length)
        for begin in range(0, count, _FRAMES_AT_ONCE):
            size = min(_FRAMES_AT_ONCE, count - begin)
            some, all_ = _peaks(samples[:, begin * hop :], rate, windows, hop, first + begin, size, rules)
            peaks.append(some)
            maxima.append(all_)
    joined = (np.concatenate([getattr(part, name) for part in maxima]) for name in ("frames", "frequencies", "levels"))
    return Peaks.join(peaks), Maxima(*joined)


def _peaks(
    samples: NDArray[Any], rate: int, windows: Float64, hop: int, first: int, count: int, rules: PeakRules
) -> tuple[Peaks, Maxima]:
    from scipy import fft

    length = windows.shape[-1]
    n_fft = fft.next_fast_len(length, real=True)
    found = spectra(samples, windows, n_fft, hop, count)
    frame, bin_ = _maxima(np.sum(found[0].real ** 2 + found[0].imag ** 2, axis=0), windows[0].sum(), rules)
    # [channels, 3 bins, peaks]
    around = bin_ + np.array([[-1], [0], [1]])
    plain, by_time, by_slope = (part[:, frame[None], around] for part in found)
    target = 2j * np.pi / n_fft * around * plain - by_slope
    first_order, second_order, scatter = _solve(plain, by_time, target, _SHORTEST * length)
    # Cycles per sample to hertz, cycles per sample^2 to hertz per second.
    frequencies = first_order.imag * (rate / (2 * np.pi))
    slopes = second_order.imag * (rate**2 / (2 * np.pi))
    in_bins = frequencies * (n_fft / rate) - bin_
    steepness = slopes * (length / rate) ** 2
    good = (scatter * (n_fft / (2 * np.pi)) <= rules.scatter) & (np.abs(in_bins) <= 1) & (np.abs(steepness) <= STEEPEST)
    # A bin from the ends of the spectrum, a peak is mixed with its own mirror image.
    good &= np.minimum(frequencies, rate / 2 - frequencies) >= rate / length
    response = _response(np.abs(in_bins) * (length / n_fft), steepness)
    # From the frame's first sample, which phases refer to, to its centre.
    turn = np.exp(2j * np.pi * bin_ * (length // 2) / n_fft)
    amplitudes = 2 * plain[:, 1] * turn / (windows[0].sum() * response)
    frames = first + frame.astype(np.int64)
    levels = 2 * np.sqrt(np.sum(np.abs(plain[:, 1]) ** 2, axis=0)) / windows[0].sum()
    peaks = Peaks(frames, frequencies, slopes, amplitudes).take(np.flatnonzero(good))
    return peaks, Maxima(frames, bin_ * (rate / n_fft), levels)


def _maxima(power: Float64, gain: float, rules: PeakRules) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return frames and bins of the local maxima that are loud enough, of power [frames, bins]."""
    largest = power.max(axis=1, initial=0, keepdims=True)
    least = np.maximum(largest * rules.threshold**2, (rules.floor * gain / 2) ** 2)
    inner = power[:, 2:-2]
    is_peak = (inner > power[:, 1:-3]) & (inner >= power[:, 3:-1]) & (inner >= least) & (inner > 0)
    counts = is_peak.sum(axis=1)
    if (counts > rules.most).any():
        heights = np.where(is_peak, inner, 0)
        at = max(heights.shape[1] - rules.most, 0)
        is_peak &= heights >= np.partition(heights, at, axis=1)[:, at : at + 1]
    frame, bin_ = np.nonzero(is_peak)
    return frame, bin_ + 2


def _solve(
    plain: Complex128, by_time: Complex128, target: Complex128, shortest: float
) -> tuple[Complex128, Complex128, Float64]:
    """Return the least-squares solution (a, b) of a * plain + b * by_time = target, and what is left over.

    All are [channels, bins, peaks]; the rest is the root of its energy relative to that of ``plain``. It is infinite
    where the bins see less than ``shortest`` samples of time, as they do of an impulse: that has no frequency.
    """

    def inner(one: Complex128, other: Complex128) -> Complex128:
        product: Complex128 = np.sum(one.conj() * other, axis=(0, 1))
        return product

    aa, bb, ab = inner(plain, plain).real, inner(by_time, by_time).real, inner(plain, by_time)
    at, bt = inner(plain, target), inner(by_time, target)
    determinant = aa * bb - np.abs(ab) ** 2
    brief = determinant <= (shortest * aa) ** 2
    numerator: Complex128 = aa * bt - ab.conj() * at
    numerator[brief] = 0
    second: Complex128 = numerator / np.where(brief, 1, determinant)
    first: Complex128 = (at - ab * second) / aa
    rest = target - first * plain - second * by_time
    left_over: Float64 = np.where(brief, np.inf, np.sqrt(inner(rest, rest).real / aa))
    return first, second, left_over


def _response(offsets: Float64, steepness: Float64) -> Complex128:
    """Return what the window answers to a chirp, relative to a tone on a bin's centre.

    Offsets from the bin are >= 0 and in bins of the window's length; the steepness is in such bins per window length.
    """
    real, imaginary = _response_splines()
    size = np.abs(steepness)
    answer = real.ev(offsets, size) + 1j * np.where(steepness < 0, -1, 1) * imaginary.ev(offsets, size)
    found: Complex128 = answer
    return found


@lru_cache(maxsize=1)
def _response_splines() -> tuple[Any, Any]:
    from scipy.interpolate import RectBivariateSpline

    places = (np.arange(512) + 0.5) / 512 - 0.5
    window = window_values(WINDOW, places)[0]
    offsets, steepness = np.linspace(0, 1.25, 26), np.linspace(0, STEEPEST, 97)
    # Both are even about the centre, so only cosines of the offset are left.
    chirps = window * np.exp(1j * np.pi * np.outer(steepness, places**2))
    answers = np.cos(2 * np.pi * np.outer(offsets, places)) @ chirps.T / window.sum()
    return RectBivariateSpline(offsets, steepness, answers.real), RectBivariateSpline(offsets, steepness, answers.imag)


@lru_cache(maxsize=1)
def smoothing() -> float:
    """Return how far a bend of the frequency moves a peak: its second derivative times this, in window lengths^2.

    For a phase with a third power of time, the equations of `find_peaks` are off by an even function of time. Of a peak
    on a bin's centre they return its mean under the window and the two neighbours' cosines.
    """
    places = (np.arange(512) + 0.5) / 512 - 0.5
    windows = window_values(WINDOW, places)[0] * np.cos(2 * np.pi * np.outer([-1, 0, 1], places))
    level, bend = windows.sum(axis=1), windows @ places**2
    return float(0.5 * np.sum(level * bend) / np.sum(level**2))
