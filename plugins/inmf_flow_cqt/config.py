"""Options of the constant-Q transform, and the bandwidths that follow from them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from inmf_flow.transform import Calibration, TransformConfig

# A slice is so many times 1 / (narrowest bandwidth) long, which is three times the main lobe of that band's atom.
# Measured on noise, tones, impulses and music: magnitudes then differ from those without slices by at most 1 % of the
# largest. At 8 it would be 3 %, at 16 0.6 %.
SLICE_IN_BANDWIDTHS = 12.0
# Below this, what wraps around the ends of a slice shows.
_LEAST_IN_BANDWIDTHS = 8.0
_LONGEST_SLICE = 600.0


class CqtConfig(TransformConfig):
    """Options of the constant-Q transform."""

    bins_per_octave: int = Field(24, ge=1, le=192, description="Bands in an octave.")
    fmin: float = Field(32.703, gt=0, allow_inf_nan=False, description="Centre of the lowest band in hertz (C1).")
    fmax: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="No band is centred above so many hertz; by default bands go on to Nyquist.",
    )
    gamma: float = Field(
        0.0,
        ge=0,
        le=100_000,
        allow_inf_nan=False,
        description="Hertz added to each bandwidth: low bands answer faster, and slices are shorter.",
    )
    matrix: bool = Field(False, description="One time axis for all bands, that of the widest: a single block.")
    slice_seconds: float | None = Field(
        None,
        gt=0,
        le=_LONGEST_SLICE,
        allow_inf_nan=False,
        description="Length of a slice; by default 12 / (bandwidth of the lowest band).",
    )
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> CqtConfig:
        if self.fmax is not None and self.fmax < self.fmin:
            raise ValueError(f"fmax must not be below fmin ({self.fmin:g} Hz), got {self.fmax:g}")
        narrowest = float(self.bandwidths(self.fmin))
        if self.slice_seconds is None and SLICE_IN_BANDWIDTHS / narrowest > _LONGEST_SLICE:
            raise ValueError(
                f"bands of {narrowest:.3g} Hz need slices of {SLICE_IN_BANDWIDTHS / narrowest:.0f} s, more than "
                f"{_LONGEST_SLICE:g} s: raise fmin or gamma, or take fewer bins_per_octave"
            )
        least = _LEAST_IN_BANDWIDTHS / narrowest
        if self.slice_seconds is not None and self.slice_seconds < least:
            raise ValueError(
                f"slice_seconds must be at least {_round_up(least)} for a lowest band {narrowest:.3g} Hz wide, got "
                f"{self.slice_seconds:g}: make it longer, or raise fmin or gamma"
            )
        return self

    def bandwidths(self, centres: Any) -> NDArray[np.float64]:
        """Return how many hertz wide the bands of these centres are.

        Constant-Q bands reach to their neighbours' centres, and gamma widens all alike (Schörkhuber, Klapuri, Holighaus
        and Dörfler 2014). None reaches below 0 Hz, where a band of positive frequencies would meet its mirror image.
        """
        centres = np.asarray(centres, np.float64)
        ratio = 2 ** (1 / self.bins_per_octave)
        return np.asarray(np.minimum((ratio - 1 / ratio) * centres + self.gamma, 2 * centres))

    @property
    def slice_length(self) -> float:
        """Seconds that a slice lasts at least; the next length with a fast Fourier transform is taken."""
        return self.slice_seconds or SLICE_IN_BANDWIDTHS / float(self.bandwidths(self.fmin))


def _round_up(value: float) -> str:
    """Return a number of three digits that is not below the value."""
    step = 10.0 ** (np.floor(np.log10(value)) - 2)
    return f"{np.ceil(value / step) * step:.6g}"
