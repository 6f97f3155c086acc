"""`inmf fit`, `separate` and `evaluate` take manifests where they take recordings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.audio import read_audio
from inmf_flow.factorize import INMF


@pytest.mark.full
def test_steps_from_manifests(inmf: Callable[..., Any], speech: dict[str, Path], tmp_path: Path) -> None:
    # A command has no root to give: what leads out of the manifest's folder is refused.
    (tmp_path / "male.csv").write_text(f"audio\n{os.path.relpath(speech['male_train'], tmp_path)}\n")
    refused = inmf("fit", "male.csv", "-o", "male.safetensors", cwd=tmp_path)
    assert refused.code == 2
    assert "male.csv:2: audio" in refused.err

    (tmp_path / "references/talk").mkdir(parents=True)
    mixture = 0.0
    for source in ("male", "female"):
        train, rate = soundfile.read(speech[f"{source}_train"], dtype="float32")
        soundfile.write(tmp_path / f"{source}.wav", train, rate, subtype="FLOAT")
        truth = soundfile.read(speech[f"{source}_test"], frames=40000, dtype="float32")[0]
        soundfile.write(tmp_path / f"references/talk/{source}.wav", truth, rate, subtype="FLOAT")
        mixture = mixture + truth
        (tmp_path / f"{source}.csv").write_text(f"audio,start,stop\n{source}.wav,0,1\n{source}.wav,1.5,2\n")
        fitted = inmf(
            *("fit", f"{source}.csv", "-o", f"{source}.safetensors", "--transform", "stft:n_fft=512"),
            *("--components", 4, "--max-iter", 10),
            cwd=tmp_path,
        )
        assert fitted.code == 0
        assert "from 2 files" in fitted.out
        assert INMF.load(tmp_path / f"{source}.safetensors").provenance["files"] == [f"{source}.wav"] * 2
    soundfile.write(tmp_path / "talk.wav", mixture, 16000, subtype="FLOAT")
    (tmp_path / "list.jsonl").write_text(
        '{"audio": "talk.wav", "stop": 1.0}\n{"audio": "talk.wav", "start": 1.0}\n{"audio": "none.wav"}\n'
    )
    models = [part for source in ("male", "female") for part in ("--model", f"{source}={source}.safetensors")]
    separated = inmf(
        *("separate", "list.jsonl", *models, "-o", "out", "--transform", "stft:n_fft=512", "--max-iter", 5),
        cwd=tmp_path,
    )
    assert separated.code == 1
    assert "none.wav: there is no such audio file" in separated.err
    items = ["talk@00000000-00001000", "talk@00001000-end"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if any(path.iterdir())) == items
    parts = [[read_audio(tmp_path / f"out/{item}/{source}.wav")[0] for item in items] for source in ("male", "female")]
    whole = sum(np.concatenate(each, axis=1) for each in parts)
    assert np.abs(whole - mixture).max() < 1e-5

    scored = inmf(
        *("evaluate", "--estimates", "out", "--references", "references", "--mixtures", "list.jsonl"),
        *("--metric", "si_sdr", "--json", "scores.json"),
        cwd=tmp_path,
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scored.code == (1 if scores["failures"] else 0)
    assert scores["missing"] == []
    assert {row["item"] for row in scores["rows"]} == set(items)
    # Scored against its own part of the references; the other part is unrelated to it.
    assert min(row["value"] for row in scores["rows"]) > -20
