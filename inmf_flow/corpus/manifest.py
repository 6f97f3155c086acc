"""Manifests: lists of recordings as JSON lines or CSV, with segments and metadata."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from inmf_flow.audio import segment_fault
from inmf_flow.corpus.containment import Containment, UnsafePathError
from inmf_flow.corpus.recording import Recording, Scalar, segment_suffix
from inmf_flow.corpus.records import EnoughError, Faults, Record, csv_records, json_records, number_of, spell
from inmf_flow.errors import ConfigError
from inmf_flow.remote import is_remote

#: Suffixes of files that list recordings instead of being one.
MANIFEST_SUFFIXES = (".jsonl", ".csv")
#: The columns with a meaning; all others are metadata.
MANIFEST_COLUMNS = ("audio", "item", "start", "stop")

# Values that so many lines may share are kept once.
_MAX_SHARED = 4096


class ManifestError(ConfigError):
    """A manifest is wrong; the message has every fault on a line of its own, as ``FILE:LINE: what``.

    Attributes
    ----------
    problems
        The faults, in the order in which they should be read.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return ManifestError, (self.problems,)


@dataclass(frozen=True)
class Manifest:
    """A file that lists recordings, and where their paths may lead.

    Parameters
    ----------
    path
        A ``.jsonl`` or ``.csv`` file. Relative paths in it start from its folder.
    root
        The folder that paths, links followed, must not leave; by default the manifest's.
    allow_outside
        Whether they may lead anywhere.
    """

    path: Path
    root: Path | None = None
    allow_outside: bool = False


class Row(NamedTuple):
    """A line of a manifest, or a file that was found, before it has its name."""

    item: str | None
    path: str
    start: float | None = None
    stop: float | None = None
    keys: tuple[str, ...] = ()
    values: tuple[Scalar, ...] = ()
    manifest: str | None = None
    line: int = 0

    @property
    def suffix(self) -> str:
        """What the name of the segment ends with."""
        return segment_suffix(self.start, self.stop)

    def recording(self, item: str) -> Recording:
        """Return the row under its name."""
        metadata = dict(zip(self.keys, self.values, strict=True))
        return Recording(item, self.path, self.start, self.stop, metadata)


def is_manifest(path: Path | str) -> bool:
    """Return whether a path is that of a manifest, by its suffix."""
    return str(path).lower().endswith(MANIFEST_SUFFIXES)


def read_rows(manifest: Manifest, where: str | None = None) -> list[Row]:
    """Read the lines of a manifest.

    Parameters
    ----------
    manifest
        The file and what it may name.
    where
        The key that names the manifest, for messages about the file as a whole.

    Raises
    ------
    ConfigError
        When the file is not there or is no manifest. A `ManifestError` with all faults when lines are wrong.
    """
    faults = Faults(str(manifest.path))
    rows = []
    try:
        with _open(manifest, where) as stream:
            reader = _Reader(manifest, faults)
            is_csv = str(manifest.path).lower().endswith(".csv")
            records = csv_records(stream, faults, "audio") if is_csv else json_records(stream, faults)
            rows = list(_rows(records, reader))
    except EnoughError:
        pass
    except OSError as error:
        raise ConfigError(
            "the manifest cannot be read", where=where, got=f"{manifest.path}: {error.strerror}"
        ) from None
    if faults:
        raise ManifestError(faults.lines())
    if not rows:
        raise ManifestError([f"{manifest.path}:1: the manifest lists no recordings"])
    return rows


def _rows(records: Iterator[tuple[int, Record]], reader: _Reader) -> Iterator[Row]:
    for line, record in records:
        row = reader.row(line, record)
        if row is not None:
            yield row


def _open(manifest: Manifest, where: str | None) -> BinaryIO:
    path = manifest.path
    if not is_manifest(path):
        raise ConfigError(
            "this is not a manifest", where=where, got=repr(str(path)), expected=f"{' or '.join(MANIFEST_SUFFIXES)}"
        )
    checks_root = manifest.root is not None and not manifest.allow_outside and not is_remote(manifest.root)
    if checks_root and not os.path.isdir(str(manifest.root)):
        raise ConfigError("the root of a manifest is not a folder", where=where, got=repr(str(manifest.root)))
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte in the name
        raise ConfigError(
            "there is no such manifest", where=where, got=repr(str(path)), hint="Check the path."
        ) from None
    if not stat.S_ISREG(mode):
        raise ConfigError("a manifest has to be a file", where=where, got=repr(str(path)))
    return path.open("rb")


