"""Models of other runs, taken over where they were fitted from the same points with the same settings."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from inmf_flow.files import atomic_path, digest_file
from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.pipeline.results import DONE
from inmf_flow.pipeline.stages import StagePlan


class Donors:
    """Other runs' folders, whose models have the same content key wherever they are.

    Parameters
    ----------
    folders
        The runs' folders, which need not be there.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = folders
        self._known: dict[Path, dict[str, Entry]] = {}

    def take_over(self, plan: StagePlan) -> None:
        """Take what is to be fitted from the runs that have it; the plan then counts it among earlier results."""
        if not self._folders:
            return
        for number in plan.todo_batches:
            self.take_over_batch(plan, number)
        plan.reused = plan.results.count(DONE)

    def take_over_batch(self, plan: StagePlan, number: int) -> None:
        """Take over what a batch lacks."""
        if not self._folders:
            return
        batch = plan.batch(number, explain=False)
        found = [entry for work in batch.todo if (entry := self._taken(plan, work.item, work.inputs)) is not None]
        if found:
            kept = [entry for entry, _ in batch.kept]
            Ledger(plan.folder).write(plan.stage, batch.name, [*kept, *found])
            plan.reread()
            plan.look_again(number)

    def _taken(self, plan: StagePlan, item: str, inputs: object) -> Entry | None:
        for folder in self._folders:
            entry = self._entries(folder, plan.stage).get(item)
            if entry is None or entry.status != "done" or entry.inputs != inputs:
                continue
            if _copied(entry, folder, plan.folder):
                return entry
        return None

    def _entries(self, folder: Path, stage: str) -> dict[str, Entry]:
        if folder not in self._known:
            self._known[folder] = Ledger(folder).load(stage)
        return self._known[folder]


def _copied(entry: Entry, donor: Path, folder: Path) -> bool:
    """Put an entry's outputs where they belong; False where they are not as the entry says."""
    for name, (size, digest) in entry.outputs.items():
        source, target = donor / name, folder / name
        try:
            # A link to the file itself would stay beside it: renaming one to the other does nothing.
            target.unlink(missing_ok=True)
            if source.stat().st_size != size or digest_file(source) != digest:
                return False
            with atomic_path(target) as temporary:
                try:
                    # The content is one; files that runs write are replaced and never changed in place.
                    os.link(source, temporary)
                except (OSError, TypeError, ValueError):
                    # Another file system, or an object store.
                    with source.open("rb") as old, temporary.open("wb") as new:
                        shutil.copyfileobj(old, new)
        except OSError:
            return False
    return True
