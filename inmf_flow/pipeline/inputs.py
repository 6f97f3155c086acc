"""Digests of files that a run reads or has written, remembered as long as size and modification time stay the same.

Workers digest what they read, and say so in their receipts; the driver itself reads a file only where a record says
what it should be and its stamp is not known, as after files were copied or touched.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow.files import atomic_write, digest_file
from inmf_flow.pipeline.digest_table import ROW, DigestTable
from inmf_flow.pipeline.ledger import digest_json
from inmf_flow.remote import as_path, is_remote

#: The digest of a file that cannot be read: it changes when the file appears.
UNREADABLE = "unreadable"
#: Stands for the digest of files that the worker has to digest.
UNREAD = "unread"

Stamp = tuple[str, int, int, str]
"""A file's path, size, modification time in nanoseconds, and digest."""

# A file changed within this time of its digest may change again without its modification time showing it.
_SETTLED_NS = 2_000_000_000
_MAGIC = b"inmfdig1"
# Rows that are learned before they are written and sorted in, and that are read at a time.
_MOST_PENDING = 1 << 15
_MOST_READ = 1 << 17
_READERS = 8


class InputDigests:
    """Content digests of input files and of earlier results.

    A million files take 24 MB, on the disk and in memory.

    Parameters
    ----------
    path
        The file that remembers them between runs. It is appended to while the run goes on; what is damaged in it is
        read anew from the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._base = f"{path.parent.parent}/"
        # A row that two files share by chance, or that is damaged, gives a digest that no record names: the item is
        # done again, and nothing worse.
        self._table = DigestTable()
        self._pending: dict[int, bytes] = {}
        self._on_disk = 0
        self._broken = False
        with _readable(), path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                # A run that was killed may have left a part of a row at the end.
                while whole := len(data := file.read(_MOST_READ * ROW.itemsize)) // ROW.itemsize:
                    self._table.add(np.frombuffer(data, ROW, whole))
                    self._on_disk += whole

    def get(self, path: Path | str) -> str:
        """Return the digest of a file's content, or `UNREADABLE`; the file is read if that is not known."""
        known = self.known(path)
        return known if known != UNREAD else self._read(path)

    def known(self, path: Path | str) -> str:
        """Return the digest of a file's content, `UNREADABLE`, or `UNREAD` where only its content can tell."""
        try:
            status = file_status(path)
        except ConnectionError:
            # An object store that cannot be reached says nothing of what is in it.
            raise
        except (OSError, ValueError):
            return UNREADABLE
        if not stat.S_ISREG(status.st_mode):
            # A pipe would keep us waiting.
            return UNREADABLE
        return self._find(str(path), status.st_size, status.st_mtime_ns) or UNREAD

    def get_all(self, paths: Iterable[Path | str]) -> dict[str, str]:
        """Return the digests of files by their paths; those that have to be read are read several at a time."""
        found = {str(path): self.known(path) for path in paths}
        unread = [path for path, digest in found.items() if digest == UNREAD]
        if len(unread) > 1:
            with ThreadPoolExecutor(_READERS) as readers:
                read = list(readers.map(read_digest, unread))
        else:
            read = [read_digest(path) for path in unread]
        for path, (digest, stamp) in zip(unread, read, strict=True):
            found[path] = digest
            self.learn_stamps([stamp] if stamp else ())
        return found

    def fault(self, path: Path | str, size: int, digest: str) -> str | None:
        """Return what has become of a file that should have this content: ``is gone``, ``has changed``, or None."""
        try:
            status = file_status(path)
        except ConnectionError:
            raise
        except (OSError, ValueError):
            return "is gone"
        if status.st_size != size or not stat.S_ISREG(status.st_mode):
            return "has changed"
        found = self._find(str(path), size, status.st_mtime_ns) or self._read(path)
        return None if found == digest else "has changed"

    def learn_stamps(self, stamps: Iterable[Stamp]) -> None:
        """Take over what workers have seen."""
        for path, size, changed, digest in stamps:
            with suppress(ValueError):
                self._pending[self._hash(path, size, changed)] = bytes.fromhex(digest)
        if len(self._pending) >= _MOST_PENDING:
            self.save()

    def save(self) -> None:
        """Remember what was learned; that the disk is full only costs reading files again."""
        if not self._pending:
            return
        rows = np.empty(len(self._pending), ROW)
        rows["stamp"] = np.fromiter(self._pending.keys(), np.uint64, len(rows))
        rows["digest"] = np.frombuffer(b"".join(self._pending.values()), "V16")
        self._pending.clear()
        self._table.add(rows)
        if not self._broken:
            try:
                self._write(rows)
            except OSError:
                self._broken = True

    def _write(self, rows: Any) -> None:
        if is_remote(self.path):
            # Nothing can be appended to an object: it is written whole.
            atomic_write(self.path, _MAGIC + b"".join(rows.tobytes() for rows in self._table.rows()))
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = len(_MAGIC) + self._on_disk * ROW.itemsize if self._on_disk else 0
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            # What a killed run left unfinished is overwritten.
            data = (b"" if end else _MAGIC) + rows.tobytes()
            if os.pwrite(descriptor, data, end) < len(data):
                raise OSError("only a part could be written")
            os.ftruncate(descriptor, end + len(data))
        finally:
            os.close(descriptor)
        self._on_disk += len(rows)

    def _read(self, path: Path | str) -> str:
        digest, stamp = read_digest(path)
        self.learn_stamps([stamp] if stamp else ())
        return digest

    def _find(self, path: str, size: int, changed: int) -> str | None:
        sought = self._hash(path, size, changed)
        digest = self._pending.get(sought) or self._table.find(sought)
        return digest.hex() if digest is not None else None

    def _hash(self, path: str, size: int, changed: int) -> int:
        # A run's folder may be moved as a whole.
        name = path.removeprefix(self._base)
        text = f"{size}:{changed}:{name}".encode(errors="surrogateescape")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


