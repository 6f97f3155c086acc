from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def run(repository: Path, program: str, *options: str) -> str:
    outcome = subprocess.run(
        [sys.executable, f"benchmarks/{program}", *options],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


@pytest.mark.full
def test_a_quick_run_measures_every_case_asked_for(repository: Path, tmp_path: Path) -> None:
    cases = ("speech", "frozen", "peers", "floor")
    out = tmp_path / "results.json"
    text = run(repository, "fit_speed.py", "--quick", *(f"--case={case}" for case in cases), "--out", str(out))
    measured = {one["case"]: one for one in json.loads(out.read_text())["entries"]}
    fields = {f"{case}-{field}" for case in ("speech", "frozen") for field in ("hat", "network")}
    assert set(measured) - {"torchnmf"} == fields | {"floor-hat", "floor-matrix", "scikit-learn"}
    assert len(measured["speech-hat"]["detail"]["our_seconds"]) == 2
    assert "| (b) speech, K=20, `hat`: opponent's time over ours |" in text
    kept = json.loads((repository / "benchmarks" / "reference_runs.json").read_text())["runs"]
    assert {one["iterations"] for one in kept} == {1000}


def test_the_gpu_benchmark_runs_without_a_gpu_when_asked_to(repository: Path) -> None:
    text = run(repository, "gpu.py", "--cpu", "--clips=2", "--iterations=2", "--repeats=1")
    result = json.loads(text)
    assert result["single"]["hat"]["clips_per_second"] > 0


@pytest.mark.parametrize("name", ["scikit_learn", "torchnmf"])
def test_peers_lower_the_divergence_from_a_given_start(load_benchmark, name: str) -> None:
    measure, peers = load_benchmark("measure"), load_benchmark("peers")
    if name == "torchnmf":
        pytest.importorskip("torchnmf")
    v = np.random.default_rng(0).gamma(0.5, size=(40, 30)).astype(np.float32)
    w, h = peers.start(v, 3, seed=1)
    fitted = getattr(peers, name)(v, w, h, 20)
    assert fitted.shape == v.shape
    assert measure.kullback_leibler(v, fitted) < 0.9 * measure.kullback_leibler(v, w @ h)
    assert np.array_equal(peers.start(v, 3, seed=1)[0], w)
