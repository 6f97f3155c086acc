"""One slice after the other: spectra of windowed slices to coefficients of bands, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from inmf_flow_cqt.bands import Group

Real = NDArray[np.floating]
Complex = NDArray[np.complexfloating]


def slice_margin(length: int) -> int:
    """Return how many samples at either end of a slice are zero, so that atoms' tails hardly wrap around."""
    return length // 6


def slice_window(length: int, dtype: type[np.floating]) -> Real:
    """Return the part of a slice's window between the margins; windows half a slice apart add up to 1."""
    margin = slice_margin(length)
    rise = np.sin(0.5 * np.pi * (np.arange(length // 2 - 2 * margin) + 0.5) / (length // 2 - 2 * margin)) ** 2
    return np.concatenate([rise, np.ones(2 * margin), 1 - rise]).astype(dtype)


def slice_taper(length: int, dtype: type[np.floating]) -> Real:
    """Return the weights of a slice's output: 1 where its window lets anything through, falling to 0 at its ends.

    Gains can spread audio beyond the window. What of it reaches the ends has come around the circle or goes there.
    """
    margin = slice_margin(length)
    rise = np.sin(0.5 * np.pi * (np.arange(margin) + 0.5) / margin) ** 2
    return np.concatenate([rise, np.ones(length - 2 * margin), rise[::-1]]).astype(dtype)


def fill_bands(coefficients: Complex, spectra: Complex, group: Group) -> None:
    """Write the coefficients of a group's bands.

    Parameters
    ----------
    coefficients
        Zeros of shape [..., F, count], changed in place. Phases count from the slice's first sample, so that
        coefficients of overlapping slices at one time may be added.
    spectra
        Of slices, bins from 0 Hz to Nyquist, shape [..., bins].
    group
        The bands.
    """
    from scipy import fft

    for number, band in enumerate(group.bands):
        values = _bins(spectra, band.first, len(band.analysis))
        for part, place in _folded(band.first, len(band.analysis), group.count):
            np.multiply(values[..., part], band.analysis[part], out=coefficients[..., number, place])
    # Most versions of SciPy transform in place then, and the assignment costs nothing.
    coefficients[...] = fft.ifft(coefficients, axis=-1, norm="forward", overwrite_x=True)


def add_spectra(spectra: Complex, coefficients: Complex, group: Group) -> None:
    """Add what a group's bands give of the spectra of slices, [..., bins], in place."""
    from scipy import fft

    folded = fft.fft(coefficients, axis=-1)
    for number, band in enumerate(group.bands):
        values = spectra[..., band.dual_first : band.dual_first + len(band.dual)]
        for part, place in _folded(band.dual_first, len(band.dual), group.count):
            values[..., part] += folded[..., number, place] * band.dual[part]


def _folded(first: int, size: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Yield which of the bins from ``first`` on go to which places of a transform of ``count`` points."""
    begin = first % count
    head = min(size, count - begin)
    yield slice(0, head), slice(begin, begin + head)
    if size > head:
        yield slice(head, size), slice(0, size - head)


def _bins(spectra: Complex, first: int, size: int) -> Complex:
    """Return bins of real signals' spectra, continued beyond 0 Hz and Nyquist by their mirror image."""
    last = spectra.shape[-1] - 1
    if first < 0:
        mirrored = np.conj(spectra[..., -first:0:-1])
        return np.concatenate([mirrored, spectra[..., : first + size]], axis=-1)
    if first + size - 1 > last:
        mirrored = np.conj(spectra[..., 2 * last - first - size + 1 : last][..., ::-1])
        return np.concatenate([spectra[..., first:], mirrored], axis=-1)
    return spectra[..., first : first + size]
