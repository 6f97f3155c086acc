"""What a run would do, and why, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inmf_flow.pipeline.arrived import plan_arrived
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.outcome import known_failures
from inmf_flow.pipeline.plan import Planner, StagePlan, check_output_folder


@dataclass(frozen=True)
class Explanation:
    """The plans of all stages, results of earlier stages taken as yet to come where they are to be done.

    Attributes
    ----------
    pipeline, folder
        The pipeline and the run's folder.
    stages
        The plan of each stage that has items.
    failures
        (stage, item, reason) of every failure that is known and is not going to be tried again.
    planner
        What made the plans; `run_pipeline` can go on with it, so that no file is read twice to tell whether it changed.
    """

    pipeline: Pipeline
    folder: Path
    stages: dict[str, StagePlan]
    failures: list[tuple[str, str, str]]
    planner: Planner

    @property
    def todo(self) -> int:
        """The number of items to be done."""
        return sum(len(plan.todo) for plan in self.stages.values())


def explain_pipeline(pipeline: Pipeline, run_folder: Path, planner: Planner | None = None) -> Explanation:
    """Plan every stage without running any; nothing is written. What a watched folder holds now counts as whole."""
    check_output_folder(run_folder)
    if planner is None:
        watched = pipeline.corpus.watch is not None
        planner = plan_arrived(pipeline, run_folder) if watched else Planner(pipeline, run_folder)
    analyze = planner.analyze()
    fit = planner.fit(analyze)
    stages = {"analyze": analyze, "fit": fit}
    fitted = dict(fit.valid)
    blocked = planner.blocked(fitted)
    if blocked is None:
        stages["separate"] = planner.separate(fitted)
        stages["evaluate"] = planner.evaluate(stages["separate"])
    stages["report"] = planner.report(stages)
    failures = list(analyze.failures)
    failures += known_failures("fit", fitted.values())
    failures += [failure for name in ("separate", "evaluate") if name in stages for failure in stages[name].failures]
    if blocked is not None:
        failures += [("separate", recording.item, blocked) for recording in planner.mixtures]
    planned = {name: plan for name, plan in stages.items() if plan.total}
    return Explanation(pipeline, run_folder, planned, failures, planner)
