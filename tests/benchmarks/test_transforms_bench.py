from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from inmf_flow import get_transform
from inmf_flow.points import PointSet
from inmf_flow.registry import transforms


@pytest.fixture
def bench(load_benchmark) -> ModuleType:
    return load_benchmark("transforms")


@pytest.fixture
def table(load_benchmark) -> ModuleType:
    return load_benchmark("transform_table")


@pytest.fixture
def peers(load_benchmark) -> ModuleType:
    return load_benchmark("transform_peers")


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(16000).astype(np.float32)


@pytest.fixture
def measured(table) -> Any:
    machine = {"processor": "A", "cores": 2, "python": "3.12", "numpy": "2.1", "torch": "2.9"}
    cost = table.Cost("cqt", "speech", 16000, 24310.4, 668.2, 1002.0, 133.9, 100.0)
    music = replace(cost, clip="music", sample_rate=44100, points=63043.0, analysis=9.87, synthesis=51.4)
    other = replace(cost, transform="reassigned", synthesis=None, snr_db=None, promise_db=None)
    comparison = table.Comparison("librosa", "cqt", "speech", 16000, 5.04, 7.5, 12.3, 4.1, 135.6)
    low = table.Resolution("cqt", 16000, 100.0, [100.0, 2.54], [337.0, 2.89])
    high = replace(low, hertz=5000.0, spacing=[3.125, 144.0], widths=[6.6, 4100.0])
    anywhere = replace(low, transform="reassigned", spacing=None, widths=None)
    return table.Measured(
        [cost, other, music], [comparison], [low, high, anywhere, replace(anywhere, hertz=5000.0)], machine
    )


@pytest.mark.full
def test_a_quick_run_measures_every_transform_and_every_opponent_on_both_recordings(
    repository: Path, tmp_path: Path, bench
) -> None:
    out = tmp_path / "results.json"
    command = ["benchmarks/transforms.py", "--quick", "--out", str(out), "--packages", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command], cwd=repository, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    section = json.loads(out.read_text())["transforms"]
    rates = [16000, 44100]
    costs = [(one["sample_rate"], one["transform"]) for one in section["costs"]]
    assert costs == [(rate, spec) for rate in rates for spec in bench.TRANSFORMS]
    for one in section["costs"]:
        assert one["points"] > 1000
        assert one["analysis"] > 0
        assert (one["snr_db"] is None) == (one["promise_db"] is None) == (one["synthesis"] is None)
        assert one["snr_db"] is None or one["snr_db"] >= one["promise_db"]
    assert [one["sample_rate"] for one in section["comparisons"]] == [rate for rate in rates for _ in range(5)]
    assert all(one["both"] > 0 for one in section["comparisons"])
    assert "resampled from 16 kHz" in done.stdout


def test_every_transform_and_every_kind_of_wavelet_is_measured(bench) -> None:
    kinds = get_transform("wavelet").Config.model_json_schema()["properties"]["kind"]["enum"]
    measured = [get_transform(spec) for spec in bench.TRANSFORMS]
    own = {name for name in transforms.names() if name in ("stft", "cqt", "wavelet", "sinusoidal", "reassigned")}
    assert {one.name for one in measured} == own
    assert {one.config.kind for one in measured if one.name == "wavelet"} == set(kinds)


@pytest.mark.full
def test_librosa_has_the_bands_of_ours_but_for_the_two_at_the_ends(peers) -> None:
    for rate in (16000, 44100):
        peer = peers.librosa_cqt(rate, 4 * rate)
        audio = np.random.default_rng(0).standard_normal(4 * rate).astype(np.float32)
        ours = get_transform(peer.ours).analyze(audio, rate)
        bands = np.sort(np.concatenate([block.frequencies for block in ours.blocks]))
        theirs = peer.analyze(audio)
        assert len(theirs) == len(bands) - 2
        assert bands[1] == pytest.approx(32.703)


def test_librosa_computes_the_spectra_that_ours_does(peers, noise: np.ndarray) -> None:
    peer = peers.librosa_stft(len(noise))
    (block,) = get_transform(peer.ours).analyze(noise, 16000).blocks
    theirs = np.abs(peer.analyze(noise))
    calibration = block.magnitudes[1:-1, 2].sum() / theirs[1:-1, 2].sum()
    assert np.allclose(theirs[1:-1, 2:15] * calibration, block.magnitudes[1:-1, 2:15], atol=1e-4)


