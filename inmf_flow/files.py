"""Files that are whole or not there: atomic writing, exclusive creation and content digests."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_MARK = ".inmf-tmp-"


def temporary_name(path: Path) -> Path:
    """Return a name beside ``path`` that nobody else uses and that a sweep recognises as left over."""
    # Not the whole name: with the mark before it, it could be longer than a file system allows.
    return path.with_name(f"{TEMPORARY_MARK}{secrets.token_hex(6)}-{path.name[-50:]}")


def fsync_folder(folder: Path) -> None:
    """Make renames and creations in a folder durable."""
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
    On an error (Ctrl-C included) nothing is left.
    """
    path = Path(path)
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
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def exclusive_write(path: Path | str, content: bytes | str) -> bool:
    """Create a file with its whole content unless it exists; return whether it was created here."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
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


def digest_bytes(*parts: bytes) -> str:
    """Return the BLAKE2b digest (32 hexadecimal digits) of the parts, each with its length."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.hexdigest()


def digest_file(path: Path | str) -> str:
    """Return the BLAKE2b digest (32 hexadecimal digits) of a file's content."""
    state = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            state.update(chunk)
    return state.hexdigest()
