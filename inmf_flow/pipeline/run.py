"""A run: plans each stage, sends its batches to the cluster, and keeps account."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from inmf_flow.hookspecs import ItemOutcome, RunInfo, RunResult, StageInfo
from inmf_flow.pipeline.account import Account, Taken
from inmf_flow.pipeline.ahead import Ahead, fits_ahead, scores_ahead
from inmf_flow.pipeline.dispatch import TaskQueue
from inmf_flow.pipeline.events import PROGRESS_SECONDS, Pace, event_log
from inmf_flow.pipeline.explain import explain_pipeline
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.listing import write_items, write_run_quarantine
from inmf_flow.pipeline.memory import check_memory
from inmf_flow.pipeline.outcome import RunOutcome, StageOutcome, known_failures
from inmf_flow.pipeline.plan import STAGES, Planner, StagePlan, Work
from inmf_flow.pipeline.prepare import check_given_models, remove_leftovers, store_remark
from inmf_flow.pipeline.session import Session, SharedClient
from inmf_flow.pipeline.settings import stage_settings
from inmf_flow.pipeline.shared import SharedFit, learns_in_passes, remove_passes
from inmf_flow.pipeline.summary import Summary
from inmf_flow.pipeline.takeover import Donors
from inmf_flow.pipeline.task import Task
from inmf_flow.pipeline.tidy import remove_outputs, tidy_store
from inmf_flow.plugins import call_lifecycle


class Run:
    """One run: the plans of its stages with what came of them, and the client, only made when there is work.

    Parameters
    ----------
    planner
        Of the pipeline and the run's folder, whose lock is held.
    scheduler, workers
        What `Session` takes.
    donors
        Runs whose results may be taken over.
    shared
        A client that outlives the run.
    """

    #: Whether there may be work when all that was planned at the start is done.
    goes_on = False

    def __init__(
        self,
        planner: Planner,
        scheduler: str,
        workers: int | None,
        donors: Donors | None = None,
        shared: SharedClient | None = None,
    ) -> None:
        self.planner = planner
        self._donors = donors or Donors()
        self.outcome = RunOutcome(planner.pipeline.name, planner.run_folder)
        self.summary = Summary(planner, self.outcome)
        # Of the start, with the digests of their results then, and as they are now.
        self._expected: dict[str, StagePlan] = {}
        self._before: dict[str, str] = {}
        self._plans: dict[str, StagePlan] = {}
        # A handful of entries, one a source; those of other stages are not held.
        self._fitted: dict[str, Entry] = {}
        self._events = event_log(planner.run_folder)
        self._session = Session(planner.pipeline, scheduler, workers, self._events.write, shared)
        self._open: dict[str, Open] = {}
        self._told_of_fits = False
        self._begin = time.perf_counter()

    def run(self) -> RunOutcome:
        """Do what is to be done and return what came of it; raise what ends it before."""
        outcome, planner, summary = self.outcome, self.planner, self.summary
        for stage in STAGES:
            planner.ledger.recover(stage)
        expected = explain_pipeline(planner.pipeline, planner.run_folder, planner)
        self._expected = expected.stages
        self._before = {name: plan.results.state() for name, plan in expected.stages.items()}
        stages = {name: StageInfo(plan.total, len(plan.todo)) for name, plan in expected.stages.items()}
        todo = expected.todo
        check_given_models(expected)
        self._note(store_remark(planner.run_folder))
        # What is there already: true of the folder even if this run ends before its first task.
        self._fitted = dict(expected.stages["fit"].valid) if "fit" in expected.stages else {}
        summary.know(expected.stages, self._fitted)
        started = False
        with self._session:
            try:
                remove_leftovers(planner.run_folder)
                if todo or self.goes_on:
                    self._events.write("run_start", run=outcome.name, stages={n: asdict(s) for n, s in stages.items()})
                    self._session.open(name for name, plan in expected.stages.items() if plan.todo)
                    if "fit" in expected.stages and expected.stages["fit"].todo:
                        check_memory(expected, self._session.worker_memory("fit"))
                    # Until the run ends the page and the table must not pass for its results.
                    summary.write("running")
                started = True
                call_lifecycle(
                    "on_run_start", run=RunInfo(outcome.name, outcome.folder, stages, self._session.dashboard)
                )
                self._run_stages()
                self._go_on()
                outcome.status = "failed" if outcome.failures else "done"
                if outcome.did_nothing and not summary.is_written(outcome.status):
                    # The run before was killed between its last result and this, or somebody deleted it.
                    summary.write(outcome.status)
                write_items(planner)
                write_run_quarantine(planner, outcome, summary.blocked is not None)
            except BaseException as error:
                outcome.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                raise
            finally:
                outcome.seconds = time.perf_counter() - self._begin
                planner.digests.save()
                self._note(*self._session.notes)
                if todo or self.goes_on or not outcome.did_nothing:
                    summary.write(outcome.status)
                if todo or self.goes_on:
                    counts = outcome.counts
                    self._events.write(
                        "run_end", status=outcome.status, counts=counts, seconds=round(outcome.seconds, 3)
                    )
                self._events.close()
                if started:
                    result = RunResult(outcome.name, outcome.folder, outcome.status, outcome.counts, outcome.seconds)
                    call_lifecycle("on_run_end", result=result)
        return outcome

    def _go_on(self) -> None:
        """Do what comes after all that was planned at the start."""

    def _run_stages(self) -> None:
        self._separate(self._learn())
        self._conclude()

    def _learn(self) -> str | None:
        """Analyse and fit; return why no mixture can be separated, where that is so."""
        planner, outcome = self.planner, self.outcome
        analysis = self._planned("analyze", planner.analyze)
        analyzed = self._stage(analysis, fits_ahead(planner, analysis))
        if planner.pipeline.stores_points:
            self._note(tidy_store(planner.run_folder, analyzed.results.parts()))
        planned = self._planned("fit", lambda: planner.fit(analyzed))
        self._donors.take_over(planned)
        fit_plan = self._learned_in_passes(planned)
        self._hold_fitted(fit_plan)
        self._told_of_fits = bool(fit_plan.todo)
        self._stage(fit_plan)
        for source, entry in self._fitted.items():
            if entry.status == "done":
                remove_passes(planner.run_folder, source)
        # Files that a fit without a store could not read: elsewhere their analysis has failed.
        left_out = known_failures("fit", self._fitted.values())
        outcome.failures += [failure for failure in left_out if failure not in outcome.failures]
        return planner.blocked(self._fitted)

    def _hold_fitted(self, plan: StagePlan) -> None:
        self._fitted = dict(plan.valid)

    def _separate(self, blocked: str | None) -> None:
        """Separate and score what can be."""
        planner = self.planner
        if blocked is not None:
            self._fail_all(blocked, told=not self._told_of_fits)
        else:
            separation = self._planned("separate", lambda: planner.separate(self._fitted))
            separated = self._stage(separation, scores_ahead(planner, separation))
            self._stage(self._planned("evaluate", lambda: planner.evaluate(separated)))
        self.summary.know(self._plans, self._fitted, blocked)

    def _conclude(self) -> None:
        """Make the table and the page of what there is."""
        planner, outcome = self.planner, self.outcome
        self.summary.collect()
        # The page reads these, so they are written before it is made.
        outcome.status = "failed" if outcome.failures else "done"
        plan = self._planned("report", lambda: planner.report(self._plans))
        if plan.todo:
            outcome.seconds = time.perf_counter() - self._begin
            self.summary.write(outcome.status)
        self._stage(plan)
        page = planner.run_folder / "report.html"
        outcome.report = page if page.is_file() else None

    def _planned(self, stage: str, make: Callable[[], StagePlan]) -> StagePlan:
        """Return the plan of a stage: that of the start, unless a stage before it has since come to something."""
        expected = self._expected.get(stage)
        known = all(plan.results.state() == self._before.get(n) for n, plan in self._plans.items() if plan.total)
        return expected if expected is not None and known else make()

    def _learned_in_passes(self, plan: StagePlan) -> StagePlan:
        """Return the plan with the dictionaries in it that are learned batch by batch."""
        fit = self.planner.pipeline.fit

        def learned(work: Work) -> Work:
            if work.payload.keys() & {"model", "failed"} or not learns_in_passes(fit, self._analyzed(work.item)[0]):
                return work
            run = partial(self._session.run, "fit")
            settings = self._settings("fit")
            return SharedFit(work, self.planner.run_folder, settings, fit, run, self._events.write).learn()

        works = {work.item: learned(work) for work in plan.todo}
        return plan.with_works([works.get(w.item, w) for batch in plan.batches for w in batch.works]) if works else plan

    def _analyzed(self, source: str) -> tuple[float, float]:
        """Return the points and the seconds of a source's analysed recordings."""
        if self.planner.pipeline.store != "zarr" or source not in self.planner.training:
            return 0.0, 0.0
        places, results = self.planner.training_places(source), self._plans["analyze"].results
        return float(results.points[places].sum()), float(results.seconds[places].sum(dtype=float))

    def _stage(self, plan: StagePlan, ahead: Ahead | None = None) -> StagePlan:
        """Run what is to be done of a stage, and what can be of the one after; return the plan with all results."""
        stage = plan.stage
        opened = self._opened(plan)
        self._plans[stage] = plan
        self.summary.know(self._expected | self._plans, self._fitted)
        tally = opened.tally
        # What was done ahead is no earlier result, and what failed then has been told.
        tally.reused += plan.reused - opened.done
        told = set(self.outcome.failures)
        failures = [each for each in plan.failures if each[1] not in opened.failed and each not in told]
        tally.failed += len(failures)
        self.outcome.failures += failures
        self._note(*plan.notes)
        if plan.todo:
            opened.pace = Pace(len(plan.todo), plan.todo_size)
            self._tell_start(opened)
            self._run_tasks(opened, opened.account.tasks(self._settings(stage)), ahead)
        if opened.account.is_scattered:
            self._run_tasks(opened, opened.account.gathering(self._settings(stage)))
        tally.seconds = time.perf_counter() - opened.begin
        if opened.told:
            self._tell_progress(opened)
            counts = {"done": tally.done, "reused": tally.reused, "failed": tally.failed}
            self._events.write("stage_end", stage=stage, **counts, seconds=round(tally.seconds, 3))
        return plan

    def _opened(self, plan: StagePlan) -> Open:
        """Return the account of a stage, with the records on the disk those of its plan."""
        stage = plan.stage
        if not plan.is_aligned:
            if stage != "analyze":
                # The store knows best which of its parts are in use.
                remove_outputs(plan.folder, {name for entry in plan.orphans() for name in entry.outputs})
            plan.align()
        account = Account(plan, self.planner.ledger)
        if stage in self._open:
            self._open[stage].account = account
        else:
            tally = self.outcome.stages.setdefault(stage, StageOutcome()) if plan.total else StageOutcome()
            self._open[stage] = Open(plan, account, tally, Pace(len(plan.todo), plan.todo_size))
        return self._open[stage]

    def _tell_start(self, opened: Open) -> None:
        if not opened.told:
            opened.told = time.perf_counter()
            plan = opened.plan
            self._events.write(
                "stage_start", stage=plan.stage, total=plan.total, todo=len(plan.todo), reused=plan.reused
            )

    def _settings(self, stage: str) -> Mapping[str, Any]:
        return stage_settings(stage, self.planner, {"fit": self._fitted})

    def _run_tasks(self, opened: Open, tasks: Iterator[Task], ahead: Ahead | None = None) -> None:
        stage = opened.plan.stage
        queue = TaskQueue()
        self._session.add(queue, stage, tasks)
        for done, receipts in self._session.run_queue(queue):
            for receipt in receipts:
                self.planner.digests.learn_stamps(receipt.stamps)
            ready = []
            for taken in self._open[done].account.take(receipts):
                self._take(self._open[done], taken, done != stage)
                if ahead is not None and done == stage:
                    ready.append(ahead.take(taken.place))
            # When records are written, so that a batch is known as a whole.
            for number in ready:
                if ahead is not None and number is not None:
                    self._session.add(queue, ahead.plan.stage, self._tasks_ahead(ahead.plan, number))
        if ahead is not None:
            # What has been done of it so far is on record.
            ahead.plan.reread()

    def _tasks_ahead(self, plan: StagePlan, number: int) -> list[Task]:
        """Return the task of a batch of the stage after, which begins with the first of them."""
        opened = self._open[plan.stage] if plan.stage in self._open else self._opened(plan)
        plan.look_again(number)
        if plan.stage == "fit":
            self._donors.take_over_batch(plan, number)
        if all(plan.results.status[place] for place in plan.places(number)):
            return []
        self._tell_start(opened)
        return [opened.account.task(number, self._settings(plan.stage))]

    def _take(self, opened: Open, taken: Taken, ahead: bool) -> None:
        stage, tally = opened.plan.stage, opened.tally
        receipt, entry = taken.receipt, taken.receipt.entry
        if stage == "fit":
            self._fitted[entry.item] = entry
        self._note(*receipt.notes)
        progress = opened.pace.take(taken.size, self._audio_seconds(opened, taken))
        ended = ItemOutcome(stage, entry.item, entry.status, entry.reason, receipt.seconds, progress)
        self._tell_item(ended)
        if entry.status == "failed":
            self._note_failure(stage, entry.item, entry.reason, tally)
            call_lifecycle("on_item_error", outcome=ended)
        else:
            tally.done += 1
            call_lifecycle("on_item_end", outcome=ended)
        if ahead and entry.status == "failed":
            opened.failed.add(entry.item)
        opened.done += ahead and entry.status == "done"
        if time.perf_counter() - opened.told >= PROGRESS_SECONDS:
            self._tell_progress(opened)

    def _tell_item(self, ended: ItemOutcome) -> None:
        why = {"reason": ended.reason} if ended.reason else {}
        seconds = round(ended.seconds, 3)
        self._events.write("item", stage=ended.stage, item=ended.item, status=ended.status, **why, seconds=seconds)

    def _tell_progress(self, opened: Open) -> None:
        opened.told = time.perf_counter()
        self._events.write("progress", stage=opened.plan.stage, **asdict(opened.pace.progress()))

    def _audio_seconds(self, opened: Open, taken: Taken) -> float | None:
        """Return the duration of what an item was made from, where that is known."""
        stage, entry = opened.plan.stage, taken.receipt.entry
        if entry.status != "done":
            return None
        if stage == "fit":
            return self._analyzed(entry.item)[1]
        if stage == "evaluate":
            mixture = opened.account.plan.works.mixture(taken.place)
            return float(self._plans["separate"].results.seconds[mixture]) or None
        seconds = entry.extra.get("duration", entry.extra.get("seconds"))
        return None if seconds is None else float(seconds)

    def _note_failure(self, stage: str, item: str, reason: str | None, tally: StageOutcome) -> None:
        tally.failed += 1
        self.outcome.failures.append((stage, item, reason or "unknown"))

    def _note(self, *notes: str | None) -> None:
        self.outcome.notes += [note for note in dict.fromkeys(notes) if note and note not in self.outcome.notes]

    def _fail_all(self, reason: str, told: bool) -> None:
        """Let all mixtures have failed, where a source has no model."""
        tally = self.outcome.stages.setdefault("separate", StageOutcome())
        for recording in self.planner.mixtures:
            self._note_failure("separate", recording.item, reason, tally)
            if not told:
                ended = ItemOutcome("separate", recording.item, "failed", reason, 0.0)
                self._tell_item(ended)
                call_lifecycle("on_item_error", outcome=ended)


@dataclass
class Open:
    """A stage that goes on.

    Attributes
    ----------
    plan, account
        The plan that it began with, and the account of the one that counts now.
    done, failed
        How many items were done ahead, and which failed.
    told
        When its pace was told last, 0 where it was not.
    """

    plan: StagePlan
    account: Account
    tally: StageOutcome
    pace: Pace
    done: int = 0
    failed: set[str] = field(default_factory=set)
    begin: float = field(default_factory=time.perf_counter)
    told: float = 0.0
