"""The sinusoidal model passes the class that third parties use."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from inmf_flow.points import GridBlock
from inmf_flow.testing import TransformConformance
from inmf_flow_sinusoidal.transform import Sinusoidal


class SinusoidalConformance(TransformConformance):
    transform = Sinusoidal
    joint_channels: ClassVar[bool] = True


class TestSinusoidal(SinusoidalConformance):
    pass


class OfPartials(SinusoidalConformance):
    @pytest.mark.parametrize("rate", [8_000, 44_100])
    def test_white_noise_of_variance_1_has_mean_square_1(self, rate: int) -> None:
        # Partials are the largest of noise by choice: what is held to 1 is a grid from which they took nothing.
        transform = self.make(calibration="noise", threshold_db=1e-6)
        audio = np.random.default_rng(0).standard_normal(8 * rate)
        partials, grid = transform.analyze(audio, rate).blocks
        assert partials.n_points < 100
        inner = (grid.times > 0.5) & (grid.times < 7.5)
        assert np.mean(grid.magnitudes[:, inner].astype(np.float64) ** 2) == pytest.approx(1, abs=0.02)

    def test_weights_add_up_to_the_area(self) -> None:  # type: ignore[override]
        transform = self.make()
        points = transform.analyze(np.random.default_rng(0).normal(0, 0.1, 40_001), 16_000)
        (grid,) = (block for block in points.blocks if isinstance(block, GridBlock))
        # The partials' areas come on top: they are where the grid's are already.
        expected = self.area(40_001 / 16_000, 16_000) if self.options["fit"] == "parts" else 0
        assert float(grid.weights.sum(dtype=np.float64)) == pytest.approx(expected, rel=0.02)


class TestPartsAreFitted(OfPartials):
    options: ClassVar[dict[str, Any]] = {"fit": "parts", "max_scatter": 0.4, "max_gap": 0.05}


class TestShortWindowsAndGaps(OfPartials):
    options: ClassVar[dict[str, Any]] = {
        "window_seconds": 0.03,
        "hop_seconds": 0.006,
        "max_gap": 0.02,
        "min_duration": 0.02,
        "residual_seconds": 0.04,
        "fit": "partials",
    }
