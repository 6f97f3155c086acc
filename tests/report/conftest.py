"""A small run's folder made of the recordings that ship with the quickstart."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.evaluate import MetricRow, write_metrics_csv
from inmf_flow.report import panels

SPEECH = Path(__file__).resolve().parents[2] / "pipelines" / "audio" / "speech"
SOURCES = ("male", "female")


class FakeModel:
    """Bumps along frequency and bursts along time, with the attributes of a fitted `INMF`."""

    power = 0.5
    max_frequency_ = 8000.0
    duration_ = 10.0

    def __init__(self, components: int = 12) -> None:
        # Out of order on purpose: the report sorts components by their centre.
        self._centres = np.random.default_rng(0).permutation(np.geomspace(120, 6000, components))

    def templates(self, frequencies: Any) -> Any:
        f = np.asarray(frequencies)[:, None]
        width = 60 + 0.25 * self._centres
        return np.exp(-(((f - self._centres) / width) ** 2)) * (1.2 + np.cos(2 * np.pi * f / 140)) + 1e-4

    def activations(self, times: Any) -> Any:
        t = np.asarray(times)[None, :]
        k = np.arange(len(self._centres))[:, None]
        return np.maximum(0, np.sin(2 * np.pi * t * (0.31 + 0.07 * k) + k)) ** 4 + 0.01


@pytest.fixture(autouse=True)
def fake_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let empty model files stand for a model that is known; others are loaded."""
    load = panels.load_model
    monkeypatch.setattr(panels, "load_model", lambda path: load(path) if path.stat().st_size else FakeModel())


def estimates_of(item: str, folder: Path) -> dict[str, str]:
    """Write estimates that leak a little of the other source, and return their paths relative to the folder."""
    parts = {name: soundfile.read(SPEECH / f"{name}_test.flac", dtype="float32") for name in SOURCES}
    length = min(len(audio) for audio, _ in parts.values())
    outputs = {}
    for name, other in zip(SOURCES, SOURCES[::-1], strict=True):
        path = folder / "separated" / item / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        leaking = parts[name][0][:length] + 0.2 * parts[other][0][:length]
        soundfile.write(path, leaking, parts[name][1], subtype="FLOAT")
        outputs[name] = str(path.relative_to(folder))
    return outputs


def source_record(name: str, **changes: Any) -> dict[str, Any]:
    curve = [[step, 0.02 / step**0.6 + 5e-4] for step in (1, 2, 5, 10, 20, 40, 60, 80, 100)]
    record = {"model": f"models/{name}.safetensors", "files": [str(SPEECH / f"{name}_train.flac")], "status": "done"}
    return {**record, "reason": None, "divergence_curve": curve, "n_components": 12, **changes}


def item_record(item: str, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "mixture": str(SPEECH / "mixture.flac"),
        "status": "done",
        "reason": None,
        "outputs": estimates_of(item, folder),
        "references": {name: str(SPEECH / f"{name}_test.flac") for name in SOURCES},
        "duration": 4.0,
        "sample_rate": 16000,
        **changes,
    }


def metric_rows(items: list[str], sources: tuple[str, ...] = SOURCES) -> list[MetricRow]:
    values = {
        "si_sdr": (8.04, 0.11),
        "sdr": (8.61, 0.35),
        "sir": (14.2, 0.4),
        "sar": (10.3, 60.0),
        "stoi": (0.81, 0.66),
    }
    rows = []
    for number, item in enumerate(items):
        for step, source in enumerate(sources):
            for metric, (value, baseline) in values.items():
                worth = value * (1 + 0.05 * step) - 0.01 * (number % 37)
                rows.append(MetricRow(item, source, metric, worth, baseline, worth - baseline))
    return rows


def make_run(
    folder: Path,
    items: dict[str, dict[str, Any]] | None = None,
    rows: list[MetricRow] | None = None,
    **changes: Any,
) -> Path:
    """Write a run's folder; ``changes`` replace keys of run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    items = {"two-speakers": item_record("two-speakers", folder)} if items is None else items
    done = sum(item["status"] == "done" for item in items.values())
    stage = {"done": done, "reused": 0, "failed": len(items) - done}
    record = {
        "format": 1,
        "name": "quickstart",
        "status": "done",
        "config_hash": "9f2b7c61d04e8a35b1f0c2d4e6a8091b",
        "pipeline": {"name": "quickstart", "corpus": {"mixtures": "audio/speech/mixture.flac", "sample_rate": 16000}},
        "versions": {"inmf_flow": "0.1.0", "python": "3.11.2", "torch": "2.13.0"},
        "counts": {
            "analyze": {"done": 2, "reused": 0, "failed": 0},
            "fit": {"done": 2, "reused": 0, "failed": 0},
            "separate": stage,
            "evaluate": stage,
        },
        "timings": {"analyze": 0.42, "fit": 3.1, "separate": 1.25, "evaluate": 0.8, "total": 6.34},
        "sources": {name: source_record(name) for name in SOURCES},
        "items": items,
        **changes,
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "models").mkdir(exist_ok=True)
    for name in SOURCES:
        (folder / "models" / f"{name}.safetensors").touch()
    write_metrics_csv(folder / "metrics.csv", metric_rows(list(items)) if rows is None else rows)
    return folder


class Page(HTMLParser):
    """What a reader meets on a page: its elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._hidden = 0
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def runs() -> SimpleNamespace:
    """What makes run folders and reads their pages."""
    return SimpleNamespace(
        make=make_run,
        item=item_record,
        source=source_record,
        rows=metric_rows,
        read=lambda path: Page(path.read_text()),
        model=FakeModel,
        speech=SPEECH,
        sources=SOURCES,
    )
