"""`repair_store`: what is damaged is removed, so that it counts as not there and is made again."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.errors import StoreError
from inmf_flow.files import (
    TEMPORARY_MARK,
    atomic_write,
    digest_file,
    exclusive_write,
    fsync_folder,
    remove_tree,
)
from inmf_flow.remote import RemotePath, as_path
from inmf_flow.store.layout import (
    ATTRIBUTE,
    GROUP_FILE,
    MANIFEST,
    PARTS,
    RECORD_SUFFIX,
    group_json,
    is_safe_name,
    root_json,
)
from inmf_flow.store.locks import committing, sweeping
from inmf_flow.store.manifest import DamagedRecordError, PartRecord, read_record
from inmf_flow.store.points_store import PointsStore
from inmf_flow.store.verify import StoreProblem, verify_store

# The content of a file that cannot be read for such a reason is not known to be damaged.
_PASSING = frozenset(
    {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN}
    | {errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN}
)


@dataclass(frozen=True)
class LostPart:
    """A part that is damaged, or has no record.

    Attributes
    ----------
    part
        The part's id.
    items
        Ids of the items that are nowhere else in the store; empty where damage hides them.
    reasons
        What is wrong, a line a file.
    """

    part: str
    items: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class StoreRepair:
    """What a repair did, or would do.

    Attributes
    ----------
    lost
        Parts that were removed with their records; what makes the store makes their items again.
    rebuilt
        Files and folders of the store itself that were written anew, relative to the store.
    removed
        What killed writers and others left inside the store's own folders, relative to the store.
    left
        Problems that are not the store's to solve: files of somebody else, and files that cannot be read for a
        reason that may pass.
    """

    lost: tuple[LostPart, ...]
    rebuilt: tuple[str, ...]
    removed: tuple[str, ...]
    left: tuple[StoreProblem, ...]

    @property
    def items(self) -> list[str]:
        """Ids of all items that are lost, sorted, as far as they are known."""
        return sorted({item for part in self.lost for item in part.items})

    @property
    def found_nothing(self) -> bool:
        """Whether the store was whole and clean."""
        return not (self.lost or self.rebuilt or self.removed or self.left)


def repair_store(path: Path | str, *, dry_run: bool = False) -> StoreRepair:
    """Remove what is damaged and what killed writers left, and write the store's own group files anew.

    A part whose files all are as they were written stays as it is. A part is removed as a whole, since its record
    speaks for all of its files; its record goes first, so that a repair that is killed leaves nothing that counts.

    Parameters
    ----------
    path
        The store's folder.
    dry_run
        Change nothing, and say what would be done.

    Returns
    -------
    repair
        What was found and what became of it. `verify_store` then reports ``left`` and nothing else.

    Raises
    ------
    StoreNotFoundError
        When nothing is there.
    StoreError
        When it is no store, or a newer inmf_flow's, while somebody writes to it, or when it cannot be written to.
        Nothing was removed then, but where the last is found out half-way.
    """
    root = as_path(path)
    try:
        _check_ours(root, bool(_sound_records(root)))
        with _nobody_writing(root, dry_run) as missing:
            repair = _survey(root, missing)
            if not dry_run:
                _carry_out(root, repair)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"the store cannot be repaired ({error.strerror or error})", where=root) from error
    return repair


def _sound_records(root: Path) -> dict[str, PartRecord]:
    """Return the records that hold; one of a newer inmf_flow is an error, since it says nothing of damage."""
    records: dict[str, PartRecord] = {}
    # Not `glob`, for which a folder that cannot be listed is an empty one.
    names = [path.name for path in (root / MANIFEST).iterdir()] if (root / MANIFEST).is_dir() else []
    for name in sorted(names):
        part = name.removesuffix(RECORD_SUFFIX)
        if part == name or not is_safe_name(part):
            continue
        try:
            record = read_record(root, part)
        except StoreError as error:
            if isinstance(error, DamagedRecordError) or isinstance(error.__cause__, OSError):
                continue
            raise
        if record is not None:
            records[part] = record
    return records


def _check_ours(root: Path, has_records: bool) -> None:
    """Raise unless something that damage does not make by chance says that this is a store of this format."""
    # Records have checksums: beside one that holds, a root group that says something else is damaged.
    if has_records or (not _claims_a_format(root) and _holds(root / PARTS / GROUP_FILE, group_json({}))):
        return
    PointsStore(root)


def _claims_a_format(root: Path) -> bool:
    try:
        json.loads((root / GROUP_FILE).read_bytes())["attributes"][ATTRIBUTE]["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    return True


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _groups(root: Path) -> dict[Path, bytes]:
    return {root / PARTS / GROUP_FILE: group_json({}), root / GROUP_FILE: root_json()}


@contextmanager
def _nobody_writing(root: Path, dry_run: bool) -> Iterator[list[str]]:
    """Hold off writers, and give the names of what the store itself lacks; locks need the two group files."""
    # On an object store a folder without objects is none.
    folders = () if isinstance(root, RemotePath) else (MANIFEST, PARTS)
    missing = [name for name in folders if not (root / name).is_dir()]
    missing += [path.relative_to(root).as_posix() for path in _groups(root) if not path.exists()]
    if dry_run and missing:
        # Without them nobody can write.
        yield missing
        return
    for name in folders:
        (root / name).mkdir(exist_ok=True)
    for path, content in _groups(root).items():
        if not path.exists():
            exclusive_write(path, content)
    with ExitStack() as stack:
        try:
            alone = stack.enter_context(sweeping(root))
        except StoreError:
            if not dry_run:
                raise
            # A store that can only be read can be looked at all the same.
            alone = True
        if not alone:
            raise StoreError(
                "somebody is writing to the store", where=root, hint="Wait until that run has ended, and try again."
            )
        yield missing


def _survey(root: Path, missing: list[str]) -> StoreRepair:
    """Sort what `verify_store` finds by what is to become of it."""
    rebuilt = set(missing)
    removed = {path.relative_to(root).as_posix() for path in _leftovers(root)}
    left: list[StoreProblem] = []
    by_part: dict[str, list[StoreProblem]] = {}
    for problem in verify_store(root):
        if problem.part:
            by_part.setdefault(problem.part, []).append(problem)
        elif problem.file in (GROUP_FILE, f"{PARTS}/{GROUP_FILE}", MANIFEST, PARTS):
            rebuilt.add(problem.file)
        else:
            left.append(problem)
    lost: dict[str, list[StoreProblem]] = {}
    for part, problems in by_part.items():
        record = _record(root, part)
        folder = f"{PARTS}/{part}/"
        own = {f"{folder}{name}" for name in record.files} if record is not None else set()
        strays = {problem.file for problem in problems if problem.file.startswith(folder)} - own
        if any(_may_pass(root / problem.file) for problem in problems if problem.file):
            left += problems
        elif record is not None and _is_whole(root, record):
            # Whole at the second look: either files were added, or reading failed once.
            removed |= strays
            left += [problem for problem in problems if problem.file not in strays]
        else:
            lost[part] = problems
    kept = {record.part: record for record in _sound_records(root).values() if record.part not in lost}
    known = {(item.id, item.key) for record in kept.values() for item in record.items}
    parts = [
        LostPart(
            part,
            tuple(item for item, key in _items(root, part) if (item, key) not in known),
            tuple(f"{problem.file}: {problem.what}" for problem in problems if problem.file),
        )
        for part, problems in sorted(lost.items())
    ]
    return StoreRepair(tuple(parts), tuple(sorted(rebuilt)), tuple(sorted(removed)), tuple(left))


def _leftovers(root: Path) -> Iterator[Path]:
    for folder in (root, root / MANIFEST, root / PARTS):
        yield from folder.glob(f"{TEMPORARY_MARK}*")


def _record(root: Path, part: str) -> PartRecord | None:
    try:
        return read_record(root, part)
    except StoreError:
        return None


def _is_whole(root: Path, record: PartRecord) -> bool:
    """Return whether every file of a part is as it was written."""
    paths = {root / PARTS / record.part / name: known for name, known in record.files.items()}
    try:
        return all(
            not path.is_symlink() and path.stat().st_size == size and digest_file(path) == digest
            for path, (size, digest) in paths.items()
        )
    except OSError:
        return False


def _may_pass(path: Path) -> bool:
    """Return whether a file cannot be read for a reason that says nothing of its content."""
    try:
        if isinstance(path, RemotePath):
            path.stat()
        elif path.is_dir():
            os.scandir(path).close()
        else:
            path.open("rb").close()
    except OSError as error:
        return error.errno in _PASSING
    return False


def _items(root: Path, part: str) -> list[tuple[str, str]]:
    """Return the ids and keys of a damaged part's items from its record, or else from its item table."""
    record = _record(root, part)
    if record is not None:
        return [(item.id, item.key) for item in record.items]
    try:
        table = json.loads((root / PARTS / part / GROUP_FILE).read_bytes())["attributes"][ATTRIBUTE]["items"]
        return [(str(entry["id"]), str(entry["key"])) for entry in table]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _carry_out(root: Path, repair: StoreRepair) -> None:
    with committing(root):
        for path, content in _groups(root).items():
            if path.relative_to(root).as_posix() in repair.rebuilt:
                _rewrite(path, content)
        for name in repair.removed:
            _discard(root / name)
    store = PointsStore(root)
    for part in repair.lost:
        store.delete_part(part.part)
    fsync_folder(root)


def _rewrite(path: Path, content: bytes) -> None:
    """Write a group file in place: locks are held on it, and one that took its place would have none."""
    if isinstance(path, RemotePath):
        atomic_write(path, content)
        return
    with path.open("rb+") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


def _discard(path: Path) -> None:
    if isinstance(path, RemotePath) or (path.is_dir() and not path.is_symlink()):
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
