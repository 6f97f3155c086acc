"""What of the stage after can be done while a stage still goes on.

Nobody has to wait for the last recording: a source is fitted, by a GPU where fits ask for one, while others are still
analysed, and mixtures are scored while others are still separated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from inmf_flow.pipeline.plan import Planner
from inmf_flow.pipeline.results import FAILED, TODO
from inmf_flow.pipeline.shared import learns_in_passes
from inmf_flow.pipeline.stages import StagePlan, Work
from inmf_flow.pipeline.tidy import part_name


class Ahead:
    """Batches of the stage after, each given out when the last item that it waits for has ended.

    Parameters
    ----------
    plan
        Of the stage after, made with the results that there are.
    waits
        For each of its batches the number of items that are still to come.
    batch_of
        For each item of the stage that goes on the batch that waits for it, or -1.
    decide
        Called with a batch's number when all have come: whether it can be done now, or has to wait for the stage's end
        after all.
    """

    def __init__(self, plan: StagePlan, waits: Any, batch_of: Any, decide: Callable[[int], bool]) -> None:
        self.plan = plan
        self._waits = waits
        self._batch_of = batch_of
        self._decide = decide

    def take(self, place: int) -> int | None:
        """Take note that an item of the stage that goes on has ended; return the batch that can now be done, if any."""
        number = int(self._batch_of[place])
        if number < 0:
            return None
        self._waits[number] -= 1
        return number if self._waits[number] == 0 and self._decide(number) else None


def scores_ahead(planner: Planner, separating: StagePlan) -> Ahead | None:
    """Return the scoring of mixtures that are being separated."""
    if planner.pipeline.evaluate is None or not separating.todo:
        return None
    plan = planner.evaluate(separating)
    batch_of = np.full(separating.total, -1, np.int32)
    for number in range(len(plan.batches)):
        for place in plan.places(number):
            batch_of[plan.works.mixture(place)] = number
    batch_of[np.frombuffer(separating.results.status, np.uint8) != TODO] = -1
    waits = np.bincount(batch_of[batch_of >= 0], minlength=len(plan.batches))

    def decide(number: int) -> bool:
        # One that failed is not scored: then those after it are in other batches.
        return FAILED not in (separating.results.status[plan.works.mixture(place)] for place in plan.places(number))

    return Ahead(plan, waits, batch_of, decide)


def fits_ahead(planner: Planner, analyzing: StagePlan) -> Ahead | None:
    """Return the fits of sources that are being analysed, but for those that all workers learn together."""
    if not analyzing.todo:
        return None
    plan = planner.fit(analyzing)
    names = [plan.works.item(place) for place in range(plan.total)]
    numbers = {name: number for number, name in enumerate(names)}
    batch_of = np.full(analyzing.total, -1, np.int32)
    for dictionary in planner.training:
        batch_of[planner.training_places(dictionary)] = numbers[dictionary]
    batch_of[np.frombuffer(analyzing.results.status, np.uint8) != TODO] = -1
    waits = np.bincount(batch_of[batch_of >= 0], minlength=len(names))
    works: list[Work] = []

    def decide(number: int) -> bool:
        places = planner.training_places(names[number])
        results = analyzing.results
        if learns_in_passes(planner.pipeline.fit, float(results.points[places].sum())):
            return False
        touched = {analyzing.number(place) for place in range(places.start, places.stop)}
        if any(analyzing.is_scattered(each, part_name) for each in touched):
            # Their points are first to be gathered in one part.
            return False
        if not works:
            works.extend(batch.works[0] for batch in plan.batches)
        works[number] = planner.fit_of(names[number], analyzing)
        plan.with_works(works)
        return True

    return Ahead(plan, waits, batch_of, decide)
