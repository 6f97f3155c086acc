"""The continuous wavelet transform at logarithmic frequencies, and back by the sum over all bands.

A band's coefficients are the recording filtered with the wavelet's response. With real parts and a constant the bands
add up to the recording (Torrence and Compo, A practical guide to wavelet analysis, 1998, equation 11); what a finite
number of bands leaves of the spectrum's lower and upper end are two bands more, so nothing is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import TransformError
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.transform import Span, samples_between
from inmf_flow_wavelet.clock import cell_seconds, points_in
from inmf_flow_wavelet.config import WaveletConfig
from inmf_flow_wavelet.mothers import Mother, least_bins, mother_wavelet

Float64 = NDArray[np.float64]
#: Decibels of a round trip, measured on tones, noise, clicks, speech and music at 8 to 48 kHz and any length.
SNR_DB = 100.0
_BINS_PER_OCTAVE, _FMIN = 24, 40.0
# In units of the sample rate: no wavelet is above, and where all of them begin to fade out towards half of it.
_HIGHEST, _FADE = 0.42, 0.43
# Samples after which what that fading does to a response in time is over.
_LEAST_REACH = 1024
# Samples that are transformed at a time, at least; more where the lowest wavelet is longer.
_SEGMENT = 1 << 16
# Share of a low rate's spectrum that a band may fill, and how many of its samples the reach must have.
_PASSED, _STEPS_IN_REACH = 0.7, 256


class Response(NamedTuple):
    """A band's response at the bins of a Fourier transform from number ``first`` on; at the others it is zero."""

    first: int
    values: Float64
    #: The band's share in the sum that gives the audio back.
    weight: float


@dataclass(frozen=True, eq=False)
class Layout:
    """The bands at one sample rate.

    Attributes
    ----------
    frequencies, edges
        Hertz: [F] with the rest below the wavelets first and the rest above them last, and [F + 1].
    hops
        For each block samples between its points, and the bands from and to which it has.
    reach
        Samples after which every response has died away.
    """

    mother: Mother
    sample_rate: int
    bins_per_octave: int
    frequencies: Float64
    edges: Float64
    hops: tuple[tuple[int, int, int], ...]
    reach: int

    @property
    def unit(self) -> int:
        """Samples that are a multiple of each hop: all hops are powers of two, or there is one."""
        return max(hop for hop, _, _ in self.hops)

    def is_real(self, band: int) -> bool:
        """Whether a band's coefficients oscillate: the rests' do, whatever the wavelet."""
        return self.mother.real or band in (0, len(self.frequencies) - 1)


@dataclass(frozen=True)
class Origin:
    """What synthesis needs of the analysis: the audio itself, since there are fewer points than coefficients."""

    config: WaveletConfig
    layout: Layout
    span: Span
    samples: NDArray[Any]
    mono: bool
    first_points: tuple[int, ...]


def check_bands(name: str, bins_per_octave: int | None) -> None:
    """Raise `ValueError` for a wavelet that there is not, or one so narrow that the bands leave gaps."""
    bins, least = bins_per_octave or _BINS_PER_OCTAVE, least_bins(name)
    if bins < least:
        raise ValueError(f"bins_per_octave must be at least {least} for the wavelet {name}, got {bins}")


def halo(config: WaveletConfig, sample_rate: int, where: str) -> tuple[int, int]:
    """Return how many samples before and after its time a point depends on."""
    found = layout_of(config, sample_rate, where)
    side = max(found.reach, found.unit + 1)
    return side, side


