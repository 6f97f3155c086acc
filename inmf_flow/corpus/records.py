"""The records of a CSV or JSON-lines file, one at a time, with the faults of all lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NoReturn

Record = dict[str, Any]

#: No line may have more bytes, and no record of several lines.
MAX_LINE = 1 << 20
#: After so many faults nothing more is read.
MAX_FAULTS = 20

_BOM = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x1f\x8b": "compressed"}
# Without the underscores, the other scripts' digits and the words that `float` takes.
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)


class EnoughError(Exception):
    """Nothing that follows in the file can be made sense of, or there are faults enough."""


class Faults:
    """What is wrong with a file, by line."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, what: str) -> None:
        """Note a fault; `EnoughError` after the last that is wanted."""
        self._found.append((line, what))
        if len(self._found) >= MAX_FAULTS:
            raise EnoughError

    def stop(self, line: int, what: str) -> NoReturn:
        """Note a fault after which reading on makes no sense."""
        self._found.append((line, what))
        raise EnoughError

    def lines(self) -> list[str]:
        """Return the faults as ``FILE:LINE: what is wrong``, in the order of the file."""
        shown = [f"{self._name}:{line}: {what}" for line, what in sorted(self._found, key=lambda fault: fault[0])]
        if len(shown) >= MAX_FAULTS:
            shown.append(f"{self._name}: there may be more faults than these {len(shown)}")
        return shown


def spell(value: object) -> str:
    """Return a value on one line and short enough for a message."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python is willing to print
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def json_records(stream: BinaryIO, faults: Faults) -> Iterator[tuple[int, Record]]:
    """Yield (line, record) of a file with a JSON object a line; empty lines are passed over."""
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
    for number, text in _lines(stream, faults):
        if not text.strip():
            continue
        try:
            record = decoder.decode(text)
        except (ValueError, RecursionError) as error:
            faults.add(number, _json_fault(text, error))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            faults.add(number, f"the line is not a JSON object, got {spell(record)}, {_JSON_SHAPE}")


_JSON_SHAPE = 'expected an object such as {"audio": "a.wav"} on each line'


def _json_fault(text: str, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"the line is nested too deep, {_JSON_SHAPE}"
    if not isinstance(error, json.JSONDecodeError):
        return f"the line is not JSON that can be used ({error}), {_JSON_SHAPE}"
    reason = f"{error.msg} at column {error.colno}"
    return f"the line is not JSON ({reason}), {_JSON_SHAPE}, got {spell(text.strip())}"


def _object(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {spell(next(name for name in names if names.count(name) > 1))} occurs twice")
    return record


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def csv_records(stream: BinaryIO, faults: Faults, required: str) -> Iterator[tuple[int, Record]]:
    """Yield (line, record) of a CSV file with a header; empty cells are left out, empty rows passed over.

    Cells are text. The header has to have the ``required`` column.
    """
    feed = _Feed(stream, faults)
    reader = csv.reader(feed, strict=True)
    names: list[str] | None = None
    while True:
        feed.begin_record()
        begin = feed.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            faults.stop(begin, f"the row is not CSV ({error}), expected cells between commas, quotes in pairs")
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names = _header(cells, begin, faults, required)
        elif len(cells) != len(names):
            faults.add(begin, f"the row has {len(cells)} cells, expected {len(names)}, as the header has")
        else:
            yield begin, {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    if names is None:
        faults.stop(1, f"the file is empty, expected a header with a column {required!r}")


def _header(cells: list[str], line: int, faults: Faults, required: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if required not in names:
        hint = ""
        if len(names) == 1 and re.search(r"[;\t|]", names[0]):
            hint = ": put commas between the columns"
        faults.stop(line, f"the header has no column {required!r}, got {spell(', '.join(names))}{hint}")
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if "" in names:
        faults.stop(line, f"column {names.index('') + 1} of the header has no name")
    if repeated:
        faults.stop(line, f"the header has the column {spell(repeated[0])} twice")
    return names


def number_of(text: str) -> float | None:
    """Return the number that a cell holds, or None."""
    return float(text) if _NUMBER.fullmatch(text) else None


class _Feed:
    """The lines of a file for `csv.reader`, counted; a record of very many lines is a quote that nobody closed."""

    def __init__(self, stream: BinaryIO, faults: Faults) -> None:
        self._lines = _lines(stream, faults)
        self._faults = faults
        self._record = 0
        self._begin = 1
        self.number = 0

    def begin_record(self) -> None:
        """Say that the line to come begins a record."""
        self._record, self._begin = 0, self.number + 1

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        self.number, text = next(self._lines)
        self._record += len(text)
        if self._record > MAX_LINE:
            self._faults.stop(self._begin, f"the row is longer than {MAX_LINE} characters: is a quote left open?")
        return text


def _lines(stream: BinaryIO, faults: Faults) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a UTF-8 file with their ends; a byte order mark is passed over."""
    number = 0
    while raw := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            raw = _without_mark(raw, faults)
        if len(raw) > MAX_LINE:
            faults.stop(number, f"the line is longer than {MAX_LINE} bytes")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            got = f"byte 0x{raw[error.start]:02x} at byte {error.start + 1} of the line"
            faults.add(number, f"the file is not UTF-8, got {got}: save it as UTF-8")
            # Read on for what else is wrong, with cells and quotes where they were.
            text = raw.decode(errors="replace")
        yield number, text


def _without_mark(raw: bytes, faults: Faults) -> bytes:
    kind = _OTHER_ENCODINGS.get(raw[:2])
    if kind is None and b"\0" in raw[:4]:
        kind = "UTF-16 or binary"
    if kind is not None:
        faults.stop(1, f"the file is {kind}, expected UTF-8 text")
    return raw.removeprefix(_BOM)
