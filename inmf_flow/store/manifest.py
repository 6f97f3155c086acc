"""Records: the small JSON files that make parts count.

A record is written last, whole or not at all, and holds what a reader needs to trust the part: its items, the
shape of every array, the size and digest of every file, and a checksum over itself. It carries no time of
day, so equal input gives equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow.errors import StoreError
from inmf_flow.files import digest_bytes
from inmf_flow.store.damage import damaged
from inmf_flow.store.layout import COLUMNS, FORMAT, MANIFEST, RECORD_SUFFIX, canonical_json, part_files


@dataclass(frozen=True)
class ItemRecord:
    """One item of a part.

    Attributes
    ----------
    id
        The item's name.
    key
        Digest of everything that its points depend on; the caller's.
    points, blocks
        How many it has.
    duration
        Seconds, or None where it is not known.
    """

    id: str
    key: str
    points: int
    blocks: int
    duration: float | None


@dataclass(frozen=True)
class PartRecord:
    """What the manifest says of one part.

    Attributes
    ----------
    part
        The part's id.
    config_hash
        Digest of the configuration that made it; the caller's.
    items
        Its items, sorted by id.
    arrays
        Shape and dtype of each array.
    files
        Size in bytes and BLAKE2b digest of each file, by path relative to the part.
    """

    part: str
    config_hash: str
    items: tuple[ItemRecord, ...]
    arrays: Mapping[str, tuple[tuple[int, ...], str]]
    files: Mapping[str, tuple[int, str]]

    @cached_property
    def keys(self) -> dict[str, str]:
        """The key of each item, by item id."""
        return {item.id: item.key for item in self.items}

    @property
    def points(self) -> int:
        """The number of points over all items."""
        return sum(item.points for item in self.items)

    @property
    def nbytes(self) -> int:
        """Bytes of the part's files, its record not included."""
        return sum(size for size, _ in self.files.values())

    @property
    def rows(self) -> dict[str, int]:
        """The length of each array's first dimension."""
        return {name: shape[0] for name, (shape, _) in self.arrays.items()}

    def to_bytes(self) -> bytes:
        """Return the record's file."""
        body = self._body()
        return canonical_json({**body, "checksum": digest_bytes(canonical_json(body))})

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "part": self.part,
            "config_hash": self.config_hash,
            "items": [vars(item) for item in self.items],
            "arrays": {name: {"shape": list(s), "dtype": d} for name, (s, d) in self.arrays.items()},
            "files": {name: list(entry) for name, entry in self.files.items()},
        }


def record_path(root: Path, part: str) -> Path:
    """Return where a part's record is."""
    return root / MANIFEST / f"{part}{RECORD_SUFFIX}"


def read_record(root: Path, part: str) -> PartRecord | None:
    """Return a part's record, or None where there is none.

    Raises
    ------
    StoreError
        When the record is damaged, or made by a newer inmf_flow.
    """
    path = record_path(root, part)
    where = path.relative_to(root)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise damaged(root, f"{where} cannot be read ({error.strerror})", part=part) from error
    try:
        record = _parse(data)
    except _NewerFormatError as error:
        raise StoreError(
            "a record was made by a newer inmf_flow",
            where=path,
            got=f"format {error}",
            expected=f"format {FORMAT}",
            hint="Upgrade inmf_flow.",
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise damaged(root, f"the record {where} is damaged", part=part, kind=DamagedRecordError) from None
    if record.part != part:
        what = f"the record {where} is another part's"
        raise damaged(root, what, part=part, got=repr(record.part), kind=DamagedRecordError)
    return record


class DamagedRecordError(StoreError):
    """A record is not what was written; its part can only be made again."""


class _NewerFormatError(Exception):
    pass


def _parse(data: bytes) -> PartRecord:
    body = json.loads(data)
    claimed = body.pop("checksum")
    if digest_bytes(canonical_json(body)) != claimed:
        raise ValueError("checksum")
    if body["format"] != FORMAT:
        raise _NewerFormatError(body["format"])
    record = PartRecord(
        part=body["part"],
        config_hash=body["config_hash"],
        items=tuple(ItemRecord(**item) for item in body["items"]),
        arrays={name: (tuple(entry["shape"]), entry["dtype"]) for name, entry in body["arrays"].items()},
        files={name: (size, digest) for name, (size, digest) in body["files"].items()},
    )
    # White space and repeated keys do not enter the checksum: only the one spelling is ours.
    if record.to_bytes() != data:
        raise ValueError("spelling")
    _check_declared(record)
    return record


def _check_declared(record: PartRecord) -> None:
    for name, (shape, dtype) in record.arrays.items():
        spec = COLUMNS[name]
        rows = shape[0]
        if type(rows) is not int or not 0 < rows < 2**63 // spec.row_bytes:
            raise ValueError("rows")
        if shape != spec.shape(rows) or dtype != np.dtype(spec.dtype).name:
            raise ValueError("array")
    # Counted before it is listed: a forged shape would make the list itself endless.
    shards = sum(-(-rows // COLUMNS[name].shard_rows(rows)) for name, rows in record.rows.items())
    if shards + len(record.arrays) + 1 != len(record.files) or part_files(record.rows) != set(record.files):
        raise ValueError("files")
    if len(record.keys) != len(record.items):
        raise ValueError("items")