@contextmanager
def _readable() -> Iterator[None]:
    """Let a file that is not there, or cannot be read, be as good as none; a store that cannot be reached is not."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError:
        pass


def read_digest(path: Path | str) -> tuple[str, Stamp | None]:
    """Return the digest of a file's content, and its stamp where that stands for it, or `UNREADABLE`."""
    try:
        status = file_status(path)
        if not stat.S_ISREG(status.st_mode):
            return UNREADABLE, None
        digest = digest_file(path)
    except ConnectionError:
        raise
    except (OSError, ValueError):
        return UNREADABLE, None
    settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
    return digest, (str(path), status.st_size, status.st_mtime_ns, digest) if settled else None


def output_stamp(path: Path | str, digest: str) -> Stamp | None:
    """Return the stamp of a file that the run itself has just put in place, and does not write again."""
    with suppress(OSError, ValueError):
        status = file_status(path)
        return str(path), status.st_size, status.st_mtime_ns, digest
    return None


def complete_inputs(inputs: Mapping[str, str], payload: Mapping[str, Any]) -> tuple[Mapping[str, str], list[Stamp]]:
    """Digest the files of a payload that its inputs leave to the worker; return the inputs and the files' stamps."""
    stamps: list[Stamp] = []

    def digested(path: str) -> str:
        digest, stamp = read_digest(path)
        stamps.extend([stamp] if stamp else ())
        return digest

    found = dict(inputs)
    for name, value in inputs.items():
        if value != UNREAD:
            continue
        if name == "references":
            digests = {source: digested(path) for source, path in payload["references"].items()}
            found[name] = digest_json(digests)
        else:
            found[name] = digested(payload["path"])
    return found, stamps


def file_status(path: Path | str) -> Any:
    """Return a file's size and time of change, at the least cost: a run asks for millions."""
    return as_path(path).stat() if is_remote(path) else os.stat(path)
