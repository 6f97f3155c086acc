"""The reassigned STFT passes the class that third parties use."""

from __future__ import annotations

from typing import ClassVar

from inmf_flow.testing import TransformConformance
from inmf_flow_sinusoidal.reassigned import Reassigned


class TestReassigned(TransformConformance):
    transform = Reassigned
    joint_channels: ClassVar[bool] = True


class TestOddReassigned(TransformConformance):
    transform = Reassigned
    joint_channels: ClassVar[bool] = True
    options: ClassVar = {"n_fft": 501, "hop_length": 167, "window": "blackman_harris"}
