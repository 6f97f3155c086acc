"""What is under way of a stage: its batches from the moment they are sent until their records are on the disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.pipeline.prepare import remove_leftovers
from inmf_flow.pipeline.stages import Batch, StagePlan
from inmf_flow.pipeline.task import Receipt, Task
from inmf_flow.pipeline.tidy import part_name, remove_outputs


@dataclass
class _Open:
    """A batch whose receipts have not all come: what is known of its items, how many are missing, what was written."""

    batch: Batch
    entries: dict[str, Entry]
    missing: set[str]
    records: set[str | None] = field(default_factory=set)


@dataclass(frozen=True)
class Taken:
    """An item that has ended: its receipt, its place in the plan, and the bytes of its file."""

    receipt: Receipt
    place: int
    size: int


class Account:
    """Makes the tasks of a stage, takes their receipts, and sees to it that each batch ends with one whole record.

    Only batches that are under way are held: there may be a hundred thousand of them.

    Parameters
    ----------
    plan
        The stage. Its results are brought up to date.
    ledger
        Of the run's folder.
    """

    def __init__(self, plan: StagePlan, ledger: Ledger) -> None:
        self._plan = plan
        self._ledger = ledger
        self._open: dict[int, _Open] = {}
        self._batch_of: dict[str, int] = {}
        self._scattered: list[int] = []
        if plan.stage == "analyze":
            todo = set(plan.todo_batches)
            numbers = (number for number in range(len(plan.batches)) if number not in todo)
            self._scattered = [number for number in numbers if plan.is_scattered(number, part_name)]

    @property
    def plan(self) -> StagePlan:
        """The stage's plan."""
        return self._plan

    @property
    def is_scattered(self) -> bool:
        """Whether `gathering` has anything to do."""
        return bool(self._scattered)

    def tasks(self, settings: Mapping[str, Any]) -> Iterator[Task]:
        """Yield the tasks of what is to be done, each when there is room for it."""
        for number in self._plan.todo_batches:
            # Some may be under way already.
            if number not in self._open:
                yield self.task(number, settings)

    def task(self, number: int, settings: Mapping[str, Any]) -> Task:
        """Return the task of one batch."""
        batch = self._plan.batch(number, explain=False)
        if self._plan.stage == "separate":
            remove_leftovers(self._ledger.run_folder, (work.item for work in batch.todo))
        return self._task(batch, batch.todo, batch.kept, settings)

    def gathering(self, settings: Mapping[str, Any]) -> Iterator[Task]:
        """Yield tasks that bring the points of a batch together where they are in several parts."""
        self._plan.reread()
        for number in self._scattered:
            batch = self._plan.batch(number, explain=False)
            yield self._task(batch, (), batch.kept, settings)
        self._scattered = []

    def _task(self, batch: Batch, todo: Sequence[Any], kept: Sequence[Any], settings: Mapping[str, Any]) -> Task:
        self._open[batch.number] = _Open(
            batch,
            {entry.item: entry for entry, _ in kept},
            {work.item for work in todo} or {entry.item for entry, _ in kept},
        )
        self._batch_of.update((work.item, batch.number) for work in batch.works)
        items = tuple((work.item, work.inputs, work.payload) for work in todo)
        return Task(self._plan.stage, batch.name, self._ledger.run_folder, items, tuple(kept), settings)

    def take(self, receipts: Iterable[Receipt]) -> Iterator[Taken]:
        """Take the receipts of a task; yield those of items that have ended, and close batches that are complete."""
        touched = set()
        for receipt in receipts:
            entry = receipt.entry
            number = self._batch_of[entry.item]
            held = self._open[number]
            within = next(i for i, work in enumerate(held.batch.works) if work.item == entry.item)
            place = held.batch.first + within
            held.records.add(receipt.record)
            held.missing.discard(entry.item)
            known = entry.item in held.entries
            held.entries[entry.item] = entry
            self._plan.results.take(place, entry)
            touched.add(number)
            # An entry that was there had its points copied into a new part: nothing was done to the item itself.
            if not known:
                yield Taken(receipt, place, held.batch.works[within].size)
        for number in touched:
            if not self._open[number].missing:
                self._close(number)

    def _close(self, number: int) -> None:
        held = self._open.pop(number)
        name = held.batch.name
        if held.records != {name}:
            # Done in pieces, or not by a worker: joining them is left to us.
            self._ledger.write(self._plan.stage, name, held.entries.values())
            for other in held.records - {name, None}:
                self._ledger.record_path(self._plan.stage, str(other)).unlink(missing_ok=True)
        for work in held.batch.works:
            del self._batch_of[work.item]
        if self._plan.stage == "analyze":
            # The store knows best which of its parts are in use.
            if self._plan.is_scattered(number, part_name):
                self._scattered.append(number)
            return
        listed = {output for entry in held.entries.values() for output in entry.outputs}
        remove_outputs(self._ledger.run_folder, _outputs(held.batch.known.values()) - listed)


def _outputs(entries: Iterable[Entry]) -> set[str]:
    return {output for entry in entries for output in entry.outputs}
