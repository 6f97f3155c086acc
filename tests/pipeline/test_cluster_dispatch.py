"""Workers that come and go while a run sends its tasks, and what each of them has to load."""

from __future__ import annotations

import os
from typing import Any

import pytest
from distributed import Client

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline.dispatch import TaskQueue, dispatch
from inmf_flow.pipeline.workers import Workers


def _loads() -> int:
    from inmf_flow.pipeline.separate_tasks import _dictionary

    return _dictionary.cache_info().misses


def _statuses(receipts: list[Any]) -> set[str]:
    return {receipt.entry.status for each in receipts for receipt in each}


def test_a_dictionary_is_loaded_once_a_worker_and_few_tasks_are_in_flight(scheduler: str, separations: Any) -> None:
    taken, ended, most = 0, 0, 0

    def tasks() -> Any:
        nonlocal taken, most
        for number in range(24):
            taken += 1
            most = max(most, taken - ended)
            yield separations(str(number))

    with Client(scheduler) as client:
        before = client.run(_loads)
        receipts = []
        for _, each in dispatch(client, TaskQueue.of("separate", tasks())):
            ended += 1
            receipts.append(each)
        after = client.run(_loads)
    assert len(receipts) == 24
    assert _statuses(receipts) == {"done"}
    assert all(after[worker] - before[worker] <= 1 for worker in after)
    assert most <= 4 * len(after) + 1


@pytest.mark.full
def test_a_worker_that_joins_gets_work_and_one_that_is_lost_costs_nothing(
    dask_processes: Any, separations: Any
) -> None:
    told: list[str] = []
    address = dask_processes.scheduler()
    first = dask_processes.worker("--name", "first")
    with Client(address) as client:
        client.wait_for_workers(1)
        workers = Workers(client, None, lambda event, **known: told.append(f"{event} {known.get('name', '')}"))
        dask_processes.worker("--name", "second")

        def tasks() -> Any:
            number = 0
            while "worker_joined second" not in told or _loads_of(client, "second") == 0:
                assert number < 500, told
                yield separations(f"before-{number}")
                number += 1
            dask_processes.kill(first)
            for more in range(12):
                yield separations(f"after-{more}")

        receipts = [r for _, r in dispatch(client, TaskQueue.of("separate", tasks()), workers=workers)]
        dask_processes.wait_for(lambda: workers.look() or "worker_lost " in told)
    assert _statuses(receipts) == {"done"}
    assert len(receipts) >= 13
    assert told[:2] == ["worker_joined first", "worker_joined second"]


@pytest.mark.full
def test_receipts_that_are_lost_with_their_worker_are_made_again(
    dask_processes: Any, separations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inmf_flow.pipeline.dispatch._FETCH_SECONDS", 1.0)
    address = dask_processes.scheduler()
    first = dask_processes.worker()
    with Client(address) as client:
        client.wait_for_workers(1)
        received = dispatch(client, TaskQueue.of("separate", [separations(str(number)) for number in range(4)]))
        receipts = [next(received)[1]]
        # All four are done, three of them with receipts that nobody has asked for yet.
        dask_processes.wait_for(
            lambda: list(client.run(lambda dask_worker: dask_worker.state.executed_count).values()) == [4]
        )
        dask_processes.kill(first)
        dask_processes.wait_for(lambda: not client.nthreads())
        dask_processes.worker()
        receipts += [r for _, r in received]
    assert len(receipts) == 4
    assert _statuses(receipts) == {"done"}


def _loads_of(client: Client, name: str) -> int:
    there = client.run(lambda dask_worker: dask_worker.name, on_error="ignore")
    found = [address for address, known in there.items() if known == name]
    return sum(client.run(_loads, workers=found).values()) if found else 0


@pytest.mark.full
def test_a_scheduler_that_dies_ends_the_run_with_a_clear_error(dask_processes: Any, separations: Any) -> None:
    address = dask_processes.scheduler()
    scheduler = dask_processes.processes[0]
    dask_processes.worker()
    # The client's own attempts to find it again are not waited for.
    client = Client(address, timeout=2)
    try:
        client.wait_for_workers(1)
        received = dispatch(client, TaskQueue.of("separate", map(separations, map(str, range(10_000)))))
        next(received)
        dask_processes.kill(scheduler)
        with pytest.raises(ClusterError, match=r"connection to the scheduler was lost.*What was finished is kept"):
            list(received)
    finally:
        client.close(timeout=1)


@pytest.mark.full
def test_without_any_worker_a_run_ends_after_a_while(
    dask_processes: Any, separations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inmf_flow.pipeline.workers._PATIENCE_SECONDS", 2.0)
    address = dask_processes.scheduler()
    worker = dask_processes.worker()
    with Client(address) as client:
        client.wait_for_workers(1)
        received = dispatch(client, TaskQueue.of("separate", map(separations, map(str, range(10_000)))))
        next(received)
        dask_processes.kill(worker)
        with pytest.raises(ClusterError, match=r"for 2 seconds there has been no worker.*start workers and run again"):
            list(received)


def test_a_run_goes_on_where_a_dead_scheduler_ended_it(fresh: Any, dask_processes: Any, tmp_path: Any) -> None:
    import subprocess

    from inmf_flow.pipeline.events import read_events

    address = dask_processes.scheduler()
    scheduler = dask_processes.processes[0]
    dask_processes.worker()
    events = fresh.output / "events.jsonl"
    command = fresh.command("--scheduler", address, "--set", "separate.max_iter=2000")
    with (tmp_path / "err").open("wb") as errors:
        driver = subprocess.Popen(command, cwd=fresh.folder, stdout=errors, stderr=errors, env=dict(os.environ))
        dask_processes.wait_for(
            lambda: events.is_file() and any(e.get("stage") == "fit" for e in read_events(events)), seconds=120
        )
        dask_processes.kill(scheduler)
        assert driver.wait(timeout=120) == 2
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said, said
    assert said.splitlines()[-1].startswith(f"inmf: {address}: the connection to the scheduler was lost")
    assert fresh.document()["status"] == "failed"
    done = fresh.run("--set", "separate.max_iter=15")
    assert "analyze" not in fresh.done(), done.err
    assert fresh.document()["status"] == "done"
