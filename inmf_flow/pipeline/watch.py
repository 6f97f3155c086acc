"""Runs that go on: files are taken from a folder as they arrive, and separated with the dictionaries of the start."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path

from inmf_flow.corpus.arrivals import Arrivals, Stamp
from inmf_flow.pipeline.account import Taken
from inmf_flow.pipeline.ahead import Ahead
from inmf_flow.pipeline.arrived import Arrived, planner_of
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.dictionaries import is_own
from inmf_flow.pipeline.known import Known, mixture_of
from inmf_flow.pipeline.ledger import Ledger
from inmf_flow.pipeline.listing import write_items, write_run_quarantine
from inmf_flow.pipeline.outcome import RunOutcome
from inmf_flow.pipeline.prepare import sole_driver
from inmf_flow.pipeline.results import DONE
from inmf_flow.pipeline.run import Open, Run
from inmf_flow.pipeline.stages import StagePlan
from inmf_flow.pipeline.stop import Stop
from inmf_flow.pipeline.task import Task

# The page and the tables are made again so often at most.
_CONCLUDE_SECONDS = 60.0
# Looking at a large folder, and writing long tables, take a tenth of the time at most.
_PAUSE = 9
# Files that are planned together; those that come meanwhile wait until they are done.
_MOST_AT_ONCE = 1000

logger = logging.getLogger("inmf_flow.pipeline")


def watch_folder(pipeline: Pipeline, folder: Path, scheduler: str, workers: int | None) -> RunOutcome:
    """Run a pipeline over what is in the folder that it watches, and over what arrives there.

    Parameters
    ----------
    pipeline
        The pipeline, with ``corpus.watch``.
    folder
        The run's folder.
    scheduler, workers
        Where the work runs.

    Returns
    -------
    outcome
        When nothing has come for the time that the pipeline says, or when it was interrupted while it waited.

    Raises
    ------
    KeyboardInterrupt
        When it was interrupted while there was something to do.
    InmfError
        As `run_pipeline` raises.
    """
    with sole_driver(folder), Stop() as stop:
        return _Watch(pipeline, folder, scheduler, workers, stop).run()


class _Watch(Run):
    """A run over the files that had arrived before, and then over those that arrive, some at a time."""

    goes_on = True

    def __init__(self, pipeline: Pipeline, folder: Path, scheduler: str, workers: int | None, stop: Stop) -> None:
        self._stop = stop
        watched = pipeline.corpus.watch
        assert watched is not None
        self._watched = watched
        self._arrived = Arrived(pipeline, folder)
        self._told: str | None = None
        seen = self._look()
        whole = {path for path, stamp in self._arrived.stamps.items() if seen.get(path) == stamp}
        # Those that have changed are done again when they are whole; until then their results hold.
        self._unread = self._arrived.leave_out(whole, Ledger(folder))
        self._arrivals = Arrivals(watched.settle, self._arrived.stamps)
        self._arrivals.take(seen)
        self._backlog: dict[str, Stamp] = {}
        self._own = any(map(is_own, pipeline.sources.values()))
        # What the tables and the page do not show yet, and when they are to.
        self._is_news = False
        self._conclude_at = 0.0
        super().__init__(planner_of(pipeline, folder, self._arrived, self._unread), scheduler, workers)

    def _go_on(self) -> None:
        if self.summary.blocked is not None:
            # No mixture that comes could be separated.
            return
        with self._stop.waiting():
            self._publish()
            self._events.write("watching", folder=str(self._arrived.folder))
            while files := self._wait():
                self._take_up(files)
        if self._is_news:
            self._conclude()

    def _wait(self) -> dict[str, Stamp]:
        """Return files that have arrived, with their stamps; none when the run is to end."""
        quiet_since = time.monotonic()
        try:
            while True:
                self._stop.check()
                self._publish_now_and_then()
                begin = time.monotonic()
                seen = self._look()
                self._backlog.update((path, seen[path]) for path in self._arrivals.take(seen))
                if self._backlog:
                    first = list(islice(self._backlog, _MOST_AT_ONCE))
                    return {path: self._backlog.pop(path) for path in first}
                now = time.monotonic()
                if self._arrivals.waiting:
                    quiet_since = now
                if self._watched.idle is not None and now - quiet_since >= self._watched.idle:
                    return {}
                with self._stop.waiting(False):
                    time.sleep(max(self._watched.poll, _PAUSE * (now - begin)))
        except KeyboardInterrupt:
            # This is how it ends: nothing is left undone.
            self._stop.forget()
            return {}

    def _look(self) -> dict[str, Stamp]:
        """Return what is in the folder now; where that cannot be said, nothing is new."""
        told, self._told = self._told, None
        try:
            return self._arrived.look()
        except OSError as error:
            self._told = f"{self._arrived.folder} cannot be looked at: {error.strerror or error}"
            if self._told != told:
                logger.warning("%s", self._told)
            return {}

    def _take_up(self, files: Mapping[str, Stamp]) -> None:
        """Separate and score files that have arrived or have changed."""
        again = self._arrived.items(files)
        added = self._arrived.add(files)
        again |= self._arrived.items(files) if again else set()
        self._unread -= files.keys()
        self._events.write("arrived", files=len(files), waiting=len(self._backlog) + self._arrivals.waiting)
        self._forget_failures(again)
        before = {name: plan for name, plan in self._plans.items() if name != "report"}
        known = Known(before, frozenset(again), frozenset(self._arrived.items(self._unread)))
        self.planner.go_on(self._arrived.recordings, added, known)
        self.outcome.is_large = self.summary.is_large
        self._expected, self._before, self._open = {}, {}, {}
        self._is_news = True
        if self._own:
            self._plans = {}
            self._learn()
        else:
            self._plans = {name: plan for name, plan in before.items() if name in ("analyze", "fit")}
        self._separate(None)
        for name, plan in self._plans.items():
            tally = self.outcome.stages.get(name)
            if tally is not None:
                # What was done twice, since it changed, is no earlier result.
                tally.reused = min(tally.reused, max(plan.results.count(DONE) - tally.done, 0))
        # It refers to the plans before it, which are not needed any more.
        self.planner.known = Known(kept=known.kept)

    def _run_tasks(self, opened: Open, tasks: Iterator[Task], ahead: Ahead | None = None) -> None:
        try:
            with self._stop.waiting(False):
                super()._run_tasks(opened, tasks, ahead)
        except KeyboardInterrupt:
            if opened.account.plan.todo:
                raise
            if ahead is not None:
                # What was scored meanwhile is not to do again.
                ahead.plan.reread()
            # It came behind the last of them: what comes next is to answer it.
            self._stop.asked = True

    def _take(self, opened: Open, taken: Taken, ahead: bool) -> None:
        # What is counted is counted whole.
        with self._stop.waiting():
            super()._take(opened, taken, ahead)
        self._stop.check()

    def _hold_fitted(self, plan: StagePlan) -> None:
        known = self.planner.known
        if not known.plans:
            super()._hold_fitted(plan)
            return
        for item in plan.valid:
            if item not in self._fitted or mixture_of(item) in known.again:
                self._fitted[item] = plan.valid[item]

    def _forget_failures(self, again: Collection[str]) -> None:
        """Drop the failures of files that have changed: they may do now."""
        kept = []
        for stage, item, reason in self.outcome.failures:
            if mixture_of(item) in again and (self._own or stage in ("separate", "evaluate")):
                self.outcome.stages[stage].failed -= 1
            else:
                kept.append((stage, item, reason))
        self.outcome.failures[:] = kept

    def _publish_now_and_then(self) -> None:
        if self._is_news and time.monotonic() >= self._conclude_at:
            self._conclude()
            self._publish()

    def _conclude(self) -> None:
        begin = time.monotonic()
        # Of several pages there is one.
        self._open.pop("report", None)
        self.outcome.stages.pop("report", None)
        super()._conclude()
        self._is_news = False
        now = time.monotonic()
        self._conclude_at = now + max(_CONCLUDE_SECONDS, _PAUSE * (now - begin))

    def _publish(self) -> None:
        """Let the run's documents say what there is so far."""
        self.outcome.seconds = time.perf_counter() - self._begin
        write_items(self.planner)
        write_run_quarantine(self.planner, self.outcome, False)
        self.summary.write("watching")
        self.planner.digests.save()
