"""Pipelines with ``compare``: a run for each variant, then what they have come to, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inmf_flow.files import atomic_write
from inmf_flow.pipeline.config import Pipeline, Variant
from inmf_flow.pipeline.documents import holds_lines
from inmf_flow.pipeline.explain import Explanation, explain_pipeline
from inmf_flow.pipeline.outcome import Estimates, RunOutcome, StageOutcome
from inmf_flow.pipeline.plan import Planner
from inmf_flow.pipeline.takeover import Donors

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

VARIANTS = "variants"
COMPARISON_FORMAT = 1

RunOne = Callable[[Planner, Donors], RunOutcome]


@dataclass(frozen=True)
class Comparison:
    """What the runs of a comparison's variants would do.

    Attributes
    ----------
    folder
        Of the comparison.
    explained
        For each variant what its run would do, by the variant's name.
    """

    folder: Path
    explained: Mapping[str, Explanation]

    @property
    def todo(self) -> int:
        """The number of items to be done; models that variants have in common count for each."""
        return sum(explained.todo for explained in self.explained.values())

    @property
    def fits(self) -> int:
        """The number of different models to be fitted, as far as is known before anything is analysed."""
        plans = [each.stages["fit"] for each in self.explained.values() if "fit" in each.stages]
        return len({(work.item, tuple(sorted(work.inputs.items()))) for plan in plans for work in plan.todo})


def variant_folder(folder: Path, variant: Variant) -> Path:
    """Return the run folder of a variant."""
    return folder / VARIANTS / variant.name


def explain_comparison(pipeline: Pipeline, folder: Path) -> Comparison:
    """Plan the runs of all variants; nothing is written."""
    explained = {
        variant.name: explain_pipeline(variant.pipeline, variant_folder(folder, variant))
        for variant in pipeline.variants
    }
    return Comparison(folder, explained)


def run_comparison(pipeline: Pipeline, folder: Path, run_one: RunOne) -> RunOutcome:
    """Run all variants of a pipeline one after the other, then write what they have come to.

    Parameters
    ----------
    pipeline
        With variants.
    folder
        Where ``variants/LABEL/LABEL``, ``comparison.csv``, ``comparison.md`` and ``report.html`` go.
    run_one
        Runs one planned pipeline, with models of other runs to take over.

    Returns
    -------
    outcome
        Of all variants together: counts are sums, items are named ``VARIANT/ITEM``, and ``variants`` has the outcome
        of each.
    """
    folders = {variant.name: variant_folder(folder, variant) for variant in pipeline.variants}
    outcomes: dict[str, RunOutcome] = {}
    for variant in pipeline.variants:
        own = folders[variant.name]
        others = [other for other in folders.values() if other != own]
        outcomes[variant.name] = run_one(Planner(variant.pipeline, own), Donors(others))
    outcome = _joined(pipeline.name, folder, outcomes)
    outcome.report = _written(pipeline, outcome)
    return outcome


def _joined(name: str, folder: Path, outcomes: Mapping[str, RunOutcome]) -> RunOutcome:
    joined = RunOutcome(name, folder, variants=dict(outcomes))
    joined.status = "failed" if any(each.status == "failed" for each in outcomes.values()) else "done"
    for variant, each in outcomes.items():
        for stage, tally in each.stages.items():
            total = joined.stages.setdefault(stage, StageOutcome())
            total.done += tally.done
            total.reused += tally.reused
            total.failed += tally.failed
            total.seconds += tally.seconds
        joined.failures += [(stage, f"{variant}/{item}", reason) for stage, item, reason in each.failures]
        joined.notes += [note for note in each.notes if note not in joined.notes]
        joined.seconds += each.seconds
        joined.is_large = joined.is_large or each.is_large

    def metrics() -> list[MetricRow]:
        from dataclasses import replace

        return [replace(r, item=f"{variant}/{r.item}") for variant, each in outcomes.items() for r in each.metrics]

    def estimates() -> Estimates:
        return {
            f"{variant}/{item}": paths for variant, each in outcomes.items() for item, paths in each.estimates.items()
        }

    joined.read_metrics, joined.read_estimates = metrics, estimates
    return joined


def _written(pipeline: Pipeline, outcome: RunOutcome) -> Path:
    """Write the tables and the page of a comparison, unless they are there as they would be."""
    from inmf_flow.report.comparison import (
        COMPARISON_CSV,
        COMPARISON_JSON,
        comparison_csv_lines,
        write_comparison,
    )

    rows = [(variant.labels, row) for variant in pipeline.variants for row in outcome.variants[variant.name].metrics]
    described = {
        "format": COMPARISON_FORMAT,
        "name": pipeline.name,
        "status": outcome.status,
        "axes": {axis: list(labels) for axis, labels in (pipeline.compare or {}).items()},
        "variants": {name: _described(outcome.folder, each) for name, each in outcome.variants.items()},
    }
    document = json.dumps(described, indent=1)
    lines = list(comparison_csv_lines(list(pipeline.compare or {}), rows))
    folder = outcome.folder
    page = folder / "report.html"
    same = holds_lines(folder / COMPARISON_CSV, lines) and _holds(folder / COMPARISON_JSON, document)
    if same and page.is_file() and (folder / "comparison.md").is_file():
        return page
    atomic_write(folder / COMPARISON_CSV, "".join(lines).encode("utf-8", "surrogateescape"))
    atomic_write(folder / COMPARISON_JSON, document)
    return write_comparison(folder)


def _described(folder: Path, outcome: RunOutcome) -> dict[str, object]:
    counts = {stage: tally.done + tally.reused for stage, tally in outcome.stages.items()}
    return {
        "folder": outcome.folder.relative_to(folder).as_posix(),
        "status": outcome.status,
        "done": counts,
        "failures": [list(failure) for failure in outcome.failures],
    }


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
