"""Stages that ask for what only some workers have, and the workers that a local cluster starts for GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from distributed import Client

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline import load_pipeline
from inmf_flow.pipeline.cluster import open_client
from inmf_flow.pipeline.dispatch import TaskQueue, dispatch
from inmf_flow.pipeline.session import Session
from inmf_flow.pipeline.workers import Workers

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_a_resource_that_no_worker_declares_is_an_error_at_once(fresh: Any, inmf: Callable[..., Any]) -> None:
    asked = ["--set", "cluster.resources={fit: {GPU: 1}}"]
    done = inmf("run", fresh.file, "--scheduler", fresh.scheduler, *asked, cwd=fresh.folder)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("inmf: cluster.resources.fit: no worker has what the stage 'fit' asks for; ")
    assert "got 2 workers that declare nothing; expected GPU=1" in line
    assert not (fresh.output / "points.zarr").exists()


def test_a_stage_with_nothing_to_do_asks_for_nothing(project: Any) -> None:
    project.run("--set", "cluster.resources={fit: {GPU: 1}}", "--set", "separate.max_iter=3")
    assert "fit" not in project.done()


@pytest.mark.full
def test_only_workers_that_declare_a_resource_get_the_stage(dask_processes: Any, separations: Any) -> None:
    address = dask_processes.scheduler()
    dask_processes.worker("--name", "plain")
    dask_processes.worker("--name", "fast", "--resources", "GPU=1 MEMORY=100")
    with Client(address) as client:
        client.wait_for_workers(2)
        workers = Workers(client)
        with pytest.raises(ClusterError, match="got GPU=1, MEMORY=100; expected GPU=2"):
            workers.check_resources("fit", {"GPU": 2})
        with pytest.raises(ClusterError, match="expected DISK=1, GPU=1"):
            workers.check_resources("fit", {"GPU": 1, "DISK": 1})
        workers.check_resources("fit", {"GPU": 1, "MEMORY": 60})
        queue = TaskQueue.of("separate", (separations(str(number)) for number in range(6)), {"GPU": 1})
        receipts = [r for _, each in dispatch(client, queue, workers=workers) for r in each]
        executed = dict(client.run(lambda dask_worker: (dask_worker.name, dask_worker.state.executed_count)).values())
    assert [receipt.entry.status for receipt in receipts] == ["done"] * 6
    assert executed == {"plain": 0, "fast": 6}


@without_cuda
@pytest.mark.full
def test_a_fit_on_a_worker_that_only_says_it_has_a_gpu_is_done_and_noted(fresh: Any, dask_processes: Any) -> None:
    fresh.scheduler = dask_processes.scheduler()
    dask_processes.worker("--resources", "GPU=1")
    done = fresh.run(
        "--set", "cluster.resources={fit: {GPU: 1}}", "--set", "evaluate=null", "--set", "separate.max_iter=2"
    )
    assert "note: the worker declares a GPU, but torch" in done.out
    assert fresh.done()["fit"] == 2


@without_cuda
@pytest.mark.parametrize("gpus", ["all", "1"])
@pytest.mark.full
def test_gpus_that_are_not_there_are_a_clear_error(fresh: Any, inmf: Callable[..., Any], gpus: str) -> None:
    done = inmf("run", fresh.file, "--set", f"cluster.gpus={gpus}", cwd=fresh.folder)
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("inmf: cluster.gpus: there are not so many GPUs; got 0 that torch ")
    assert "expected at least 1" in line


def test_a_local_cluster_has_a_worker_for_each_gpu_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8a")
    with open_client("local", 1, gpus="all") as client:
        seen = client.run(
            lambda dask_worker: (
                str(dask_worker.name),
                os.environ["CUDA_VISIBLE_DEVICES"],
                dask_worker.state.total_resources,
                dask_worker.state.nthreads,
            )
        )
    assert sorted(seen.values(), key=str) == [
        ("0", "", {}, 1),
        ("gpu-5", "5", {"GPU": 1}, 1),
        ("gpu-GPU-8a", "GPU-8a", {"GPU": 1}, 1),
    ]
    with pytest.raises(ClusterError, match=r"got 2 that torch .* expected at least 3"), open_client("local", 1, gpus=3):
        pass


def test_gpus_that_no_stage_asks_for_are_remarked_on(
    project: Any, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inmf_flow.pipeline.session.open_client", lambda *_, **__: Client(scheduler))
    notes = []
    for resources in ("{}", "{fit: {GPU: 1}}"):
        pipeline = load_pipeline(project.file, ["cluster.gpus=1", f"cluster.resources={resources}"])
        with Session(pipeline, "local", None, lambda *_, **__: None) as session:
            session.open([])
            notes.append(session.notes)
    assert notes == [["cluster.gpus: no stage asks for them, such as resources: {fit: {GPU: 1}}"], []]


def test_gpus_of_a_cluster_elsewhere_are_its_own_matter() -> None:
    with (
        pytest.raises(ClusterError, match="started by a local cluster alone; got 1, and the scheduler lab:make"),
        open_client("lab:make", None, gpus=1),
    ):
        pass


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{gpus: 0}", "cluster.gpus must be a whole number from 1 to 1024, 'all' or null, got 0"),
        ("{gpus: 1, scheduler: 'lab:make'}", "cluster: 'gpus' is for a local cluster"),
        ("{resources: {fitt: {GPU: 1}}}", "unknown key 'fitt' in cluster.resources, did you mean 'fit'?"),
        ("{resources: {fit: {GPU: none}}}", "cluster.resources.fit.GPU must be a number greater than 0, got 'none'"),
        ("{tls: {ca: a.pem}}", "the key 'cert' is missing in cluster.tls"),
        ("{tls: {ca: a, cert: b}, scheduler: 'tcp://127.0.0.1:1'}", "cluster: 'tls' is given, but"),
    ],
)
def test_what_cannot_be_is_said_when_the_file_is_read(
    corpus: Any, inmf: Callable[..., Any], section: str, message: str
) -> None:
    done = inmf("validate", corpus.file, "--set", f"cluster={section}")
    assert done.code == 2
    assert message in done.err


@pytest.mark.full
def test_stages_that_ask_for_different_workers_are_in_flight_at_once(dask_processes: Any, separations: Any) -> None:
    """Each of the slow stage's results brings a task of the other: all workers have something to do."""
    address = dask_processes.scheduler()
    dask_processes.worker("--name", "plain", "--resources", "CPU=1")
    dask_processes.worker("--name", "fast", "--resources", "GPU=1")
    with Client(address) as client:
        client.wait_for_workers(2)
        score = replace(separations("score"), stage="evaluate", items=())
        # A worker's first task waits for its imports.
        assert len(list(dispatch(client, TaskQueue.of("evaluate", [score], {"CPU": 1})))) == 1
        queue = TaskQueue.of("separate", (separations(str(number)) for number in range(24)), {"GPU": 1})
        order = []
        for stage, receipts in dispatch(client, queue):
            order.append(stage)
            if stage == "separate":
                assert receipts[0].entry.status == "done"
                queue.add("evaluate", [score], {"CPU": 1})
        executed = dict(client.run(lambda dask_worker: (dask_worker.name, dask_worker.state.executed_count)).values())
    assert order.count("separate") == order.count("evaluate") == 24
    assert executed == {"plain": 25, "fast": 24}
    assert order.index("evaluate") < 20
