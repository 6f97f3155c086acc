"""Small dictionaries of the quickstart's recordings, fitted once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from inmf_flow import INMF, get_transform
from inmf_flow.audio import read_audio


@dataclass(frozen=True)
class Scene:
    """A mixture [samples], its sources, and one model a source. 16 kHz."""

    mixture: NDArray[np.float32]
    references: dict[str, NDArray[np.float32]]
    models: dict[str, INMF]
    path: Path


def _scene(files: dict[str, Path], names: tuple[str, str]) -> Scene:
    stft = get_transform("stft", n_fft=1000)
    audio = {stem: read_audio(path)[0][0] for stem, path in files.items()}
    models = {name: INMF(15, max_iter=120).fit(stft.analyze(audio[f"{name}_train"], 16000)) for name in names}
    return Scene(audio["mixture"], {name: audio[f"{name}_test"] for name in names}, models, files["mixture"])


@pytest.fixture(scope="session")
def voices(speech: dict[str, Path]) -> Scene:
    return _scene(speech, ("male", "female"))


@pytest.fixture(scope="session")
def song(music: dict[str, Path]) -> Scene:
    return _scene(music, ("guitar", "backing"))


@pytest.fixture(scope="session")
def narrow(voices: Scene, speech: dict[str, Path]) -> dict[str, INMF]:
    """Models that have seen nothing above 4 kHz."""
    from inmf_flow.audio import resample

    models = {}
    for name in voices.models:
        audio = resample(read_audio(speech[f"{name}_train"])[0][0], 16000, 8000)
        models[name] = INMF(8, max_iter=60).fit(get_transform("stft", n_fft=512).analyze(audio[:40000], 8000))
    return models


@pytest.fixture
def bits() -> Callable[[dict[str, INMF]], bytes]:
    """Return a function that gives all that models have learned, bit by bit."""

    def everything(models: dict[str, INMF]) -> bytes:
        return b"".join(
            array.tobytes()
            for model in models.values()
            for field in model._fitted()
            for array in field.state().values()
        )

    return everything
