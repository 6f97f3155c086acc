"""What a segmentation's folder says of itself: `segmentation.json`, `scores.json` and the tables of probabilities."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from inmf_flow.errors import ConfigError
from inmf_flow.files import atomic_write
from inmf_flow.segmentation.probe import Float64
from inmf_flow.segmentation.segmenter import ExplainedSegment
from inmf_flow.segmentation.timeline import Segment

SEGMENTATION_JSON = "segmentation.json"
SCORES_JSON = "scores.json"
# Components kept of each segment that speak for its label, and against it.
_MOST_COMPONENTS = 3


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SegmentRecord(_Record):
    """A segment found: seconds, its label with its mean probability, and what the components that count most add.

    ``components`` are pairs of a component's number, from 1, and what it adds to the label's logit: the three that add
    most and the three that take most away, the largest first.
    """

    start: float
    stop: float
    label: str
    probability: float
    components: tuple[tuple[int, float], ...]


class TrueSegment(_Record):
    """A segment of the given labels."""

    start: float
    stop: float
    label: str


class ItemRecord(_Record):
    """A recording: its file, its seconds, what was found, and the truth where it is known."""

    audio: str
    duration: float
    segments: tuple[SegmentRecord, ...]
    truth: tuple[TrueSegment, ...] | None


class SegmentationRecord(_Record):
    """`segmentation.json`."""

    format: Literal[1]
    name: str
    settings: dict[str, Any]
    classes: tuple[str, ...]
    frame_rate: float
    items: dict[str, ItemRecord]


class ScoreRecord(_Record):
    """Scores of a recording or of all, as `FrameScores` has them; None for what is not defined."""

    frames: int
    accuracy: float | None
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    f1: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]


class ScoresRecord(_Record):
    """`scores.json`."""

    items: dict[str, ScoreRecord]
    total: ScoreRecord | None
    failures: dict[str, str]
    relevance: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class SegmentationFolder:
    """What `read_segmentation` returns."""

    folder: Path
    record: SegmentationRecord
    scores: ScoresRecord


def item_record(
    audio: Path, duration: float, found: Sequence[ExplainedSegment], truth: Sequence[Segment] | None
) -> ItemRecord:
    """Return the record of a recording that was segmented."""
    segments = []
    for each in found:
        order = _most(each.contributions)
        components = tuple((int(number) + 1, round(float(each.contributions[number]), 4)) for number in order)
        segment = each.segment
        segments.append(
            SegmentRecord(
                start=segment.start,
                stop=segment.stop,
                label=segment.label,
                probability=round(each.probability, 4),
                components=components,
            )
        )
    known = None if truth is None else tuple(TrueSegment(start=s.start, stop=s.stop, label=s.label) for s in truth)
    return ItemRecord(audio=str(audio.resolve()), duration=duration, segments=tuple(segments), truth=known)


def _most(contributions: Float64) -> list[int]:
    """Return the components that add most and those that take most away, the largest first."""
    ascending = np.argsort(contributions, kind="stable").tolist()
    speak_for = [number for number in ascending[::-1] if contributions[number] > 0][:_MOST_COMPONENTS]
    against = [number for number in ascending if contributions[number] < 0][:_MOST_COMPONENTS]
    return sorted(speak_for + against, key=lambda number: -abs(contributions[number]))


def write_record(folder: Path, record: SegmentationRecord) -> None:
    """Write `segmentation.json`, atomically."""
    # Names of files need not be valid text: escaped they survive.
    atomic_write(folder / SEGMENTATION_JSON, json.dumps(record.model_dump(mode="python"), indent=1) + "\n")


def write_probabilities(path: Path, times: Float64, probabilities: Float64, classes: Sequence[str]) -> None:
    """Write the probabilities [T, C] of frames at these seconds [T] as CSV, a column for each class, atomically."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["seconds", *classes])
    rows.writerows(
        [f"{time:.4f}", *(f"{value:.4f}" for value in row)] for time, row in zip(times, probabilities, strict=True)
    )
    atomic_write(path, out.getvalue())


def read_probabilities(path: Path, classes: Sequence[str]) -> tuple[Float64, Float64]:
    """Read what `write_probabilities` wrote: seconds [T] and probabilities [T, C].

    Raises
    ------
    ConfigError
        When the table is missing or no table of these classes.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            heading = next(csv.reader(stream), [])
            if heading != ["seconds", *classes]:
                raise ConfigError(
                    "the table has other columns", where=path, got=heading, expected=["seconds", *classes]
                )
            table = np.loadtxt(stream, delimiter=",", ndmin=2)
    except OSError as error:
        raise ConfigError("the probabilities cannot be read", where=path, got=error.strerror) from None
    except ConfigError:
        raise
    except (ValueError, csv.Error) as error:
        raise ConfigError("these are no probabilities", where=path, got=str(error)) from None
    if not len(table) or table.shape[1] != len(classes) + 1:
        raise ConfigError("these are no probabilities", where=path, got=f"{len(table)} rows")
    return table[:, 0], table[:, 1:]


def is_segmentation(folder: Path) -> bool:
    """Return whether a folder is one that `inmf segment` wrote."""
    return (folder / SEGMENTATION_JSON).is_file()


def read_segmentation(folder: Path) -> SegmentationFolder:
    """Read a segmentation's folder.

    Raises
    ------
    ConfigError
        When it holds none that this version can read.
    """
    record = _read(folder / SEGMENTATION_JSON, SegmentationRecord)
    scores = _read(folder / SCORES_JSON, ScoresRecord)
    missing = [name for name in record.classes if name not in scores.relevance]
    if missing:
        raise ConfigError("the scores are of other classes", where=folder / SCORES_JSON, expected=missing[0])
    return SegmentationFolder(folder, record, scores)


_R = TypeVar("_R", bound=_Record)


def _read(path: Path, kind: type[_R]) -> _R:
    try:
        return kind.model_validate(json.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigError("the segmentation cannot be read", where=path, got=error.strerror) from None
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
    except (ValueError, RecursionError) as error:
        got = str(error)
    raise ConfigError("this is not the record of a segmentation", where=path, got=got, hint="Run inmf segment again.")
