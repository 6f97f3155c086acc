"""Options of the wavelet transforms, and the wavelets that each kind takes."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from inmf_flow.transform import Calibration, TransformConfig

Kind = Literal["packet", "dwt", "swt", "cwt"]
# By kind: long filters keep bands apart, short ones keep moments apart.
_WAVELETS: dict[str, str] = {"packet": "sym20", "dwt": "sym8", "swt": "sym8", "cwt": "cmor20.0-1.0"}
# Beyond these a single coefficient covers minutes, or a grid has more bands than any model resolves.
_DEEPEST: dict[str, int] = {"packet": 12, "dwt": 16, "swt": 12}
# Narrower bands beside a quarter of the sample rate answer to a tone there as much as to its mirror image.
_DEEPEST_BY_DEFAULT = 9
_CWT_ONLY = ("bins_per_octave", "fmin", "fmax", "hop_length")


class WaveletConfig(TransformConfig):
    """Options of the wavelet transforms."""

    kind: Kind = Field(
        "packet",
        description="packet: all branches, bands of one width; dwt: octaves; swt: octaves without decimation; "
        "cwt: continuous, any number of bands in an octave.",
    )
    wavelet: str | None = Field(
        None,
        description="A wavelet of PyWavelets: sym20 for packet, sym8 for dwt and swt, cmor20.0-1.0 for cwt by default.",
    )
    level: int | None = Field(
        None,
        ge=1,
        le=max(_DEEPEST.values()),
        description="How often the spectrum is halved; by default as often as makes the lowest band about "
        "20 Hz wide (packet) or 60 Hz (dwt, swt), but 9 at most. Not for cwt.",
    )
    shifts: Literal[1, 2, 4, 8, 16, 32] = Field(
        1,
        description="So many times as many points: also those of the audio delayed by parts of a hop, and synthesis "
        "takes the mean (cycle spinning). packet only.",
    )
    bins_per_octave: int | None = Field(None, ge=1, le=192, description="Bands in an octave, 24 by default; cwt only.")
    fmin: float | None = Field(
        None, ge=2, allow_inf_nan=False, description="Hertz of the lowest wavelet, 40 by default; cwt only."
    )
    fmax: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Hertz that no wavelet is above, 0.42 times the sample rate by default; cwt only.",
    )
    hop_length: int | None = Field(
        None,
        ge=1,
        le=1 << 16,
        description="Samples between points of every band; by default each octave has its own. cwt only.",
    )
    calibration: Calibration = Field(
        "tone",
        description="tone: a sinusoid of amplitude 1 has magnitude 1; noise: white noise of variance 1 has mean "
        "square 1.",
    )

    @property
    def wavelet_name(self) -> str:
        """The wavelet, chosen or by default."""
        return _WAVELETS[self.kind] if self.wavelet is None else self.wavelet

    @model_validator(mode="after")
    def _consistent(self) -> WaveletConfig:
        if self.shifts > 1 and self.kind != "packet":
            raise ValueError(f"only kind packet has shifts; the kind is {self.kind}")
        if self.kind == "cwt":
            self._check_cwt()
            return self
        strange = [name for name in _CWT_ONLY if getattr(self, name) is not None]
        if strange:
            raise ValueError(f"only kind cwt has {', '.join(strange)}; the kind is {self.kind}")
        if self.level is not None and self.level > _DEEPEST[self.kind]:
            raise ValueError(f"level must be at most {_DEEPEST[self.kind]} for kind {self.kind}, got {self.level}")
        self._check_discrete_wavelet()
        return self

    def _check_cwt(self) -> None:
        from inmf_flow_wavelet.continuous import check_bands

        if self.level is not None:
            raise ValueError("only kinds packet, dwt and swt have level; cwt has bins_per_octave")
        if self.fmin is not None and self.fmax is not None and self.fmin >= self.fmax:
            raise ValueError(f"fmin must be below fmax ({self.fmax:g}), got {self.fmin:g}")
        check_bands(self.wavelet_name, self.bins_per_octave)

    def _check_discrete_wavelet(self) -> None:
        import pywt

        name = self.wavelet_name
        if name not in pywt.wavelist(kind="discrete"):
            raise ValueError(
                f"no discrete wavelet {name!r}: expected haar, db2 to db38, sym2 to sym20, coif1 to coif17, dmey, "
                "or for dwt and swt also bior1.1 to bior6.8 and rbio1.1 to rbio6.8"
            )
        if self.kind == "packet" and not pywt.Wavelet(name).orthogonal:
            raise ValueError(
                f"packets need an orthogonal wavelet, got {name!r}: expected haar, db*, sym*, coif* or dmey; the bands "
                "of others drift apart in level and frequency with every split"
            )

    def levels(self, sample_rate: int) -> int:
        """Return the level at a sample rate in hertz, chosen or by default."""
        if self.level is not None:
            return self.level
        width = 20.0 if self.kind == "packet" else 60.0
        return min(max(round(math.log2(sample_rate / 2 / width)), 1), _DEEPEST_BY_DEFAULT)
