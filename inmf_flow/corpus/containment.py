"""Paths that a manifest gives, kept inside a folder."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from inmf_flow.errors import ArgumentError
from inmf_flow.remote import RemotePath, is_remote

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
# More folders than this are seldom, and are then looked up again.
_KNOWN_FOLDERS = 1 << 16


class UnsafePathError(ValueError):
    """A path cannot be used; the message says why, without saying which."""


class Containment:
    """Turns the paths of a manifest into paths of files or objects, and refuses those that lead out of a folder.

    Symbolic links are followed, so neither ``..``, nor an absolute path, nor a link leads out unseen. Links that change
    after the check are not seen: whoever may write below the root can do more than that anyway.

    Parameters
    ----------
    folder
        Where relative paths start.
    root
        The folder that paths must not leave; None lets them lead anywhere.
    """

    def __init__(self, folder: Path | str, root: Path | str | None) -> None:
        self._folder = str(folder)
        self._remote_folder = RemotePath(self._folder) if is_remote(self._folder) else None
        self.root = None if root is None else _real_root(str(root))
        self._inside = None if self.root is None else self.root.rstrip("/") + "/"
        # Most files of a corpus share their folder with others: following its links once is enough.
        self._real_folder = lru_cache(maxsize=_KNOWN_FOLDERS)(os.path.realpath)

    def resolve(self, given: str) -> str:
        """Return the path of a file, links left as they are.

        Raises
        ------
        UnsafePathError
            When the path is empty, is no path of this system, is a URL, or leads out of the root.
        """
        wrong = _spelling_fault(given)
        if wrong is not None:
            raise UnsafePathError(wrong)
        if is_remote(given) or (self._remote_folder is not None and not given.startswith("/")):
            return self._resolve_remote(given)
        # `..` after a link goes up from where that leads, which only the file system knows.
        path = os.path.join(self._folder, given if ".." in given else os.path.normpath(given))
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise UnsafePathError("holds half a surrogate pair, expected whole characters") from None
        if self._inside is not None:
            real = self._real(path)
            if not f"{real}/".startswith(self._inside):
                raise UnsafePathError(self._way_out(given, real))
        return path

    def _resolve_remote(self, given: str) -> str:
        """Return the URL of an object: there are no links, so its text says where it leads."""
        try:
            path = str(RemotePath(given) if self._remote_folder is None else self._remote_folder / given)
        except ArgumentError as error:
            raise UnsafePathError(f"is no object of a store, expected {error.expected}") from None
        if self._inside is not None and not f"{path}/".startswith(self._inside):
            raise UnsafePathError(self._way_out(given, path))
        return path

    def _real(self, path: str) -> str:
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            return os.path.realpath(path)
        real = os.path.join(self._real_folder(folder), name)
        return os.path.realpath(real) if os.path.islink(real) else real

    def _way_out(self, given: str, real: str) -> str:
        if is_remote(given):
            way = "is an object of a store"
        elif os.path.isabs(given):
            way = "is an absolute path"
        elif os.path.normpath(given).startswith(".."):
            way = "goes up by '..'"
        else:
            way = f"is or passes a symbolic link to {real!r}"
        return f"{way} and leads out of the root {self.root!r}: set 'root', or 'allow_outside: true'"


def _real_root(root: str) -> str:
    return str(RemotePath(root)) if is_remote(root) else os.path.realpath(root)


def _spelling_fault(path: str) -> str | None:
    if not path.strip():
        return "is empty, expected the path of an audio file"
    if "\0" in path:
        return "holds a null byte, which no path can"
    if _URL.match(path) and not path.startswith("s3://"):
        return "is a URL, expected a path or s3://BUCKET/KEY: copy the file to this machine first"
    if _DRIVE.match(path):
        return "begins with a drive letter, expected a path of this system"
    if "\\" in path:
        return "holds a backslash, expected '/' between folders"
    return None
