"""Parts on object stores: made on this machine and uploaded, and readers that are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from inmf_flow.errors import StoreError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.points import PointSet
from inmf_flow.remote import RemotePath
from inmf_flow.store.layout import PARTS
from inmf_flow.store.manifest import PartRecord
from inmf_flow.store.part import write_part_folder
from inmf_flow.store.part_reader import PartReader

# By the store and the part's record.
_readers: dict[tuple[str, bytes], PartReader] = {}
_MOST_READERS = 2


def upload_part(
    root: Path, part: str, items: Mapping[str, PointSet], keys: Mapping[str, str], config_hash: str
) -> PartRecord:
    """Write a part's objects and return the record that would make it count.

    Whoever writes the same part at the same time writes the same bytes.

    Raises
    ------
    PointsError
        When an item's points are malformed.
    StoreError
        When objects are gone again.
    OSError
        When they cannot be written.
    """
    target = root / PARTS / part
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_MARK) as place:
        folder = Path(place, part)
        record = write_part_folder(folder, part, items, keys, config_hash)
        for name in sorted(record.files):
            path = target / name
            assert isinstance(path, RemotePath)
            path.upload(folder / name)
    # A sweep of another driver may have taken it for what a killed writer left.
    objects = (path for path in target.rglob("*") if path.is_file())
    there = {path.relative_to(target).as_posix(): path.stat().st_size for path in objects}
    if any(there.get(name) != size for name, (size, _) in record.files.items()):
        raise StoreError(f"objects of part {part!r} are gone again, or cut", where=root)
    return record


def part_reader(root: RemotePath, record: PartRecord) -> PartReader:
    """Return a part's reader, the last ones of which are kept: opening one takes some twenty requests."""
    key = (str(root), record.to_bytes())
    reader = _readers.pop(key, None) or PartReader(root, record)
    _readers[key] = reader
    while len(_readers) > _MOST_READERS:
        del _readers[next(iter(_readers))]
    return reader
