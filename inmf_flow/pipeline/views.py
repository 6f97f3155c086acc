"""A stage's batches, and its items that are to be done and that hold, each made only when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.results import DONE, FAILED, TODO

if TYPE_CHECKING:
    from inmf_flow.pipeline.stages import Batch, StagePlan, Work


class Lazy(Sequence["Batch"]):
    """Batches that are made when they are asked for."""

    def __init__(self, numbers: Sequence[int], make: Callable[[int], Batch]) -> None:
        self._numbers = numbers
        self._make = make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return Lazy(self._numbers[index], self._make)
        return self._make(self._numbers[index])


class Todo:
    """The items that are to be done: counted at once, made when they are asked for."""

    def __init__(self, plan: StagePlan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return self._plan.results.count(TODO)

    def __iter__(self) -> Iterator[Work]:
        for number in self._plan.todo_batches:
            yield from self._plan.batch(number).todo

    def payloads(self, step: int = 1) -> Iterator[Mapping[str, Any]]:
        """Yield the payload of every so many-th item."""
        for place in self._plan.results.where(TODO)[::step].tolist():
            yield self._plan.works.payload(place)


class Valid(Mapping[str, Entry]):
    """The entries that hold, read when they are asked for."""

    def __init__(self, plan: StagePlan) -> None:
        self._plan = plan

    def __len__(self) -> int:
        return self._plan.results.count(DONE) + self._plan.results.count(FAILED)

    def __iter__(self) -> Iterator[str]:
        return (self._plan.works.item(place) for place, status in enumerate(self._plan.results.status) if status)

    def __getitem__(self, item: str) -> Entry:
        entry = self._plan.entry(self._plan.place(item))
        if entry is None:
            raise KeyError(item)
        return entry

    def values(self) -> Any:
        """Return the entries, in order."""
        return [entry for entry in self._plan.entries() if entry is not None]
