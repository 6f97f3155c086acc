"""Whole runs with corpus, points and outputs on an object store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from inmf_flow.errors import ConfigError
from inmf_flow.evaluate import read_metrics_csv
from inmf_flow.files import atomic_write
from inmf_flow.hookspecs import ItemOutcome, hookimpl
from inmf_flow.pipeline import read_events, run_pipeline
from inmf_flow.plugins import register_plugin, unregister_plugin
from inmf_flow.remote import RemotePath, lock
from inmf_flow.report.collect import read_run
from inmf_flow.report.page import render
from inmf_flow.store import open_points, verify_store

RATE = 16000


def pipeline(data: Any, output: Any, **others: Any) -> dict[str, Any]:
    """Return a pipeline of files below ``data``."""
    return {
        "name": "remote",
        "corpus": {"mixtures": f"{data}/mix/*.wav", "sample_rate": RATE},
        "transforms": {"fine": {"stft": {"n_fft": 256}}},
        "sources": {name: {"audio": f"{data}/{name}", "components": 2} for name in ("male", "female")},
        "fit": {"max_iter": 3},
        "separate": {"max_iter": 2},
        "evaluate": {"references": f"{data}/ref/{{item}}/{{source}}.wav", "metrics": ["si_sdr"]},
        "report": {"items": 0},
        "cluster": {"workers": 1},
        "output": str(output),
        **others,
    }


@pytest.fixture(scope="module")
def files(speech: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A corpus by its names: training files of two people, three mixtures and their references."""
    folder = tmp_path_factory.mktemp("corpus")
    found: dict[str, bytes] = {}

    def add(name: str, audio: Any) -> None:
        soundfile.write(folder / "one.wav", audio, RATE, subtype="FLOAT")
        found[name] = (folder / "one.wav").read_bytes()

    for number in range(3):
        voices = []
        for source in ("male", "female"):
            part = {"start": 8000 * (number + 1), "frames": 4000}
            add(f"{source}/{number}.wav", soundfile.read(speech[f"{source}_train"], **part)[0])
            voices.append(soundfile.read(speech[f"{source}_test"], **part)[0])
            add(f"ref/m{number}/{source}.wav", voices[-1])
        add(f"mix/m{number}.wav", np.sum(voices, axis=0))
    return found


def put(files: Mapping[str, bytes], folder: Any) -> Any:
    """Write a corpus below a folder."""
    for name, content in files.items():
        atomic_write(folder / name, content)
    return folder


def results(output: Any) -> dict[str, bytes]:
    """Return what a run gives, but for what holds times of day and the folders that it was given."""
    kept = ("models", "separated", "points.zarr", "metrics.csv")
    paths = {path.relative_to(output).as_posix(): path for path in output.rglob("*") if path.is_file()}
    found = {name: path.read_bytes() for name, path in paths.items() if name.split("/")[0] in kept}
    for name in list(found):
        if name.startswith("points.zarr/manifest/"):
            record = json.loads(found[name])
            del record["config_hash"], record["checksum"]
            found[name] = json.dumps(record, sort_keys=True).encode()
    for name, path in paths.items():
        if name.startswith("ledger/") and path.parent.name in ("fit", "separate", "evaluate"):
            items = json.loads(path.read_bytes())["items"]
            found[name] = json.dumps({i: [e["inputs"], e["status"], e["outputs"]] for i, e in items.items()}).encode()
    return found


@pytest.mark.parametrize("server", ["moto", pytest.param("rclone", marks=pytest.mark.full)], indirect=True)
def test_a_run_gives_what_a_local_one_does_and_the_second_does_nothing(
    place: RemotePath, server: Any, files: Mapping[str, bytes], tmp_path: Path, threads: str
) -> None:
    put(files, place / "data")
    local = run_pipeline(pipeline(put(files, tmp_path / "data"), tmp_path / "run"), scheduler=threads)
    assert local.status == "done"
    described = pipeline(place / "data", place / "run")
    outcome = run_pipeline(described, scheduler=threads)
    assert (outcome.status, outcome.folder) == ("done", place / "run")
    there, here = results(place / "run"), results(tmp_path / "run")
    assert there.keys() == here.keys()
    assert [name for name in here if there[name] != here[name]] == []
    assert read_metrics_csv(place / "run/metrics.csv") == local.metrics
    assert (place / "run/report.html").read_bytes().startswith(b"<!")
    assert b"<audio" in render(read_run(place / "run"), 1).encode()
    assert outcome.estimates["m0"]["male"] == place / "run/separated/m0/male.wav"
    assert json.loads((place / "run/run.json").read_bytes())["items"]["m0"]["mixture"] == "../data/mix/m0.wav"
    assert len(open_points(place / "run/points.zarr")) == 6
    assert verify_store(place / "run/points.zarr") == []
    events = [event["event"] for event in read_events(place / "run")]
    assert (events[0], events[-1], events.count("item")) == ("run_start", "run_end", 6 + 2 + 3 + 3 + 1)
    assert not (place / "run/ledger/driver.lock").exists()
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.is_file()}
    again = run_pipeline(described, scheduler=threads)
    assert again.did_nothing
    changed = [p for p in (place / "run").rglob("*") if p.is_file() and before.get(p) != p.stat().st_mtime_ns]
    # What is known of files that were written within the last seconds is not yet relied on.
    assert [path.name for path in changed if path.name != "digests"] == []


