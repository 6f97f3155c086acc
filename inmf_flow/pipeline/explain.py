"""What a run would do, and why, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.plan import Planner, StagePlan, check_output_folder


@dataclass(frozen=True)
class Explanation:
    """The plans of all stages, results of earlier stages taken as yet to come where they are to be done."""

    pipeline: Pipeline
    folder: Path
    stages: dict[str, StagePlan]

    @property
    def todo(self) -> int:
        """The number of items to be done."""
        return sum(len(plan.todo) for plan in self.stages.values())


def explain_pipeline(pipeline: Pipeline, run_folder: Path, planner: Planner | None = None) -> Explanation:
    """Plan every stage without running any; nothing is written."""
    check_output_folder(run_folder)
    planner = planner or Planner(pipeline, run_folder)
    analyze = planner.analyze()
    fit = planner.fit(analyze.valid)
    stages = {"analyze": analyze, "fit": fit}
    blocked = planner.blocked(fit.valid)
    if not blocked:
        stages["separate"] = planner.separate(fit.valid)
        stages["evaluate"] = planner.evaluate(stages["separate"].valid)
    entries = [entry for plan in stages.values() for entry in plan.valid.values()] + list(blocked.values())
    stages["report"] = planner.report(sorted(entries, key=lambda entry: (entry.item, entry.key)))
    return Explanation(pipeline, run_folder, {name: plan for name, plan in stages.items() if plan.total})
