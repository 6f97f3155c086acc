"""One item of a stage, and the batches in which items are done and recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from inmf_flow.pipeline.ledger import Entry


@dataclass(frozen=True)
class Work:
    """One item of a stage: what its result depends on, what a task needs, why it is to be done (None: it is not)."""

    item: str
    inputs: Mapping[str, str]
    payload: Mapping[str, Any]
    size: int = 0
    why: str | None = None


@dataclass(frozen=True)
class Batch:
    """Items that one task does and one record holds.

    Attributes
    ----------
    name
        Of the record.
    works
        The items.
    number, first
        The place of the batch in its plan, and that of its first item.
    known
        The entries of earlier runs by item, also those that do not hold any more.
    """

    name: str
    works: tuple[Work, ...]
    number: int = 0
    first: int = 0
    known: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def todo(self) -> list[Work]:
        """The items that are to be done."""
        return [work for work in self.works if work.why is not None]

    @property
    def kept(self) -> list[tuple[Entry, Mapping[str, Any]]]:
        """The entries that still hold, each with the payload of its item."""
        kept = (work for work in self.works if work.why is None and work.item in self.known)
        return [(self.known[work.item], work.payload) for work in kept]