def test_a_changed_and_a_deleted_object_are_done_again_and_nothing_else(
    moto_place: RemotePath, files: Mapping[str, bytes], threads: str
) -> None:
    described = pipeline(put(files, moto_place / "data"), moto_place / "run", store="none")
    atomic_write(moto_place / "data/mix/bad.wav", "no audio")
    outcome = run_pipeline(described, scheduler=threads)
    assert [(stage, item) for stage, item, _ in outcome.failures] == [("separate", "bad")]
    assert f"bad,{moto_place}/data/mix/bad.wav,separate," in (moto_place / "run/quarantine.csv").read_text()
    (moto_place / "run/separated/m1/male.wav").unlink()
    atomic_write(moto_place / "data/mix/m2.wav", files["mix/m0.wav"])
    again = run_pipeline(described, scheduler=threads)
    assert {name: stage.done for name, stage in again.stages.items()} == {
        "fit": 0,
        "separate": 2,
        "evaluate": 1,
        "report": 1,
    }


def _command(described: Mapping[str, Any], folder: Path) -> list[str]:
    (folder / "pipeline.yaml").write_text(json.dumps(described))
    return [sys.executable, "-m", "inmf_flow", "run", str(folder / "pipeline.yaml")]


def _end(leader: int) -> None:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                process.kill()
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


@pytest.mark.parametrize(
    "after", [pytest.param("analyze", marks=pytest.mark.full), "fit", pytest.param("separate", marks=pytest.mark.full)]
)
def test_a_killed_run_goes_on_to_the_bytes_of_an_undisturbed_one(
    moto_place: RemotePath, files: Mapping[str, bytes], tmp_path: Path, threads: str, after: str
) -> None:
    put(files, moto_place / "data")
    local = run_pipeline(pipeline(put(files, tmp_path / "data"), tmp_path / "whole"), scheduler=threads)
    assert local.status == "done"
    described = pipeline(moto_place / "data", moto_place / "run")
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(
            _command(described, tmp_path), stdout=printed, stderr=printed, start_new_session=True
        )
        try:
            end = time.monotonic() + 120
            while not any((moto_place / "run/ledger" / after).glob("*.json")):
                assert process.poll() is None, (tmp_path / "printed").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
        finally:
            _end(process.pid)
            process.wait()
    assert process.returncode == -signal.SIGKILL
    assert (moto_place / "run/ledger/driver.lock").exists()
    committed = {p: p.read_bytes() for p in (moto_place / "run/points.zarr").rglob("*") if p.is_file()}
    records = [json.loads(path.read_bytes())["items"] for path in (moto_place / "run/ledger/analyze").glob("*.json")]
    outcome = run_pipeline(described, scheduler=threads)
    assert outcome.status == "done"
    assert outcome.stages["analyze"].reused == sum(map(len, records)) >= 3
    assert {path: path.read_bytes() for path in committed} == committed
    there, whole = results(moto_place / "run"), results(tmp_path / "whole")
    assert there.keys() == whole.keys()
    assert [name for name in whole if there[name] != whole[name]] == []


@pytest.mark.full
def test_a_second_driver_is_told_and_harms_nothing(
    moto_place: RemotePath, files: Mapping[str, bytes], threads: str
) -> None:
    described = pipeline(put(files, moto_place / "data"), moto_place / "run")
    with lock.holding(moto_place / "run/ledger/driver.lock"), pytest.raises(ConfigError) as caught:
        run_pipeline(described, scheduler=threads)
    assert "another run is using this folder" in str(caught.value)
    assert f"process {os.getpid()} of" in str(caught.value)
    assert [path.name for path in (moto_place / "run").rglob("*") if path.is_file()] == []


@pytest.mark.full
def test_a_server_that_goes_away_costs_no_result(
    own_server: Any, files: Mapping[str, bytes], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INMF_S3_PATIENCE", "0.3")
    place = RemotePath("s3://corpora/gone")
    described = pipeline(put(files, place / "data"), place / "run")

    class Stopping:
        @hookimpl
        def on_item_end(self, outcome: ItemOutcome) -> None:
            if outcome.stage == "fit":
                own_server.stop()

    register_plugin(Stopping(), "stopping")
    try:
        with pytest.raises(OSError, match="cannot be reached"):
            run_pipeline(described, scheduler=threads)
    finally:
        unregister_plugin("stopping")
    with pytest.raises(OSError, match="cannot be reached"):
        run_pipeline(described, scheduler=threads)
    own_server.start()
    outcome = run_pipeline(described, scheduler=threads)
    assert outcome.status == "done"
    assert outcome.stages["analyze"].reused == 6
    assert any("does not honour If-None-Match" in note for note in outcome.notes)
    assert verify_store(place / "run/points.zarr") == []


def test_a_bucket_that_is_not_there_is_told_before_anything_is_done(
    moto_place: RemotePath, files: Mapping[str, bytes], threads: str
) -> None:
    put(files, moto_place / "data")
    with pytest.raises(ConfigError, match="the output cannot be used: there is no such bucket"):
        run_pipeline(pipeline(moto_place / "data", "s3://nobody-has-this/run"), scheduler=threads)
    with pytest.raises(ConfigError, match=r"corpus\.mixtures: there is no such bucket"):
        run_pipeline(pipeline("s3://nobody-has-this", moto_place / "run"), scheduler=threads)
