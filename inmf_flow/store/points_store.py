"""`PointsStore`: a folder of parts that several processes write to at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from os import scandir
from pathlib import Path
from typing import Any

from inmf_flow.errors import ArgumentError, StoreError, StoreNotFoundError
from inmf_flow.files import TEMPORARY_MARK, exclusive_write, fsync_folder, remove_tree, temporary_name
from inmf_flow.points import PointSet
from inmf_flow.remote import RemotePath, as_path, is_remote
from inmf_flow.store.layout import (
    ATTRIBUTE,
    FORMAT,
    GROUP_FILE,
    MANIFEST,
    PARTS,
    RECORD_SUFFIX,
    group_json,
    is_safe_name,
    root_json,
)
from inmf_flow.store.locks import committing, sweeping, writing
from inmf_flow.store.manifest import PartRecord, read_record, record_path
from inmf_flow.store.part import write_part_folder
from inmf_flow.store.part_reader import PartReader
from inmf_flow.store.remote_parts import part_reader, upload_part

# A folder's time stamp moves in ticks: a listing this fresh could miss what came within the same tick.
_SETTLED_NS = 1_000_000_000


class PointsStore:
    """An existing points store.

    Any number of processes may write parts at once, each part under its own id; a process that dies leaves
    only what `sweep` removes. What has no record is invisible.

    Parameters
    ----------
    path
        The store's folder, such as ``run/points.zarr``.

    Raises
    ------
    StoreNotFoundError
        When nothing is there.
    StoreError
        When something else is there, or the store was made by a newer inmf_flow.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = as_path(path)
        _check_root(self.path)
        self._records: dict[str, tuple[tuple[int, int, int], PartRecord]] = {}
        self._stamp: int | None = None
        self._by_key: dict[str, tuple[str, str]] = {}

    @classmethod
    def open(cls, path: Path | str) -> PointsStore:
        """Open a store that exists."""
        return cls(path)

    @classmethod
    def create(cls, path: Path | str) -> PointsStore:
        """Make an empty store, or open the one that is there.

        Raises
        ------
        StoreError
            When the folder holds something else.
        """
        path = as_path(path)
        if not (path / GROUP_FILE).is_file():
            _refuse_foreign(path)
            try:
                for folder in (path / PARTS, path / MANIFEST):
                    folder.mkdir(parents=True, exist_ok=True)
                exclusive_write(path / PARTS / GROUP_FILE, group_json({}))
                # Last: what has no root group is no store yet.
                exclusive_write(path / GROUP_FILE, root_json())
                fsync_folder(path.parent)
            except OSError as error:
                raise StoreError(f"a store cannot be made here ({error.strerror})", where=path) from error
        return cls(path)

    def __repr__(self) -> str:
        return f"PointsStore({str(self.path)!r})"

    def __reduce__(self) -> tuple[Callable[..., PointsStore], tuple[Path]]:
        return PointsStore, (self.path.absolute(),)

    def records(self) -> list[PartRecord]:
        """Return the records of all parts, sorted by part id.

        Raises
        ------
        StoreError
            When a record is damaged.
        """
        self._refresh()
        return [record for _, (_, record) in sorted(self._records.items())]

    def find(self, key: str) -> tuple[str, str] | None:
        """Return the part and item id recorded under a key: the first part's where several have it."""
        self._refresh()
        return self._by_key.get(key)

    def read_item(self, part_id: str, item_id: str) -> PointSet:
        """Return one item's points, verified as `open_points` does.

        Raises
        ------
        StoreError
            When there is no such part or item, or it is damaged.
        """
        record = read_record(self.path, part_id) if is_safe_name(part_id) else None
        if record is None:
            raise StoreError(f"no part {part_id!r} is recorded", where=self.path)
        if isinstance(self.path, RemotePath):
            return part_reader(self.path, record).read(item_id)
        return PartReader(self.path, record).read(item_id)

    def write_part(
        self, part_id: str, items: Mapping[str, PointSet], keys: Mapping[str, str], config_hash: str
    ) -> PartRecord:
        """Write a batch of items as one part, which counts from the moment that its record appears.

        Parameters
        ----------
        part_id
            Name of the part: letters, digits, dots, dashes and underscores.
        items
            Points by item id.
        keys
            Digest of everything that each item's points depend on, by item id.
        config_hash
            Digest of the configuration, kept in the record.

        Returns
        -------
        record
            This part's. Where a part of this id with the same keys is recorded already, that one's: two tasks
            that do the same work may both call this, and either may lose.

        Raises
        ------
        ArgumentError
            When an id is not usable, or keys and items do not pair up.
        PointsError
            When an item's points are malformed.
        StoreError
            When the part is recorded with other keys (`delete_part` first), or cannot be written.
        """
        _check_arguments(part_id, items, keys)
        if recorded := self._twin(part_id, keys):
            return recorded
        if isinstance(self.path, RemotePath):
            return self._upload(part_id, items, keys, config_hash)
        with writing(self.path):
            folder = temporary_name(self.path / PARTS / part_id)
            try:
                record = write_part_folder(folder, part_id, items, keys, config_hash)
                return self._commit(folder, record)
            except OSError as error:
                raise StoreError(
                    f"part {part_id!r} cannot be written ({error.strerror or error})", where=self.path
                ) from error
            finally:
                remove_tree(folder, ignore_errors=True)
                self._stamp = None

    def _upload(
        self, part_id: str, items: Mapping[str, PointSet], keys: Mapping[str, str], config_hash: str
    ) -> PartRecord:
        try:
            record = upload_part(self.path, part_id, items, keys, config_hash)
            if not exclusive_write(record_path(self.path, part_id), record.to_bytes()):
                return self._twin(part_id, keys) or record
            return record
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"part {part_id!r} cannot be written ({error.strerror})", where=self.path) from error
        finally:
            self._stamp = None

    def _commit(self, folder: Path, record: PartRecord) -> PartRecord:
        parts = self.path / PARTS
        with committing(self.path):
            if recorded := self._twin(record.part, record.keys):
                return recorded
            if (parts / record.part).exists():
                # Nobody recorded it and nobody is about to: whoever made it is dead.
                _remove(parts / record.part)
            folder.rename(parts / record.part)
            fsync_folder(parts)
            if not exclusive_write(record_path(self.path, record.part), record.to_bytes()):
                raise StoreError(f"part {record.part!r} was recorded behind the store's lock", where=self.path)
        return record

    def _twin(self, part_id: str, keys: Mapping[str, str]) -> PartRecord | None:
        recorded = read_record(self.path, part_id)
        if recorded is not None and recorded.keys != dict(keys):
            raise StoreError(
                f"part {part_id!r} is recorded with other items or keys",
                where=self.path,
                hint="Delete it first (PointsStore.delete_part), or give this one another id.",
            )
        return recorded

    def delete_part(self, part_id: str) -> None:
        """Forget a part and remove its files; a part that is not there, or is damaged, is no error."""
        if not is_safe_name(part_id):
            raise ArgumentError("a part id cannot be used", got=repr(part_id))
        with committing(self.path):
            record_path(self.path, part_id).unlink(missing_ok=True)
            fsync_folder(self.path / MANIFEST)
            _remove(self.path / PARTS / part_id)
        self._stamp = None

    def keep_only(self, parts: Collection[str]) -> list[str]:
        """Delete all other parts, those whose records are damaged too.

        Returns
        -------
        deleted
            Their ids.
        """
        recorded = sorted(path.stem for path in (self.path / MANIFEST).glob(f"*{RECORD_SUFFIX}"))
        deleted = [part for part in recorded if is_safe_name(part) and part not in parts]
        for part in deleted:
            self.delete_part(part)
        return deleted

    def sweep(self) -> list[Path]:
        """Remove what killed writers left: temporary files and folders, and parts without a record.

        Nothing recorded is touched, and nothing at all while somebody writes.

        Returns
        -------
        removed
            The paths removed.
        """
        removed: list[Path] = []
        with sweeping(self.path) as alone:
            if not alone:
                return removed
            with committing(self.path):
                # A damaged record is a record: its part is not ours to remove.
                # Nor is `glob` asked for them, to which a folder that cannot be listed is an empty one.
                recorded = {entry.stem for entry in (self.path / MANIFEST).iterdir() if entry.suffix == RECORD_SUFFIX}
                for entry in sorted((self.path / PARTS).iterdir()):
                    if entry.is_dir() and entry.name not in recorded:
                        removed.append(entry)
                for folder in (self.path, self.path / MANIFEST, self.path / PARTS):
                    removed += [p for p in sorted(folder.glob(f"{TEMPORARY_MARK}*")) if p not in removed]
                for entry in removed:
                    _remove(entry)
        return removed

    def _refresh(self) -> None:
        """List the manifest again if it has changed; records themselves never change."""
        folder = self.path / MANIFEST
        if isinstance(folder, RemotePath):
            self._take_listing(self._remote_listing(folder))
            return
        try:
            stamp = folder.stat().st_mtime_ns
            if stamp == self._stamp:
                return
            now = time.time_ns()
            with scandir(folder) as entries:
                found = {
                    entry.name.removesuffix(RECORD_SUFFIX): entry.stat()
                    for entry in entries
                    if entry.name.endswith(RECORD_SUFFIX) and not entry.name.startswith(TEMPORARY_MARK)
                }
        except OSError as error:
            raise StoreError(f"the manifest cannot be listed ({error.strerror})", where=folder) from error
        self._take_listing(found)
        self._stamp = stamp if now - stamp > _SETTLED_NS else None

    def _remote_listing(self, folder: Path) -> dict[str, Any]:
        try:
            return {
                path.name.removesuffix(RECORD_SUFFIX): path.stat()
                for path in folder.iterdir()
                if path.suffix == RECORD_SUFFIX and path.is_file()
            }
        except OSError as error:
            raise StoreError(f"the manifest cannot be listed ({error.strerror})", where=folder) from error

    def _take_listing(self, found: Mapping[str, Any]) -> None:
        """Read the records that are new in a listing."""
        records: dict[str, tuple[tuple[int, int, int], PartRecord]] = {}
        for part, status in sorted(found.items()):
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._records.get(part)
            record = known[1] if known and known[0] == signature else read_record(self.path, part)
            if record is not None:
                records[part] = (signature, record)
        self._records = records
        self._by_key = {}
        for part, (_, record) in records.items():
            for item in record.items:
                self._by_key.setdefault(item.key, (part, item.id))


