"""What a model sees of the sinusoidal points, and that separation through them loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow import INMF
from inmf_flow.audio import read_audio
from inmf_flow.separation import separate
from inmf_flow.testing import snr_db
from inmf_flow_sinusoidal.transform import Sinusoidal
from inmf_flow_stft.transform import Stft

RATE = 16_000


def test_by_default_a_fit_sees_the_stft_of_the_input(speech: dict[str, Path]) -> None:
    audio, rate = read_audio(speech["mixture"])
    partials, grid = Sinusoidal().analyze(audio, rate).blocks
    (expected,) = Stft(n_fft=2000).analyze(audio, rate).blocks
    assert not partials.weights.any()
    assert np.array_equal(grid.magnitudes, expected.magnitudes)
    assert np.allclose(grid.weights, expected.weights)


def test_a_fit_may_see_the_parts_or_the_partials_alone(speech: dict[str, Path]) -> None:
    audio, rate = read_audio(speech["mixture"])
    whole = Sinusoidal().analyze(audio, rate).blocks[1].magnitudes
    for fit in ("parts", "partials"):
        partials, grid = Sinusoidal(fit=fit).analyze(audio, rate).blocks
        # 8 bins of the window, 10 ms.
        assert partials.weights == pytest.approx(8 / 0.05 * 0.01, rel=0.01)
        assert grid.weights.any() == (fit == "parts")
        assert np.sum(grid.magnitudes**2) < 0.7 * np.sum(whole**2)


@pytest.mark.parametrize("calibration", ["tone", "noise"])
def test_a_partial_is_as_large_as_its_tone_in_the_stft(calibration: str) -> None:
    # On the centre of a bin of the STFT: 440 Hz times 0.125 s is a whole number.
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    partials, grid = Sinusoidal(calibration=calibration).analyze(tone, RATE).blocks
    inner = (grid.times > 0.2) & (grid.times < 0.8)
    assert partials.magnitudes == pytest.approx(float(grid.magnitudes[:, inner].max()), rel=1e-3)


@pytest.mark.parametrize("fit", ["input", "parts", "partials"])
def test_estimates_of_a_mixture_add_up_to_it(speech: dict[str, Path], fit: str) -> None:
    transform = Sinusoidal(fit=fit)
    models = {}
    for name in ("male", "female"):
        audio, rate = read_audio(speech[f"{name}_train"])
        points = transform.analyze(audio[0, : 2 * rate], rate).without_synthesis()
        models[name] = INMF(n_components=3, max_iter=10, random_state=0).fit(points)
    mixture, rate = read_audio(speech["mixture"])
    estimates = separate(mixture[:, :RATE], rate, models, transform, max_iter=5)
    assert snr_db(mixture[:, :RATE], sum(estimates.values())) >= 100
    assert snr_db(estimates["male"], estimates["female"]) < 20
