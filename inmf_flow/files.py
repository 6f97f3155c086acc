"""Files that are whole or not there: atomic writing, exclusive creation and content digests."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inmf_flow.remote import RemotePath, as_path

TEMPORARY_MARK = ".inmf-tmp-"

# What the last objects that this process has put in place hold: their size and digest.
_uploaded: dict[RemotePath, tuple[int, str]] = {}
_MOST_REMEMBERED = 64


def temporary_name(path: Path) -> Path:
    """Return a name beside ``path`` that nobody else uses and that a sweep recognises as left over."""
    # Not the whole name: with the mark before it, it could be longer than a file system allows.
    return path.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(6)}-{path.name[-50:]}")


def fsync_folder(folder: Path) -> None:
    """Make renames and creations in a folder durable; an object store answers when they are."""
    if isinstance(folder, RemotePath):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make a closed file's content durable."""
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes ``path`` when the block ends without an error.

    The file is fsynced, renamed and its folder fsynced, so that a reader sees the old content, or the new one whole.
    On an error (Ctrl-C included) nothing is left. An object of a store is written to a local temporary file, which is
    uploaded at the end.
    """
    path = as_path(path)
    if isinstance(path, RemotePath):
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_MARK) as folder:
            local = Path(folder, "object")
            yield local
            known = local.stat().st_size, digest_file(local)
            path.upload(local)
            _remember(path, known)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        fsync_file(temporary)
        os.replace(temporary, path)
        fsync_folder(path.parent)
    except BaseException:
        # Whatever went wrong first is what the user must hear of.
        with suppress(OSError):
            temporary.unlink()
        raise


def atomic_write(path: Path | str, content: bytes | str) -> None:
    """Write a file's whole content atomically; text is UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    path = as_path(path)
    if isinstance(path, RemotePath):
        path.write_bytes(data)
        _remember(path, (len(data), _digest(data)))
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def exclusive_write(path: Path | str, content: bytes | str) -> bool:
    """Create a file with its whole content unless it exists; return whether it was created here.

    An object of a store is put in place under the condition that there is none (see `inmf_flow.remote.writing`).
    """
    path = as_path(path)
    data = content.encode() if isinstance(content, str) else content
    if isinstance(path, RemotePath):
        return path.create(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(data)
        fsync_file(temporary)
        try:
            # A hard link, unlike O_EXCL and a write, makes name and content appear together.
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:
            # A file system without hard links: then the name appears first, and readers rely on a checksum.
            try:
                stream = path.open("xb")
            except FileExistsError:
                return False
            try:
                with stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        fsync_folder(path.parent)
        return True
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def remove_tree(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder with all that is in it, or all objects below a prefix."""
    if isinstance(folder, RemotePath):
        try:
            folder.remove_tree()
        except OSError:
            if not ignore_errors:
                raise
        return
    shutil.rmtree(folder, ignore_errors=ignore_errors)


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Give a path of this machine at which a file can be read: its own, or that of a temporary copy of an object."""
    if not isinstance(path, RemotePath):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_MARK) as folder:
        local = Path(folder, path.name)
        path.download(local)
        yield local


def digest_bytes(*parts: bytes) -> str:
    """Return the BLAKE2b digest (32 hexadecimal digits) of the parts, each with its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _remember(path: RemotePath, known: tuple[int, str]) -> None:
    _uploaded[path] = known
    while len(_uploaded) > _MOST_REMEMBERED:
        del _uploaded[next(iter(_uploaded))]


def describe_file(path: Path) -> tuple[int, str]:
    """Return size and digest of a file; those of an object that was just put in place are known without reading it."""
    if isinstance(path, RemotePath) and path in _uploaded:
        # Once: later it may be another's.
        return _uploaded.pop(path)
    return path.stat().st_size, digest_file(path)


def digest_file(path: Path | str) -> str:
    """Return the BLAKE2b digest (32 hexadecimal digits) of a file's content."""
    state = hashlib.blake2b(digest_size=16)
    path = as_path(path)
    if isinstance(path, RemotePath):
        for chunk in path.chunks():
            state.update(chunk)
        return state.hexdigest()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
