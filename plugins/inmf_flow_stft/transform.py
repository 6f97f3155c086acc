"""`Stft`: true frame-centre times, any window and hop, and an exact inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from inmf_flow.errors import TransformError
from inmf_flow.points import GridBlock, PointSet, cell_widths
from inmf_flow.transform import (
    Calibration,
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
from inmf_flow_stft.overlap import overlap_add, window_samples

# Frames that are multiplied and transformed at a time: bounds the copies, and is long enough for the FFT's speed.
_FRAMES_AT_ONCE = 512
# Least ratio of the smallest to the largest overlap of squared windows at which float32 still inverts at 100 dB.
_LEAST_OVERLAP = 1e-3


class StftConfig(TransformConfig):
    """Options of the STFT."""

    n_fft: int = Field(2000, ge=2, le=1 << 24, description="Samples in a Fourier transform.")
    hop_length: int | None = Field(None, ge=1, description="Samples between frames; half of win_length by default.")
    win_length: int | None = Field(None, ge=2, description="Samples in the window; n_fft by default.")
    window: str = Field(
        "sqrt_hann",
        description="sqrt_hann, or a window of scipy.signal.get_window; parameters in brackets: kaiser(8.6).",
    )
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> StftConfig:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(f"win_length must not be longer than n_fft ({self.n_fft}), got {self.win_length}")
        if self.hop_length is not None and self.hop_length > (self.win_length or self.n_fft):
            length = self.win_length or self.n_fft
            raise ValueError(f"hop_length must not be longer than the window ({length}), got {self.hop_length}")
        window_samples(self.window, self.win_length or self.n_fft)
        return self


@dataclass(frozen=True)
class _Origin:
    """What synthesis needs to know of the analysis: who made it, and which frames of which samples it holds."""

    config: StftConfig
    first: int
    span: Span
    samples: int
    mono: bool


class Stft(Transform):
    """Short-time Fourier transform with frames centred at multiples of the hop.

    Frame n is centred at sample n * hop_length; samples before the start and after the end count as zeros. Frames
    run from n = 0 to the first one centred at the last sample or later, so every sample is covered by a frame whose
    centre is at most one hop away. Magnitudes are calibrated as ``calibration`` says; DC and Nyquist count half as much
    as the other bins, since a real sinusoid there has one line and not two.

    Examples
    --------
    >>> import numpy as np
    >>> stft = Stft(n_fft=512, hop_length=128)
    >>> audio = np.random.default_rng(0).standard_normal(16000)
    >>> points = stft.analyze(audio, 16000)
    >>> points.blocks[0].magnitudes.shape
    (257, 126)
    >>> bool(np.allclose(stft.synthesize(points), audio))
    True
    """

    name = "stft"
    Config: ClassVar[type[TransformConfig]] = StftConfig
    config: StftConfig

    def __init__(self, config: TransformConfig | None = None, **options: Any) -> None:
        super().__init__(config, **options)
        n_fft, length = self.config.n_fft, self.config.win_length or self.config.n_fft
        window = window_samples(self.config.window, length)
        pad = (n_fft - length) // 2
        self._window = np.pad(window, (pad, n_fft - length - pad))
        self._hop = self.config.hop_length or max(length // 2, 1)
        # A periodic window peaks at half its length: between two samples when that is odd.
        self._centre = pad + length / 2
        self._lead = int(self._centre)

    @property
    def _overlap_ratio(self) -> float:
        """Smallest over largest sum of squared windows in the middle of a long signal."""
        squares = np.pad(self._window**2, (0, -len(self._window) % self._hop)).reshape(-1, self._hop).sum(axis=0)
        return float(squares.min() / squares.max())

    @property
    def invertible(self) -> Invertibility:
        """``exact``, or ``none`` where window and hop leave samples that hardly any frame sees."""
        return "exact" if self._overlap_ratio >= _LEAST_OVERLAP else "none"

    @property
    def min_snr_db(self) -> float | None:
        """Decibels of a round trip in single precision."""
        return 100.0 if self.invertible == "exact" else None

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return the samples before and after a frame's centre that the frame covers."""
        return self._lead, self.config.n_fft - self._lead

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return one grid block; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        first, count = self._frames(span)
        start = first * self._hop - self._lead
        stop = start + (count - 1) * self._hop + self.config.n_fft if count else start
        padded = samples_between(samples, span, start, stop, self.name)
        coefficients = self._transform(padded, count)
        frequencies = np.arange(self.config.n_fft // 2 + 1) * (rate / self.config.n_fft)
        shift = self._centre - self._lead
        times = ((first + np.arange(count)) * self._hop + shift) / rate
        duration = None if span.length is None else span.length / rate
        block = GridBlock.build(
            times,
            frequencies,
            np.abs(coefficients[0] if mono else coefficients) * self._calibration()[:, None],
            time_weights=self._time_weights(first, count, shift, duration, rate),
            nyquist=rate / 2,
            coefficients=coefficients,
        )
        origin = _Origin(self.config, first, span, samples.shape[-1], mono)
        return PointSet((block,), rate, duration, self.config.calibration, synthesis=origin)

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return the audio of the points by weighted overlap-add; see `Transform.synthesize`."""
        origin = origin_of(points, _Origin, self.config, self.name)
        if self.invertible == "none":
            raise TransformError(
                "window and hop leave samples that hardly any frame sees",
                where=self.name,
                got=f"window {self.config.window} with hop_length {self._hop}",
                hint="Choose a smaller hop_length.",
            )
        resolved = resolve_gains(points, gains, self.name)
        coefficients = points.blocks[0].coefficients
        if resolved is not None:
            coefficients = coefficients * resolved[0].astype(coefficients.real.dtype, copy=False)
        audio = self._inverse(coefficients, origin)
        return audio[0] if origin.mono else audio

    def _frames(self, span: Span) -> tuple[int, int]:
        """Return the first frame and the number of frames whose centre is in the span."""
        first = -(-span.start // self._hop)
        if span.is_last:
            assert span.length is not None
            # One frame at or after the last sample, so that it does not hang on the tail of a window alone.
            last = -(-(span.length - 1) // self._hop)
        else:
            last = -(-span.stop // self._hop) - 1
        return first, max(last - first + 1, 0)

    def _transform(self, padded: NDArray[Any], count: int) -> NDArray[Any]:
        from scipy import fft

        n_fft = self.config.n_fft
        dtype = np.complex64 if padded.dtype == np.float32 else np.complex128
        result = np.empty((padded.shape[0], n_fft // 2 + 1, count), dtype)
        if count == 0:
            return result
        window = self._window.astype(padded.dtype)
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[:, :: self._hop]
        for begin in range(0, count, _FRAMES_AT_ONCE):
            piece = frames[:, begin : begin + _FRAMES_AT_ONCE] * window
            result[:, :, begin : begin + piece.shape[1]] = fft.rfft(piece, axis=-1).swapaxes(1, 2)
        return result

    def _inverse(self, coefficients: NDArray[Any], origin: _Origin) -> NDArray[Any]:
        from scipy import fft

        n_fft, count = self.config.n_fft, coefficients.shape[-1]
        real = coefficients.real.dtype
        start = origin.first * self._hop - self._lead
        audio = np.zeros((coefficients.shape[0], origin.samples), real)
        if count == 0:
            return audio
        window = self._window.astype(real)
        total = (count - 1) * self._hop + n_fft
        summed = np.zeros((coefficients.shape[0], total), real)
        norm = np.zeros((1, total), np.float64)
        for begin in range(0, count, _FRAMES_AT_ONCE):
            piece = coefficients[:, :, begin : begin + _FRAMES_AT_ONCE].swapaxes(1, 2)
            frames = fft.irfft(piece, n_fft, axis=-1) * window
            overlap_add(summed[:, begin * self._hop :], frames, self._hop)
            squares = np.broadcast_to(self._window**2, (1, frames.shape[1], n_fft))
            overlap_add(norm[:, begin * self._hop :], squares, self._hop)
        seen = norm[0] > _LEAST_OVERLAP * 1e-6 * float((self._window**2).max())
        summed[:, seen] /= norm[:, seen].astype(real)
        summed[:, ~seen] = 0
        lower = max(start, origin.span.offset)
        upper = min(start + total, origin.span.offset + origin.samples)
        if upper > lower:
            audio[:, lower - origin.span.offset : upper - origin.span.offset] = summed[:, lower - start : upper - start]
        return audio

    def _calibration(self) -> NDArray[np.float32]:
        """Return the factor of each bin that makes magnitudes mean what ``calibration`` says, shape [F]."""
        n_fft = self.config.n_fft
        if self.config.calibration == "noise":
            return np.full(n_fft // 2 + 1, 1.0 / np.sqrt((self._window**2).sum()), np.float32)
        factors = np.full(n_fft // 2 + 1, 2.0 / self._window.sum(), np.float32)
        factors[0] /= 2
        if n_fft % 2 == 0:
            factors[-1] /= 2
        return factors

    def _time_weights(
        self, first: int, count: int, shift: float, duration: float | None, sample_rate: int
    ) -> NDArray[np.float64]:
        """Return the seconds that each frame stands for; a block's frames get what they get in the whole."""
        if count == 0:
            return np.zeros(0)
        # One neighbour on either side, as in the whole recording, then cut away again.
        lower = max(first - 1, 0)
        numbers = np.arange(lower, first + count + 1)
        times = (numbers * self._hop + shift) / sample_rate
        if duration is not None:
            # No frame follows the last one: its cell ends with the recording.
            last = -(-(round(duration * sample_rate) - 1) // self._hop)
            times = times[numbers <= last]
            whole = times[-1] if numbers[-1] >= last else None
            widths = cell_widths(times, 0.0, duration if whole is not None else None)
        else:
            widths = cell_widths(times, 0.0, None)
        return widths[first - lower : first - lower + count]
