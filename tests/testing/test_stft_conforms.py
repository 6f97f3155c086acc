"""The built-in STFT passes the class that third parties use, at several sizes."""

from __future__ import annotations

from typing import ClassVar

from inmf_flow.testing import TransformConformance
from inmf_flow_stft.transform import Stft


class TestStft(TransformConformance):
    transform = Stft


class TestShortStft(TransformConformance):
    transform = Stft
    options: ClassVar = {"n_fft": 256, "hop_length": 64, "window": "hann"}


class TestOddStft(TransformConformance):
    transform = Stft
    options: ClassVar = {"n_fft": 501, "hop_length": 167}
