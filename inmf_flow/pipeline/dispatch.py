"""Sending tasks to the cluster, and finding the one item that kills its worker."""

from __future__ import annotations

import os
import pickle
from asyncio import CancelledError as AsyncCancelledError
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any

from inmf_flow.errors import ClusterError, ModelFileError
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.task import Receipt, Task
from inmf_flow.pipeline.tasks import run_task
from inmf_flow.pipeline.versions import Software, check_here
from inmf_flow.pipeline.workers import LOOK_SECONDS, Workers, scheduler_lost

# Futures in flight per worker: enough that none waits for work, few enough for a corpus of millions.
_WINDOW = 4
# Times that a task is sent again because the worker that it went to could not, or was lost with no other to go to.
_MOST_MOVES = 5
# Receipts are small: what takes longer has to be made again first.
_FETCH_SECONDS = 10.0
_LOST = ("cancelled", "lost")


class TaskQueue:
    """Tasks of one stage or several, each stage with what it asks of a worker; more may be added at any time."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, deque[Iterator[Task]]] = defaultdict(deque)
        self._resources: dict[str, dict[str, float]] = {}

    @classmethod
    def of(cls, stage: str, tasks: Iterable[Task], resources: Mapping[str, float] | None = None) -> TaskQueue:
        """Return a queue of the tasks of one stage."""
        queue = cls()
        queue.add(stage, tasks, resources)
        return queue

    def add(self, stage: str, tasks: Iterable[Task], resources: Mapping[str, float] | None = None) -> None:
        """Append tasks, all of this stage; they are read as there is room for them."""
        self._waiting[stage].append(iter(tasks))
        self._resources[stage] = dict(resources or {})

    @property
    def stages(self) -> list[str]:
        """The stages that have tasks or had some, in the order in which they came."""
        return list(self._resources)

    def resources(self, stage: str) -> dict[str, float]:
        """Return what a stage asks of a worker."""
        return self._resources[stage]

    def take(self, stage: str) -> Task | None:
        """Return a stage's next task, or None while there is none."""
        waiting = self._waiting[stage]
        while waiting:
            task = next(waiting[0], None)
            if task is not None:
                return task
            waiting.popleft()
        return None


def dispatch(client: Any, queue: TaskQueue, *, workers: Workers | None = None) -> Iterator[tuple[str, list[Receipt]]]:
    """Run tasks on the cluster with a bounded number in flight; yield their stages and receipts as they come.

    Tasks of several stages are in flight at once: those that need a GPU and those that do not keep all workers busy.

    Tasks whose workers died are done again at the end, one item at a time with nothing beside it: then it is clear
    whose fault it was, and the others get their results. Workers that join get work, unless their software is other
    than the run's.

    Parameters
    ----------
    client
        The Dask client.
    queue
        The tasks. Whoever takes the receipts may add to it until the last has come.
    workers
        Who is there to work; by default whoever is on the cluster.

    Raises
    ------
    ClusterError
        When the scheduler is lost, or nobody has been there to work for minutes.
    ModelFileError
        When a task finds that a model cannot be used.
    """
    yield from _Dispatcher(client, workers or Workers(client), queue).run()


@dataclass
class _Sent:
    """A task in flight: where it may run (None: anywhere), and how often it was moved."""

    task: Task
    where: frozenset[str] | None
    moves: int


