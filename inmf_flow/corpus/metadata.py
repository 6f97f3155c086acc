"""What is known of recordings, for what is made of them: as a document beside the audio, as columns, as a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inmf_flow.corpus.manifest import MANIFEST_COLUMNS, is_manifest
from inmf_flow.corpus.recording import Recording, Scalar
from inmf_flow.corpus.tables import write_table
from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_path
from inmf_flow.remote import as_path, is_remote


def describe_recording(recording: Recording) -> dict[str, Any]:
    """Return a recording as plain data that JSON has, for an ``item.json`` beside what is made of it.

    Returns
    -------
    document
        ``{"item": ..., "audio": ..., "start": ..., "stop": ..., "metadata": {...}}``; the limits in seconds of the
        file are null where they are its own.
    """
    return {
        "item": recording.item,
        "audio": str(recording.path),
        "start": recording.start,
        "stop": recording.stop,
        "metadata": recording.metadata,
    }


def metadata_columns(
    recordings: Iterable[Recording], taken: Iterable[str] = ()
) -> tuple[tuple[str, ...], dict[str, tuple[Scalar, ...]]]:
    """Return the metadata of recordings as columns that may join a table with a column of items.

    Parameters
    ----------
    recordings
        Recordings with different names.
    taken
        Names of columns that the table has already; metadata of such a name becomes ``metadata.NAME``.

    Returns
    -------
    columns
        Their names, in the order in which the recordings have them first.
    rows
        From the item to its values in that order, None where it has none.

    Examples
    --------
    >>> metadata_columns([Recording("a", "a.wav", metadata={"item": 7}), Recording("b", "b.wav")], taken=["item"])
    (('metadata.item',), {'a': (7,), 'b': (None,)})
    """
    recordings = list(recordings)
    names = list(dict.fromkeys(name for recording in recordings for name in recording.metadata))
    rows = {
        recording.item: tuple(known.get(name) for name in names)
        for recording, known in ((recording, recording.metadata) for recording in recordings)
    }
    return tuple(_free_names(names, set(taken))), rows


def _free_names(names: Sequence[str], taken: set[str]) -> Iterator[str]:
    """Yield names that are neither taken nor those of other metadata."""
    held = taken | set(names)
    for name in names:
        free = name
        while free in taken or (free != name and free in held):
            free = f"metadata.{free}"
        held.add(free)
        yield free


def write_manifest(path: Path | str, recordings: Iterable[Recording]) -> None:
    """Write recordings as a manifest, atomically, which `read_manifest` reads.

    Parameters
    ----------
    path
        A ``.jsonl`` file, which keeps all there is, or a ``.csv`` file, which has no types and no null.
    recordings
        Files below the manifest's folder are written relative to it, so that the folder can be moved as a whole;
        others absolute, for which reading needs a ``root`` or ``allow_outside``.

    Raises
    ------
    ArgumentError
        When the suffix is neither of the two, or metadata has the name of a column.
    """
    path = as_path(path)
    if not is_manifest(path):
        raise ArgumentError("this is no name of a manifest", where=path, expected="NAME.jsonl or NAME.csv")
    lines = (_line(recording, path.parent) for recording in recordings)
    if path.suffix.lower() == ".csv":
        held = list(lines)
        columns = list(dict.fromkeys(["item", "audio", "start", "stop", *(name for line in held for name in line)]))
        write_table(path, columns, ([line.get(column) for column in columns] for line in held))
        return
    with atomic_path(path) as temporary, temporary.open("w", encoding="ascii") as stream:
        for line in lines:
            stream.write(json.dumps(line) + "\n")


def _line(recording: Recording, folder: Path) -> Mapping[str, Scalar]:
    line: dict[str, Scalar] = {"item": recording.item, "audio": _relative(recording.path, folder)}
    if recording.start is not None:
        line["start"] = recording.start
    if recording.stop is not None:
        line["stop"] = recording.stop
    for name, value in recording.metadata.items():
        if name.strip().casefold() in MANIFEST_COLUMNS:
            raise ArgumentError("metadata has the name of a column", where=recording.item, got=repr(name))
        line[name] = value
    return line


def _relative(path: Path, folder: Path) -> str:
    if is_remote(path) or is_remote(folder):
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path.absolute())
    whole, base = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(whole, base) if whole.startswith(base.rstrip("/") + "/") else whole
