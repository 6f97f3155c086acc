"""A project so small that it is run hundreds of times, in this process."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inmf_flow.files import TEMPORARY_MARK

_PIPELINE = """
name: small
corpus: {mixtures: "mixtures/*.wav", sample_rate: 16000}
transforms:
  fine: {stft: {n_fft: 256}}
sources:
  male:   {audio: "male/*.wav", components: 2}
  female: {audio: "female/*.wav", components: 2}
fit: {max_iter: 3}
separate: {max_iter: 2}
evaluate: {references: "references/{item}/{source}.wav", metrics: [si_sdr]}
report: {items: 0}
output: run
"""


class Small:
    """A project of two training files and a mixture, and its run's folder."""

    def __init__(self, folder: Path, scheduler: str) -> None:
        self.folder = folder
        self.output = folder / "run"
        self.scheduler = scheduler

    def run(self, output: Path | None = None) -> Any:
        """Run the pipeline on a thread of this process."""
        from inmf_flow.pipeline import run_pipeline

        return run_pipeline(self.folder / "pipeline.yaml", output=output or self.output, scheduler=self.scheduler)

    def wait_until_idle(self) -> None:
        """Wait until the cluster has no task left."""
        module, name = self.scheduler.split(":")
        with getattr(sys.modules[module], name)() as client:
            end = time.monotonic() + 60
            while any(client.processing().values()) or any(calls for calls in client.call_stack().values()):
                assert time.monotonic() < end, client.processing()
                time.sleep(0.05)

    def copy(self, folder: Path) -> Small:
        shutil.copytree(self.folder, folder)
        return Small(folder, self.scheduler)

    def results(self, output: Path | None = None) -> dict[str, bytes]:
        """Return what a run gives, but for files that hold times of day."""
        output = output or self.output
        folders = ("models", "separated", "points.zarr", "metrics.csv")
        paths = {p.relative_to(output).as_posix(): p for p in output.rglob("*") if p.is_file()}
        found = {name: path.read_bytes() for name, path in paths.items() if name.split("/")[0] in folders}
        for name, path in paths.items():
            # The page's record holds the page's digest, and remarks tell of what happened on the way.
            if name.startswith("ledger/") and path.parent.name in ("analyze", "fit", "separate", "evaluate"):
                items = json.loads(path.read_bytes())["items"]
                kept = {item: [entry[n] for n in ("inputs", "status", "outputs")] for item, entry in items.items()}
                found[name] = json.dumps(kept, sort_keys=True).encode()
        return found

    def assert_equals(self, other: Small, output: Path | None = None) -> None:
        ours, theirs = self.results(output), other.results()
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if ours[name] != theirs[name]] == []
        assert list((output or self.output).rglob(f"{TEMPORARY_MARK}*")) == []
        assert json.loads(((output or self.output) / "run.json").read_text())["status"] == "done"


@pytest.fixture(scope="session")
def threads() -> Iterator[str]:
    """The scheduler to name for a cluster of one thread in this process."""
    from distributed import Client, LocalCluster

    module = ModuleType("one_thread")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        module.make = lambda: Client(cluster.scheduler_address)
        sys.modules["one_thread"] = module
        yield "one_thread:make"
    del sys.modules["one_thread"]


@pytest.fixture(scope="session")
def unrun(tmp_path_factory: pytest.TempPathFactory, speech: dict[str, Path], threads: str) -> Small:
    """The project before its first run. Leave it as it is."""
    import soundfile

    folder = tmp_path_factory.mktemp("small")

    def write(name: str, audio: Any) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, audio, 16000, subtype="FLOAT")
        os.utime(path, (time.time() - 3600,) * 2)

    voices = {}
    for source in ("male", "female"):
        write(f"{source}/a.wav", soundfile.read(speech[f"{source}_train"], start=8000, frames=4000)[0])
        voices[source] = soundfile.read(speech[f"{source}_test"], start=8000, frames=3200)[0]
        write(f"references/one/{source}.wav", voices[source])
    write("mixtures/one.wav", sum(voices.values()))
    (folder / "pipeline.yaml").write_text(_PIPELINE)
    return Small(folder, threads)


@pytest.fixture(scope="session")
def undisturbed(unrun: Small, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The project after one run. Leave it as it is."""
    done = unrun.copy(tmp_path_factory.mktemp("undisturbed") / "project")
    assert done.run().status == "done"
    return done
