"""What a run says of its recordings: ``items.jsonl``, and ``quarantine.csv`` of those that could not be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from inmf_flow.corpus import Quarantined, Recording, read_quarantine, write_quarantine
from inmf_flow.errors import ArgumentError
from inmf_flow.pipeline.dictionaries import NO_MODEL
from inmf_flow.pipeline.documents import holds_lines, relative_path, write_lines
from inmf_flow.pipeline.outcome import RunOutcome
from inmf_flow.pipeline.plan import Planner

ITEMS_FILE = "items.jsonl"
QUARANTINE_FILE = "quarantine.csv"


def write_items(planner: Planner) -> None:
    """Let ``items.jsonl`` list all recordings with what is known of them, an object a line; one that does stays.

    Lines have ``item``, ``source`` (null for a mixture), ``path``, ``start``, ``stop`` and ``metadata``, first those
    that sources are learned from, in the order of the pipeline.
    """
    path = planner.run_folder / ITEMS_FILE
    if not holds_lines(path, _lines(planner)):
        write_lines(path, _lines(planner))


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
        "path": relative_path(planner, recording.file),
        "start": recording.start,
        "stop": recording.stop,
        "metadata": recording.metadata,
    }
    return json.dumps(described) + "\n"


def write_run_quarantine(planner: Planner, outcome: RunOutcome, blocked: bool) -> None:
    """Let ``quarantine.csv`` list the recordings that failed in this run or before, or be gone where none did.

    ``blocked``: mixtures were not looked at, since a source has no model.
    """
    path = planner.run_folder / QUARANTINE_FILE
    rows = list(_quarantined(planner, outcome, blocked)) if outcome.failures else []
    if not rows:
        path.unlink(missing_ok=True)
        return
    try:
        same = sorted(map(repr, read_quarantine(path))) == sorted({repr(row) for row in rows})
    except ArgumentError:
        same = False
    if not same:
        write_quarantine(path, rows)


def _quarantined(planner: Planner, outcome: RunOutcome, blocked: bool) -> Iterator[Quarantined]:
    failed = {item for _, item, _ in outcome.failures}
    mixtures = {recording.item: recording for recording in planner.mixtures if recording.item in failed}
    training = {
        item: recording
        for source, recordings in planner.training.items()
        for recording in recordings
        if (item := f"{source}/{recording.item}") in failed
    }
    for stage, item, reason in outcome.failures:
        recording = (training if stage in ("analyze", "fit") else mixtures).get(item)
        if recording is not None and not (stage == "separate" and (blocked or reason.startswith(NO_MODEL))):
            yield replace(Quarantined.of(recording, stage, reason), item=item)
