"""Schedulers and workers as other people start them: processes of the program ``dask``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DASK = str(Path(sys.executable).with_name("dask"))


class DaskProcesses:
    """One scheduler and its workers, each in a session of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contact = folder / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start ``dask ARGUMENTS``."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [DASK, *map(str, arguments)],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def scheduler(self, *arguments: object, env: dict[str, str] | None = None) -> str:
        """Start the scheduler and return its address."""
        common = ["--scheduler-file", self.contact, "--no-dashboard", "--host", "127.0.0.1", "--port", "0"]
        self.start("scheduler", *common, *arguments, env=env)
        self.wait_for(self.contact.is_file)
        address: str = json.loads(self.contact.read_text())["address"]
        return address

    def worker(self, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a worker of one thread without a nanny."""
        common = ["--scheduler-file", self.contact, "--no-dashboard", "--host", "127.0.0.1", "--nthreads", "1"]
        return self.start("worker", *common, "--no-nanny", *arguments, env=env)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and all its session at once, as a lost machine would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.processes.remove(process)

    def wait_for(self, condition: Callable[[], Any], seconds: float = 90) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.05)

    def close(self) -> None:
        """Kill all that still runs."""
        for process in reversed(list(self.processes)):
            self.kill(process)


@pytest.fixture
def dask_processes(tmp_path: Path) -> Iterator[DaskProcesses]:
    """Start schedulers and workers that end with the test."""
    folder = tmp_path / "dask"
    folder.mkdir()
    running = DaskProcesses(folder)
    yield running
    running.close()


_ALTERED = """
import importlib.abc, importlib.metadata, sys
from importlib.metadata import PackageNotFoundError
real, altered = importlib.metadata.version, {altered!r}

def version(name):
    if altered.get(name, "") is None:
        raise PackageNotFoundError(name)
    return altered.get(name) or real(name)

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if altered.get(name.partition(".")[0].replace("_", "-"), "") is None:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)

importlib.metadata.version = version
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def with_versions(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Return the environment of a process in which packages have other versions, or are not installed (None)."""

    def make(**altered: str | None) -> dict[str, str]:
        folder = tmp_path / "-".join(["site", *altered])
        folder.mkdir()
        named = {name.replace("_", "-"): version for name, version in altered.items()}
        (folder / "sitecustomize.py").write_text(_ALTERED.format(altered=named))
        return {"PYTHONPATH": str(folder)}

    return make


@pytest.fixture
def separations(project: Any) -> Callable[[str], Any]:
    """Tasks that separate a short mixture of a finished project, as many as one asks for."""
    from inmf_flow.pipeline import load_pipeline
    from inmf_flow.pipeline.plan import Planner
    from inmf_flow.pipeline.settings import stage_settings
    from inmf_flow.pipeline.tasks import Task

    planner = Planner(load_pipeline(project.file), project.output)
    entries = {"fit": planner.ledger.load("fit")}
    settings = stage_settings("separate", planner, entries)
    work = next(w for batch in planner.separate(entries["fit"]).batches for w in batch.works if w.item == "one")

    def make(name: str) -> Task:
        return Task("separate", name, project.output, ((work.item, work.inputs, work.payload),), (), settings)

    return make
