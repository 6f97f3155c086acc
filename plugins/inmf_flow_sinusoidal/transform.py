"""`Sinusoidal`: partials, and an STFT of what they leave, which together give the input back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from inmf_flow.errors import TransformError
from inmf_flow.points import GridBlock, PointSet, ScatteredBlock
from inmf_flow.transform import (
    Calibration,
    Gains,
    Invertibility,
    Span,
    Transform,
    TransformConfig,
    as_channels,
    check_sample_rate,
    get_transform,
    origin_of,
    resolve_gains,
    samples_between,
)
from inmf_flow_sinusoidal.links import LinkRules
from inmf_flow_sinusoidal.peaks import PeakRules, find_peaks
from inmf_flow_sinusoidal.tracks import Partial, Tracks, track

# Width of the analysing window's main lobe in bins.
_MAIN_LOBE = 8


class SinusoidalConfig(TransformConfig):
    """Options of the sinusoidal model. Lengths are in seconds, so that the defaults suit every sample rate."""

    window_seconds: float = Field(
        0.05, ge=0.002, le=10, description="Length of the window in which peaks are found: Blackman-Harris, 4 terms."
    )
    hop_seconds: float = Field(0.01, ge=0.0005, le=1, description="Time between frames.")
    threshold_db: float = Field(
        60.0, gt=0, le=400, description="Peaks so many decibels below the frame's largest are left to the residual."
    )
    floor_db: float = Field(
        -100.0, ge=-400, le=0, description="Peaks below so many decibels, relative to an amplitude of 1, are too."
    )
    max_scatter: float = Field(
        0.2,
        gt=0,
        le=2,
        description="Most that the frequencies told by a peak's bins may differ, in bins: 0 for a pure sinusoid, "
        "about 1 for an impulse.",
    )
    max_partials: int = Field(100, ge=1, le=10_000, description="Most peaks in a frame; the largest are kept.")
    min_duration: float = Field(0.05, ge=0, le=10, description="Seconds; what lasts less is left to the residual.")
    max_gap: float = Field(
        0.2, ge=0, le=1, description="Seconds that a partial may be hidden by another, as where two cross."
    )
    frequency_change: float = Field(
        15.0, gt=0, le=10_000, description="Most hertz from where slopes say that a partial's next peak should be."
    )
    amplitude_change_db: float = Field(12.0, gt=0, le=200, description="Most change of amplitude between two peaks.")
    residual_seconds: float = Field(
        0.125, gt=0, le=10, description="Length of the window of the residual's STFT: sqrt_hann, at half overlap."
    )
    fit: Literal["input", "parts", "partials"] = Field(
        "input",
        description="What a fit sees; all points get gains whatever it is. input: the STFT of the input, on the "
        "residual's grid. parts: the partials and the STFT of the residual. partials: them alone.",
    )
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1 in the residual's STFT, and partials are scaled like tones in it.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> SinusoidalConfig:
        if self.hop_seconds > self.window_seconds / 2:
            raise ValueError(
                f"hop_seconds must not be longer than half of window_seconds ({self.window_seconds}), got "
                f"{self.hop_seconds}: phases would not reach from frame to frame"
            )
        return self


@dataclass(frozen=True, eq=False)
class _Origin:
    """What synthesis needs to know of the analysis."""

    config: SinusoidalConfig
    rate: int
    offset: int
    samples: int
    start: int
    residual: Any
    mono: bool


class Sinusoidal(Transform):
    """Deterministic plus residual: points along partials, and an STFT grid of what they leave.

    The first block holds the partials' points: at the centres of frames, with true frequencies between bins and the
    amplitudes of all channels at the frequency they share. The second is the grid of an STFT of the input minus the
    partials. Gains multiply amplitudes, linearly between frames, and the residual's coefficients, so that gains of one
    give the input back exactly (X. Serra and J. Smith, "Spectral modeling synthesis", Computer Music Journal 14(4),
    1990).

    A model that is fitted to both would be told two things of one place: that there is a partial, and that next to
    nothing is left of it. So by default the grid's magnitudes are those of the whole input, from which a model learns
    as from any STFT, and the partials' points weigh 0: they ask the model for gains, and nothing else. With ``fit``
    set to ``parts`` or ``partials`` the grid's magnitudes are the residual's, and a partial's point weighs the area
    that the window shows it in, main lobe times hop.

    Peaks are found in the frames whose window lies within the recording: what is closer to its ends than half a window
    is left to the residual.

    Examples
    --------
    >>> import numpy as np
    >>> from inmf_flow_sinusoidal import partials
    >>> audio = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    >>> sinusoidal = Sinusoidal()
    >>> points = sinusoidal.analyze(audio, 16000)
    >>> (partial,) = partials(points)
    >>> print(f"{partial.frequencies.mean():.2f} Hz, amplitude {partial.amplitudes.mean():.3f}")
    440.00 Hz, amplitude 0.500
    >>> bool(np.allclose(sinusoidal.synthesize(points), audio))
    True
    """

    name = "sinusoidal"
    Config: ClassVar[type[TransformConfig]] = SinusoidalConfig
    config: SinusoidalConfig

    @property
    def invertible(self) -> Invertibility:
        """``exact``: what is no partial is residual."""
        return "exact"

    @property
    def min_snr_db(self) -> float:
        """Decibels of a round trip in single precision."""
        return 100.0

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return the samples that decide on the partials under a frame of the residual."""
        left, right = self._residual(sample_rate).halo(sample_rate)
        hop, half = self._hop(sample_rate), self._half(sample_rate)
        context = (self._link_rules(sample_rate).reach + 2) * hop + half
        return left + context, right + context

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return a scattered block, the partials, and a grid block, the residual; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        hop = self._hop(rate)
        stft = self._residual(rate)
        left, right = stft.halo(rate)
        # Samples under the residual's frames, and the partials' frames around these samples.
        start = max(span.start - left, 0)
        stop = span.stop + right if span.length is None else min(span.stop + right, span.length)
        first, count = start // hop, (stop - 1) // hop - start // hop + 1
        around = self._tracks(samples, span, rate, first, first + count + 1)
        given = samples_between(samples, span, start, stop, self.name)
        lower = start - first * hop
        partials = around.audio(first, count, hop, rate)[:, lower : lower + stop - start]
        rest = (given - partials).astype(samples.dtype)
        under = Span(start, span.start, span.stop, span.length)
        residual = stft.analyze(rest[0] if mono else rest, rate, span=under)
        centres = around.frames * hop
        tracks = around.take(np.flatnonzero((centres >= span.start) & (centres < span.stop)))
        grid = self._grid(residual, given[0] if mono else given, rate, under)
        origin = _Origin(self.config, rate, span.offset, samples.shape[-1], start, residual, mono)
        duration = None if span.length is None else span.length / rate
        blocks = (self._partials_block(tracks, rate, mono), grid)
        return PointSet(blocks, rate, duration, self.config.calibration, synthesis=origin)

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return the partials with their amplitudes multiplied, plus the residual's; see `Transform.synthesize`."""
        origin = origin_of(points, _Origin, self.config, self.name)
        resolved = resolve_gains(points, gains, self.name)
        on_partials, on_residual = (None, None) if resolved is None else (resolved[0], [resolved[1]])
        stft = self._residual(origin.rate)
        rest = np.atleast_2d(stft.synthesize(origin.residual, on_residual))
        audio = np.zeros((rest.shape[0], origin.samples), rest.dtype)
        hop = self._hop(origin.rate)
        first, count = origin.start // hop, (origin.start + rest.shape[-1] - 1) // hop - origin.start // hop + 1
        tracks: Tracks = points.blocks[0].coefficients
        lower = origin.start - first * hop
        partials = tracks.audio(first, count, hop, origin.rate, on_partials)[:, lower : lower + rest.shape[-1]]
        begin = origin.start - origin.offset
        audio[:, begin : begin + rest.shape[-1]] = rest + partials
        return audio[0] if origin.mono else audio

    def _tracks(self, samples: NDArray[Any], span: Span, rate: int, first: int, stop: int) -> Tracks:
        """Return the points of partials in frames [first, stop)."""
        hop, half, rules = self._hop(rate), self._half(rate), self._link_rules(rate)
        # Frames whose window lies within the recording.
        begin = max(first - rules.reach, -(-half // hop))
        end = stop + rules.reach
        if span.length is not None:
            end = min(end, (span.length - half - 1) // hop + 1)
        count = max(end - begin, 0)
        lower = begin * hop - half
        upper = lower + (count - 1) * hop + 2 * half + 1 if count else lower
        context = samples_between(samples, span, lower, upper, self.name)
        peaks, maxima = find_peaks(context, rate, 2 * half + 1, hop, begin, count, self._peak_rules())
        tracks = track(peaks, maxima, hop, rate, 2 * half + 1, rules)
        return tracks.take(np.flatnonzero((tracks.frames >= first) & (tracks.frames < stop)))

    def _grid(self, residual: PointSet, given: NDArray[Any], rate: int, under: Span) -> GridBlock:
        """Return the residual's grid with what a fit shall see of it."""
        (grid,) = residual.blocks
        assert isinstance(grid, GridBlock)
        if self.config.fit == "input":
            return replace(grid, magnitudes=self._residual(rate).analyze(given, rate, span=under).blocks[0].magnitudes)
        if self.config.fit == "partials":
            return replace(grid, frequency_weights=0 * grid.frequency_weights)
        return grid

    def _partials_block(self, tracks: Tracks, rate: int, mono: bool) -> ScatteredBlock:
        hop = self._hop(rate)
        magnitudes = np.abs(tracks.amplitudes) * self._scale(rate)
        return ScatteredBlock.build(
            tracks.frames * (hop / rate),
            tracks.frequencies,
            magnitudes[0] if mono else magnitudes,
            weights=np.full(len(tracks), 0.0 if self.config.fit == "input" else self._main_lobe(rate) * hop / rate),
            coefficients=tracks,
        )

    def _scale(self, rate: int) -> float:
        """Return the magnitude of a tone of amplitude 1."""
        if self.config.calibration == "tone":
            return 1.0
        size = self._residual_size(rate)
        window = np.sin(np.pi * np.arange(size) / size)
        return float(window.sum() / (2 * np.sqrt(np.sum(window**2))))

    def _residual(self, rate: int) -> Transform:
        return get_transform("stft", n_fft=self._residual_size(rate), calibration=self.config.calibration)

    def _residual_size(self, rate: int) -> int:
        return 2 * max(round(self.config.residual_seconds * rate / 2), 1)

    def _hop(self, rate: int) -> int:
        return max(round(self.config.hop_seconds * rate), 1)

    def _half(self, rate: int) -> int:
        """Samples of the window on either side of its centre."""
        return round(self.config.window_seconds * rate / 2)

    def _main_lobe(self, rate: int) -> float:
        """Hertz from one end of the window's main lobe to the other."""
        return _MAIN_LOBE * rate / (2 * self._half(rate) + 1)

    def _frames(self, seconds: float, rate: int) -> int:
        return round(seconds * rate / self._hop(rate))

    def _link_rules(self, rate: int) -> LinkRules:
        config = self.config
        return LinkRules(
            config.frequency_change,
            config.amplitude_change_db,
            self._frames(config.max_gap, rate),
            0.5 * self._main_lobe(rate),
            max(self._frames(config.min_duration, rate), 1),
        )

    def _peak_rules(self) -> PeakRules:
        config = self.config
        return PeakRules(
            10 ** (-config.threshold_db / 20), 10 ** (config.floor_db / 20), config.max_scatter, config.max_partials
        )


def partials_of(points: PointSet) -> list[Partial]:
    """Return the partials among points; see `inmf_flow_sinusoidal.partials`."""
    tracks = points.blocks[0].coefficients if points.blocks else None
    if not isinstance(tracks, Tracks):
        raise TransformError(
            "these points do not say which of them belong to a partial",
            where=Sinusoidal.name,
            expected="points straight from its analyze",
            hint="Points from a store or joined ones lose it: analyse the audio again.",
        )
    block = points.blocks[0]
    return [
        Partial(block.times[chain], block.frequencies[chain], np.abs(tracks.amplitudes)[..., chain])
        if block.has_channels
        else Partial(block.times[chain], block.frequencies[chain], np.abs(tracks.amplitudes[0])[chain])
        for chain in tracks.chains()
    ]
