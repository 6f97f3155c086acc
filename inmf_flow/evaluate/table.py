"""Scores as a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.items import MetricRow
from inmf_flow.files import atomic_write
from inmf_flow.remote import as_path

_COLUMNS = [field.name for field in fields(MetricRow)]


def write_metrics_csv(path: Path | str, rows: Iterable[MetricRow]) -> None:
    """Write scores atomically, a row each under the names of `MetricRow`; NaN is an empty cell."""
    # Names come from file names, which need not be valid text.
    atomic_write(path, "".join(metrics_csv_lines(rows)).encode("utf-8", "surrogateescape"))


def metrics_csv_lines(rows: Iterable[MetricRow]) -> Iterator[str]:
    """Yield the text of such a file, a row at a time, the names first."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    # Python 3.11 leaves a carriage return bare where lines end in a line feed alone, and then cannot read it.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(_COLUMNS)
    for row in rows:
        numbers = (row.value, row.baseline, row.improvement)
        cells = ("" if math.isnan(number) else repr(float(number)) for number in numbers)
        names = (row.item, row.source, row.metric)
        (quoting if "\r" in "".join(names) else writer).writerow([*names, *cells])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    if text.getvalue():
        yield text.getvalue()


def read_metrics_csv(path: Path | str) -> list[MetricRow]:
    """Read the scores that `write_metrics_csv` wrote, exactly.

    Raises
    ------
    ArgumentError
        When the file is not there, or not such a table.
    """
    return list(iterate_metrics_csv(path))


def iterate_metrics_csv(path: Path | str) -> Iterator[MetricRow]:
    """Yield the rows of such a file one at a time; errors as of `read_metrics_csv`."""
    path = as_path(path)
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [column for column in _COLUMNS if column not in (reader.fieldnames or [])]
            if missing:
                raise ArgumentError(
                    "columns are missing",
                    where=path,
                    got=", ".join(reader.fieldnames or []) or "an empty file",
                    expected=", ".join(_COLUMNS),
                )
            for cells in reader:
                yield _parse(path, reader.line_num, cells)
    except OSError as error:
        raise ArgumentError("the table of metrics cannot be read", where=path, got=error.strerror) from None
    except csv.Error as error:
        raise ArgumentError("this is not a table of metrics", where=path, got=str(error)) from None


def _parse(path: Path, line: int, cells: dict[str, str | None]) -> MetricRow:
    where = f"{path}:{line}"
    texts = [cells[column] for column in _COLUMNS]
    present = [text for text in texts if text is not None]
    if len(present) < len(_COLUMNS):
        raise ArgumentError("a row is too short", where=where, expected=f"{len(_COLUMNS)} cells")
    item, source, metric, *numbers = present
    try:
        value, baseline, improvement = (float(text) if text else math.nan for text in numbers)
    except ValueError as error:
        raise ArgumentError("a cell is not a number", where=where, got=str(error)) from None
    return MetricRow(item, source, metric, value, baseline, improvement)
