"""What workers do. Each task writes its outputs, then its batch's record, and returns receipts, not arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import StoreError
from inmf_flow.pipeline.evaluate_tasks import evaluate
from inmf_flow.pipeline.fit_tasks import fit, learn_step
from inmf_flow.pipeline.inputs import Stamp, complete_inputs, output_stamp
from inmf_flow.pipeline.ledger import Entry, Ledger, describe_output
from inmf_flow.pipeline.places import Place, place_of
from inmf_flow.pipeline.separate_tasks import separate
from inmf_flow.pipeline.shared_tasks import PASS
from inmf_flow.pipeline.task import Receipt, Task, attempt, points_of
from inmf_flow.pipeline.tidy import STORE, part_name

if TYPE_CHECKING:
    from inmf_flow.points import PointSet
    from inmf_flow.store import PointsStore

__all__ = ["Receipt", "Task", "run_task"]


def run_task(task: Task) -> list[Receipt]:
    """Do a batch. An item that fails is recorded with its reason and does not touch the others."""
    if task.stage == PASS:
        with _as_worker():
            # What it has written says itself what it is; the driver goes on from it.
            return _STAGES[task.stage](task)
    task, stamps = _with_digests(task)
    with _as_worker():
        receipts = _STAGES[task.stage](task)
    kept = [entry for entry, _ in task.kept]
    entries = {entry.item: entry for entry in (*kept, *(receipt.entry for receipt in receipts))}
    Ledger(task.run_folder).write(task.stage, task.batch, [entries[item] for item in sorted(entries)])
    return [
        replace(receipt, record=task.batch, stamps=(*stamps.get(receipt.entry.item, ()), *_written(task, receipt)))
        for receipt in receipts
    ]


def _with_digests(task: Task) -> tuple[Task, dict[str, list[Stamp]]]:
    """Return a task with the digests of the files that it reads among its inputs, and these files' stamps.

    They are digested before they are used: what changes in between is found by the next run.
    """
    items, stamps = [], {}
    for item, inputs, payload in task.items:
        inputs, stamps[item] = complete_inputs(inputs, payload)
        items.append((item, inputs, payload))
    return replace(task, items=tuple(items)), stamps


def _written(task: Task, receipt: Receipt) -> list[Stamp]:
    outputs = receipt.entry.outputs.items()
    found = (output_stamp(task.run_folder / name, digest) for name, (_, digest) in outputs)
    return [stamp for stamp in found if stamp is not None]


@contextmanager
def _as_worker() -> Iterator[None]:
    """One thread a worker: one clip a core beats two threads on a clip (and is the same on every machine).

    What is set is put back: a cluster of threads shares the user's own process.
    """
    import torch

    threads, log = torch.get_num_threads(), logging.getLogger("inmf_flow.separation")
    level = log.level
    torch.set_num_threads(1)
    # Said once by the driver, from the receipts' notes, instead of by every worker.
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        log.setLevel(level)


def _analyze(task: Task) -> list[Receipt]:
    """Write the points of a batch as one part; items whose points are stored already are copied, not made again."""
    from inmf_flow.store import PointsStore
    from inmf_flow.store.manifest import DamagedRecordError

    store = PointsStore.create(task.run_folder / STORE)
    found: dict[str, PointSet] = {}
    receipts = [
        attempt(item, inputs, partial(_take_points, found, item, payload, task)) for item, inputs, payload in task.items
    ]
    keys = {receipt.entry.item: receipt.entry.key for receipt in receipts if receipt.entry.status == "done"}
    for entry, payload in task.kept:
        if entry.status == "done":
            found[entry.item] = _stored_points(store, entry, place_of(payload), task)
            keys[entry.item] = entry.key
    if not keys:
        return receipts
    part = part_name(task.batch, keys)
    try:
        store.write_part(part, found, keys, task.settings["config_hash"])
    except DamagedRecordError:
        store.delete_part(part)
        store.write_part(part, found, keys, task.settings["config_hash"])
    outputs = describe_output(task.run_folder, task.run_folder / STORE / "manifest" / f"{part}.json")
    placed = [_placed(receipt.entry, part, outputs) for receipt in receipts]
    # Entries that were kept now lie in the new part too.
    moved = [_placed(entry, part, outputs) for entry, _ in task.kept]
    done = [Receipt(entry, r.seconds, r.notes) for entry, r in zip(placed, receipts, strict=True)]
    return done + [Receipt(entry, 0.0, ("moved",)) for entry in moved]


def _stored_points(store: PointsStore, entry: Entry, place: Place, task: Task) -> PointSet:
    try:
        return store.read_item(entry.extra["part"], entry.item)
    except StoreError:
        # Damaged: the audio is as it was, or the entry would not hold.
        return points_of(place, task.settings)


def _take_points(
    found: dict[str, PointSet], item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    points = points_of(place_of(payload), task.settings)
    found[item] = points
    return {}, {"points": points.n_points, "seconds": points.duration}


def _placed(entry: Entry, part: str, outputs: dict[str, tuple[int, str]]) -> Entry:
    if entry.status != "done":
        return entry
    return Entry(entry.item, entry.inputs, "done", outputs=outputs, extra={**entry.extra, "part": part})


def _report(task: Task) -> list[Receipt]:
    """Write the report page."""
    from inmf_flow.report import write_report

    def work() -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
        return describe_output(task.run_folder, write_report(task.run_folder, task.settings["items"])), {}

    # The page is made of the run's own files: what cannot be read is the disk's fault, and not theirs.
    return [attempt(item, inputs, work, retry=True) for item, inputs, _ in task.items]


_STAGES: dict[str, Callable[[Task], list[Receipt]]] = {
    PASS: learn_step,
    "analyze": _analyze,
    "fit": fit,
    "separate": separate,
    "evaluate": evaluate,
    "report": _report,
}
