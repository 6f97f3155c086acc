"""Locks between the processes that use one store; a killed process's locks go with it.

They are taken on the store's own two group files, which are never replaced, so a store holds nothing but
data. Readers take none. Object stores have no locks, and there these do nothing: a part counts only when its record
is there, which the server creates once, and who removes things is alone by the lock of the run's folder.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inmf_flow.errors import StoreError
from inmf_flow.remote import RemotePath
from inmf_flow.store.layout import GROUP_FILE, PARTS


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold off `sweeping` while a part is written; any number of writers at once."""
    with _locked(root / PARTS / GROUP_FILE, fcntl.LOCK_SH):
        yield


@contextmanager
def sweeping(root: Path) -> Iterator[bool]:
    """Give whether nobody is writing; if so, nobody begins to until the block ends."""
    with _locked(root / PARTS / GROUP_FILE, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
        yield alone


@contextmanager
def committing(root: Path) -> Iterator[None]:
    """Be the only one who moves folders and records; held for a moment."""
    with _locked(root / GROUP_FILE, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[bool]:
    if isinstance(path, RemotePath):
        yield True
        return
    try:
        stream = path.open("rb+")
    except OSError as error:
        raise StoreError(
            f"the store cannot be written to ({error.strerror})",
            where=path,
            hint="Check that it is there and writable.",
        ) from error
    with stream:
        try:
            fcntl.flock(stream, how)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise StoreError(
                f"the file system gives no locks ({error.strerror})",
                where=path,
                hint="Put the store on a local disk, or set `store: none` in the pipeline.",
            ) from error
        yield True