@lru_cache(maxsize=32)
def layout_of(config: WaveletConfig, sample_rate: int, where: str) -> Layout:
    """Return the bands at a sample rate.

    Raises
    ------
    TransformError
        When the lowest frequency is above the highest one that the sample rate has room for.
    """
    mother = mother_wavelet(config.wavelet_name)
    bins, fmin = config.bins_per_octave or _BINS_PER_OCTAVE, config.fmin or _FMIN
    top = min(config.fmax or math.inf, _HIGHEST * sample_rate)
    if fmin > top:
        raise TransformError(
            "no wavelet is between fmin and fmax at this sample rate",
            where=where,
            got=f"fmin {fmin:g} Hz at {sample_rate} Hz",
            expected=f"{top:g} Hz or less",
        )
    count = math.floor(bins * math.log2(top / fmin) + 1e-9) + 1
    wavelets = fmin * 2.0 ** (np.arange(count) / bins)
    nyquist, half = sample_rate / 2, 2 ** (0.5 / bins)
    last = min(wavelets[-1] * half, 0.5 * (wavelets[-1] + nyquist))
    edges = np.concatenate([[0, wavelets[0] / half], 0.5 * (wavelets[1:] + wavelets[:-1]), [last, nyquist]])
    frequencies = np.concatenate([[0.5 * edges[1]], wavelets, [0.5 * (last + nyquist)]])
    hops = []
    for low in range(0, count, bins):
        high = min(low + bins, count)
        # Two standard deviations still sample a Gaussian envelope's spectrum without aliasing to speak of.
        longest = max(2 * mother.spread * sample_rate / wavelets[high - 1], 1)
        hops.append((1 << int(math.log2(longest)), low + (low > 0), high + 1 + (high == count)))
    if config.hop_length is not None:
        hops = [(config.hop_length, 0, count + 2)]
    reach = max(math.ceil(mother.reach * sample_rate / fmin), _LEAST_REACH)
    return Layout(mother, sample_rate, bins, frequencies, edges, tuple(hops), reach)


