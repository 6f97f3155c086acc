"""The hybrid pipeline of the repository takes two notes apart, and what depends on several transforms is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow import INMF, open_points

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
# Seconds of the recording in which one note, the other and both sound.
LOW, HIGH, BOTH = (0.1, 1.1), (1.4, 2.3), (2.5, 3.7)


@pytest.fixture(scope="module")
def ran(inmf: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("hybrid")
    shutil.copytree(PIPELINES / "audio/notes", folder / "audio/notes")
    shutil.copy(PIPELINES / "hybrid.yaml", folder)
    done = inmf("run", folder / "hybrid.yaml", "--output", folder / "run", "--workers", 1)
    assert done.code == 0, done.err
    return folder


def level(audio: Any, rate: int, span: tuple[float, float]) -> float:
    part = audio[int(span[0] * rate) : int(span[1] * rate)]
    return 10 * float(np.log10(np.mean(part**2) + 1e-12))


@pytest.mark.full
def test_each_component_is_one_note(ran: Path) -> None:
    written = sorted(path.name for path in (ran / "run/separated/piano").iterdir())
    assert written == ["note-1.wav", "note-2.wav"]
    mixture, rate = soundfile.read(ran / "audio/notes/piano.flac")
    notes = [soundfile.read(ran / "run/separated/piano" / name)[0] for name in written]
    np.testing.assert_allclose(sum(notes), mixture, atol=1e-5)
    low, high = sorted(notes, key=lambda note: -level(note, rate, LOW))
    assert level(low, rate, HIGH) < level(high, rate, HIGH) - 20
    assert level(high, rate, LOW) < level(low, rate, LOW) - 20
    for note, alone in ((low, LOW), (high, HIGH)):
        assert abs(level(note, rate, BOTH) - level(note, rate, alone)) < 6


def test_its_dictionary_was_learned_from_all_three(ran: Path) -> None:
    (points,) = open_points(ran / "run/points.zarr").values()
    shapes = [(block.magnitudes.ndim, len(block.times)) for block in points.blocks]
    assert len(shapes) > 5, "an STFT, a grid for each octave of the CQT, the residual"
    assert any(axes == 1 and count > 1000 for axes, count in shapes), "partials"
    model = INMF.load(ran / "run/models/note.safetensors")
    hertz = np.arange(200.0, 500.0)
    # C4 and G4.
    peaks = sorted(hertz[model.templates(hertz).argmax(axis=0)])
    assert abs(peaks[0] - 261.6) < 12
    assert abs(peaks[1] - 392.0) < 12


def test_the_report_numbers_components_as_the_files_are(ran: Path) -> None:
    page = (ran / "run/report.html").read_text()
    assert "numbered as the estimates are" in page
    assert "There is no metrics.csv" not in page
    assert "note-2" in page


@pytest.mark.full
def test_asked_for_sources_again_the_components_go(ran: Path, inmf: Callable[..., Any]) -> None:
    done = inmf("run", ran / "hybrid.yaml", "--output", ran / "run", "--set", "separate.outputs=sources")
    assert done.code == 0, done.err
    assert "fit note" not in done.err
    assert [path.name for path in (ran / "run/separated/piano").iterdir()] == ["note.wav"]
    mixture, _ = soundfile.read(ran / "audio/notes/piano.flac")
    note, _ = soundfile.read(ran / "run/separated/piano/note.wav")
    np.testing.assert_allclose(note, mixture, atol=1e-5)


def test_components_cannot_be_scored_as_sources(ran: Path, inmf: Callable[..., Any]) -> None:
    done = inmf("validate", ran / "hybrid.yaml", "--set", 'evaluate.references="{source}.flac"')
    assert done.code == 2
    assert "evaluate scores sources, but separate.outputs is 'components'" in done.err


def test_separate_on_the_command_line_takes_several_transforms_and_gives_components(
    ran: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    transforms = ["--transform", "stft:n_fft=1024", "--transform", "cqt:fmin=110"]
    model = f"note={ran / 'run/models/note.safetensors'}"
    mixture = ran / "audio/notes/piano.flac"
    done = inmf("separate", mixture, "--model", model, *transforms, "--components", "-o", tmp_path / "out")
    assert done.code == 0, done.err
    assert [Path(line).name for line in done.out.splitlines()] == ["note-1.wav", "note-2.wav"]
