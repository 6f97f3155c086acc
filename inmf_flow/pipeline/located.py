"""Recordings as a plan sees them: where they are, what results depend on, and how much there is to read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow.audio import audio_info
from inmf_flow.corpus import Recording
from inmf_flow.errors import AudioError
from inmf_flow.pipeline.inputs import file_status
from inmf_flow.pipeline.ledger import digest_json


def unnamed_references(template: Path) -> dict[str, Path]:
    """Return the files that a path with {source} in its last part can mean, by what stands in its place."""
    before, _, after = template.name.partition("{source}")
    if not template.parent.is_dir():
        return {}
    found = {
        path.name[len(before) : len(path.name) - len(after)]: path
        for path in sorted(template.parent.iterdir())
        if path.name.startswith(before) and path.name.endswith(after) and not path.name.startswith(".")
    }
    # A mixture beside the references is not a source.
    return {source: path for source, path in found.items() if source not in ("", "mixture")}


def located(recording: Recording) -> dict[str, Any]:
    """Return what a task needs to read a recording."""
    path = {"path": recording.file}
    return {**path, "segment": [recording.start, recording.stop]} if recording.is_segment else path


def segment_input(recording: Recording) -> dict[str, str]:
    """Return the part of a file that results depend on; of a whole file its content says everything."""
    return {"segment": digest_json([recording.start, recording.stop])} if recording.is_segment else {}


def content_of(recording: Recording, digest: str) -> Any:
    """Return a digest of a recording's file, beside its limits where it is a segment."""
    return [digest, recording.start, recording.stop] if recording.is_segment else digest


def sizes_of(recordings: Sequence[Recording]) -> Any:
    """Return the bytes of each recording, of a segment its share of the file's."""
    return np.fromiter(map(_size, recordings), np.int64, len(recordings))


def _size(recording: Recording) -> int:
    try:
        status = file_status(recording.file)
    except (OSError, ValueError):
        return 0
    size = int(status.st_size)
    if not recording.is_segment:
        return size
    duration = _duration(recording.path, (size, status.st_mtime_ns))
    if duration is None:
        return size
    stop = duration if recording.stop is None else min(recording.stop, duration)
    return math.ceil(size * min(max(stop - (recording.start or 0.0), 0.0) / duration, 1.0))


# Segments of one file follow one another.
@lru_cache(maxsize=1)
def _duration(path: Path, stamp: tuple[int, int]) -> float | None:
    try:
        return audio_info(path).duration
    except (AudioError, OSError):
        return None
