"""What a run says of its recordings: ``items.jsonl``, and ``quarantine.csv`` of those that could not be used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

from inmf_flow.corpus import Quarantined, Recording, read_quarantine, write_quarantine
from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_path
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.outcome import RunOutcome, relative_path
from inmf_flow.pipeline.plan import Planner

ITEMS_FILE = "items.jsonl"
QUARANTINE_FILE = "quarantine.csv"


def write_items(planner: Planner) -> None:
    """Let ``items.jsonl`` list all recordings with what is known of them, an object a line; one that does stays.

    Lines have ``item``, ``source`` (null for a mixture), ``path``, ``start``, ``stop`` and ``metadata``, first those
    that sources are learned from, in the order of the pipeline.
    """
    path = planner.run_folder / ITEMS_FILE
    if _holds(path, _lines(planner)):
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        stream.writelines(_lines(planner))


def _lines(planner: Planner) -> Iterator[str]:
    for source, recordings in planner.training.items():
        for recording in recordings:
            yield _line(planner, f"{source}/{recording.item}", source, recording)
    for recording in planner.mixtures:
        yield _line(planner, recording.item, None, recording)


def _line(planner: Planner, item: str, source: str | None, recording: Recording) -> str:
    described = {
        "item": item,
        "source": source,
        "path": relative_path(planner, recording.path),
        "start": recording.start,
        "stop": recording.stop,
        "metadata": recording.metadata,
    }
    return json.dumps(described) + "\n"


def _holds(path: Path, lines: Iterator[str]) -> bool:
    try:
        with path.open(encoding="ascii", newline="") as stream:
            return all(known == line for known, line in zip_longest(stream, lines))
    except (OSError, UnicodeDecodeError):
        return False


def write_run_quarantine(planner: Planner, outcome: RunOutcome, entries: Mapping[str, Mapping[str, Entry]]) -> None:
    """Let ``quarantine.csv`` list the recordings that failed in this run or before, or be gone where none did."""
    path = planner.run_folder / QUARANTINE_FILE
    rows = list(_quarantined(planner, outcome, entries)) if outcome.failures else []
    if not rows:
        path.unlink(missing_ok=True)
        return
    try:
        same = sorted(map(repr, read_quarantine(path))) == sorted({repr(row) for row in rows})
    except ArgumentError:
        same = False
    if not same:
        write_quarantine(path, rows)


def _quarantined(
    planner: Planner, outcome: RunOutcome, entries: Mapping[str, Mapping[str, Entry]]
) -> Iterator[Quarantined]:
    mixtures = {recording.item: recording for recording in planner.mixtures}
    training = {f"{source}/{r.item}": r for source, recordings in planner.training.items() for r in recordings}
    for stage, item, reason in outcome.failures:
        recording = (training if stage in ("analyze", "fit") else mixtures).get(item)
        entry = entries.get(stage, {}).get(item)
        # A mixture without inputs was not looked at: a source has no model.
        if recording is None or (entry is not None and not entry.inputs):
            continue
        yield replace(Quarantined.of(recording, stage, reason), item=item)
