"""One dictionary of many recordings, learned batch by batch: the same on any number of workers and after any death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from inmf_flow import INMF

RATES = (8000, 16000, 44100)
_PIPELINE = """
name: shared
corpus: {mixtures: "mix.wav"}
transforms: {fine: {stft: {n_fft: 512}}, tonal: {cqt: {fmin: 220, bins_per_octave: 12}}}
sources: {voice: {audio: "voice/*.wav", components: 6}}
fit: {learn: passes, passes: 8, relaxation: 1}
store: none
report: {items: 0}
cluster: {workers: 2}
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path]) -> Path:
    """Twenty recordings of half a second at three rates: two batches, and one file that is none."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "voice").mkdir()
    audio, _ = soundfile.read(speech["male_train"], dtype="float32")
    for number in range(20):
        rate = RATES[number % 3]
        part = soxr.resample(audio[number * 7000 : number * 7000 + 8000], 16000, rate)
        soundfile.write(folder / f"voice/v{number:02d}.wav", part, rate)
    (folder / "voice/text.wav").write_text("no")
    soundfile.write(folder / "mix.wav", audio[:16000], 16000)
    (folder / "pipeline.yaml").write_text(_PIPELINE)
    return folder


@pytest.fixture(scope="module")
def learned(recordings: Path, inmf: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("learned") / "run"
    done = inmf("run", recordings / "pipeline.yaml", "--output", output)
    assert done.code == 1, "one of the files is none"
    return output


def passes_of(output: Path) -> list[int]:
    lines = (output / "events.jsonl").read_text().splitlines()
    return [event["number"] for event in map(json.loads, lines) if event["event"] == "pass"]


def model(output: Path) -> bytes:
    return (output / "models/voice.safetensors").read_bytes()


def test_it_learns_from_all_that_can_be_read_and_leaves_nothing_else(learned: Path) -> None:
    document = json.loads((learned / "run.json").read_text())
    assert document["sources"]["voice"]["status"] == "done"
    assert [failure["item"] for failure in document["failures"]] == ["voice/text"]
    loaded = INMF.load(learned / "models/voice.safetensors")
    assert len(loaded.provenance["files"]) == 20
    assert passes_of(learned) == list(range(1, 9))
    assert not (learned / "passes").exists()
    assert (learned / "separated/mix/voice.wav").is_file()


def test_the_divergence_never_rises(learned: Path) -> None:
    curve = [value for _, value in INMF.load(learned / "models/voice.safetensors").divergence_curve_]
    assert len(curve) == 8
    assert (np.diff(curve) <= 1e-9).all()
    assert curve[-1] < curve[0]


def test_high_frequencies_are_learned_from_the_files_that_have_them(learned: Path) -> None:
    loaded = INMF.load(learned / "models/voice.safetensors")
    assert loaded.max_frequency_ == pytest.approx(22050)
    # Above 8 kHz the upsampled recordings are silent, and the others do not speak.
    high, low = (loaded.templates(np.linspace(*span, 200)).max() for span in ((9000, 20000), (200, 3000)))
    assert high < 0.3 * low


@pytest.mark.full
def test_any_number_of_workers_learns_the_same_bits(
    recordings: Path, learned: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    inmf("run", recordings / "pipeline.yaml", "--output", tmp_path / "run", "--workers", 1)
    assert model(tmp_path / "run") == model(learned)


@pytest.mark.full
def test_killed_between_passes_it_goes_on_to_the_same_bits(
    recordings: Path, learned: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [Path(sys.executable).with_name("inmf"), "run", recordings / "pipeline.yaml", "--output", output]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 120
    while not (output / "passes/voice/0003.safetensors").is_file() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "models/voice.safetensors").exists()
    inmf("run", recordings / "pipeline.yaml", "--output", output)
    assert model(output) == model(learned)
    numbers = passes_of(output)
    # Killed after it was saved, a pass is not told of; begun again, it is told of once.
    assert set(range(4, 9)) <= set(numbers)
    assert len(numbers) <= 9, "at most the pass that was under way was done twice"


@pytest.mark.full
def test_damaged_activations_begin_again_instead_of_going_wrong(
    recordings: Path, learned: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [Path(sys.executable).with_name("inmf"), "run", recordings / "pipeline.yaml", "--output", output]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not (output / "passes/voice/0002.safetensors").is_file() and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for path in (output / "passes/voice").glob("*/*.batch"):
        path.write_bytes(path.read_bytes()[:-1])
    inmf("run", recordings / "pipeline.yaml", "--output", output)
    assert model(output) == model(learned)


@pytest.mark.full
def test_a_batch_of_files_that_are_none_says_nothing(
    recordings: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "voice").mkdir()
    for number, path in enumerate(sorted((recordings / "voice").glob("v*.wav"))[:18]):
        (tmp_path / "voice" / path.name).write_bytes(path.read_bytes() if number < 16 else b"no")
    (tmp_path / "mix.wav").write_bytes((recordings / "mix.wav").read_bytes())
    (tmp_path / "pipeline.yaml").write_text(_PIPELINE.replace("learn: passes, passes: 8", "learn: online, passes: 1"))
    done = inmf("run", tmp_path / "pipeline.yaml", "--output", tmp_path / "run")
    assert "Traceback" not in done.err
    assert len(INMF.load(tmp_path / "run/models/voice.safetensors").provenance["files"]) == 16


@pytest.mark.full
def test_online_learning_needs_one_pass_and_is_repeatable(
    recordings: Path, inmf: Callable[..., Any], tmp_path: Path
) -> None:
    models = []
    for workers in (1, 2):
        output = tmp_path / str(workers)
        options = ["--set", "fit.learn=online", "--set", "fit.passes=1", "--workers", workers]
        inmf("run", recordings / "pipeline.yaml", "--output", output, *options)
        models.append(model(output))
        assert passes_of(output) == [1]
    assert models[0] == models[1]


def test_a_store_is_learned_from_part_by_part(project: Any, inmf: Callable[..., Any]) -> None:
    done = project.run("--set", "fit.learn=passes", "--set", "fit.passes=5")
    assert done.code == 0, done.err
    assert "analyze" not in project.done()
    loaded = INMF.load(project.output / "models/male.safetensors")
    assert loaded.n_iter_ == 5
    assert loaded.provenance["files"] == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("fit.field=network", "fits the fields hat and matrix, got 'network'"),
        ("fit.optimizer=rprop", "takes no fit.optimizer"),
        ("fit.n_init=3", "takes no fit.n_init"),
    ],
)
def test_what_cannot_be_learned_in_passes_is_said(
    recordings: Path, inmf: Callable[..., Any], setting: str, words: str
) -> None:
    done = inmf("validate", recordings / "pipeline.yaml", "--set", setting)
    assert done.code == 2
    assert words in done.err