@pytest.mark.parametrize("name", ["librosa_stft", "pywavelets_packet", "pywavelets_dwt", "pywavelets_swt"])
def test_opponents_with_an_exact_inverse_give_the_audio_back(peers, bench, name: str, noise: np.ndarray) -> None:
    make = getattr(peers, name)
    peer = make(len(noise)) if name == "librosa_stft" else make(16000)
    assert bench.snr_db(noise, peer.synthesize(peer.analyze(noise))) > 100


def test_points_lie_as_far_apart_as_their_grids_say(load_benchmark) -> None:
    spacing = load_benchmark("transform_widths").spacing
    low = PointSet.from_grid([0.0, 0.1, 0.2], [50.0, 100.0], np.ones((2, 3)))
    high = PointSet.from_grid([0.0, 0.01, 0.02], [1000.0, 1300.0], np.ones((2, 3)))
    assert spacing(low + high, 90.0) == pytest.approx([100.0, 50.0])
    assert spacing(low + high, 1100.0) == pytest.approx([10.0, 300.0])
    assert spacing(low + PointSet.from_points([0.0], [1.0], [1.0]), 90.0) is None


def test_widths_are_those_of_the_window(load_benchmark) -> None:
    # Half as high as at most: a Hann window for half of its length; its spectrum within a bin on either side.
    stft = get_transform("stft", n_fft=512, hop_length=64, window="hann")
    milliseconds, hertz = load_benchmark("transform_widths").widths(stft, 1000.0, 16000)
    assert milliseconds == pytest.approx(1000 * 256 / 16000, rel=0.05)
    assert hertz == pytest.approx(2 * 16000 / 512, rel=0.05)


def test_decibels_of_a_round_trip(bench, noise: np.ndarray) -> None:
    assert bench.snr_db(noise, 1.01 * noise) == pytest.approx(40, abs=0.01)
    assert bench.snr_db(noise, np.append(noise, 5.0)) == pytest.approx(320, abs=0.1)


def test_calls_are_repeated_until_they_have_lasted_long_enough(bench) -> None:
    calls = []
    spent, last = bench.seconds_a_call(lambda: calls.append(sum(range(20000))) or len(calls), 0.02)
    assert last == len(calls) > 1
    assert spent * len(calls) >= 0.02


def test_tables_show_each_recording_and_what_cannot_be_had(table, measured) -> None:
    rows = table.tables(measured).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert rows[0] == "Figures are of speech (16 kHz) / music (44.1 kHz):"
    assert "| `cqt` | 24.3 / 63 | 670 / 9.9 | 1,000 / 51 | 134 / 134 | 100 |" in rows
    assert "| `reassigned` | 24.3 | 670 | – | – | – |" in rows
    assert "| librosa | 5 | 7.5 | 12 | 4 | 136 |" in rows
    assert "| | at 100 Hz | at 5,000 Hz |" in rows
    assert "| `cqt` | **340 ms × 2.9 Hz**; 100 ms × 2.54 Hz | **6.6 ms × 4,100 Hz**; 3.12 ms × 144 Hz |" in rows
    assert "| `reassigned` | points anywhere | points anywhere |" in rows
    assert rows[-1] == "Measured on A (2 cores), Python 3.12, NumPy 2.1."


def test_the_section_and_the_entries_of_a_results_file_leave_each_other_alone(
    table, measured, load_benchmark, tmp_path: Path
) -> None:
    results, path = load_benchmark("results"), tmp_path / "results.json"
    results.save([results.entry("notes-hat", "a", 1.0)], path)
    table.save(measured, path)
    results.save([results.entry("memory", "b", 1.0)], path)
    assert [one.case for one in results.load(path)] == ["notes-hat", "memory"]
    found = table.load(path)
    assert [one.transform for one in found.costs] == ["cqt", "reassigned", "cqt"]
    assert found.comparisons == measured.comparisons
    assert found.resolutions == measured.resolutions
    table.save(table.Measured([], measured.comparisons, [], {}), path)
    assert table.load(path).costs == []


def test_a_results_file_without_the_section_has_nothing_of_it(table, tmp_path: Path) -> None:
    assert table.load(tmp_path / "none.json") == table.Measured([], [], [], {})


def test_the_documentation_shows_what_was_measured(table, tmp_path: Path) -> None:
    fresh = tmp_path / "transforms.md"
    fresh.write_text(table.PAGE.read_text("utf-8"), "utf-8")
    table.write_tables(table.load(), fresh)
    assert fresh.read_text("utf-8") == table.PAGE.read_text("utf-8")
