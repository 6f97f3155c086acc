"""What became of the items of a stage, in a few bytes each: a run may have a million of them."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.files import digest_bytes
from inmf_flow.pipeline.ledger import Entry, digest_json

TODO, DONE, FAILED = 0, 1, 2
_STATUS = {"done": DONE, "failed": FAILED}
_WORDS = {DONE: "done", FAILED: "failed"}


class Results:
    """The state of each item of a stage, by its place in the plan, and what later stages need of it.

    Attributes
    ----------
    status
        `TODO`, `DONE` or `FAILED`, a byte an item.
    seconds, points
        Of its audio and of its analysis, where they are known; else 0.
    """

    def __init__(self, count: int) -> None:
        self.status = bytearray(count)
        self.seconds = np.zeros(count, np.float32)
        self.points = np.zeros(count, np.float64)
        self._keys = np.zeros((count, 16), np.uint8)
        self._outputs = np.zeros((count, 16), np.uint8)
        self._parts: array[int] = array("i", [-1]) * count
        self._part_numbers: dict[str, int] = {}
        self._part_names: list[str] = []

    def take(self, place: int, entry: Entry) -> None:
        """Take note of an item's entry."""
        self.status[place] = _STATUS[entry.status]
        self._keys[place] = _bytes(entry.key)
        extra = entry.extra
        self.seconds[place] = float(extra.get("duration", extra.get("seconds")) or 0.0)
        self.points[place] = float(extra.get("points", 0))
        if entry.status == "done":
            self._outputs[place] = _bytes(digest_json(sorted(entry.outputs.items())))
        part = extra.get("part")
        if part is None:
            self._parts[place] = -1
        else:
            self._parts[place] = self._part_number(str(part))

    def take_over(self, other: Results) -> None:
        """Take over the results of other items, which are the first of these."""
        count = len(other.status)
        self.status[:count] = other.status
        for name in ("seconds", "points", "_keys", "_outputs"):
            getattr(self, name)[:count] = getattr(other, name)
        self._parts[:count] = other._parts
        self._part_names = list(other._part_names)
        self._part_numbers = dict(other._part_numbers)

    def key(self, place: int) -> str:
        """Return the key of an item that is not to be done."""
        return bytes(self._keys[place]).hex()

    def outputs(self, place: int) -> str:
        """Return one digest of the outputs of an item that is done."""
        return bytes(self._outputs[place]).hex()

    def word(self, place: int) -> str:
        """Return ``done`` or ``failed``."""
        return _WORDS[self.status[place]]

    def part(self, place: int) -> str | None:
        """Return the part of the points store that holds an item."""
        number = self._parts[place]
        return None if number < 0 else self._part_names[number]

    def parts(self) -> set[str]:
        """Return all parts that hold items."""
        return {self._part_names[number] for number in set(self._parts) if number >= 0}

    def count(self, status: int) -> int:
        """Return how many items are in a state."""
        return self.status.count(status)

    def where(self, status: int) -> NDArray[np.int64]:
        """Return the places of the items that are in a state."""
        return np.flatnonzero(np.frombuffer(self.status, np.uint8) == status)

    def digest(self) -> str:
        """Return one digest of the keys and states of all items that are not to be done, in order."""
        state = np.frombuffer(self.status, np.uint8)
        known: Any = state != TODO
        return digest_json([int(known.sum()), _hexed(self._keys[known]), _hexed(state[known])])

    def state(self) -> str:
        """Return one digest of all that later stages are planned by, the parts that hold points included."""
        parts = [self._part_names, digest_bytes(self._parts.tobytes())]
        return digest_json([self.digest(), parts])

    def _part_number(self, name: str) -> int:
        number = self._part_numbers.setdefault(name, len(self._part_names))
        if number == len(self._part_names):
            self._part_names.append(name)
        return number


def _bytes(digest: str) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex(digest), np.uint8)


def _hexed(values: Any) -> str:
    return digest_bytes(np.ascontiguousarray(values).tobytes())
