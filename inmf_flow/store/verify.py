"""`verify_store`: every byte of a store against its records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.errors import StoreError
from inmf_flow.files import TEMPORARY_MARK, digest_file
from inmf_flow.remote import RemotePath, as_path
from inmf_flow.store.layout import (
    GROUP_FILE,
    MANIFEST,
    PARTS,
    RECORD_SUFFIX,
    group_json,
    is_safe_name,
    root_json,
)
from inmf_flow.store.locks import committing
from inmf_flow.store.manifest import PartRecord, read_record, record_path
from inmf_flow.store.part_reader import PartReader
from inmf_flow.store.points_store import PointsStore


@dataclass(frozen=True)
class StoreProblem:
    """One thing that is not as it was written.

    Attributes
    ----------
    part
        The part's id; empty where the damage is to the store itself.
    item
        An item that cannot be read because of it; None where the file, or the part, is meant.
    file
        The file, relative to the store; empty where no single one is to blame.
    what
        What is wrong.
    """

    part: str
    item: str | None
    file: str
    what: str

    def __str__(self) -> str:
        names = [
            self.file,
            f"part {self.part}" if self.part else "",
            f"item {self.item}" if self.item else "",
        ]
        return f"{', '.join(filter(None, names))}: {self.what}"


def verify_store(path: Path | str) -> list[StoreProblem]:
    """Compare every file of a store with its record, and try every item of parts that do not match.

    Parameters
    ----------
    path
        The store's folder.

    Returns
    -------
    problems
        Empty when every byte is as it was written and nothing was added. Leftovers of a killed writer under a
        temporary name are no problem.

    Raises
    ------
    StoreNotFoundError, StoreError
        When there is no store at all.
    """
    root = as_path(path)
    problems = list(_root_problems(root))
    for name in _names(root / MANIFEST):
        part = name.removesuffix(RECORD_SUFFIX)
        if name.endswith(RECORD_SUFFIX) and is_safe_name(part):
            problems += _part_problems(root, part)
        else:
            problems.append(StoreProblem("", None, f"{MANIFEST}/{name}", "the store did not write this file"))
    problems += _unrecorded(root)
    return problems


def _unrecorded(root: Path) -> Iterator[StoreProblem]:
    recorded = {GROUP_FILE, *(name.removesuffix(RECORD_SUFFIX) for name in _names(root / MANIFEST))}
    names = [name for name in _names(root / PARTS) if name not in recorded and not record_path(root, name).exists()]
    if names:
        # A part that is being committed is a folder first and a record a moment later: wait for that moment.
        # Where the store cannot be written to there is nobody to wait for.
        with suppress(StoreError), committing(root):
            pass
    for name in names:
        if record_path(root, name).exists() or not (root / PARTS / name).exists():
            continue
        if (root / PARTS / name).is_dir() and is_safe_name(name):
            what = "the part has no record: it was deleted, or a writer was killed"
            yield StoreProblem(name, None, f"{PARTS}/{name}", what)
        else:
            yield StoreProblem("", None, f"{PARTS}/{name}", "the store did not write this file")


def _names(folder: Path) -> list[str]:
    """Return the names in a folder but those of temporary files; none where there is no folder."""
    if not isinstance(folder, RemotePath) and not folder.is_dir():
        return []
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(TEMPORARY_MARK))


def _root_problems(root: Path) -> Iterator[StoreProblem]:
    missing = [name for name in (MANIFEST, PARTS) if not (root / name).is_dir()]
    if missing:
        # Raises when there is nothing like a store; a store that lost a folder goes on.
        PointsStore(root)
    for folder in missing:
        # On an object store a folder without objects is none.
        if not isinstance(root, RemotePath):
            yield StoreProblem("", None, folder, "the folder is missing")
    for name, content in ((GROUP_FILE, root_json()), (f"{PARTS}/{GROUP_FILE}", group_json({}))):
        try:
            same = (root / name).read_bytes() == content
        except OSError as error:
            yield StoreProblem("", None, name, f"cannot be read ({error.strerror})")
            continue
        if not same:
            yield StoreProblem("", None, name, "is not what was written, or is a newer inmf_flow's")
    for name in _names(root):
        if name not in (GROUP_FILE, MANIFEST, PARTS):
            yield StoreProblem("", None, name, "the store did not write this file")


def _part_problems(root: Path, part: str) -> list[StoreProblem]:
    try:
        record = read_record(root, part)
    except StoreError as error:
        name = record_path(root, part).relative_to(root).as_posix()
        return [StoreProblem(part, None, name, error.what)]
    if record is None:
        # Deleted since the folder was listed.
        return []
    problems = [StoreProblem(part, None, f"{PARTS}/{part}/{name}", what) for name, what in _file_problems(root, record)]
    if not problems or not record_path(root, part).exists():
        # Whole, or deleted by somebody while it was looked at.
        return []
    return problems + _lost_items(root, record)


def _file_problems(root: Path, record: PartRecord) -> Iterator[tuple[str, str]]:
    folder = root / PARTS / record.part
    # One listing says what else each object would be asked for.
    listed = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*")} if isinstance(root, RemotePath) else {}
    for name, (size, digest) in sorted(record.files.items()):
        path = listed.get(name, folder / name)
        try:
            found = path.stat().st_size
            if not path.is_file() or path.is_symlink():
                yield name, "is not a plain file"
            elif found != size:
                yield name, f"has {found} bytes, but {size} were written"
            elif digest_file(path) != digest:
                yield name, "is not what was written: its digest differs from the record's"
        except OSError as error:
            yield name, f"cannot be read ({error.strerror})"
    expected = set(record.files) | {Path(name).parent.as_posix() for name in record.files}
    for path in sorted(listed.values() if isinstance(root, RemotePath) else folder.rglob("*")):
        if (name := path.relative_to(folder).as_posix()) not in expected:
            yield name, "the store did not write this file"


def _lost_items(root: Path, record: PartRecord) -> list[StoreProblem]:
    """Return the items of a damaged part that cannot be read; the part itself when none can."""
    try:
        reader = PartReader(root, record)
    except StoreError as error:
        return [StoreProblem(record.part, None, "", f"none of its {len(record.items)} items can be read: {error.what}")]
    lost: list[StoreProblem] = []
    for item in record.items:
        try:
            reader.read(item.id)
        except StoreError as error:
            lost.append(StoreProblem(record.part, item.id, "", f"cannot be read: {error.what}"))
    return lost
