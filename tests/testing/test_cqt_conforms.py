"""The built-in constant-Q transform passes the class that third parties use, at several resolutions."""

from __future__ import annotations

from typing import ClassVar

import pytest

from inmf_flow.testing import TransformConformance
from inmf_flow.transform import Transform
from inmf_flow_cqt.transform import Cqt


@pytest.mark.full
class TestCqt(TransformConformance):
    transform = Cqt

    def steady_length(self, transform: Transform, sample_rate: int) -> int:
        # A slice is three times as long as the longest atom: the middle half is one and a half away from the ends.
        return 2 * transform.halo(sample_rate)[0] + 1


class TestFastCqt(TransformConformance):
    transform = Cqt
    options: ClassVar = {"bins_per_octave": 12, "fmin": 220.0}


class TestVariableQ(TransformConformance):
    transform = Cqt
    options: ClassVar = {"bins_per_octave": 24, "gamma": 25.0, "fmin": 55.0}


class TestOneTimeAxis(TransformConformance):
    transform = Cqt
    options: ClassVar = {"bins_per_octave": 6, "fmin": 220.0, "matrix": True}


class TestFewBands(TransformConformance):
    transform = Cqt
    options: ClassVar = {"bins_per_octave": 3, "fmin": 100.0, "fmax": 1800.0, "slice_seconds": 0.37}
