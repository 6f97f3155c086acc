"""What a process that goes on planning knows of a stage already, so that it need not look at all items again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.results import DONE, TODO

if TYPE_CHECKING:
    from inmf_flow.pipeline.stages import StagePlan


@dataclass(frozen=True)
class Known:
    """Results of the plans before, and what is to be thought of the files behind them.

    Attributes
    ----------
    plans
        The plan before of each stage, with what became of its items.
    again
        Names of mixtures whose files have changed since.
    kept
        Names of mixtures whose files are gone, or are being written anew: their results hold as they are.
    """

    plans: Mapping[str, StagePlan] = field(default_factory=dict)
    again: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()

    def take_over(self, plan: StagePlan) -> int:
        """Give a plan the results of the plan before, if its items are the first of it; return how many are done."""
        before = self.plans.get(plan.stage)
        if before is None or not 0 < before.total <= plan.total:
            return 0
        if any(before.works.item(place) != plan.works.item(place) for place in range(before.total)):
            return 0
        plan.results.take_over(before.results)
        if self.again:
            for place in range(before.total):
                if mixture_of(plan.works.item(place)) in self.again:
                    plan.results.status[place] = TODO
        return plan.results.count(DONE)

    def holds(self, stage: str, entry: Entry) -> bool:
        """Return whether a result is kept for want of the file that it was made from."""
        if not self.kept or entry.status != "done":
            return False
        # The dictionary of a source that all mixtures share has no mixture's name before it.
        own = stage == "fit" and "/" in entry.item
        return (own or stage in ("separate", "evaluate")) and mixture_of(entry.item) in self.kept


def mixture_of(item: str) -> str:
    """Return the mixture that an item, or an item of a dictionary of its own, belongs to."""
    return item.partition("/")[0]
