"""What became of a run, as the object that Python gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from inmf_flow.pipeline.ledger import Entry

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

Estimates = dict[str, dict[str, Path]]
#: Mixtures that ``run.json`` lists itself, and whose estimates and metrics are held in memory.
MOST_LISTED = 10_000


@dataclass
class StageOutcome:
    """Counts of a stage's items, and the seconds it took.

    Attributes
    ----------
    done, reused, failed
        Items done now, items whose earlier result still holds, and items that failed now or before.
    seconds
        Wall-clock time.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class RunOutcome:
    """How a run ended.

    Attributes
    ----------
    name, folder
        The pipeline's name and the run's folder.
    status
        ``done``, ``failed`` (some item failed) or ``interrupted``.
    stages
        Counts by stage.
    failures
        (stage, item, reason) of every item that failed, in this run or before.
    notes
        Remarks, each once.
    report
        The report page, if there is one.
    seconds
        Wall-clock time of the whole run.
    is_large
        Whether it has so many items that ``run.json`` does not list them, but ``outcomes.jsonl``.
    variants
        Of a comparison the outcome of each variant, by the variant's name.
    read_metrics, read_estimates
        Give `metrics` and `estimates`.
    """

    name: str
    folder: Path
    status: str = "done"
    stages: dict[str, StageOutcome] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    report: Path | None = None
    seconds: float = 0.0
    is_large: bool = False
    variants: dict[str, RunOutcome] = field(default_factory=dict)
    read_metrics: Callable[[], list[MetricRow]] = field(default=list, repr=False)
    read_estimates: Callable[[], Estimates] = field(default=dict, repr=False)

    @cached_property
    def metrics(self) -> list[MetricRow]:
        """One row per item, source and metric. Those of a large run are read from its folder when first asked for."""
        return self.read_metrics()

    @cached_property
    def estimates(self) -> Estimates:
        """From item and source to the separated file. Those of a large run are found when first asked for."""
        return self.read_estimates()

    @property
    def did_nothing(self) -> bool:
        """Whether every result was there already."""
        return not any(stage.done for stage in self.stages.values())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Items by stage and status."""
        return {
            name: {"done": stage.done, "reused": stage.reused, "failed": stage.failed}
            for name, stage in self.stages.items()
        }


def known_failures(stage: str, entries: Iterable[Entry]) -> Iterator[tuple[str, str, str]]:
    """Yield (stage, item, reason) of failed items, and of training files that a fit had to leave out."""
    for entry in entries:
        if entry.status == "failed":
            yield stage, entry.item, entry.reason or "unknown"
        for item, reason in entry.extra.get("left_out", {}).items():
            yield stage, item, f"left out of {entry.item}'s model: {reason}"