def is_points_store(path: Path | str) -> bool:
    """Return whether a folder claims to be a points store, of whichever format."""
    try:
        metadata: Any = json.loads((as_path(path) / GROUP_FILE).read_bytes())
        return ATTRIBUTE in metadata["attributes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _check_root(path: Path) -> None:
    if not isinstance(path, RemotePath) and not path.exists():
        raise StoreNotFoundError("no points store is there", where=path)
    try:
        content = (path / GROUP_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        content = b""
        if isinstance(path, RemotePath) and not _has_objects(path):
            raise StoreNotFoundError("no points store is there", where=path, got=error.strerror) from None
    except OSError as error:
        raise StoreError(f"the store cannot be read ({error.strerror})", where=path) from error
    try:
        metadata: Any = json.loads(content)
        found = metadata["attributes"][ATTRIBUTE]["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StoreError(
            "this is not a points store", where=path, expected="a folder such as RUN_DIR/points.zarr"
        ) from None
    if found != FORMAT:
        raise StoreError(
            "the store's format is not one that this inmf_flow reads",
            where=path,
            got=f"format {found!r}",
            expected=f"format {FORMAT}",
            hint="Upgrade inmf_flow.",
        )


def _has_objects(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _refuse_foreign(path: Path) -> None:
    """Raise unless a store can be made at a path: nothing is there, or what an interrupted `create` left."""
    if not is_remote(path) and re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(path)):
        raise StoreError(
            "stores are folders of this machine or of an object store",
            where=path,
            hint="Give a local path, or s3://BUCKET/PREFIX.",
        )
    if not path.exists():
        return
    if not path.is_dir():
        raise StoreError("a store cannot be made here: it is a file", where=path)
    # A root group that was not there a moment ago is that of a twin; opening it tells whether it is one of ours.
    own = {PARTS, MANIFEST, GROUP_FILE}
    foreign = sorted(p.name for p in path.iterdir() if p.name not in own and not p.name.startswith(TEMPORARY_MARK))
    if foreign:
        raise StoreError(
            "a store cannot be made in a folder that holds something else",
            where=path,
            got=", ".join(foreign[:3]),
        )


def _check_arguments(part_id: str, items: Mapping[str, PointSet], keys: Mapping[str, str]) -> None:
    if not is_safe_name(part_id):
        raise ArgumentError(
            "a part id cannot be used",
            got=repr(part_id),
            expected="letters, digits, dots, dashes and underscores, beginning with a letter or digit",
        )
    if not items:
        raise ArgumentError("a part without items cannot be written", where=f"part {part_id!r}")
    if set(items) != set(keys):
        raise ArgumentError(
            "keys and items do not pair up",
            where=f"part {part_id!r}",
            got=", ".join(sorted(set(items) ^ set(keys))[:3]) + " on one side only",
        )


def _remove(path: Path) -> None:
    """Remove a file or folder; a folder is first renamed, so that no half of it stays under its name."""
    if isinstance(path, RemotePath):
        path.remove_tree()
        return
    aside = path if path.name.startswith(TEMPORARY_MARK) else temporary_name(path)
    with suppress(FileNotFoundError):
        if aside is not path:
            path.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            remove_tree(aside)
        else:
            aside.unlink()
