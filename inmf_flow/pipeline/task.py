"""A batch of items for one worker, what it returns of each, and what becomes of an item that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import AudioUnreachableError, InmfError, ModelFileError, OutputError, PluginError, StoreError
from inmf_flow.pipeline.inputs import Stamp
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.modes import made
from inmf_flow.pipeline.places import Place, split_place

if TYPE_CHECKING:
    from inmf_flow.points import PointSet

#: What an item's work returns: its files with sizes and digests, and what else its entry keeps.
Done = tuple[dict[str, tuple[int, str]], dict[str, Any]]

logger = logging.getLogger("inmf_flow.pipeline")


@dataclass(frozen=True)
class Task:
    """One batch for one worker.

    Attributes
    ----------
    stage, batch
        Names of the stage and of the batch's record.
    run_folder
        The run's folder.
    items
        (item, inputs, payload) of those to be done.
    kept
        (entry, payload) of the batch's items that still hold, for the record.
    settings
        What the stage needs to know, as plain data.
    """

    stage: str
    batch: str
    run_folder: Path
    items: tuple[tuple[str, Mapping[str, str], Mapping[str, Any]], ...]
    kept: tuple[tuple[Entry, Mapping[str, Any]], ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Receipt:
    """What a task returns of one item.

    Attributes
    ----------
    entry, seconds, notes
        Its entry, the seconds it took, and remarks for the user.
    record
        The record that holds the entry; None where no worker has written one.
    stamps
        What the digests were of files that the task has read or written.
    """

    entry: Entry
    seconds: float
    notes: tuple[str, ...] = field(default=())
    record: str | None = None
    stamps: tuple[Stamp, ...] = field(default=())


def attempt(
    item: str,
    inputs: Mapping[str, str],
    work: Callable[[], tuple[dict[str, tuple[int, str]], dict[str, Any]]],
    *,
    retry: bool = False,
) -> Receipt:
    """Run one item's work and turn whatever happens into an entry; ``retry``: every failure may pass."""
    begin = time.perf_counter()
    try:
        outputs, extra = work()
        entry = Entry(item, inputs, "done", outputs=outputs, extra=extra)
    except ModelFileError:
        raise
    except InmfError as error:
        # A plugin's author mends it without telling us: its version may still be the same.
        transient = retry or isinstance(error, StoreError | OutputError | PluginError | AudioUnreachableError)
        entry = Entry(item, inputs, "failed", str(error), transient=transient)
    except (OSError, MemoryError) as error:
        entry = Entry(item, inputs, "failed", f"{type(error).__name__}: {error}", transient=True)
    except Exception as error:
        # A fault of a plugin or of ours in one item must not stop the others; the log keeps the trace.
        logger.exception("%s failed", item)
        entry = Entry(item, inputs, "failed", f"unexpected {type(error).__name__}: {error}", transient=True)
    return Receipt(entry, time.perf_counter() - begin, tuple(entry.extra.get("notes", ())))


def points_of(place: Place, settings: Mapping[str, Any]) -> PointSet:
    """Analyse a recording, or a part of one, as a stage's settings say."""
    from inmf_flow.separation import analyze_file

    transforms = made(settings["transforms"])
    path, start, stop = split_place(place)
    return analyze_file(path, transforms, settings["sample_rate"], start=start, stop=stop)
