"""`Wavelet`: packets, discrete, stationary and continuous wavelet transforms with true coordinates and an inverse."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.points import PointSet
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
)
from inmf_flow_wavelet import continuous, discrete
from inmf_flow_wavelet.config import WaveletConfig


class Wavelet(Transform):
    """Wavelet transforms: ``packet`` (bands of one width), ``dwt`` and ``swt`` (octaves), ``cwt`` (parts of octaves).

    What is before the recording's start and after its end counts as zeros. Filters of wavelets delay; here a point's
    time is the centroid of what its coefficient sees, to within half a hop. Coefficients of discrete wavelets are real:
    points carry their absolute values, and synthesis keeps their signs.

    Examples
    --------
    >>> import numpy as np
    >>> wavelet = Wavelet(wavelet="db20", level=6)
    >>> audio = np.random.default_rng(0).standard_normal(16000)
    >>> points = wavelet.analyze(audio, 16000)
    >>> points.blocks[0].frequencies[:3]
    array([ 62.5, 187.5, 312.5])
    >>> bool(np.allclose(wavelet.synthesize(points), audio))
    True
    """

    name = "wavelet"
    Config: ClassVar[type[TransformConfig]] = WaveletConfig
    config: WaveletConfig

    @property
    def invertible(self) -> Invertibility:
        """``exact``; ``approximate`` for the continuous transform and for dmey, whose filters are cut off."""
        if self.config.kind == "cwt":
            return "approximate"
        return "exact" if discrete.promised_snr_db(self.config) >= 100 else "approximate"

    @property
    def min_snr_db(self) -> float | None:
        """Decibels of a round trip in single precision."""
        return continuous.SNR_DB if self.config.kind == "cwt" else discrete.promised_snr_db(self.config)

    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return the samples before and after a point that it depends on."""
        rate = check_sample_rate(sample_rate, self.name)
        if self.config.kind == "cwt":
            return continuous.halo(self.config, rate, self.name)
        return discrete.halo(self.config, self.config.levels(rate))

    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return one grid block for each hop, from the lowest frequencies up; see `Transform.analyze`."""
        samples, mono = as_channels(audio, self.name)
        rate = check_sample_rate(sample_rate, self.name)
        span = span or Span.whole(samples.shape[-1])
        analyze = continuous.analyze if self.config.kind == "cwt" else discrete.analyze
        return analyze(samples, rate, span, mono, self.config, self.name)

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return the audio of the points; see `Transform.synthesize`."""
        if self.config.kind == "cwt":
            origin = origin_of(points, continuous.Origin, self.config, self.name)
            audio = continuous.synthesize(points, origin, resolve_gains(points, gains, self.name))
            return audio[0] if origin.mono else audio
        made = origin_of(points, discrete.Origin, self.config, self.name)
        audio = discrete.synthesize(points, made, resolve_gains(points, gains, self.name))
        audio = audio.astype(np.float32 if made.single else np.float64, copy=False)
        return audio[0] if made.mono else audio