class _Reader:
    """Checks records and makes rows of them."""

    def __init__(self, manifest: Manifest, faults: Faults) -> None:
        self._name = str(manifest.path)
        self._faults = faults
        folder: Path | str = manifest.path.parent if is_remote(manifest.path) else os.path.dirname(self._name)
        root = None if manifest.allow_outside else manifest.root or folder or "."
        self._paths = Containment(folder, root)
        self._texts: dict[str, str] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def row(self, line: int, record: Record) -> Row | None:
        """Return the row of a record, or None after noting what is wrong with it."""
        wrong: list[str] = []
        path = self._path(record.pop("audio", None), wrong)
        item = _item(record.pop("item", None), wrong)
        start = _second(record.pop("start", None), "start", wrong)
        stop = _second(record.pop("stop", None), "stop", wrong)
        if (fault := segment_fault(start, stop)) is not None:
            wrong.append(fault)
        keys = self._checked_names(tuple(record), wrong)
        wrong += filter(None, (_value_fault(name, value) for name, value in record.items()))
        for what in wrong:
            self._faults.add(line, what)
        # After a fault no row is used, and a long manifest should not be held for nothing.
        if self._faults:
            return None
        values = tuple(self._once(value) for value in record.values())
        return Row(item, path, start, stop, keys, values, self._name, line)

    def _checked_names(self, names: tuple[str, ...], wrong: list[str]) -> tuple[str, ...]:
        """Return one object for equal names of metadata; what is wrong with them is said for the first line only."""
        known = self._names.get(names)
        if known is not None:
            return known
        wrong += filter(None, map(_name_fault, names))
        if len(self._names) < _MAX_SHARED:
            self._names[names] = names
        return names

    def _once(self, value: Scalar) -> Scalar:
        """Return one object for equal texts, which columns such as a speaker's name have many of."""
        if not isinstance(value, str):
            return value
        known = self._texts.get(value)
        if known is None and len(self._texts) < _MAX_SHARED:
            self._texts[value] = value
        return value if known is None else known

    def _path(self, value: object, wrong: list[str]) -> str:
        if value is None:
            wrong.append("'audio' is missing, expected the path of an audio file")
        elif not isinstance(value, str):
            wrong.append(f"audio is {spell(value)}, expected the path of an audio file as text")
        else:
            try:
                return self._paths.resolve(value)
            except UnsafePathError as error:
                wrong.append(f"audio {spell(value)} {error}")
        return ""


def _item(value: object, wrong: list[str]) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip():
        return value
    wrong.append(f"item is {spell(value)}, expected a name as text")
    return None


def _second(value: object, name: str, wrong: list[str]) -> float | None:
    if value is None:
        return None
    # CSV has only text.
    number = number_of(value) if isinstance(value, str) else value
    if isinstance(number, int | float) and not isinstance(number, bool):
        try:
            return float(number)
        except OverflowError:
            return math.inf
    wrong.append(f"{name} is not a number, got {spell(value)}, expected seconds")
    return None


def _name_fault(name: str) -> str | None:
    """Return what is wrong with the name of metadata, or None."""
    if name.strip().casefold() in MANIFEST_COLUMNS:
        return f"unknown column {spell(name)}, did you mean {name.strip().casefold()!r}?"
    if not name.strip():
        return "metadata has to have a name"
    if not _is_text(name):
        return f"the name {spell(name)} holds half a surrogate pair, expected whole characters"
    return None


def _value_fault(name: str, value: object) -> str | None:
    """Return what is wrong with a value that is to be metadata, or None."""
    if isinstance(value, dict | list):
        return f"{spell(name)} is nested, got {spell(value)}, expected text, a number, true, false or null"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{spell(name)} is not a finite number"
    if not _is_text(value):
        return f"{spell(name)} holds half a surrogate pair, expected whole characters"
    return None


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
