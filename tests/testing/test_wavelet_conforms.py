"""The built-in wavelets pass the class that third parties use: each kind, with several wavelets."""

from __future__ import annotations

from typing import ClassVar

from inmf_flow.testing import TransformConformance
from inmf_flow.transform import Transform
from inmf_flow_wavelet.transform import Wavelet


class TestPackets(TransformConformance):
    transform = Wavelet
    real_coefficients = True

    def steady_length(self, transform: Transform, sample_rate: int) -> int:
        # A root mean square of oscillating coefficients takes many of them, and these are 512 samples apart.
        return 2 * super().steady_length(transform, sample_rate)


class TestShortPackets(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"wavelet": "sym20", "level": 4}
    real_coefficients = True


class TestHaarPackets(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"wavelet": "haar", "level": 4, "calibration": "noise"}
    real_coefficients = True
    gain_locality_db = 7.0


class TestShiftedPackets(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"shifts": 8, "level": 6}
    real_coefficients = True


class TestMoreShiftsThanSamples(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"wavelet": "db4", "shifts": 32, "level": 3}
    real_coefficients = True


class TestOctaves(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "dwt"}
    real_coefficients = True
    impulse_hops = 1.0


class TestBiorthogonalOctaves(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "dwt", "wavelet": "bior4.4", "level": 5}
    real_coefficients = True
    impulse_hops = 1.0


class TestStationary(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "swt"}
    real_coefficients = True


class TestContinuous(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "cwt"}


class TestWideContinuous(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "cwt", "wavelet": "cmor1.5-1.0", "bins_per_octave": 12, "fmin": 100.0, "hop_length": 6}


class TestRealContinuous(TransformConformance):
    transform = Wavelet
    options: ClassVar = {"kind": "cwt", "wavelet": "morl", "bins_per_octave": 6, "fmin": 80.0, "calibration": "noise"}
    real_coefficients = True
