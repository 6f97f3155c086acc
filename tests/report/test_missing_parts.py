"""A run's folder may lack anything: the page says what, and shows the rest."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow.report import panels, write_report

KEYS = ("name", "status", "config_hash", "pipeline", "versions", "counts", "timings", "sources", "items")


@pytest.mark.parametrize("key", KEYS)
def test_run_json_without_a_key(tmp_path: Path, runs: SimpleNamespace, key: str) -> None:
    run = runs.make(tmp_path)
    record = json.loads((run / "run.json").read_text())
    del record[key]
    (run / "run.json").write_text(json.dumps(record))
    text = runs.read(write_report(run, max_items=0)).text
    if key not in ("name", "status", "config_hash"):
        assert f"run.json says nothing about {key}." in text


def test_an_unfinished_run_says_so(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path, {"mix": {"status": "missing"}}, [], status="interrupted")
    text = runs.read(write_report(run)).text
    assert "interrupted" in text
    assert "had not finished" in text
    assert "no separated files" in text


def test_without_metrics(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path)
    (run / "metrics.csv").unlink()
    page = runs.read(write_report(run))
    assert "There is no metrics.csv" in page.text
    assert len(page.all("audio")) == 5
    (run / "metrics.csv").write_text("this is,no table\n1,2\n")
    assert "metrics.csv cannot be read" in runs.read(write_report(run)).text


def test_recordings_that_are_gone_or_damaged(tmp_path: Path, runs: SimpleNamespace) -> None:
    item = runs.item("mix", tmp_path, mixture="moved-away.flac")
    (tmp_path / item["outputs"]["male"]).write_text("not audio at all")
    soundfile.write(tmp_path / item["outputs"]["female"], np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT")
    del item["references"]["male"]
    page = runs.read(write_report(runs.make(tmp_path, {"mix": item})))
    assert len(page.all("audio")) == 1
    assert "moved-away.flac" in page.text
    assert "not finite" in page.text
    assert "The run recorded no such file." in page.text
    assert "Traceback" not in page.text


def test_models_that_are_gone_or_damaged(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path)
    (run / "models" / "male.safetensors").unlink()
    (run / "models" / "female.safetensors").write_bytes(b"\xff" * 100)
    page = runs.read(write_report(run))
    assert "male.safetensors is missing." in page.text
    assert "The model cannot be shown" in page.text
    assert sum("Divergence" in (image["alt"] or "") for image in page.all("img")) == 2


@pytest.mark.parametrize(
    "curve", [None, [], "flat", [[1, 0], [2, -1], [3, 1e300], [4, 1e-300]], [[1, "x"], [2]], [[1, float("nan")]]]
)
def test_a_source_without_a_usable_divergence_curve(tmp_path: Path, runs: SimpleNamespace, curve: Any) -> None:
    sources = {"male": runs.source("male", divergence_curve=curve)}
    assert "no divergence curve" in runs.read(write_report(runs.make(tmp_path, {}, [], sources=sources))).text


@pytest.mark.parametrize(
    "curve", [[[1, 0.5]], [[1, 0.5], [9, 0.5]], [[0, 1e-20], [9, 1e20]], [[1, 0.0021], [2, 0.0020]]]
)
def test_divergence_curves_of_any_span_are_drawn(tmp_path: Path, runs: SimpleNamespace, curve: Any) -> None:
    run = runs.make(tmp_path, {}, [], sources={"male": runs.source("male", divergence_curve=curve)})
    assert len(runs.read(write_report(run)).all("img")) == 3


@pytest.mark.parametrize(
    ("shape", "rate", "note"),
    [
        ((1, 1), 16000, "followed here by silence"),
        ((800, 1), 16000, "0.05 s, followed here by silence"),
        ((16000, 2), 44100, None),
        ((16000, 6), 48000, "mixed down from 6 channels"),
        ((3000, 1), 2000, "resampled from 2000 Hz to 8000 Hz"),
        ((96000, 1), 96000, "resampled from 96000 Hz to 48000 Hz"),
        ((8000 * 31, 1), 8000, "first 30 s of 31.0 s"),
    ],
)
def test_any_length_rate_and_channel_count(
    tmp_path: Path, runs: SimpleNamespace, shape: tuple[int, int], rate: int, note: str | None
) -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal(shape)
    soundfile.write(tmp_path / "mix.wav", audio, rate, subtype="FLOAT")
    item = {"mixture": "mix.wav", "status": "done", "outputs": {}, "references": {}}
    page = runs.read(write_report(runs.make(tmp_path, {"mix": item}, [], sources={})))
    assert len(page.all("audio")) == len(page.all("img")) == 1
    assert note is None or note in page.text


@pytest.mark.parametrize(
    "rate", [1, *(pytest.param(rate, marks=pytest.mark.full) for rate in (100, 768_000)), 2**31 - 1]
)
def test_an_absurd_sample_rate_in_a_header_costs_no_page(tmp_path: Path, runs: SimpleNamespace, rate: int) -> None:
    item = runs.item("mix", tmp_path)
    odd = tmp_path / item["outputs"]["male"]
    soundfile.write(odd, 0.1 * np.random.default_rng(0).standard_normal(40_000), rate, subtype="FLOAT")
    page = runs.read(write_report(runs.make(tmp_path, {"mix": item})))
    pictures = [image for image in page.all("img") if "Spectrogram" in (image["alt"] or "")]
    # No recording has 1 sample a second: such a file is damaged, and the page says so in its place.
    assert len(pictures) == (4 if rate == 1 else 5)
    assert ("1 Hz" in page.text) == (rate == 1)
    assert len(page.all("audio")) >= 4


@pytest.mark.parametrize("broken", ["spectrogram", "draw_spectrogram", "draw_divergence"])
def test_a_picture_that_cannot_be_drawn_is_told(
    tmp_path: Path, runs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    draw = getattr(panels, broken)
    calls: list[Any] = []

    def first_fails(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError("no room")
        return draw(*arguments)

    monkeypatch.setattr(panels, broken, first_fails)
    page = runs.read(write_report(runs.make(tmp_path)))
    assert "picture cannot be drawn: MemoryError: no room" in page.text
    assert len(page.all("img")) == 5 + 6 - 1
    assert len(page.all("audio")) == 5


@pytest.mark.parametrize("stranger", ["{outside}", "../outside.wav", "separated/../../outside.wav", "link.wav"])
def test_outputs_and_models_outside_the_runs_folder_are_not_shown(
    tmp_path: Path, runs: SimpleNamespace, stranger: str
) -> None:
    outside = tmp_path / "outside.wav"
    soundfile.write(outside, np.zeros(4000), 16000)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "link.wav").symlink_to(outside)
    stranger = stranger.format(outside=outside)
    item = runs.item("mix", folder)
    item["outputs"]["male"] = stranger
    sources = {"male": runs.source("male", model=stranger), "female": runs.source("female")}
    page = runs.read(write_report(runs.make(folder, {"mix": item}, sources=sources)))
    place = f"is said to be {stranger}, outside the run's folder; left out."
    assert f"run.json: the estimate of male in mix {place}" in page.text
    assert f"run.json: the model of male {place}" in page.text
    # Mixture, references and the other estimate.
    assert len(page.all("audio")) == 4


def test_silence_and_audio_beyond_full_scale_are_told(tmp_path: Path, runs: SimpleNamespace) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), 16000)
    soundfile.write(tmp_path / "loud.wav", 2.0 * np.sin(np.arange(4000) / 3), 16000, subtype="FLOAT")
    item = {"mixture": "silent.wav", "status": "done", "outputs": {"loud": "loud.wav"}, "references": {}}
    text = runs.read(write_report(runs.make(tmp_path, {"mix": item}, [], sources={}))).text
    assert "silent" in text
    assert "turned down by 6.0 dB so as not to clip" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(
    st.text(max_size=6),
    st.dictionaries(
        st.sampled_from(
            ["status", "reason", "mixture", "outputs", "references", "duration", "model", "files", "divergence_curve"]
        ),
        JSON,
        max_size=4,
    ),
    max_size=2,
)


@given(record=st.dictionaries(st.sampled_from([*KEYS, "notes", "failures"]), JSON), items=RECORDS, sources=RECORDS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_run_json_holds_there_is_a_page(
    tmp_path: Path, runs: SimpleNamespace, record: dict[str, Any], items: Any, sources: Any
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"items": items, "sources": sources, **record}))
    assert runs.read(write_report(tmp_path, max_items=2)).all("h1")
