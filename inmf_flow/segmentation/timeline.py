"""Segments of a recording with labels: to and from files, and to and from labels of frames."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_write
from inmf_flow.remote import as_path

_SUFFIXES = (".csv", ".txt", ".rttm")
_COLUMNS = ("start", "stop", "label")

Bools = NDArray[np.bool_]


@dataclass(frozen=True, order=True)
class Segment:
    """A stretch of a recording that has one label.

    Attributes
    ----------
    start, stop
        Seconds, 0 <= start < stop.
    label
        A name without line breaks or tabs.
    """

    start: float
    stop: float
    label: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop) and 0 <= self.start < self.stop):
            raise ArgumentError(
                "a segment's limits are wrong", got=f"{self.start} to {self.stop} s", expected="0 <= start < stop"
            )
        if not self.label.strip() or any(sign in self.label for sign in "\r\n\t"):
            raise ArgumentError("a segment's label is empty or holds tabs or line breaks", got=repr(self.label))


def read_segments(path: Path | str) -> list[Segment]:
    """Read the segments of one recording, in the order of time.

    Parameters
    ----------
    path
        ``.csv`` with columns start, stop, label; ``.txt``: labels as Audacity exports them (start, stop and label, tabs
        between them); ``.rttm``: lines ``SPEAKER file channel start duration <NA> <NA> label <NA> <NA>``.

    Raises
    ------
    ArgumentError
        When the file is missing or a line of it is wrong; the message names the line.
    """
    path = as_path(path)
    suffix = _known_suffix(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ArgumentError("the labels cannot be read", where=path, got=error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise ArgumentError("the labels are no text", where=path, expected="UTF-8") from None
    rows = {".csv": _csv_rows, ".txt": _audacity_rows, ".rttm": _rttm_rows}[suffix](text, path)
    segments = []
    for number, (start, stop, label) in rows:
        try:
            segments.append(Segment(float(start), float(stop), label))
        except ValueError as error:
            reason = error.what if isinstance(error, ArgumentError) else "start and stop are no numbers"
            got = f"{start}, {stop}, {label}"
            raise ArgumentError(
                reason, where=f"{path}, line {number}", got=got, expected="seconds and a label"
            ) from None
    return sorted(segments)


def write_segments(path: Path | str, segments: Sequence[Segment]) -> None:
    """Write the segments of one recording, atomically; the suffix says how, as in `read_segments`."""
    path = as_path(path)
    suffix = _known_suffix(path)
    out = io.StringIO()
    if suffix == ".csv":
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(_COLUMNS)
        rows.writerows([f"{s.start:.3f}", f"{s.stop:.3f}", s.label] for s in segments)
    elif suffix == ".txt":
        out.writelines(f"{s.start:.6f}\t{s.stop:.6f}\t{s.label}\n" for s in segments)
    else:
        # Fields of RTTM are separated by blanks, so that no name may hold one.
        name = "_".join(path.stem.split())
        for s in segments:
            label = "_".join(s.label.split())
            out.write(f"SPEAKER {name} 1 {s.start:.3f} {s.stop - s.start:.3f} <NA> <NA> {label} <NA> <NA>\n")
    atomic_write(path, out.getvalue())


def _known_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ArgumentError("labels of that kind are not known", where=path, got=suffix, expected=", ".join(_SUFFIXES))
    return suffix


Rows = list[tuple[int, tuple[str, str, str]]]


def _csv_rows(text: str, path: Path) -> Rows:
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ArgumentError(f"there is no column {missing[0]!r}", where=path, expected=", ".join(_COLUMNS))
    return [(reader.line_num, (row["start"] or "", row["stop"] or "", (row["label"] or "").strip())) for row in reader]


def _audacity_rows(text: str, path: Path) -> Rows:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        # Lines that begin with a backslash hold the frequencies of a spectral selection.
        if not line.strip() or line.startswith("\\"):
            continue
        fields = line.split("\t")
        if len(fields) < 3:
            raise ArgumentError(
                "a line has too few fields", where=f"{path}, line {number}", expected="start\tstop\tlabel"
            )
        rows.append((number, (fields[0], fields[1], fields[2].strip())))
    return rows


def _rttm_rows(text: str, path: Path) -> Rows:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start, duration = float(fields[3]), float(fields[4])
            rows.append((number, (str(start), str(start + duration), fields[7])))
        except (IndexError, ValueError):
            raise ArgumentError(
                "a line is no line of RTTM",
                where=f"{path}, line {number}",
                expected="SPEAKER FILE 1 START DURATION",
            ) from None
    return rows


def frame_clock(duration: float, frame_rate: float) -> NDArray[np.float64]:
    """Return the centres in seconds of the frames of a recording, [T]: at least one, each 1 / frame_rate long."""
    if not (math.isfinite(frame_rate) and frame_rate > 0):
        raise ArgumentError("the frame rate must be positive", where="frame_rate", got=frame_rate, expected="hertz")
    return np.asarray((np.arange(max(round(duration * frame_rate), 1)) + 0.5) / frame_rate, np.float64)


def frame_labels(segments: Sequence[Segment], times: NDArray[np.float64], classes: Sequence[str]) -> Bools:
    """Return which classes each frame has, [T, C], by what sounds at its centre.

    Raises
    ------
    ArgumentError
        When a label is not among the classes.
    """
    known = {name: number for number, name in enumerate(classes)}
    marked = np.zeros((len(times), len(classes)), bool)
    for segment in segments:
        if segment.label not in known:
            raise ArgumentError("a label is not among the classes", got=segment.label, expected=", ".join(classes))
        marked[(times >= segment.start) & (times < segment.stop), known[segment.label]] = True
    return marked


def frame_segments(marked: Bools, frame_rate: float, classes: Sequence[str]) -> list[Segment]:
    """Return the segments in which frames [T, C] keep a class, in the order of time."""
    segments = []
    for number, name in enumerate(classes):
        place = 0
        for value, run in groupby(marked[:, number].tolist()):
            length = len(list(run))
            if value:
                segments.append(Segment(place / frame_rate, (place + length) / frame_rate, name))
            place += length
    return sorted(segments)


def without_short_runs(marked: Bools, least: int) -> Bools:
    """Return decisions [T, C] without runs of fewer than ``least`` frames.

    A run that is too short takes what was decided before it (at the start: after it), shortest runs first, so that no
    decision is left that lasts less, but of a recording that is itself shorter. Classes that exclude each other change
    together: a run is a stretch with one set of classes.
    """
    if least <= 1 or not len(marked):
        return marked.copy()
    changes = np.flatnonzero((marked[1:] != marked[:-1]).any(1)) + 1
    starts = [0, *changes.tolist()]
    lengths = np.diff([*starts, len(marked)]).tolist()
    # Runs that are merged live on in the one whose decision they take. Neighbours are linked, and the shortest is on a
    # heap: hours of decisions that flicker take no longer than their number of runs.
    _, values = np.unique(marked[starts], axis=0, return_inverse=True)
    decision = values.ravel().tolist()
    count = len(starts)
    before, after = list(range(-1, count - 1)), [*range(1, count), -1]

    def merge(gone: int, into: int) -> None:
        lengths[into] += lengths[gone]
        starts[into] = min(starts[into], starts[gone])
        before[after[gone]], after[before[gone]] = before[gone], after[gone]
        lengths[gone] = 0

    # One element more, so that what -1 means can be written to.
    before.append(-1)
    after.append(-1)
    shortest = [(length, start, run) for run, (length, start) in enumerate(zip(lengths, starts, strict=True))]
    heapify(shortest)
    while shortest:
        length, start, run = heappop(shortest)
        if lengths[run] != length or starts[run] != start:
            continue
        if length >= least or before[run] == after[run] == -1:
            break
        into = before[run] if before[run] != -1 else after[run]
        merge(run, into)
        neighbour = after[into]
        if neighbour != -1 and decision[neighbour] == decision[into]:
            merge(neighbour, into)
        heappush(shortest, (lengths[into], starts[into], into))
    kept = np.empty_like(marked)
    firsts = [0, *changes.tolist()]
    for run in range(count):
        if lengths[run]:
            kept[starts[run] : starts[run] + lengths[run]] = marked[firsts[run]]
    return kept
