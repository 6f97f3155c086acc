"""`RemotePath`: an object, or a prefix as if it were a folder, under the names that `pathlib.Path` has for things."""

from __future__ import annotations

import errno
import fnmatch
import io
import os
import re
from collections.abc import Callable, Generator, Iterator
from functools import total_ordering
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from inmf_flow.errors import ArgumentError
from inmf_flow.remote import client, listing
from inmf_flow.remote.client import RemoteStatus

# For the type checker a remote path is a path; it is not one when the program runs, so that nothing which only knows
# files of this machine (open, os, shutil) takes it for one: they raise TypeError.
if TYPE_CHECKING:
    _Base = Path
else:
    _Base = object

# `Path` makes one slash of two.
_URL = re.compile(r"s3:/{1,2}([^/]*)(?:/(.*))?", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def is_remote(path: object) -> bool:
    """Return whether a path, or its text, is one of an object store."""
    return isinstance(path, RemotePath) or (isinstance(path, str | Path) and str(path).startswith("s3:/"))


def as_path(path: Path | str | os.PathLike[str]) -> Path:
    """Return a path of this machine, or a `RemotePath` for ``s3://bucket/prefix``.

    Raises
    ------
    ArgumentError
        When the name of a bucket is missing or cannot be one.
    """
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    if text.startswith("s3:/"):
        return RemotePath(text)
    return path if isinstance(path, Path) else Path(text)


def join_path(folder: Path, text: str) -> Path:
    """Return ``folder / text``, where the text may also be a whole path, local or remote."""
    return as_path(text) if is_remote(text) else folder / text


@total_ordering
class RemotePath(_Base):
    """A path such as ``s3://bucket/a/b.wav``; where it leads only requests tell.

    Folders are what keys have in common: they need not be made, and are gone with their last object. Paths that come
    from `iterdir`, `glob` and `rglob` know what the listing said, as `os.DirEntry` does.

    Parameters
    ----------
    url
        ``s3://BUCKET/KEY``; ``.`` and ``..`` in the key are followed.
    """

    __slots__ = ("_is_folder", "_status", "bucket", "key")

    bucket: str
    key: str
    _status: RemoteStatus | None
    _is_folder: bool

    def __init__(self, url: str) -> None:
        match = _URL.fullmatch(url)
        if match is None or not _BUCKET.fullmatch(match[1]):
            raise ArgumentError("this names no bucket", got=repr(url), expected="s3://BUCKET/PREFIX")
        self.bucket = match[1]
        self.key = _normal(match[2] or "")
        self._status = None
        self._is_folder = False

    @classmethod
    def _of(cls, bucket: str, key: str, status: RemoteStatus | None = None, is_folder: bool = False) -> RemotePath:
        made = object.__new__(cls)
        made.bucket, made.key, made._status, made._is_folder = bucket, key, status, is_folder
        return made

    def __str__(self) -> str:
        return client.url_of(self.bucket, self.key)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return RemotePath, (str(self),)

    def __hash__(self) -> int:
        return hash((self.bucket, self.key))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemotePath):
            return NotImplemented
        return (self.bucket, self.key) == (other.bucket, other.key)

    def __lt__(self, other: object) -> bool:
        if isinstance(other, Path) and not isinstance(other, RemotePath):
            # Corpora may have recordings on both sides, and names depend on an order.
            return False
        return self._order() < other._order() if isinstance(other, RemotePath) else NotImplemented

    def _order(self) -> tuple[str, list[str]]:
        return self.bucket, self.key.split("/")

    # What the name says.

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The name's suffix with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> Any:
        """The folder that it is in; the bucket's own."""
        return RemotePath._of(self.bucket, self.key.rpartition("/")[0])

    @property
    def parts(self) -> tuple[str, ...]:
        """The bucket's URL and the parts of the key."""
        return (client.url_of(self.bucket, ""), *(self.key.split("/") if self.key else ()))

    def __truediv__(self, other: Any) -> Any:
        text = str(other)
        if is_remote(text):
            return RemotePath(text)
        if text.startswith("/"):
            return Path(text)
        return RemotePath._of(self.bucket, _normal(f"{self.key}/{text}"))

    def joinpath(self, *others: Any) -> Any:
        """Return the path with others behind it."""
        path: Any = self
        for other in others:
            path = path / other
        return path

    def with_name(self, name: str) -> Any:
        """Return the path beside it of another name."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Any:
        """Return the path with another suffix."""
        return self.parent / f"{self.stem}{suffix}"

    def is_relative_to(self, other: Any, *_: Any) -> bool:
        """Return whether it is the other path, or below it."""
        if not isinstance(other, RemotePath) or other.bucket != self.bucket:
            return False
        return not other.key or f"{self.key}/".startswith(f"{other.key}/")

    def relative_to(self, *other: Any) -> Any:
        """Return the way from a folder above.

        Raises
        ------
        ValueError
            When the other is not above.
        """
        above = as_path(other[0])
        if not self.is_relative_to(above):
            raise ValueError(f"{str(self)!r} is not below {str(above)!r}")
        assert isinstance(above, RemotePath)
        return PurePosixPath(self.key[len(above.key) :].lstrip("/") or ".")

    def as_posix(self) -> str:
        """Return the URL."""
        return str(self)

    def is_absolute(self) -> bool:
        """Say yes: it does not depend on a working directory."""
        return True

    def absolute(self) -> Any:
        """Return itself."""
        return self

    def resolve(self, strict: bool = False) -> Any:
        """Return itself: there are no links."""
        return self

    def expanduser(self) -> Any:
        """Return itself."""
        return self

    # What is there.

    def stat(self, *, follow_symlinks: bool = True) -> Any:
        """Return size, time and tag of the object; `FileNotFoundError` for a folder as for nothing."""
        if self._status is not None:
            return self._status
        status = listing.known(self.bucket, self.key)
        if status is False:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return status or client.head(self.bucket, self.key)

    def exists(self, **_: Any) -> bool:
        """Return whether there is an object of this name, or one below it."""
        return self.is_file() or self.is_dir()

    def is_file(self, **_: Any) -> bool:
        """Return whether there is an object of this name."""
        if self._is_folder or not self.key:
            return False
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self, **_: Any) -> bool:
        """Return whether there are objects below."""
        if self._status is not None or self._is_folder:
            return self._is_folder
        return next(client.objects(self.bucket, self.key), None) is not None

    def is_symlink(self) -> bool:
        """Say no."""
        return False

    def iterdir(self) -> Generator[Any, None, None]:
        """Yield what is right in this folder; nothing where there is none."""
        folders, objects = client.folder(self.bucket, self.key)
        for key in folders:
            yield RemotePath._of(self.bucket, key.rstrip("/"), is_folder=True)
        for key, status in objects:
            yield RemotePath._of(self.bucket, key, status)

    def glob(self, pattern: str) -> Generator[Any, None, None]:
        """Yield objects and folders below that match; ``**`` stands for folders of any depth."""
        parts = [part for part in pattern.split("/") if part]
        if len(parts) == 1 and parts[0] != "**":
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, parts[0]))
            return
        plain = next((n for n, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts) - 1)
        if plain:
            yield from self.joinpath(*parts[:plain]).glob("/".join(parts[plain:]))
            return
        matches = re.compile(_as_regex(parts)).fullmatch
        for path in self.rglob("*"):
            if matches(path.relative_to(self).as_posix()):
                yield path

    def rglob(self, pattern: str) -> Generator[Any, None, None]:
        """Yield objects and folders of any depth below whose names match."""
        folders: set[str] = set()
        for key, status in client.objects(self.bucket, self.key):
            way = key[len(self.key) :].lstrip("/").split("/")
            for depth in range(1, len(way)):
                above = "/".join([self.key, *way[:depth]] if self.key else way[:depth])
                if above not in folders:
                    folders.add(above)
                    if fnmatch.fnmatchcase(way[depth - 1], pattern):
                        yield RemotePath._of(self.bucket, above, is_folder=True)
            if fnmatch.fnmatchcase(way[-1], pattern):
                yield RemotePath._of(self.bucket, key, status)

    # Reading and writing whole objects.

    def open(
        self, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None
    ) -> Any:
        """Open for reading; parts are asked for as they are read, and all are of the same object."""
        if set(mode) - set("rbt"):
            raise io.UnsupportedOperation(f"objects are written whole, not opened with {mode!r}")
        from inmf_flow.remote.stream import RemoteFile

        stream: IO[Any] = io.BufferedReader(RemoteFile(self), 1 << 16)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """Return the object's content."""
        return client.read(self.bucket, self.key)

    def read_text(self, encoding: Any = None, errors: Any = None, *_: Any) -> str:
        """Return the object's content as text, UTF-8 by default."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: Any) -> int:
        """Put the object in place, whole."""
        content = bytes(data)
        listing.forget()
        client.write(self.bucket, self.key, content)
        return len(content)

    def write_text(self, data: str, encoding: Any = None, errors: Any = None, *_: Any) -> int:
        """Put text in place, UTF-8 by default."""
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    def chunks(self) -> Iterator[bytes]:
        """Yield the object's content piece by piece."""
        return client.chunks(self.bucket, self.key)

    def read_range(self, start: int, stop: int) -> bytes:
        """Return some bytes of the object, fewer where it ends before."""
        try:
            return client.read_range(self.bucket, self.key, start, stop)[0]
        except client.NoRangesError:
            with self.open("rb") as stream:
                stream.seek(start)
                data: bytes = stream.read(stop - start)
                return data

    def upload(self, local: Path) -> None:
        """Put a local file's content in place; it appears whole."""
        listing.forget()
        client.upload(self.bucket, self.key, local)

    def download(self, local: Path) -> None:
        """Copy the object to a local file."""
        with local.open("wb") as stream:
            for chunk in self.chunks():
                stream.write(chunk)

    def create(self, data: bytes) -> bool:
        """Put the object in place unless there is one; return whether this was done."""
        from inmf_flow.remote.writing import create

        return create(self, data)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the object."""
        if not missing_ok:
            client.head(self.bucket, self.key)
        listing.forget()
        client.delete(self.bucket, [self.key])

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: folders come with their first object."""

    def rmdir(self) -> None:
        """Do nothing where the folder is empty, since it is then gone."""
        if self.is_dir():
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(self))

    def remove_tree(self) -> None:
        """Remove the object of this name and all below it."""
        listing.forget()
        keys = [key for key, _ in client.objects(self.bucket, self.key)] if self.key else []
        client.delete(self.bucket, [*keys, self.key] if self.key else keys)


def _normal(key: str) -> str:
    parts: list[str] = []
    for part in key.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _as_regex(parts: list[str]) -> str:
    pieces = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            pieces.append(".*" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_one(part) + ("" if last else "/"))
    return "".join(pieces)


def _one(part: str) -> str:
    """Return a pattern of one name as a regular expression; what fnmatch makes of ``*`` also matches a slash."""
    pieces = re.split(r"(\*+|\?|\[[!^]?\]?[^\]]*\])", part)
    return "".join(_wildcard(piece) if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))


def _wildcard(piece: str) -> str:
    if piece[0] in "*?":
        return "[^/]*" if piece[0] == "*" else "[^/]"
    letters = re.escape(piece[1:-1].lstrip("!^")).replace(r"\-", "-")
    return f"[^{letters}]" if piece[1] in "!^" else f"[{letters}]"
