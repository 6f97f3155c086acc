"""`Cqt`: constant-Q bands, each sampled as often as it needs, with an exact inverse, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.points import Block, GridBlock, PointSet
from inmf_flow.transform import (
    Gains,
    Invertibility,
    Span,
    Transform,
    TransformConfig,
    as_channels,
    check_sample_rate,
    origin_of,
    resolve_gains,
    samples_between,
)
from inmf_flow_cqt.bands import Group, design
from inmf_flow_cqt.config import CqtConfig
from inmf_flow_cqt.slices import add_spectra, fill_bands, slice_margin, slice_taper, slice_window

# Samples or coefficients of slices that are worked on at a time: bounds the copies, and is enough for speed.
_NUMBERS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class _Origin:
    """What synthesis needs to know of the analysis: who made it, and which slices of which samples it holds."""

    config: CqtConfig
    first: int
    span: Span
    samples: int
    mono: bool


class Cqt(Transform):
    """Constant-Q transform as a sliced non-stationary Gabor transform.

    Bands have Hann windows in frequency, centred at ``fmin * 2**(k / bins_per_octave)`` and as wide as reaches their
    neighbours, plus ``gamma`` hertz (variable Q: Schörkhuber, Klapuri, Holighaus and Dörfler 2014); a band around 0 Hz
    and one around Nyquist complete them. Each is sampled at least as often as it is wide, so that the inverse is a
    division of spectra (Balazs, Dörfler, Jaillet, Holighaus and Velasco 2011). Bands sampled equally often are a block:
    about one an octave, or a single one with ``matrix``.

    Audio of any length goes through in slices that overlap by half (Holighaus, Dörfler, Velasco and Grill 2013), at
    fixed places of the recording. Their windows add up to 1, so magnitudes are those of the overlapping slices'
    coefficients added, and equal those without slices up to atoms' tails that leave a slice. Samples before the start
    and after the end count as zeros.

    Examples
    --------
    >>> import numpy as np
    >>> cqt = Cqt(bins_per_octave=12, fmin=110.0)
    >>> audio = np.random.default_rng(0).standard_normal(16000)
    >>> points = cqt.analyze(audio, 16000)
    >>> [len(block.frequencies) for block in points.blocks]
    [1, 5, 12, 12, 12, 12, 12, 9, 1]
    >>> bool(np.allclose(cqt.synthesize(points), audio))
    True
    """

    name = "cqt"
    Config: ClassVar[type[TransformConfig]] = CqtConfig
    config: CqtConfig

    def __init__(self, config: TransformConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        self._designs: dict[tuple[int, type[np.floating]], tuple[Group, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Windows are made again sooner than they are sent.
        return {**self.__dict__, "_designs": {}}

    @property
    def invertible(self) -> Invertibility:
        """``exact``, whatever the options."""
        return "exact"

    @property
    def min_snr_db(self) -> float:
        """Decibels of a round trip in single precision."""
        return 100.0

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return a slice's length: a point depends on the slices that it lies in, a sample on all of their points."""
        length = self._length(check_sample_rate(sample_rate, self.name))
        return length, length

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return grid blocks in the order of their frequencies; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        length, groups = self._length(rate), self._groups(rate, samples.dtype.type)
        # The slices that cover the span begin less than a slice before it.
        first = span.start // (length // 2) - 1
        last = max((span.stop - 1) // (length // 2), first + 1)
        coefficients = self._coefficients(samples, span, range(first, last + 1), length, groups)
        duration = None if span.length is None else span.length / rate
        blocks: list[Block] = []
        for group, values in zip(groups, coefficients, strict=True):
            begin, count = _points_in(span, length, group.count)
            magnitudes = _magnitudes(values, begin - (first + 1) * (group.count // 2), count)
            block = GridBlock.build(
                (begin + np.arange(count)) * (length / group.count / rate),
                group.frequencies,
                magnitudes[0] if mono else magnitudes,
                time_weights=_time_weights(begin, count, length / group.count / rate, duration, span.is_last),
                frequency_weights=group.widths,
                coefficients=values,
            )
            blocks.append(block)
        origin = _Origin(self.config, first, span, samples.shape[-1], mono)
        return PointSet(tuple(blocks), rate, duration, self.config.calibration, synthesis=origin)

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return the audio of the points by dual windows, slice by slice; see `Transform.synthesize`.

        What overlapping slices hold at a point's time takes its gain; what they hold before the first point and after
        the last one takes the gain of that one.
        """
        origin = origin_of(points, _Origin, self.config, self.name)
        resolved = resolve_gains(points, gains, self.name)
        coefficients = [block.coefficients for block in points.blocks]
        dtype = coefficients[0].real.dtype.type
        assert points.sample_rate is not None
        length, groups = self._length(points.sample_rate), self._groups(points.sample_rate, dtype)
        channels, count = coefficients[0].shape[:2]
        audio = np.zeros((channels, origin.samples), dtype)
        factors: list[NDArray[Any] | None] = [None] * len(groups)
        if resolved is not None:
            shapes = [block.magnitudes.shape for block in points.blocks]
            factors = [
                np.broadcast_to(given, shape).reshape(-1, *shape[-2:])
                for given, shape in zip(resolved, shapes, strict=True)
            ]
        taper = slice_taper(length, dtype)
        for chunk in _chunks(count, channels, length, groups):
            spectra = np.zeros((channels, len(chunk), length // 2 + 1), coefficients[0].dtype)
            for group, values, factor in zip(groups, coefficients, factors, strict=True):
                begin, size = _points_in(origin.span, length, group.count)
                if size == 0:
                    # No point of the span: nothing of the band is true there.
                    continue
                part = values[:, chunk.start : chunk.stop]
                if factor is not None:
                    shift = origin.first * (group.count // 2) - begin
                    part = part * _gains_of_slices(factor, chunk, shift, group.count).astype(dtype, copy=False)
                add_spectra(spectra, part, group)
            self._add_audio(audio, spectra, taper, (origin.first + chunk.start) * (length // 2) - origin.span.offset)
        return audio[0] if origin.mono else audio

    def _length(self, sample_rate: int) -> int:
        """Return the samples in a slice: an even number with small prime factors."""
        from scipy import fft

        # Half of it is the slices' distance, and must be whole.
        return 2 * int(fft.next_fast_len(int(np.ceil(self.config.slice_length * sample_rate / 2)), real=True))

    def _groups(self, sample_rate: int, dtype: type[np.floating]) -> tuple[Group, ...]:
        key = sample_rate, dtype
        if key not in self._designs:
            self._designs[key] = design(self.config, sample_rate, self._length(sample_rate), dtype, self.name)
        return self._designs[key]

    def _coefficients(
        self, samples: NDArray[Any], span: Span, numbers: range, length: int, groups: tuple[Group, ...]
    ) -> list[NDArray[Any]]:
        """Return the coefficients of slices, one array [channels, slices, F, count] for each group."""
        from scipy import fft

        margin, hop = slice_margin(length), length // 2
        start, stop = numbers[0] * hop + margin, numbers[-1] * hop + length - margin
        audio = samples_between(samples, span, start, stop, self.name)
        window = slice_window(length, audio.dtype.type)
        frames = np.lib.stride_tricks.sliding_window_view(audio, len(window), axis=-1)[:, ::hop]
        dtype = np.complex64 if audio.dtype == np.float32 else np.complex128
        channels, count = frames.shape[:2]
        result = [np.zeros((channels, count, len(group.bands), group.count), dtype) for group in groups]
        for chunk in _chunks(count, channels, length, groups):
            padded = np.zeros((channels, len(chunk), length), audio.dtype)
            np.multiply(frames[:, chunk.start : chunk.stop], window, out=padded[..., margin : margin + len(window)])
            spectra = fft.rfft(padded, axis=-1, overwrite_x=True)
            for group, values in zip(groups, result, strict=True):
                fill_bands(values[:, chunk.start : chunk.stop], spectra, group)
        return result

    @staticmethod
    def _add_audio(audio: NDArray[Any], spectra: NDArray[Any], taper: NDArray[Any], begin: int) -> None:
        """Add slices of these spectra [channels, slices, bins] to audio, the first from sample ``begin`` on."""
        from scipy import fft

        length = len(taper)
        slices = fft.irfft(spectra, length, axis=-1, overwrite_x=True)
        slices *= taper
        for number in range(slices.shape[1]):
            start = begin + number * (length // 2)
            lower, upper = max(start, 0), min(start + length, audio.shape[-1])
            if lower < upper:
                audio[:, lower:upper] += slices[:, number, lower - start : upper - start]


def _chunks(count: int, channels: int, length: int, groups: tuple[Group, ...]) -> list[range]:
    """Return consecutive ranges of slices that together make up ``count``, as many in each as memory allows."""
    numbers = channels * max(length, *(len(group.bands) * group.count for group in groups))
    step = max(_NUMBERS_AT_ONCE // numbers, 1)
    return [range(begin, min(begin + step, count)) for begin in range(0, count, step)]


def _points_in(span: Span, length: int, count: int) -> tuple[int, int]:
    """Return the first point of a span and how many it has, ``count`` to a slice of ``length`` samples.

    Point n lies at sample n * length / count. The last span ends with the first point at or after its last sample.
    """
    first = -(-span.start * count // length)
    if span.is_last:
        assert span.length is not None
        last = -(-(span.length - 1) * count // length)
    else:
        last = -(-span.stop * count // length) - 1
    return first, max(last - first + 1, 0)


def _magnitudes(coefficients: NDArray[Any], begin: int, count: int) -> NDArray[Any]:
    """Return magnitudes [channels, F, ``count``] of slices' coefficients [channels, slices, F, N], added up.

    The first of them is number ``begin`` from where the second slice starts.
    """
    channels, slices, bands, size = coefficients.shape
    half = size // 2
    result = np.empty((channels, bands, count), coefficients.real.dtype)
    for number in range(begin // half, -(-(begin + count) // half)):
        lower, upper = max(begin - number * half, 0), min(begin + count - number * half, half)
        # Beyond the last slice there is nothing but zeros to add.
        total = coefficients[:, number, :, half + lower : half + upper]
        if number + 1 < slices:
            total = total + coefficients[:, number + 1, :, lower:upper]
        shift = number * half - begin
        np.abs(total, out=result[..., shift + lower : shift + upper])
    return result


def _gains_of_slices(gains: NDArray[Any], chunk: range, shift: int, count: int) -> NDArray[Any]:
    """Return the gains [.., slices, F, ``count``] of slices' coefficients; ``gains`` are those of points, [.., F, T].

    Coefficient 0 of slice 0 is at point ``shift``; outside the points the nearest one counts.
    """
    last = gains.shape[-1] - 1
    result = []
    for number in chunk:
        begin = number * (count // 2) + shift
        if begin >= 0 and begin + count - 1 <= last:
            result.append(gains[..., begin : begin + count])
        else:
            result.append(gains[..., np.clip(np.arange(begin, begin + count), 0, last)])
    return np.stack(result, axis=-3)


def _time_weights(begin: int, count: int, hop: float, duration: float | None, is_last: bool) -> NDArray[np.float64]:
    """Return the seconds of each point's cell: half-way to its neighbours, clipped to the recording."""
    edges = np.maximum((begin + np.arange(count + 1) - 0.5) * hop, 0.0)
    if duration is not None:
        edges = np.minimum(edges, duration)
        if is_last:
            edges[-1] = duration
    return np.diff(edges)
