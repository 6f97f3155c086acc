"""Points of discrete wavelet transforms: when and at which frequency each coefficient is, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.points import GridBlock, PointSet
from inmf_flow.transform import Span, samples_between
from inmf_flow_wavelet import cascade
from inmf_flow_wavelet.cascade import Band
from inmf_flow_wavelet.clock import cell_seconds, points_in
from inmf_flow_wavelet.config import WaveletConfig
from inmf_flow_wavelet.filters import FilterBank, Response, filter_bank, octave_response, packet_response

Float64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """Bands with one hop, the rows of one grid. Frequencies are in units of half the sample rate.

    Attributes
    ----------
    hop
        Samples between coefficients.
    before, after
        Coefficient K depends on samples K hop - before to K hop + after.
    edges
        Where the bands meet, [F + 1].
    shifts, offset
        Point n is at sample n hop + offset, and in row i that is coefficient n + shifts[i]: the nearest to its time.
    scales
        From a coefficient's absolute value to the magnitude, [F].
    """

    hop: int
    before: int
    after: int
    edges: Float64
    shifts: NDArray[np.int64]
    offset: float
    scales: Float64

    @classmethod
    def place(cls, hop: int, support: tuple[int, int], edges: Float64, response: Response, calibration: str) -> Rows:
        """Find the clock on which the points of all rows are nearest to their energy's centroid."""
        times = support[1] - response.delays
        # White noise and an impulse have the same energy in a band.
        energies = response.energies / response.peaks**2
        # The centre of what is left of the times, which go round with the hop.
        phase = np.angle(np.sum(energies * np.exp(2j * np.pi * times / hop))) * hop / (2 * np.pi)
        shifts = np.rint((phase - times) / hop).astype(np.int64)
        offset = float(np.average(times + shifts * hop, weights=energies))
        turns = math.floor(offset / hop + 1e-9)
        level = response.peaks if calibration == "tone" else np.sqrt(response.energies)
        return cls(hop, *support, edges, shifts - turns, max(offset - turns * hop, 0.0), 1 / level)

    @property
    def halo(self) -> tuple[int, int]:
        """Samples before and after a point that the point, or another row's at its time, depends on."""
        left = self.offset - self.hop * int(self.shifts.min()) + self.before
        right = self.hop * int(self.shifts.max()) + self.after - self.offset
        # At least half a hop: a point's cell ends with the recording, and whether it does must be known.
        least = self.hop // 2 + 1
        return max(math.ceil(left), least), max(math.ceil(right), least)

    def coefficients(self, span: Span, numbers: tuple[int, int]) -> tuple[int, int]:
        """Return which coefficients [first, stop) of every row a span has for its points, and beyond its ends."""
        first, stop = numbers
        if first == stop:
            return 0, 0
        begin, end = first + int(self.shifts.min()), stop + int(self.shifts.max())
        if span.start <= 0:
            begin = min(begin, -(self.after // self.hop))
        if span.is_last:
            assert span.length is not None
            end = max(end, (span.length - 1 + self.before) // self.hop + 1)
        return begin, end


@dataclass(frozen=True)
class Origin:
    """What synthesis needs to know of the analysis.

    Attributes
    ----------
    config, level
        Of the transform.
    span, samples, mono, single
        Which samples it was given, with or without a channel axis, and whether in single precision.
    first_points, first_coefficients
        For each block the number of its first point and of its first coefficient: there are more coefficients than
        points, since some that lie before the start or after the end have a share in the audio.
    """

    config: WaveletConfig
    level: int
    span: Span
    samples: int
    mono: bool
    single: bool
    first_points: tuple[int, ...]
    first_coefficients: tuple[int, ...]


@lru_cache(maxsize=32)
def _rows_of(kind: str, wavelet: str, level: int, shifts: int, calibration: str) -> tuple[Rows, ...]:
    bank = filter_bank(wavelet)
    reach = bank.taps - 1
    if kind == "packet":
        bands = 1 << level
        support, edges = ((bands - 1) * (reach - 1), bands - 1), np.arange(bands + 1) / bands
        return (Rows.place(bands // shifts, support, edges, packet_response(bank, level), calibration),)
    response = octave_response(bank, level)
    edges = np.concatenate([[0.0], 0.5 ** np.arange(level, -1, -1)])
    depths = [level, *range(level, 0, -1)]
    if kind == "swt":
        # Without decimation each stage is divided by sqrt(2), so that the parts add up to the whole.
        gains = 0.5 ** (np.array(depths) / 2)
        response = Response(response.delays, response.energies * gains**2, response.peaks * gains)
        return (Rows.place(1, (((1 << level) - 1) * reach, 0), edges, response, calibration),)
    found = []
    for number, depth in enumerate(depths):
        hop, one = 1 << depth, slice(number, number + 1)
        part = Response(response.delays[one], response.energies[one], response.peaks[one])
        support = ((hop - 1) * (reach - 1), hop - 1)
        found.append(Rows.place(hop, support, edges[number : number + 2], part, calibration))
    return tuple(found)


def rows_of(config: WaveletConfig, level: int) -> tuple[Rows, ...]:
    """Return the rows of each block of a transform, from the lowest frequency to the highest."""
    return _rows_of(config.kind, config.wavelet_name, level, shifts_of(config, level), config.calibration)


def shifts_of(config: WaveletConfig, level: int) -> int:
    """Return how many packet transforms there are, each of the audio delayed by a part of a hop, at least a sample."""
    return min(config.shifts, 1 << level)


def halo(config: WaveletConfig, level: int) -> tuple[int, int]:
    """Return how many samples before and after its time a point depends on."""
    sides = [rows.halo for rows in rows_of(config, level)]
    return max(left for left, _ in sides), max(right for _, right in sides)


def analyze(
    samples: NDArray[Any], sample_rate: int, span: Span, mono: bool, config: WaveletConfig, where: str
) -> PointSet:
    """Return one grid block for each hop, from the lowest frequency to the highest."""
    level = config.levels(sample_rate)
    every = rows_of(config, level)
    numbers = [points_in(span, rows.hop, rows.offset) for rows in every]
    wanted = [rows.coefficients(span, pair) for rows, pair in zip(every, numbers, strict=True)]
    needed = [
        (first * rows.hop - rows.before, (stop - 1) * rows.hop + rows.after + 1)
        for rows, (first, stop) in zip(every, wanted, strict=True)
        if stop > first
    ]
    start, stop = (min(n[0] for n in needed), max(n[1] for n in needed)) if needed else (0, 1)
    padded = samples_between(samples, span, start, stop, where) if needed else np.zeros_like(samples[:, :1])
    duration, nyquist = None if span.length is None else span.length / sample_rate, sample_rate / 2
    blocks = []
    bands = _decompose(padded, start, config, level)
    for rows, pair, band, (first, last) in zip(every, numbers, bands, wanted, strict=True):
        coefficients = band.between(first, last)
        places = np.arange(*pair) + rows.shifts[:, None] - first
        magnitudes = np.abs(np.take_along_axis(coefficients, places[None], axis=-1)) * rows.scales[:, None]
        block = GridBlock.build(
            (np.arange(*pair) * rows.hop + rows.offset) / sample_rate,
            0.5 * (rows.edges[1:] + rows.edges[:-1]) * nyquist,
            magnitudes[0] if mono else magnitudes,
            time_weights=cell_seconds(span, rows.hop, rows.offset, pair, sample_rate),
            frequency_weights=np.diff(rows.edges) * nyquist,
            coefficients=coefficients,
        )
        blocks.append(block)
    firsts = tuple(pair[0] for pair in numbers), tuple(pair[0] for pair in wanted)
    origin = Origin(config, level, span, samples.shape[-1], mono, samples.dtype == np.float32, *firsts)
    return PointSet(tuple(blocks), sample_rate, duration, config.calibration, synthesis=origin)


def synthesize(points: PointSet, origin: Origin, gains: list[NDArray[Any]] | None) -> NDArray[Any]:
    """Return audio [channels, samples]; a coefficient without a point has the gain of the nearest point of its row."""
    config = origin.config
    every = rows_of(config, origin.level)
    bands = []
    for number, (block, rows) in enumerate(zip(points.blocks, every, strict=True)):
        values, first = block.coefficients, origin.first_coefficients[number]
        if gains is not None and values.shape[-1]:
            full = np.broadcast_to(gains[number], block.magnitudes.shape)
            places = first + np.arange(values.shape[-1]) - rows.shifts[:, None] - origin.first_points[number]
            places = np.clip(places, 0, full.shape[-1] - 1)
            full = full if block.has_channels else full[None]
            values = values * np.take_along_axis(full, places[None], axis=-1).astype(values.dtype, copy=False)
        bands.append(Band(first, values))
    bank, start = filter_bank(config.wavelet_name), origin.span.offset
    stop = start + origin.samples
    if config.kind == "packet":
        shifts = shifts_of(config, origin.level)
        return cascade.from_shifted_packets(bands[0], start, stop, bank, origin.level, shifts)
    if config.kind == "dwt":
        return cascade.from_octaves(bands, start, stop, bank)
    return cascade.from_stationary(bands[0], start, stop, bank)


def promised_snr_db(config: WaveletConfig) -> float:
    """Return the signal-to-noise ratio of a round trip in decibels, whatever the audio."""
    distortion = filter_bank(config.wavelet_name).distortion
    if distortion < 1e-8:
        return 100.0
    # Every level passes the audio through a response that is wrong by this share of it, at most.
    levels = config.level or 12
    return math.floor(-20 * math.log10((1 + distortion) ** levels - 1))


def _decompose(samples: NDArray[Any], start: int, config: WaveletConfig, level: int) -> list[Band]:
    bank: FilterBank = filter_bank(config.wavelet_name)
    # Rounding errors of filters that are not orthogonal grow from level to level.
    samples = samples if bank.orthogonal else samples.astype(np.float64)
    if config.kind == "packet":
        return [cascade.shifted_packets(samples, start, bank, level, shifts_of(config, level))]
    if config.kind == "dwt":
        return cascade.octaves(samples, start, bank, level)
    return [cascade.stationary(samples, start, bank, level)]
