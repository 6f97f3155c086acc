"""`run_pipeline`: plans each stage, sends its batches to the cluster, and keeps account."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from inmf_flow.hookspecs import ItemOutcome, RunInfo, RunResult, StageInfo
from inmf_flow.pipeline.config import Pipeline, load_pipeline, pipeline_from_mapping
from inmf_flow.pipeline.events import PROGRESS_SECONDS, EventLog, Pace
from inmf_flow.pipeline.explain import Explanation, explain_pipeline
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.listing import write_items, write_run_quarantine
from inmf_flow.pipeline.memory import check_memory
from inmf_flow.pipeline.outcome import (
    RunOutcome,
    StageOutcome,
    is_recorded,
    known_failures,
    metric_rows,
    outputs_by_source,
    write_metrics,
    write_run_json,
)
from inmf_flow.pipeline.plan import Batch, Planner, StagePlan, Work, check_output_folder
from inmf_flow.pipeline.prepare import check_given_models, remove_leftovers, sole_driver
from inmf_flow.pipeline.session import Session
from inmf_flow.pipeline.settings import stage_settings
from inmf_flow.pipeline.shared import SharedFit, learns_in_passes, remove_passes
from inmf_flow.pipeline.tasks import Receipt, Task
from inmf_flow.pipeline.tidy import is_scattered, remove_stale, tidy_store
from inmf_flow.plugins import call_lifecycle


def run_pipeline(
    pipeline: Pipeline | Path | str | Mapping[str, Any],
    *,
    output: Path | str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    overrides: Sequence[str] = (),
    explained: Explanation | None = None,
) -> RunOutcome:
    """Run a pipeline: analyse, fit, separate, evaluate, report. What is done already is not done again.

    Parameters
    ----------
    pipeline
        A YAML file, or its content as a mapping (paths relative to the working directory), or a validated pipeline.
    output
        The run's folder; by default what the pipeline says.
    scheduler, workers
        In place of ``cluster.scheduler`` and ``cluster.workers``.
    overrides
        ``"a.b=c"`` changes to a YAML file, as `--set` takes them.
    explained
        What `explain_pipeline` said of this pipeline and folder just before: files that it has looked at are not read
        again to tell whether they changed.

    Returns
    -------
    outcome
        Status, counts, failures with their reasons, metrics and paths. Bad recordings are failed items, not exceptions.

    Raises
    ------
    ConfigError
        When the pipeline is wrong; all faults at once.
    ModelFileError
        When a model that it names cannot be used.
    ClusterError
        When the cluster cannot be reached.

    Notes
    -----
    Local workers are processes: a script must call this under ``if __name__ == "__main__":``.
    """
    if isinstance(pipeline, Mapping):
        pipeline = pipeline_from_mapping(dict(pipeline), Path.cwd())
    elif not isinstance(pipeline, Pipeline):
        pipeline = load_pipeline(Path(pipeline), overrides)
    folder = Path(output) if output is not None else pipeline.run_folder
    check_output_folder(folder)
    # Paths that workers get must not depend on a working directory.
    folder = folder.absolute()
    if explained is not None and (explained.pipeline, explained.folder) == (pipeline, folder):
        planner = explained.planner
    else:
        planner = Planner(pipeline, folder)
    with sole_driver(folder):
        return _Run(planner, scheduler or pipeline.cluster.scheduler, workers or pipeline.cluster.workers).run()


class _Run:
    """One run: the plans and entries of its stages, and the client, which is only made when there is work."""

    def __init__(self, planner: Planner, scheduler: str, workers: int | None) -> None:
        self.planner = planner
        self.outcome = RunOutcome(planner.pipeline.name, planner.run_folder)
        self.entries: dict[str, dict[str, Entry]] = {}
        self._events = EventLog(planner.run_folder)
        self._session = Session(planner.pipeline, scheduler, workers, self._events.write)
        self._pace = Pace({})
        self._told = 0.0
        self._begin = time.perf_counter()
        self._written: dict[str, tuple[int, str]] = {}

    def run(self) -> RunOutcome:
        outcome, planner = self.outcome, self.planner
        expected = explain_pipeline(planner.pipeline, planner.run_folder, planner)
        stages = {name: StageInfo(plan.total, len(plan.todo)) for name, plan in expected.stages.items()}
        check_given_models(expected)
        # What is there already: true of the folder even if this run ends before its first task.
        self.entries = {name: dict(plan.valid) for name, plan in expected.stages.items() if name != "report"}
        started = False
        with self._session:
            try:
                remove_leftovers(expected)
                if expected.todo:
                    self._events.write("run_start", run=outcome.name, stages={n: asdict(s) for n, s in stages.items()})
                    self._session.open(name for name, plan in expected.stages.items() if plan.todo)
                    if "fit" in expected.stages and expected.stages["fit"].todo:
                        check_memory(expected, self._session.worker_memory("fit"))
                    # Until the run ends the page and the table must not pass for its results.
                    write_run_json(planner, outcome, self.entries, "running")
                started = True
                call_lifecycle(
                    "on_run_start", run=RunInfo(outcome.name, outcome.folder, stages, self._session.dashboard)
                )
                self._run_stages()
                outcome.status = "failed" if outcome.failures else "done"
                if outcome.did_nothing and not is_recorded(planner, outcome.status):
                    # The run before was killed between its last result and this, or somebody deleted it.
                    write_run_json(planner, outcome, self.entries, outcome.status)
                write_items(planner)
                write_run_quarantine(planner, outcome, self.entries)
            except BaseException as error:
                outcome.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
                raise
            finally:
                outcome.seconds = time.perf_counter() - self._begin
                self._learn_digests()
                self._note(*self._session.notes)
                if expected.todo or not outcome.did_nothing:
                    write_run_json(planner, outcome, self.entries, outcome.status)
                if expected.todo:
                    counts = outcome.counts
                    self._events.write(
                        "run_end", status=outcome.status, counts=counts, seconds=round(outcome.seconds, 3)
                    )
                self._events.close()
                if started:
                    result = RunResult(outcome.name, outcome.folder, outcome.status, outcome.counts, outcome.seconds)
                    call_lifecycle("on_run_end", result=result)
        return outcome

    def _run_stages(self) -> None:
        planner, outcome = self.planner, self.outcome
        analyzed = self._stage("analyze", planner.analyze())
        if planner.pipeline.store == "zarr":
            self._note(tidy_store(planner.run_folder, analyzed.values()))
        fit_plan = self._learned_in_passes(planner.fit(analyzed), analyzed)
        fitted = self._stage("fit", fit_plan)
        for source, entry in fitted.items():
            if entry.status == "done":
                remove_passes(planner.run_folder, source)
        # Files that a fit without a store could not read: elsewhere their analysis has failed.
        outcome.failures += [f for f in known_failures("fit", fitted.values()) if f not in outcome.failures]
        blocked = planner.blocked(fitted)
        if blocked:
            self.entries |= {"separate": {}, "evaluate": {}}
            for entry in blocked.values():
                self._fail("separate", entry, told=not fit_plan.todo)
        else:
            separated = self._stage("separate", planner.separate(fitted))
            self._stage("evaluate", planner.evaluate(separated))
        self._collect_results()
        everything = [entry for stage in self.entries.values() for entry in stage.values()]
        # The page reads these, so they are written before it is made.
        outcome.status = "failed" if outcome.failures else "done"
        plan = planner.report(sorted(everything, key=lambda entry: (entry.item, entry.key)))
        if plan.todo:
            outcome.seconds = time.perf_counter() - self._begin
            write_run_json(planner, outcome, self.entries, outcome.status)
        self._stage("report", plan)
        page = planner.run_folder / "report.html"
        outcome.report = page if page.is_file() else None

    def _learned_in_passes(self, plan: StagePlan, analyzed: Mapping[str, Entry]) -> StagePlan:
        """Return the plan with the dictionaries in it that are learned batch by batch."""
        fit = self.planner.pipeline.fit

        def learned(work: Work) -> Work:
            items = work.payload.get("items", ())
            points = sum(float(analyzed[item].extra.get("points", 0)) for item in items if item in analyzed)
            if work.why is None or "model" in work.payload or not learns_in_passes(fit, points):
                return work
            settings = stage_settings("fit", self.planner, self.entries)
            run = partial(self._session.run, "fit")
            return SharedFit(work, self.planner.run_folder, settings, fit, run, self._events.write).learn()

        batches = [replace(batch, works=tuple(learned(work) for work in batch.works)) for batch in plan.batches]
        return replace(plan, batches=tuple(batches))

    def _stage(self, stage: str, plan: StagePlan) -> dict[str, Entry]:
        """Run what is to be done of a stage and return the entries of all its items."""
        begin = time.perf_counter()
        tally = self.outcome.stages.setdefault(stage, StageOutcome()) if plan.total else StageOutcome()
        entries = dict(plan.valid)
        for entry in plan.valid.values():
            tally.reused += entry.status == "done"
            self._note(*entry.extra.get("notes", ()))
            if entry.status == "failed":
                self._note_failure(stage, entry, tally)
        planned = {work.item for batch in plan.batches for work in batch.works}
        self._remove_stale(stage, [e for e in plan.known.values() if e.item not in planned], plan.known, planned)
        batches = [batch for batch in plan.batches if batch.todo]
        self._pace, self._told = Pace({work.item: work.size for work in plan.todo}), begin
        if batches:
            self._events.write("stage_start", stage=stage, total=plan.total, todo=len(plan.todo), reused=tally.reused)
            # Killed half-way, a run with other settings must not leave its outputs under records of these.
            self._align_records(stage, plan, plan.valid)
            self._run_batches(stage, batches, entries, tally)
        if stage == "analyze":
            gathered = [batch for batch in plan.batches if is_scattered(batch, entries)]
            self._run_batches(stage, [Batch(b.name, _settled(b)) for b in gathered], entries, tally)
        self._remove_stale(stage, plan.known.values(), entries, planned)
        self._align_records(stage, plan, entries)
        tally.seconds = time.perf_counter() - begin
        self.entries[stage] = entries
        if batches:
            self._tell_progress(stage)
            counts = {"done": tally.done, "reused": tally.reused, "failed": tally.failed}
            self._events.write("stage_end", stage=stage, **counts, seconds=round(tally.seconds, 3))
        return entries

    def _run_batches(
        self, stage: str, batches: Sequence[Batch], entries: dict[str, Entry], tally: StageOutcome
    ) -> None:
        settings = stage_settings(stage, self.planner, self.entries) if batches else {}
        tasks = [self._task(stage, batch, entries, settings) for batch in batches]
        for receipts in self._execute(tasks):
            for receipt in receipts:
                self._take(stage, receipt, entries, tally)

    def _task(self, stage: str, batch: Batch, entries: Mapping[str, Entry], settings: Mapping[str, Any]) -> Task:
        kept = tuple((entries[work.item], work.payload) for work in batch.works if work.item in entries)
        items = tuple((work.item, work.inputs, work.payload) for work in batch.todo)
        return Task(stage, batch.name, self.planner.run_folder, items, kept, settings)

    def _remove_stale(
        self, stage: str, known: Iterable[Entry], current: Mapping[str, Entry], planned: Collection[str]
    ) -> None:
        # The store knows best which of its parts are in use.
        if stage != "analyze":
            remove_stale(self.planner.run_folder, known, [e for item, e in current.items() if item in planned])

    def _take(self, stage: str, receipt: Receipt, entries: dict[str, Entry], tally: StageOutcome) -> None:
        entry = receipt.entry
        known = entry.item in entries
        entries[entry.item] = entry
        self._written |= entry.outputs
        if known:
            # Its points were copied into a new part: nothing was done to the item itself.
            return
        self._note(*receipt.notes)
        progress = self._pace.take(entry.item, self._audio_seconds(stage, entry))
        ended = ItemOutcome(stage, entry.item, entry.status, entry.reason, receipt.seconds, progress)
        self._tell_item(ended)
        if entry.status == "failed":
            self._note_failure(stage, entry, tally)
            call_lifecycle("on_item_error", outcome=ended)
        else:
            tally.done += 1
            call_lifecycle("on_item_end", outcome=ended)
        if time.perf_counter() - self._told >= PROGRESS_SECONDS:
            self._tell_progress(stage)

    def _tell_item(self, ended: ItemOutcome) -> None:
        why = {"reason": ended.reason} if ended.reason else {}
        seconds = round(ended.seconds, 3)
        self._events.write("item", stage=ended.stage, item=ended.item, status=ended.status, **why, seconds=seconds)

    def _tell_progress(self, stage: str) -> None:
        self._told = time.perf_counter()
        self._events.write("progress", stage=stage, **asdict(self._pace.progress()))

    def _audio_seconds(self, stage: str, entry: Entry) -> float | None:
        """Return the duration of what an item was made from, where that is known."""
        if entry.status != "done":
            return None
        if stage == "fit":
            analyzed = self.entries.get("analyze", {})
            used = [analyzed[item] for item in entry.extra.get("items", ()) if item in analyzed]
            return sum(float(each.extra.get("seconds", 0.0)) for each in used)
        known = self.entries.get("separate", {}).get(entry.item) if stage == "evaluate" else entry
        extra = known.extra if known is not None else {}
        seconds = extra.get("duration", extra.get("seconds"))
        return None if seconds is None else float(seconds)

    def _note_failure(self, stage: str, entry: Entry, tally: StageOutcome) -> None:
        tally.failed += 1
        self.outcome.failures.append((stage, entry.item, entry.reason or "unknown"))

    def _note(self, *notes: str | None) -> None:
        self.outcome.notes += [note for note in dict.fromkeys(notes) if note and note not in self.outcome.notes]

    def _learn_digests(self) -> None:
        """Remember the digests of what was written, so that the next run need not read it."""
        digests = self.planner.digests
        for name, (_, digest) in self._written.items():
            digests.learn(self.planner.run_folder / name, digest)
        digests.save()

    def _fail(self, stage: str, entry: Entry, told: bool) -> None:
        tally = self.outcome.stages.setdefault(stage, StageOutcome())
        self._note_failure(stage, entry, tally)
        self.entries.setdefault(stage, {})[entry.item] = entry
        if not told:
            ended = ItemOutcome(stage, entry.item, "failed", entry.reason, 0.0)
            self._tell_item(ended)
            call_lifecycle("on_item_error", outcome=ended)

    def _execute(self, tasks: Sequence[Task]) -> Iterator[list[Receipt]]:
        return self._session.run(tasks[0].stage, tasks) if tasks else iter(())

    def _align_records(self, stage: str, plan: StagePlan, entries: Mapping[str, Entry]) -> None:
        """Let the records on disk be those of the plan: one a batch, and no other."""
        ledger = self.planner.ledger
        written = []
        for batch in plan.batches:
            known = sorted((entries[w.item] for w in batch.works if w.item in entries), key=lambda e: e.item)
            if known:
                ledger.write(stage, batch.name, known)
                written.append(batch.name)
        ledger.keep_only(stage, written)

    def _collect_results(self) -> None:
        """Fill in what users look at: estimates and metrics, and let ``metrics.csv`` be the table of these."""
        outcome = self.outcome
        for item, entry in sorted(self.entries.get("separate", {}).items()):
            if entry.status == "done":
                outputs = outputs_by_source(self.planner, entry)
                outcome.estimates[item] = {source: outcome.folder / name for source, name in outputs.items()}
        outcome.metrics = metric_rows(self.entries.get("evaluate", {}))
        write_metrics(outcome)


def _settled(batch: Batch) -> tuple[Work, ...]:
    """Return a batch's items with nothing to be done: they are only to be gathered in one part."""
    return tuple(replace(work, why=None) for work in batch.works)
