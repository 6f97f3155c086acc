"""How a transform shows an impulse and a steady tone: their widths where they are half as high as at most.

Bands are probed by impulses that fall between points in different ways, and by a tone that slides so slowly that a
band answers to it as to a steady one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inmf_flow.points import GridBlock, PointSet
from inmf_flow.transform import Transform

_SHIFTS = 16
# A tone slides by a twentieth of the band's width while the band answers.
_SLOWNESS = 20.0
_BANDS_SWEPT = 6.0
_MARGIN_SECONDS = 0.5


def band_at(points: PointSet, hertz: float) -> tuple[GridBlock, int] | None:
    """Return the grid and the number of its band that is nearest to a frequency; None where points lie anywhere."""
    grids = [block for block in points.blocks if isinstance(block, GridBlock)]
    if not grids or len(grids) < len(points.blocks):
        return None
    block = min(grids, key=lambda grid: float(np.abs(grid.frequencies - hertz).min()))
    return block, int(np.abs(block.frequencies - hertz).argmin())


def spacing(points: PointSet, hertz: float) -> list[float] | None:
    """Return milliseconds and hertz between the points around a frequency; None where they lie anywhere."""
    found = band_at(points, hertz)
    if found is None:
        return None
    block, band = found
    return [1000 * float(np.median(np.diff(block.times))), float(block.frequency_weights[band])]


def widths(transform: Transform, hertz: float, sample_rate: int) -> list[float] | None:
    """Return for how many milliseconds a band shows an impulse, and over how many hertz it answers to a tone."""
    left, right = transform.halo(sample_rate)
    silence = np.zeros(2 * (left + right) + sample_rate, np.float32)
    found = band_at(transform.analyze(silence, sample_rate), hertz)
    if found is None:
        return None
    block, band = found
    hop, step = float(np.median(np.diff(block.times))), float(block.frequency_weights[band])
    return [
        1000 * _impulse_seconds(transform, hertz, sample_rate, silence, hop),
        _tone_hertz(transform, float(block.frequencies[band]), step, sample_rate),
    ]


def _impulse_seconds(
    transform: Transform, hertz: float, sample_rate: int, silence: NDArray[np.float32], hop: float
) -> float:
    times, heights = [], []
    for shift in np.unique(np.round(np.arange(_SHIFTS) * hop * sample_rate / _SHIFTS).astype(int)):
        audio = silence.copy()
        at = len(audio) // 2 + shift
        audio[at] = 1.0
        found = band_at(transform.analyze(audio, sample_rate), hertz)
        assert found is not None
        block, band = found
        times.append(block.times - at / sample_rate)
        heights.append(block.magnitudes[band])
    return _width(np.concatenate(times), np.concatenate(heights))


def _tone_hertz(transform: Transform, centre: float, step: float, sample_rate: int) -> float:
    low = max(centre - _BANDS_SWEPT * step / 2, 1.0)
    high = min(centre + _BANDS_SWEPT * step / 2, sample_rate / 2)
    context = max(transform.halo(sample_rate)) / sample_rate + _MARGIN_SECONDS
    speed = step**2 / _SLOWNESS
    t = np.arange(int(((high - low) / speed + 2 * context) * sample_rate)) / sample_rate
    slid = np.clip(low + speed * (t - context), low, high)
    audio = np.sin(2 * np.pi * np.cumsum(slid) / sample_rate).astype(np.float32)
    found = band_at(transform.analyze(audio, sample_rate), centre)
    assert found is not None
    block, band = found
    inside = (block.times > context) & (block.times < t[-1] - context)
    width = _width(np.interp(block.times[inside], t, slid), block.magnitudes[band, inside])
    if width > 0.95 * (high - low):
        raise ValueError(f"the band at {centre:g} Hz is wider than the {high - low:g} Hz that were swept")
    return width


def _width(places: NDArray[np.floating], heights: NDArray[np.floating]) -> float:
    """Return how far apart the outermost places are whose height is half of the largest or more."""
    high = places[heights >= 0.5 * heights.max()]
    return float(high.max() - high.min())
