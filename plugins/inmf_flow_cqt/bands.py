"""Bands of the constant-Q transform: windows in frequency, their duals, and how often each is sampled.

A slice of L samples with spectrum X gives band k the N coefficients ``c(n) = s sum_m X(m) g(m) exp(2 pi i m n / N)``,
where g covers at most N bins: the painless case of a non-stationary Gabor transform (Balazs, Dörfler, Jaillet,
Holighaus and Velasco 2011, section 4), in which the frame operator is a multiplication of spectra, so that the inverse
is a division.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import TransformError
from inmf_flow_cqt.config import CqtConfig

Float64 = NDArray[np.float64]
_FEWEST_COEFFICIENTS = 4


@dataclass(frozen=True)
class Band:
    """One band's windows on the bins of a slice.

    Attributes
    ----------
    first
        The lowest bin; negative in the band around 0 Hz.
    analysis
        Factors of the bins from ``first`` on. In the bands around 0 Hz and Nyquist they go on beyond the spectrum's
        end, into its mirror image.
    dual_first, dual
        The same for synthesis, on bins of the spectrum alone.
    """

    first: int
    analysis: NDArray[np.floating]
    dual_first: int
    dual: NDArray[np.floating]


@dataclass(frozen=True)
class Group:
    """Neighbouring bands that are sampled equally often.

    Attributes
    ----------
    count
        Coefficients of a band in a slice, a power of two.
    frequencies, widths
        Centres of the bands and widths of their cells in hertz, shape [F].
    bands
        Their windows.
    """

    count: int
    frequencies: Float64
    widths: Float64
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class _Shape:
    """A band before it is scaled: its window has a peak of 1."""

    frequency: float
    support: float
    first: int
    window: Float64
    two_sided: bool


def design(config: CqtConfig, sample_rate: int, length: int, dtype: type[np.floating], where: str) -> tuple[Group, ...]:
    """Return the bands of a transform in the order of their frequencies, from 0 Hz to Nyquist.

    Parameters
    ----------
    config
        The transform's options.
    sample_rate
        Hertz.
    length
        Samples in a slice, even.
    dtype
        Of the windows.
    where
        The transform's name, for errors.

    Raises
    ------
    TransformError
        When not even the lowest band lies below Nyquist.
    """
    centres = _centres(config, sample_rate, where)
    widths = config.bandwidths(centres)
    shapes = list(_shapes(centres, widths, sample_rate, length))
    counts = [_power_of_two(shape.support * length / sample_rate) for shape in shapes]
    if config.matrix:
        counts = [max(counts)] * len(counts)
    cells = np.diff(_edges(centres, widths, sample_rate / 2))
    # Not weighted by how often bands are sampled: a gain then acts alike with `matrix` and without.
    total = np.zeros(length // 2 + 1)
    for shape in shapes:
        begin, window = _one_sided(shape, length)
        total[begin : begin + len(window)] += window**2
    groups = []
    for _, members in itertools.groupby(range(len(shapes)), key=lambda index: counts[index]):
        indices = list(members)
        bands = (_band(shapes[i], counts[i], total, length, config.calibration == "noise", dtype) for i in indices)
        frequencies = np.array([shapes[i].frequency for i in indices])
        groups.append(Group(counts[indices[0]], frequencies, cells[indices], tuple(bands)))
    return tuple(groups)


def _centres(config: CqtConfig, sample_rate: int, where: str) -> Float64:
    """Return the centres of the bands that lie below Nyquist with all of their width, in hertz."""
    top = min(sample_rate / 2, config.fmax or np.inf)
    count = max(int(np.floor(config.bins_per_octave * np.log2(top / config.fmin) + 1e-9)) + 1, 0)
    centres = config.fmin * 2 ** (np.arange(count) / config.bins_per_octave)
    centres = centres[centres + config.bandwidths(centres) / 2 <= sample_rate / 2]
    if not len(centres):
        raise TransformError(
            "not even the lowest band lies below Nyquist",
            where=where,
            got=f"fmin {config.fmin:g} Hz, {float(config.bandwidths(config.fmin)):.4g} Hz wide, at {sample_rate} Hz",
            expected=f"all of it below {sample_rate / 2:g} Hz",
            hint="Lower fmin or gamma.",
        )
    return centres


def _shapes(centres: Float64, widths: Float64, sample_rate: int, length: int) -> Iterator[_Shape]:
    """Yield Hann windows at the true centres, and between the bands around 0 Hz and Nyquist that complete them."""
    spacing = sample_rate / length
    nyquist = sample_rate / 2

    def bins(low: float, high: float) -> NDArray[np.int64]:
        return np.arange(np.floor(low / spacing) + 1, np.ceil(high / spacing), dtype=np.int64)

    numbers = bins(-centres[0], centres[0])
    slope = _half_hann((centres[0] - np.abs(numbers * spacing)) / (widths[0] / 2))
    yield _Shape(0.0, 2 * centres[0], int(numbers[0]), slope, True)
    for centre, width in zip(centres, widths, strict=True):
        numbers = bins(centre - width / 2, centre + width / 2)
        window = _half_hann(1 - np.abs(numbers * spacing - centre) / (width / 2))
        yield _Shape(float(centre), float(width), int(numbers[0]), window, False)
    numbers = bins(centres[-1], 2 * nyquist - centres[-1])
    slope = _half_hann((nyquist - centres[-1] - np.abs(numbers * spacing - nyquist)) / (widths[-1] / 2))
    yield _Shape(nyquist, 2 * (nyquist - centres[-1]), int(numbers[0]), slope, True)


def _half_hann(rise: Float64) -> Float64:
    """Return the rising half of a Hann window, 0 at 0 and 1 from 1 on."""
    return np.asarray(np.sin(0.5 * np.pi * np.clip(rise, 0, 1)) ** 2)


def _power_of_two(bins: float) -> int:
    """Return the least power of two that an open interval so many bins wide fits into."""
    return max(1 << int(np.ceil(np.log2(bins))), _FEWEST_COEFFICIENTS)


def _edges(centres: Float64, widths: Float64, nyquist: float) -> Float64:
    """Return where cells end, in hertz: where two neighbours answer equally, 0 and Nyquist."""
    inner = (centres[:-1] * widths[1:] + centres[1:] * widths[:-1]) / (widths[1:] + widths[:-1])
    return np.concatenate([[0, centres[0] - widths[0] / 4], inner, [centres[-1] + widths[-1] / 4, nyquist]])


def _one_sided(shape: _Shape, length: int) -> tuple[int, Float64]:
    """Return a window without its mirror image, and its first bin."""
    begin = max(shape.first, 0)
    return begin, shape.window[begin - shape.first : length // 2 + 1 - shape.first]


def _band(shape: _Shape, count: int, total: Float64, length: int, noise: bool, dtype: type[np.floating]) -> Band:
    if noise:
        # White noise of variance 1 has mean square `length` in each bin.
        scale = 1 / np.sqrt(length * np.sum(shape.window**2))
    else:
        # Of a real sinusoid, a band of positive frequencies sees one of two lines.
        scale = (1 if shape.two_sided else 2) / length
    begin, window = _one_sided(shape, length)
    dual = window / (scale * count * total[begin : begin + len(window)])
    return Band(shape.first, (scale * shape.window).astype(dtype), begin, dual.astype(dtype))
