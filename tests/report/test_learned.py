"""Templates and activations as the page shows them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow import INMF, get_transform
from inmf_flow.audio import read_audio
from inmf_flow.errors import ModelFileError
from inmf_flow.report import write_report
from inmf_flow.report.learned import ACTIVATION_RANGE, TEMPLATE_RANGE, learned_parts
from inmf_flow.report.spectrum import row_frequencies


def test_components_are_ordered_from_low_to_high(runs: SimpleNamespace) -> None:
    learned = learned_parts(runs.model())
    peaks = row_frequencies(learned.top)[learned.templates.argmax(axis=0)]
    assert (np.diff(peaks) > 0).all()
    assert (learned.templates.max(axis=0) == 0).all()
    assert learned.templates.min() >= -TEMPLATE_RANGE
    assert learned.activations is not None
    assert learned.activations.max() == 0
    assert learned.activations.min() >= -ACTIVATION_RANGE


def test_decibels_are_those_of_magnitudes_whatever_the_power() -> None:
    class Flat:
        max_frequency_ = 1000.0
        duration_ = 1.0

        def __init__(self, power: float) -> None:
            self.power = power

        def templates(self, frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where(frequencies < 500, 1.0, 0.1)[:, None] ** self.power

        def activations(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where(times < 0.5, 1.0, 0.1)[None] ** self.power

    for power in (0.5, 1.0, 2.0):
        learned = learned_parts(Flat(power))
        assert learned.templates[-1, 0] == pytest.approx(-20.0)
        assert learned.activations is not None
        assert learned.activations[0, -1] == pytest.approx(-20.0)


def test_a_model_without_activations_or_with_dead_components_is_shown(runs: SimpleNamespace) -> None:
    model = runs.model()
    model.duration_ = 0.0
    templates = model.templates
    model.templates = lambda frequencies: templates(frequencies) * (np.arange(12) != 3)
    learned = learned_parts(model)
    assert learned.activations is None
    assert (learned.templates[:, -1] == -TEMPLATE_RANGE).all()
    model.templates = lambda frequencies: 0 * templates(frequencies)
    with pytest.raises(ModelFileError, match="zero everywhere"):
        learned_parts(model)


def test_a_model_file_is_loaded_and_drawn(tmp_path: Path, runs: SimpleNamespace, speech: dict[str, Path]) -> None:
    audio, rate = read_audio(speech["male_test"])
    points = get_transform("stft", n_fft=1024).analyze(audio[0, : 2 * rate], rate)
    run = runs.make(tmp_path, {}, [], sources={"male": runs.source("male")})
    INMF(n_components=4, max_iter=5, random_state=0).fit(points).save(run / "models" / "male.safetensors")
    page = runs.read(write_report(run))
    alts = " ".join(image["alt"] or "" for image in page.all("img"))
    assert "Spectral templates of male: 4 components, 0 to 8000 hertz." in alts
    assert "Activations of male: 4 components over 2.0" in alts
