"""One stage of a plan: its items, which batches they are in, and which of them are to be done.

Items, keys and entries are made when they are asked for; what is held of each are a few bytes (see `Results`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow.pipeline.inputs import InputDigests
from inmf_flow.pipeline.known import Known
from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.pipeline.results import DONE, TODO, Results
from inmf_flow.pipeline.views import Lazy, Todo, Valid
from inmf_flow.pipeline.work import Batch, Work

__all__ = ["Batch", "Digest", "StagePlan", "Work", "Works"]

Digest = Callable[[Any], str]
# Inputs that files have to be read for.
_FROM_FILES = ("audio", "mixture", "references", "model")
# Batches are cut by these alone, so that they depend on the corpus and not on the cluster or on what remains.
_BATCH_LIMITS = {"analyze": (4096, 96 << 20), "separate": (16, 8 << 20), "evaluate": (64, 64 << 20)}


class Works:
    """The items of a stage, described one at a time by their places.

    Parameters
    ----------
    count
        How many there are.
    item, payload
        Called with a place: the item's name, and what a task needs.
    inputs
        Called with a place and a function that gives a file's digest: what the result depends on.
    files
        Called with a place: the files whose digests are asked for.
    sizes
        Bytes of each item's file; 0 where that is not known.
    group
        Called with a place: batches do not go beyond items for which this is the same.
    mixtures
        Which of the mixtures each item is, where that is not its place.
    """

    def __init__(
        self,
        count: int,
        item: Callable[[int], str],
        payload: Callable[[int], Mapping[str, Any]],
        inputs: Callable[[int, Digest], dict[str, str]],
        files: Callable[[int], Iterable[Any]],
        sizes: Any,
        group: Callable[[int], Any] | None = None,
        mixtures: Any = None,
    ) -> None:
        self.count = count
        self.item = item
        self.payload = payload
        self.inputs = inputs
        self.files = files
        self.sizes = sizes
        self.group = group
        self._mixtures = mixtures

    def mixture(self, place: int) -> int:
        """Return which of the mixtures an item is."""
        return place if self._mixtures is None else int(self._mixtures[place])

    @classmethod
    def of(cls, works: Sequence[Work]) -> Works:
        """Return a few items that are there already."""
        return cls(
            len(works),
            lambda place: works[place].item,
            lambda place: works[place].payload,
            lambda place, digest: dict(works[place].inputs),
            lambda place: (),
            np.zeros(len(works), np.int64),
        )

    def cuts(self, stage: str) -> Any:
        """Return where each batch begins, and the number of items at the end: bounded in number and size."""
        most_items, most_bytes = _BATCH_LIMITS.get(stage, (1, 1))
        cuts = [0]
        held = 0
        for place, size in enumerate(map(int, self.sizes)):
            begin = cuts[-1]
            if place > begin and (
                place - begin >= most_items
                or held + size > most_bytes
                or (self.group is not None and self.group(place) != self.group(begin))
            ):
                cuts.append(place)
                held = 0
            held += size
        return np.array([*cuts, self.count] if self.count else [0], np.int64)


class StagePlan:
    """A stage's items in batches, compared with the records of earlier runs.

    Parameters
    ----------
    stage
        The stage's name.
    works
        Its items.
    ledger, digests
        Of the run's folder.
    known
        What need not be looked at.

    Attributes
    ----------
    results
        What became of each item: so far of those whose results still hold.
    failures
        (stage, item, reason) of what failed in an earlier run and is not tried again.
    notes
        Remarks of earlier runs that still hold.
    reused
        The number of items that are done according to the records.
    """

    def __init__(
        self, stage: str, works: Works, ledger: Ledger, digests: InputDigests, known: Known | None = None
    ) -> None:
        self.stage = stage
        self.works = works
        self.results = Results(works.count)
        self.failures: list[tuple[str, str, str]] = []
        self.notes: dict[str, None] = {}
        self._ledger = ledger
        self._digests = digests
        self._known_before = known or Known()
        self._cuts = works.cuts(stage)
        self._records = ledger.records(stage)
        # Items whose entries are in other records than they should be, or are of no item of this plan.
        self._strays: dict[str, str] = {}
        self._elsewhere: dict[int, str] = {}
        self._places: dict[str, int] | None = None
        taken_over = self._known_before.take_over(self)
        if self._records.names:
            self._compare()
        self.reused = self.results.count(DONE) - taken_over

    @property
    def total(self) -> int:
        """The number of items."""
        return self.works.count

    @property
    def batches(self) -> Sequence[Batch]:
        """All batches."""
        return Lazy(range(len(self._cuts) - 1), self.batch)

    @property
    def todo(self) -> Todo:
        """The items that are to be done, in order."""
        return Todo(self)

    @property
    def todo_batches(self) -> list[int]:
        """The numbers of the batches that have something to do."""
        numbers = np.unique(np.searchsorted(self._cuts, self.results.where(TODO), "right") - 1)
        return [int(number) for number in numbers]

    @property
    def todo_size(self) -> int | None:
        """Bytes of all that is to be done, or None where not all sizes are known."""
        sizes = self.works.sizes[self.results.where(TODO)]
        return int(sizes.sum()) if np.all(sizes) else None

    @property
    def valid(self) -> Mapping[str, Entry]:
        """The entries that still hold, by item."""
        return Valid(self)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self._ledger.run_folder

    @property
    def is_aligned(self) -> bool:
        """Whether the records on the disk are those of this plan's batches."""
        return not self._strays

    def number(self, place: int) -> int:
        """Return the number of the batch that an item is in."""
        return bisect_right(self._cuts, place) - 1

    def name(self, number: int) -> str:
        """Return the name of a batch."""
        return f"{number:06d}"

    def batch(self, number: int, explain: bool = True) -> Batch:
        """Return a batch; unless it is explained, ``why`` does not tell one reason from another."""
        places = self.places(number)
        known = self._known(number)
        works = []
        for place in places:
            item, size, payload = self.works.item(place), int(self.works.sizes[place]), self.works.payload(place)
            entry = known.get(item)
            if self.results.status[place]:
                inputs = entry.inputs if entry is not None else {}
                works.append(Work(item, inputs, payload, size))
                continue
            # A worker digests what it reads; here only what would be done and why is asked for.
            digest = self._digests.get if explain and entry is not None else self._digests.known
            inputs = self.works.inputs(place, digest)
            works.append(Work(item, inputs, payload, size, self._why(entry, inputs)))
        return Batch(self.name(number), tuple(works), number, places.start, known)

    def place(self, item: str) -> int:
        """Return the place of an item; KeyError if there is none of that name."""
        if self._places is None:
            self._places = {self.works.item(place): place for place in range(self.total)}
        return self._places[item]

    def entry(self, place: int) -> Entry | None:
        """Return the entry of an item whose result holds."""
        if not self.results.status[place]:
            return None
        number = self.number(place)
        return self._records.read(self._elsewhere.get(place, self.name(number))).get(self.works.item(place))

    def entries(self) -> Iterator[Entry | None]:
        """Yield the entries of all items in order, as they are on the disk; None for those that are to be done."""
        self.reread()
        return (self.entry(place) for place in range(self.total))

    def look_again(self, number: int) -> int:
        """Compare the items of a batch anew, now that more is known; return how many need not be done after all."""
        known = self._known(number)
        todo = {place: known.get(self.works.item(place)) for place in self.places(number)}
        found = {place: entry for place, entry in todo.items() if entry and not self.results.status[place]}
        self._compare_items(found)
        return sum(bool(self.results.status[place]) for place in found)

    def reread(self) -> None:
        """Look at the records as they are now."""
        self._records = self._ledger.records(self.stage)

    def with_works(self, works: Sequence[Work]) -> StagePlan:
        """Return the plan of a stage with a few items with these in place of the same ones."""
        self.works = Works.of(works)
        return self

    def is_scattered(self, number: int, part_name: Callable[[str, Mapping[str, str]], str]) -> bool:
        """Return whether the points of a batch are not together in one part that holds nothing else.

        Such a part could outlive items that were changed or removed, or hold older points of items that are stored anew
        elsewhere.
        """
        results = self.results
        done = [place for place in self.places(number) if results.status[place] == DONE]
        expected = part_name("", {self.works.item(place): results.key(place) for place in done})
        return any(not str(results.part(place)).endswith(expected) for place in done)

    def orphans(self) -> Iterator[Entry]:
        """Yield the entries of earlier runs whose items are not in this plan."""
        if not self._strays:
            return
        planned = {self.works.item(place) for place in range(self.total)}
        for item in sorted(self._strays.keys() - planned):
            entry = self._records.read(self._strays[item]).get(item)
            if entry is not None:
                yield entry

    def align(self) -> None:
        """Let the records on the disk be those of this plan's batches, and no others."""
        batches = range(len(self._cuts) - 1)
        self._ledger.align(self.stage, ((self.name(n), list(self._known(n).values())) for n in batches))
        self._strays.clear()
        self._elsewhere.clear()
        self.reread()

    def places(self, number: int) -> range:
        """Return the places of a batch's items."""
        return range(int(self._cuts[number]), int(self._cuts[number + 1]))

    def _known(self, number: int) -> dict[str, Entry]:
        """Return what is on record of the items of a batch."""
        name = self.name(number)
        held = self._records.read(name) if name in self._records.names else {}
        known = {}
        for place in self.places(number) if held or self._elsewhere else ():
            item = self.works.item(place)
            other = self._elsewhere.get(place)
            entry = held.get(item) if other is None else self._records.read(other).get(item)
            if entry is not None:
                known[item] = entry
        return known

    def _compare(self) -> None:
        """Find the items whose entries still hold."""
        expected = {self.name(number) for number in range(len(self._cuts) - 1)}
        for number in self.todo_batches:
            name = self.name(number)
            if name not in self._records.names:
                continue
            held = self._records.read(name)
            places = {self.works.item(place): place for place in self.places(number)}
            found = {places[item]: entry for item, entry in held.items() if item in places}
            self._compare_items({place: entry for place, entry in found.items() if not self.results.status[place]})
            self._strays.update((item, name) for item in held if item not in places)
        for name in sorted(self._records.names - expected):
            self._strays.update((item, name) for item in self._records.read(name))
            # One that is empty or cannot be read is to go as well.
            self._strays.setdefault(f"{name}.json", name)
        if self._strays:
            self._compare_strays()

    def _compare_strays(self) -> None:
        for place in self.results.where(TODO).tolist():
            name = self._strays.get(self.works.item(place))
            entry = self._records.read(name).get(self.works.item(place)) if name is not None else None
            if entry is None or name is None:
                continue
            own = self.name(self.number(place))
            has_own = own in self._records.names and entry.item in self._records.read(own)
            self._compare_items({place: entry})
            if self.results.status[place] or not has_own:
                self._elsewhere[place] = name

    def _compare_items(self, known: Mapping[int, Entry]) -> None:
        # What has to be done in any case need not be read to find that out.
        for place, entry in known.items():
            if self._known_before.holds(self.stage, entry):
                self._hold(place, entry)
        alike = [
            place for place, entry in known.items() if not self.results.status[place] and self._may_hold(place, entry)
        ]
        digests = self._digests.get_all(path for place in alike for path in self.works.files(place))
        for place in alike:
            entry = known[place]
            inputs = self.works.inputs(place, lambda path: digests[str(path)])
            if self._ledger.why_redo(entry, inputs, self._digests.fault) is None:
                self._hold(place, entry)

    def _may_hold(self, place: int, entry: Entry) -> bool:
        if entry.status == "failed" and entry.transient:
            return False
        inputs = self.works.inputs(place, _unasked)
        return inputs.keys() == entry.inputs.keys() and all(
            name in _FROM_FILES or value == entry.inputs[name] for name, value in inputs.items()
        )

    def _hold(self, place: int, entry: Entry) -> None:
        self.results.take(place, entry)
        if entry.status == "failed":
            self.failures.append((self.stage, entry.item, entry.reason or "unknown"))
        self.notes.update(dict.fromkeys(entry.extra.get("notes", ())))

    def _why(self, entry: Entry | None, inputs: Mapping[str, str]) -> str:
        return self._ledger.why_redo(entry, inputs, self._digests.fault) or "its files could not be looked at before"


def _unasked(path: Any) -> str:
    return ""
