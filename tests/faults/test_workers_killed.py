"""Workers that die in every stage, in three ways, at the worst moment: what they wrote has no record yet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

STAGES = ("analyze", "fit", "separate", "evaluate", "report")
WAYS = ("SIGKILL", "exit", "memory")

_FACTORY = """
import os
from distributed import LocalCluster

def make():
    workers = int(os.environ["WORKERS"])
    return LocalCluster(workers, threads_per_worker=1, memory_limit="1GB", dashboard_address="127.0.0.1:0")
"""

# Read by each worker as it starts.
_DEADLY = """
import json, os, signal, time

def dask_setup(worker):
    from inmf_flow.pipeline import tasks

    for stage, way in json.loads(os.environ["DEADLY"]).items():
        tasks._STAGES[stage] = deadly(stage, way, tasks._STAGES[stage])

def deadly(stage, way, work):
    def run(task):
        receipts = work(task)
        try:
            os.close(os.open(f"{os.environ['DEADLY_FOLDER']}/{stage}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return receipts
        if way == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        elif way == "exit":
            os._exit(1)
        taken = b"1" * (1 << 30)
        time.sleep(100)
        raise AssertionError(f"nobody minded {len(taken)} bytes")
    return run
"""


def _every_way_in_every_stage() -> list[Any]:
    """Return the parameters of runs in which two or three stages each kill a worker."""
    found = []
    for first in range(len(WAYS)):
        ways = {stage: WAYS[(first + number) % len(WAYS)] for number, stage in enumerate(STAGES)}
        for stages in (STAGES[:2], STAGES[2:]):
            found.append(pytest.param({stage: ways[stage] for stage in stages}, 2, marks=pytest.mark.full))
    return found


@pytest.mark.parametrize(
    ("ways", "workers"),
    [({"separate": "memory"}, 1), *_every_way_in_every_stage()],
)
def test_a_worker_that_dies_before_its_record_costs_nothing(
    ways: dict[str, str], workers: int, fresh: Any, without_pictures: Any, tmp_path: Path, inmf: Any
) -> None:
    (tmp_path / "small_workers.py").write_text(_FACTORY)
    (tmp_path / "deadly.py").write_text(_DEADLY)
    (tmp_path / "died").mkdir()
    env = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(tmp_path / "deadly.py")]),
        "DEADLY": json.dumps(ways),
        "WORKERS": str(workers),
        "DEADLY_FOLDER": str(tmp_path / "died"),
    }
    done = inmf("run", fresh.file, "--scheduler", "small_workers:make", cwd=fresh.folder, env=env, timeout=220)
    assert done.code == 0, done.out + done.err
    assert sorted(path.name for path in (tmp_path / "died").iterdir()) == sorted(ways)
    assert "FAILED" not in done.err
    document = fresh.document()
    assert (document["status"], document["failures"]) == ("done", [])
    assert {stage: counts["done"] for stage, counts in document["counts"].items()} == {
        "analyze": 4, "fit": 2, "separate": 3, "evaluate": 3, "report": 1
    }  # fmt: skip
    ours, theirs = fresh.results(), without_pictures.results()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert "nothing to do" in fresh.run().out
