"""Sending tasks to the cluster, and finding the one item that kills its worker."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from inmf_flow.errors import ModelFileError
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.tasks import Receipt, Task, run_task

# Futures in flight per worker: enough that none waits for work, few enough for a corpus of millions.
_WINDOW = 4


def dispatch(client: Any, tasks: Sequence[Task]) -> Iterator[list[Receipt]]:
    """Run tasks on the cluster with a bounded number in flight, and yield their receipts as they come.

    Tasks whose workers died are done again at the end, one item at a time with nothing beside it: then it is clear
    whose fault it was, and the others get their results.
    """
    from distributed import as_completed

    waiting = iter(tasks)
    window = _WINDOW * max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
    running: dict[Any, Task] = {}
    suspects: list[Task] = []
    futures = as_completed()

    def submit_next() -> None:
        task = next(waiting, None)
        if task is not None:
            future = _submit(client, task)
            running[future] = task
            futures.add(future)

    for _ in range(window):
        submit_next()
    try:
        for future in futures:
            task = running.pop(future)
            if _was_killed(future.exception()):
                suspects += _one_by_one(task)
            else:
                yield _receipts(future, task)
            submit_next()
        for task in suspects:
            future = _submit(client, task)
            running[future] = task
            yield _receipts(future, task)
            del running[future]
    finally:
        for future in running:
            with suppress(Exception):
                future.cancel()


def _submit(client: Any, task: Task) -> Any:
    return client.submit(run_task, task, key=f"{task.stage}-{task.batch}-{os.urandom(4).hex()}", pure=False)


def _was_killed(error: BaseException | None) -> bool:
    return type(error).__name__ == "KilledWorker"


def _one_by_one(task: Task) -> list[Task]:
    """Return a task for each item. Their records, and parts of the store, are the driver's to join."""
    return [
        replace(task, batch=f"{task.batch}-{number}", items=(item,), kept=()) for number, item in enumerate(task.items)
    ]


def _receipts(future: Any, task: Task) -> list[Receipt]:
    """Return a task's receipts; a task that broke as a whole fails each of its items, to be tried again."""
    error = future.exception()
    if error is None:
        receipts: list[Receipt] = future.result()
        return receipts
    if isinstance(error, ModelFileError):
        raise error
    reason = (
        "the worker died while working on it (out of memory, or a crash in a decoder)"
        if _was_killed(error)
        else f"{type(error).__name__}: {error}"
    )
    return [Receipt(Entry(item, inputs, "failed", reason, transient=True), 0.0) for item, inputs, _ in task.items]