@lru_cache(maxsize=4)
def responses_of(layout: Layout, size: int) -> tuple[Response, ...]:
    """Return the response of each band on a Fourier transform of some size."""
    bins = np.arange(size // 2 + 1) * (layout.sample_rate / size)
    fade = 1 - _smooth_step((bins / layout.sample_rate - _FADE) / (0.5 - _FADE))
    wavelets = layout.frequencies[1:-1]
    low, high = layout.mother.support
    rest = np.ones(len(bins))
    # Bands are equally far apart in octaves, so each has the same weight in the integral over them.
    weight = 1 / (layout.mother.sum_in_octaves() * layout.bins_per_octave)
    found = []
    for frequency in wavelets:
        begin, end = np.searchsorted(bins, [low * frequency, high * frequency])
        values = layout.mother.response(bins[begin:end] / frequency) * fade[begin:end]
        rest[begin:end] -= weight * values
        found.append(Response(int(begin), values, weight))
    # Where the rest has both a lower and an upper part, there is next to nothing between them.
    middle = 0.5 * np.log2(wavelets[0] * wavelets[-1])
    above = _smooth_step(np.log2(np.maximum(bins, 1e-3)) - middle + 0.5)
    begin, end = np.searchsorted(above, 0, side="right"), np.searchsorted(above, 1)
    below = Response(0, (rest * (1 - above))[:end], 1.0)
    return below, *found, Response(int(begin), (rest * above)[begin:], 1.0)


@lru_cache(maxsize=32)
def scales_of(layout: Layout, calibration: str) -> Float64:
    """Return what coefficients are multiplied by to be magnitudes, [F]."""
    if calibration == "tone":
        return np.ones(len(layout.frequencies))
    # As long as every response is in time, so that sums over its bins are exact.
    size = 1 << (4 * layout.reach).bit_length()
    energies = []
    for band, response in enumerate(responses_of(layout, size)):
        # A real band has the energy of one side of the spectrum twice, an analytic one has it four times.
        energies.append((2 if layout.is_real(band) else 4) * np.sum(response.values**2) / size)
    return 1 / np.sqrt(np.array(energies))


def analyze(
    samples: NDArray[Any], sample_rate: int, span: Span, mono: bool, config: WaveletConfig, where: str
) -> PointSet:
    """Return a grid block for each octave, from the lowest up; with ``hop_length`` there is one."""
    layout = layout_of(config, sample_rate, where)
    numbers = [points_in(span, hop, 0.0) for hop, _, _ in layout.hops]
    dtype = np.result_type(samples.dtype, np.complex64)
    arrays = [
        np.zeros((samples.shape[0], high - low, last - first), dtype)
        for (_, low, high), (first, last) in zip(layout.hops, numbers, strict=True)
    ]
    stop = max((last - 1) * hop + 1 for (hop, _, _), (_, last) in zip(layout.hops, numbers, strict=True))
    for segment in _segments(samples, span, stop, layout, where):
        responses = responses_of(layout, segment.size)
        for (hop, low, high), (first, last), array in zip(layout.hops, numbers, arrays, strict=True):
            begin, end = max(first, -(-segment.begin // hop)), min(last, -(-segment.end // hop))
            if begin >= end:
                continue
            inside = slice(begin - segment.start // hop, end - segment.start // hop)
            for row, band in enumerate(range(low, high)):
                values = _decimated(segment, responses[band], hop)[:, inside]
                array[:, row, begin - first : end - first] = values.real if layout.is_real(band) else values
    duration = None if span.length is None else span.length / sample_rate
    scales = scales_of(layout, config.calibration)
    blocks = []
    for (hop, low, high), pair, array in zip(layout.hops, numbers, arrays, strict=True):
        magnitudes = np.abs(array) * scales[low:high, None]
        block = GridBlock.build(
            np.arange(*pair) * (hop / sample_rate),
            layout.frequencies[low:high],
            magnitudes[0] if mono else magnitudes,
            time_weights=cell_seconds(span, hop, 0.0, pair, sample_rate),
            frequency_weights=np.diff(layout.edges)[low:high],
            coefficients=array,
        )
        blocks.append(block)
    origin = Origin(config, layout, span, samples.copy(), mono, tuple(pair[0] for pair in numbers))
    return PointSet(tuple(blocks), sample_rate, duration, config.calibration, synthesis=origin)


def synthesize(points: PointSet, origin: Origin, gains: list[NDArray[Any]] | None) -> NDArray[Any]:
    """Return audio [channels, samples]: the sum of all bands, each times its gains, interpolated between points."""
    layout, span, samples = origin.layout, origin.span, origin.samples
    audio = np.zeros_like(samples)
    stop = min(span.stop, span.offset + samples.shape[-1])
    for segment in _segments(samples, span, stop, layout, "wavelet"):
        if gains is None:
            # With equal gains the bands may be added up before the inverse transform as well as after it.
            whole = _at_rate(segment, _total(responses_of(layout, segment.size), segment.size), 1)
        else:
            whole = _sum_of_bands(segment, points, origin, gains)
        begin, end = max(segment.begin, span.start), min(segment.end, stop)
        audio[:, begin - span.offset : end - span.offset] = whole[:, begin - segment.start : end - segment.start]
    return audio


def _sum_of_bands(segment: _Segment, points: PointSet, origin: Origin, gains: list[NDArray[Any]]) -> NDArray[Any]:
    """Return a segment's audio [channels, size]: low bands are multiplied by their gains at low rates."""
    from scipy import fft

    layout, sums = origin.layout, dict[int, NDArray[Any]]()
    responses = responses_of(layout, segment.size)
    for number, ((hop, low, high), first) in enumerate(zip(layout.hops, origin.first_points, strict=True)):
        block = points.blocks[number]
        if not len(block.times):
            continue
        full = np.broadcast_to(gains[number], block.magnitudes.shape)
        full = full if block.has_channels else full[None]
        for row, response in enumerate(responses[low:high]):
            step = _longest_step(response, hop, segment.size, layout.reach)
            values = _at_rate(segment, response, step)
            values *= _interpolated(full[:, row].astype(values.dtype, copy=False), first, hop, step, segment)
            sums[step] = sums[step] + values if step in sums else values
    audio = sums.pop(1, np.zeros((segment.spectrum.shape[0], segment.size), origin.samples.dtype))
    spectrum = np.zeros_like(segment.spectrum)
    for step, values in sums.items():
        part = fft.rfft(values, axis=-1)
        # Corners of the gains reach beyond half the low rate: faded out, or they would ring for long.
        keep = 1 - _smooth_step((np.arange(part.shape[-1]) * 2 * step / segment.size - _PASSED) / (1 - _PASSED))
        spectrum[:, : part.shape[-1]] += step * part * keep.astype(values.dtype)
    return audio + fft.irfft(spectrum, segment.size, axis=-1) if sums else audio


def _longest_step(response: Response, hop: int, size: int, reach: int) -> int:
    """Return every how many samples a band is sampled without loss: a power of two that divides the hop."""
    top = response.first + len(response.values)
    step = 1
    # What the fading of a low rate does in time has to be over within the reach, as all else.
    while hop % (2 * step) == 0 and top * 4 * step <= _PASSED * size and step * _STEPS_IN_REACH <= reach:
        step *= 2
    return step


class _Segment(NamedTuple):
    """A stretch of a recording by its Fourier transform; samples [begin, end) see nothing of where it was cut.

    The transform is of ``size`` samples from number ``start`` on, a multiple of every hop.
    """

    start: int
    begin: int
    end: int
    size: int
    spectrum: NDArray[Any]


def _segments(samples: NDArray[Any], span: Span, stop: int, layout: Layout, where: str) -> Iterator[_Segment]:
    """Cut samples [span.start, stop) of a recording, with the context that they need."""
    from scipy import fft

    unit = layout.unit
    margin = -(-layout.reach // unit) * unit
    begin = span.start // unit * unit
    body = min(stop - begin, max(_SEGMENT, 4 * margin))
    size = int(fft.next_fast_len(-(-(max(body, 1) + 2 * margin) // unit))) * unit
    body = size - 2 * margin
    while begin < stop:
        start = begin - margin
        low, high = max(begin, span.start) - layout.reach, min(begin + body, stop) + layout.reach
        padded = np.zeros((samples.shape[0], size), samples.dtype)
        padded[:, low - start : high - start] = samples_between(samples, span, low, high, where)
        yield _Segment(start, begin, begin + body, size, fft.rfft(padded, axis=-1))
        begin += body


def _decimated(segment: _Segment, response: Response, hop: int) -> NDArray[Any]:
    """Return every hop-th sample of the analytic signal of a band, from the segment's start on; [channels, samples]."""
    from scipy import fft

    values = 2 * response.values
    low, high = response.first, response.first + len(values)
    if low == 0:
        values[0] /= 2
    if 2 * (high - 1) == segment.size:
        values[-1] /= 2
    product = segment.spectrum[:, low:high] * values.astype(segment.spectrum.real.dtype)
    # Keeping every hop-th sample folds the spectrum.
    count = segment.size // hop
    before = low % count
    product = np.pad(product, ((0, 0), (before, -(before + high - low) % count)))
    folded = product.reshape(product.shape[0], -1, count).sum(axis=1)
    folded /= hop
    return np.asarray(fft.ifft(folded, axis=-1))


def _at_rate(segment: _Segment, response: Response, step: int) -> NDArray[Any]:
    """Return a band's share in the audio at every step-th sample of the segment; [channels, samples]."""
    from scipy import fft

    low, high = response.first, response.first + len(response.values)
    count = segment.size // step
    product = np.zeros((segment.spectrum.shape[0], count // 2 + 1), segment.spectrum.dtype)
    values = response.weight / step * response.values
    product[:, low:high] = segment.spectrum[:, low:high] * values.astype(segment.spectrum.real.dtype)
    return np.asarray(fft.irfft(product, count, axis=-1))


def _interpolated(gains: NDArray[Any], first: int, hop: int, step: int, segment: _Segment) -> NDArray[Any]:
    """Return gains at every step-th sample of a segment, linear between points; outside of all points as at the last.

    Parameters
    ----------
    gains
        [channels, points], the first being point ``first``; point n is at sample n * hop.
    """
    numbers = np.arange(segment.start // hop, (segment.start + segment.size) // hop + 1)
    held = gains[:, np.clip(numbers - first, 0, gains.shape[-1] - 1)]
    steps = np.arange(0, hop, step, dtype=gains.dtype) / gains.dtype.type(hop)
    lines: NDArray[Any] = held[:, :-1, None] + np.diff(held)[:, :, None] * steps
    return lines.reshape(gains.shape[0], -1)


def _total(responses: tuple[Response, ...], size: int) -> Response:
    total = np.zeros(size // 2 + 1)
    for first, values, weight in responses:
        total[first : first + len(values)] += weight * values
    return Response(0, total, 1.0)


def _smooth_step(places: Float64) -> Float64:
    """Return 0 below 0 and 1 above 1, with so smooth a rise between that its transform dies away fast."""
    rise: Float64 = np.sin(np.pi / 2 * np.sin(np.pi / 2 * np.clip(places, 0, 1)) ** 2) ** 2
    return rise
