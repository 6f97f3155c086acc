"""Where a task finds what it reads: a file, or a segment of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inmf_flow.remote import as_path

Place = str | list[Any]
"""A path, or [path, start, stop] of a segment: seconds from the file's start, None for its start and its end."""


def place_of(payload: Mapping[str, Any]) -> Place:
    """Return where the recording of a payload of one item is."""
    return _placed(payload["path"], payload.get("segment"))


def place_of_item(payload: Mapping[str, Any], item: str) -> Place:
    """Return where one of the recordings is that a fit learns from."""
    return _placed(payload["items"][item], payload.get("segments", {}).get(item))


def split_place(place: Place) -> tuple[Path, float | None, float | None]:
    """Return path, start and stop."""
    if isinstance(place, str):
        return as_path(place), None, None
    path, start, stop = place
    return as_path(path), start, stop


def _placed(path: str, segment: Sequence[float | None] | None) -> Place:
    return path if segment is None else [path, *segment]