class _Dispatcher:
    def __init__(self, client: Any, workers: Workers, queue: TaskQueue) -> None:
        self._client = client
        self._workers = workers
        self._queue = queue
        self._running: dict[Any, _Sent] = {}
        self._finished: SimpleQueue[Any] = SimpleQueue()
        self._again: defaultdict[str, deque[tuple[Task, int]]] = defaultdict(deque)
        self._suspects: list[Task] = []
        self._alone = False
        self._given_up: list[Task] = []

    def run(self) -> Iterator[tuple[str, list[Receipt]]]:
        try:
            yield from self._all(self._queue)
            while self._suspects:
                alone, self._suspects = self._suspects, []
                for task in alone:
                    yield from self._by_itself(task)
                # What they were waited for with.
                yield from self._all(self._queue)
        finally:
            for future in self._running:
                with suppress(Exception):
                    future.cancel()

    def _by_itself(self, task: Task) -> Iterator[tuple[str, list[Receipt]]]:
        """Run a task with nothing beside it."""
        self._alone = True
        yield from self._all(TaskQueue.of(task.stage, [task], self._queue.resources(task.stage)))
        self._alone = False

    def _all(self, queue: TaskQueue) -> Iterator[tuple[str, list[Receipt]]]:
        while True:
            for stage in queue.stages:
                self._fill(stage, queue)
            if not self._running and not any(self._again.values()):
                return
            future = self._next_finished()
            sent = self._running.pop(future, None) if future is not None else None
            if sent is not None:
                receipts = self._outcome(future, sent)
                if receipts is not None:
                    yield sent.task.stage, receipts
            while self._given_up:
                task = self._given_up.pop()
                yield task.stage, _failed(task, None)

    def _fill(self, stage: str, queue: TaskQueue) -> None:
        able = self._workers.able(self._queue.resources(stage))
        window = 1 if self._alone else _WINDOW * max(len(able), 1)
        again = self._again[stage]
        while sum(sent.task.stage == stage for sent in self._running.values()) < window:
            task, moves = again.popleft() if again else (queue.take(stage), 0)
            if task is None:
                return
            if self._workers.refused and not able:
                # Nobody but those that must not have it: it waits here.
                again.appendleft((task, moves))
                return
            self._send(task, moves, able)

    def _send(self, task: Task, moves: int, able: list[str]) -> None:
        # Without need tasks are not tied to addresses: Dask then knows best what to do when a worker is lost.
        where = frozenset(able) if self._workers.refused else None
        future = self._client.submit(
            pickle.loads,
            pickle.dumps(_Call(task, self._workers.expected)),
            key=f"{task.stage}-{task.batch}-{os.urandom(4).hex()}",
            pure=False,
            resources=self._queue.resources(task.stage) or None,
            workers=able if where is not None else None,
        )
        self._watch(future, _Sent(task, where, moves))

    def _watch(self, future: Any, sent: _Sent) -> None:
        self._running[future] = sent
        future.add_done_callback(self._finished.put)

    def _next_finished(self) -> Any:
        """Return a future that has ended, or None after a while, having looked who is there."""
        if self._client.status == "running" and self._workers.look_now_and_then():
            self._after_a_look()
        try:
            return self._finished.get(timeout=LOOK_SECONDS)
        except Empty:
            if self._client.status not in ("running", "connecting"):
                raise scheduler_lost(self._client) from None
            return None

    def _after_a_look(self) -> None:
        for stage in {sent.task.stage for sent in self._running.values()} | self._again.keys():
            self._workers.wait_patiently(self._queue.resources(stage))
        present = self._workers.present
        for future, sent in list(self._running.items()):
            if sent.where is not None and sent.where.isdisjoint(present):
                # Dask would keep it for an address that does not come back.
                del self._running[future]
                future.cancel()
                self._move(sent)

    def _move(self, sent: _Sent) -> None:
        if sent.moves < _MOST_MOVES:
            self._again[sent.task.stage].append((sent.task, sent.moves + 1))
        elif self._alone:
            self._given_up.append(sent.task)
        else:
            self._suspects += _one_by_one(sent.task)

    def _outcome(self, future: Any, sent: _Sent) -> list[Receipt] | None:
        """Return a task's receipts, or None where it is to be sent again."""
        try:
            if future.status in _LOST:
                raise CancelledError
            error = future.exception(timeout=_FETCH_SECONDS)
            if error is None:
                receipts: list[Receipt] = future.result(timeout=_FETCH_SECONDS)
                return receipts
        except (TimeoutError, CancelledError, AsyncCancelledError):
            # Its receipts were lost with the worker before they were fetched: Dask makes them again, or forgets it.
            if self._client.status != "running":
                raise scheduler_lost(self._client) from None
            if future.status in _LOST:
                self._move(sent)
            else:
                self._watch(future, sent)
            return None
        except OSError:
            # Receipts come by way of the scheduler: it went while one was fetched, which the client has yet to notice.
            raise scheduler_lost(self._client) from None
        if isinstance(error, ModelFileError):
            raise error
        if _was_killed(error):
            if not self._alone:
                self._suspects += _one_by_one(sent.task)
                return None
        elif self._workers.expected is not None and (
            isinstance(error, ClusterError) or self._workers.look() or self._workers.refused
        ):
            # It may have gone to a worker that joined just now and has other software, or none.
            self._move(sent)
            return None
        return _failed(sent.task, error)


@dataclass(frozen=True)
class _Call:
    """A task as bytes that do it when they are unpickled.

    Dask unpickles what it is sent as it takes a message in: a worker without inmf_flow would break down over the task
    itself and be lost, and started again, and lost. This way it is one task's exception, and a scheduler needs no
    inmf_flow at all.
    """

    task: Task
    expected: Software | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _run_checked, (self.task, self.expected)


def _run_checked(task: Task, expected: Software | None) -> list[Receipt]:
    """Run a task where the software is the run's; elsewhere nothing is done and the driver is told."""
    if expected is not None:
        check_here(expected)
    return run_task(task)


def _was_killed(error: BaseException | None) -> bool:
    return type(error).__name__ == "KilledWorker"


def _one_by_one(task: Task) -> list[Task]:
    """Return a task for each item. Their records, and parts of the store, are the driver's to join."""
    return [
        replace(task, batch=f"{task.batch}-{number}", items=(item,), kept=()) for number, item in enumerate(task.items)
    ]


def _failed(task: Task, error: BaseException | None) -> list[Receipt]:
    """Return the receipts of a task that broke as a whole: each item failed, to be tried again by the next run."""
    reason = (
        "the worker died while working on it (out of memory, or a crash in a decoder)"
        if error is None or _was_killed(error)
        else f"{type(error).__name__}: {error}"
    )
    return [Receipt(Entry(item, inputs, "failed", reason, transient=True), 0.0) for item, inputs, _ in task.items]
