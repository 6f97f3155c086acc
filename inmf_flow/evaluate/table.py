"""Scores as a CSV or Parquet file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from inmf_flow.errors import ArgumentError
from inmf_flow.evaluate.items import MetricRow
from inmf_flow.files import atomic_write
from inmf_flow.remote import as_path

_COLUMNS = [field.name for field in fields(MetricRow)]
# Tables of earlier versions lack the columns after these.
_NEEDED = _COLUMNS[:6]
_NUMBERS = ("value", "baseline", "improvement")
_FURTHER = ("oracle", "estimate")
# Rows held at once where a table is written in parts.
_BATCH = 65_536
_FORMS = (".csv", ".parquet")


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
        further = (row.oracle, row.estimate)
        (quoting if "\r" in "".join(names + further) else writer).writerow([*names, *cells, *further])
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
            missing = [column for column in _NEEDED if column not in (reader.fieldnames or [])]
            if missing:
                raise ArgumentError(
                    "columns are missing",
                    where=path,
                    got=", ".join(reader.fieldnames or []) or "an empty file",
                    expected=", ".join(_NEEDED),
                )
            for cells in reader:
                yield _parse(path, reader.line_num, cells)
    except OSError as error:
        raise ArgumentError("the table of metrics cannot be read", where=path, got=error.strerror) from None
    except csv.Error as error:
        raise ArgumentError("this is not a table of metrics", where=path, got=str(error)) from None


def _parse(path: Path, line: int, cells: dict[str, str | None]) -> MetricRow:
    where = f"{path}:{line}"
    texts = [cells[column] for column in _NEEDED]
    present = [text for text in texts if text is not None]
    if len(present) < len(_NEEDED):
        raise ArgumentError("a row is too short", where=where, expected=f"{len(_NEEDED)} cells")
    item, source, metric, *numbers = present
    try:
        value, baseline, improvement = (float(text) if text else math.nan for text in numbers)
    except ValueError as error:
        raise ArgumentError("a cell is not a number", where=where, got=str(error)) from None
    further = (cells.get(column) or "" for column in _FURTHER)
    return MetricRow(item, source, metric, value, baseline, improvement, *further)


def write_metrics(path: Path | str, rows: Iterable[MetricRow]) -> None:
    """Write scores atomically as what the suffix says, ``.csv`` or ``.parquet``.

    Raises
    ------
    ArgumentError
        For another suffix, or where Parquet is asked for and pyarrow (the extra ``parquet``) is not installed.
    """
    path = as_path(path)
    check_metrics_path(path)
    if path.suffix.lower() == ".csv":
        write_metrics_csv(path, rows)
    else:
        atomic_write(path, metrics_parquet(rows))


def check_metrics_path(path: Path | str) -> None:
    """Raise what `write_metrics` would of a path, before there is anything to write."""
    path = as_path(path)
    if path.suffix.lower() not in _FORMS:
        raise ArgumentError(
            "no such form of table", where=path, got=path.suffix or "no suffix", expected=" or ".join(_FORMS)
        )
    if path.suffix.lower() == ".parquet":
        pyarrow_or_error()


def read_metrics(path: Path | str) -> list[MetricRow]:
    """Read the scores that `write_metrics` wrote, exactly; errors as of it and of `read_metrics_csv`."""
    path = as_path(path)
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else read_metrics_csv(path)


def metrics_parquet(rows: Iterable[MetricRow]) -> bytes:
    """Return a Parquet file of scores: the columns of `MetricRow`, numbers that are not defined being null.

    Names that are not valid text have U+FFFD in them.

    Raises
    ------
    ArgumentError
        Where pyarrow is not installed.
    """
    pa = pyarrow_or_error()
    import pyarrow.parquet

    types = {**dict.fromkeys(_COLUMNS, pa.dictionary(pa.int32(), pa.string())), "item": pa.string()}
    schema = pa.schema([(name, pa.float64() if name in _NUMBERS else types[name]) for name in _COLUMNS])
    sink = io.BytesIO()
    left = iter(rows)
    with pyarrow.parquet.ParquetWriter(sink, schema) as writer:
        while part := list(islice(left, _BATCH)):
            columns = {name: [_parquet_cell(getattr(row, name)) for row in part] for name in _COLUMNS}
            writer.write_table(pa.Table.from_pydict(columns, schema))
    return sink.getvalue()


def pyarrow_or_error() -> Any:
    """Return the module pyarrow.

    Raises
    ------
    ArgumentError
        Where it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise ArgumentError(
            "Parquet needs pyarrow, which is not installed",
            expected="pip install 'inmf-flow[parquet]'",
            hint="CSV needs nothing",
        ) from None
    return pyarrow


def _parquet_cell(cell: str | float) -> str | float | None:
    if isinstance(cell, str):
        return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return None if math.isnan(cell) else float(cell)


def _read_parquet(path: Path) -> list[MetricRow]:
    pa = pyarrow_or_error()
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(path.read_bytes()))
        columns = [table.column(name).to_pylist() for name in _COLUMNS]
    except OSError as error:
        raise ArgumentError("the table of metrics cannot be read", where=path, got=error.strerror) from None
    except (pa.ArrowException, KeyError) as error:
        raise ArgumentError("this is not a table of metrics", where=path, got=str(error)) from None
    found = []
    for cells in zip(*columns, strict=True):
        row: list[Any] = [math.nan if cell is None else cell for cell in cells]
        found.append(MetricRow(*row))
    return found
