"""A run on a cluster: connected when there is work, checked at once, then given the tasks of one stage at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from itertools import chain
from types import TracebackType
from typing import Any

from inmf_flow.pipeline.cluster import Certificates, dashboard_link, open_client
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.dispatch import TaskQueue, dispatch
from inmf_flow.pipeline.local import GPU
from inmf_flow.pipeline.task import Receipt, Task
from inmf_flow.pipeline.versions import check_scheduler, software_here, used_plugins
from inmf_flow.pipeline.workers import Workers


class SharedClient:
    """One client for the runs of a comparison, whose variants have the same cluster; closed when it is left."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> SharedClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def enter(self, opened: AbstractContextManager[Any]) -> Any:
        """Return the client: that of the first who came, or what is opened now."""
        if self._client is None:
            self._client = self._stack.enter_context(opened)
        return self._client


class Session:
    """Where the tasks of a run go; nothing is started before `open` or the first task.

    Parameters
    ----------
    pipeline
        Says what cluster, what certificates, and what resources each stage asks for.
    scheduler, workers
        In place of the pipeline's, or the same.
    tell
        Called with the name of an event and what belongs to it.
    shared
        Clients that outlive the session, for the next one.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        scheduler: str,
        workers: int | None,
        tell: Callable[..., None],
        shared: SharedClient | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._scheduler = scheduler
        self._count = workers
        self._tell = tell
        self._stack = ExitStack()
        self._shared = shared
        self._client: Any = None
        self._workers: Workers | None = None
        self._remarks: list[str] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def dashboard(self) -> str | None:
        """The address of Dask's dashboard, where there is one."""
        return dashboard_link(self._client) if self._client is not None else None

    @property
    def notes(self) -> list[str]:
        """Remarks on what runs on the cluster."""
        joined = self._workers.notes if self._workers is not None else []
        return list(dict.fromkeys([*self._remarks, *joined]))

    def open(self, stages: Iterable[str]) -> None:
        """Connect, unless that is done, and check whether stages can be worked on.

        Raises
        ------
        ClusterError
            When the cluster cannot be reached, is not safe to use, has other software than this process, or has no
            worker with the resources that a stage asks for.
        """
        workers = self._connected()[1]
        for stage in stages:
            workers.check_resources(stage, self._resources(stage))

    def worker_memory(self, stage: str) -> int:
        """Return the bytes of memory of the smallest worker that a stage may run on; 0 where none has a limit."""
        return self._connected()[1].memory(self._resources(stage))

    def run(self, stage: str, tasks: Iterable[Task]) -> Iterator[list[Receipt]]:
        """Run a stage's tasks and yield their receipts as they come (see `dispatch`)."""
        tasks = iter(tasks)
        first = next(tasks, None)
        if first is not None:
            # A fit's passes have a name of their own.
            queue = TaskQueue.of(first.stage, chain([first], tasks), self._resources(stage))
            for _, receipts in self.run_queue(queue):
                yield receipts

    def add(self, queue: TaskQueue, stage: str, tasks: Iterable[Task]) -> None:
        """Append tasks of a stage to a queue, with what the pipeline says that it asks of a worker."""
        queue.add(stage, tasks, self._resources(stage))

    def run_queue(self, queue: TaskQueue) -> Iterator[tuple[str, list[Receipt]]]:
        """Run the tasks of a queue and yield their stages and receipts as they come; it may grow meanwhile."""
        client, workers = self._connected()
        workers.look()
        for stage in queue.stages:
            workers.check_resources(stage, queue.resources(stage))
        yield from dispatch(client, queue, workers=workers)

    def _connected(self) -> tuple[Any, Workers]:
        if self._workers is None:
            opened = open_client(
                self._scheduler, self._count, gpus=self._pipeline.cluster.gpus, tls=self._certificates()
            )
            self._client = self._stack.enter_context(opened) if self._shared is None else self._shared.enter(opened)
            stages = self._pipeline.cluster.resources.model_dump().values()
            if self._pipeline.cluster.gpus is not None and not any(GPU in amounts for amounts in stages):
                self._remarks.append("cluster.gpus: no stage asks for them, such as resources: {fit: {GPU: 1}}")
            # The processes of a local cluster are this program's own.
            expected = None if self._scheduler == "local" else software_here(used_plugins(self._pipeline))
            if expected is not None:
                self._remarks += check_scheduler(self._client, expected)
            self._workers = Workers(self._client, expected, self._tell)
        return self._client, self._workers

    def _certificates(self) -> Certificates | None:
        tls, resolve = self._pipeline.cluster.tls, self._pipeline.resolve
        if tls is None:
            return None
        return Certificates(resolve(tls.ca), resolve(tls.cert), None if tls.key is None else resolve(tls.key))

    def _resources(self, stage: str) -> dict[str, float]:
        return dict(getattr(self._pipeline.cluster.resources, stage))
