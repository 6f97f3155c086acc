"""Clusters that somebody else has made: addresses, factories, and those that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

_FACTORIES = """
import os
from distributed import Client, LocalCluster

def cluster():
    return LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None)

def client():
    return Client(os.environ["ADDRESS"])

def broken():
    raise RuntimeError("out of credit")

def empty():
    return LocalCluster(n_workers=0, dashboard_address=None)
"""
# The program, not waiting for long.
_IMPATIENT = "import inmf_flow.pipeline.cluster as c; c._CONNECT_SECONDS = 1; from inmf_flow.cli import main; main()"


@pytest.fixture
def factories(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "lab_clusters.py").write_text(_FACTORIES)
    return {"PYTHONPATH": str(tmp_path)}


def _processes_with(environment: dict[str, str]) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and environment.items() <= process.environ().items():
                found.append(process.pid)
    return found


def _impatient(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _IMPATIENT, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize("name", ["cluster", "client"])
def test_a_factorys_cluster_or_client_is_used_and_closed(
    project: Any, inmf: Callable[..., Any], factories: dict[str, str], name: str
) -> None:
    env = {**factories, "ADDRESS": project.scheduler}
    changed = ["--set", "separate.max_iter=3"]
    done = inmf("run", project.file, "--scheduler", f"lab_clusters:{name}", *changed, cwd=project.folder, env=env)
    assert done.code == 0, done.err
    assert project.done() == {"separate": 3, "evaluate": 3, "report": 1}
    assert _processes_with(factories) == []


def test_a_factory_that_fails_says_why(fresh: Any, inmf: Callable[..., Any], factories: dict[str, str]) -> None:
    done = inmf("run", fresh.file, "--scheduler", "lab_clusters:broken", env=factories)
    assert done.code == 2
    assert "RuntimeError: out of credit" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_cluster_without_workers_is_not_waited_for(fresh: Any, factories: dict[str, str]) -> None:
    done = _impatient("run", fresh.file, "--scheduler", "lab_clusters:empty", env=factories)
    assert done.returncode == 2
    assert "lab_clusters:empty: the cluster has no worker" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_where_nobody_answers(fresh: Any) -> None:
    done = _impatient("run", fresh.file, "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("inmf: tcp://127.0.0.1:1: no scheduler answers; got ")
    assert "dask scheduler" in line


def test_a_scheduler_in_the_pipeline_file_is_used(project: Any, inmf: Callable[..., Any]) -> None:
    done = inmf("run", project.file, "--set", f"cluster.scheduler={project.scheduler}", "--set", "fit.random_state=3")
    assert done.code == 0, done.err
    assert project.done()["fit"] == 2
