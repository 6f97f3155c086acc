"""Recordings that could not be used, with the reason, as a CSV file; and a cheap look at whether one can."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from inmf_flow.corpus.reading import open_recording
from inmf_flow.corpus.recording import Recording
from inmf_flow.corpus.tables import write_table
from inmf_flow.errors import ArgumentError, InmfError
from inmf_flow.remote import as_path


@dataclass(frozen=True)
class Quarantined:
    """One recording that could not be used.

    Attributes
    ----------
    item, path
        The recording's name and file.
    stage
        The stage of the pipeline that could not use it.
    reason
        What was wrong, on one line.
    size
        Bytes of the file; None where there is none.
    mtime
        When the file was changed last, seconds since 1970; None where there is no file.
    """

    item: str
    path: str
    stage: str
    reason: str
    size: int | None = None
    mtime: float | None = None

    @classmethod
    def of(cls, recording: Recording, stage: str, reason: str) -> Quarantined:
        """Return the row of a recording, with its file's size and time as they are now."""
        text = " ".join(reason.split())
        try:
            status = recording.path.stat()
        except (OSError, ValueError):
            return cls(recording.item, str(recording.path), stage, text)
        return cls(recording.item, str(recording.path), stage, text, status.st_size, status.st_mtime)


_COLUMNS = [field.name for field in fields(Quarantined)]


def probe(recording: Recording) -> str | None:
    """Return why a recording cannot be used, or None, by its file's header alone.

    The file is there, its header can be read and promises samples, and the segment lies in it. Damage further on only
    decoding finds. A header that does not say how long the audio is, which few have, makes this decode it.
    """
    try:
        open_recording(recording).close()
    except InmfError as error:
        return str(error)
    except OSError as error:
        return f"{recording.path}: {error.strerror or error}"
    return None


def write_quarantine(path: Path | str, rows: Iterable[Quarantined]) -> None:
    """Write ``quarantine.csv`` atomically, a row each under the names of `Quarantined`, in their order, each once.

    Equal rows in any order give equal bytes. Without rows the file has its header alone.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    write_table(path, _COLUMNS, map(astuple, sorted(set(rows), key=_order)))


def _order(row: Quarantined) -> tuple[str, ...]:
    return tuple("" if part is None else str(part) for part in astuple(row))


def read_quarantine(path: Path | str) -> list[Quarantined]:
    """Read what `write_quarantine` wrote.

    Raises
    ------
    ArgumentError
        When the file is not there, or not such a table.
    """
    rows = []
    try:
        with as_path(path).open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, [])
            if header != _COLUMNS:
                raise ArgumentError(
                    "this is not a table of quarantined recordings",
                    where=path,
                    got=", ".join(header) or "an empty file",
                    expected=", ".join(_COLUMNS),
                )
            for cells in reader:
                rows.append(_parse(cells, f"{path}:{reader.line_num}"))
    except OSError as error:
        raise ArgumentError("the quarantine cannot be read", where=path, got=error.strerror) from None
    except csv.Error as error:
        raise ArgumentError("this is not a table of quarantined recordings", where=path, got=str(error)) from None
    return rows


def _parse(cells: list[str], where: str) -> Quarantined:
    try:
        item, path, stage, reason, size, mtime = cells
        return Quarantined(item, path, stage, reason, int(size) if size else None, float(mtime) if mtime else None)
    except ValueError as error:
        raise ArgumentError("a row of the quarantine is wrong", where=where, got=str(error)) from None
