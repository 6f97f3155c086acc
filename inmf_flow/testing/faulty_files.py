"""`FailingFilesystem`: the file system of one folder, on which a chosen call fails."""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from inmf_flow.errors import ArgumentError

#: What can fail, as `FailingFilesystem` names it.
OPERATIONS = (
    "open",
    "read",
    "write",
    "fsync",
    "rename",
    "link",
    "mkdir",
    "unlink",
    "rmdir",
    "stat",
    "list",
)  # fmt: skip

_FUNCTIONS = {
    "open": "open",
    "fsync": "fsync",
    "rename": "rename",
    "replace": "rename",
    "link": "link",
    "mkdir": "mkdir",
    "unlink": "unlink",
    "remove": "unlink",
    "rmdir": "rmdir",
    "stat": "stat",
    "lstat": "stat",
    "scandir": "list",
    "listdir": "list",
}


class FailingFilesystem:
    """Make one call to the file system fail, of all that this process makes below a folder.

    A context manager. Python's own calls are met: those of `os`, `pathlib`, `shutil`, `open` and of the files that
    these give, in every thread. Libraries that open files in C, and other processes, are not.

    Parameters
    ----------
    folder
        Calls on it and on what is below it count; all others pass.
    fail_at
        Number of the call that fails, from 0; None only counts.
    error
        What it fails with: `errno.ENOSPC`, `errno.EIO`, `errno.EACCES`, ...
    times
        How many calls fail from there on: 1, or `math.inf` for a disk that stays as it is.
    operations
        Which calls count; `OPERATIONS` by default. As on a full disk, ``write`` puts half of its bytes there first.

    Attributes
    ----------
    calls
        (operation, path relative to the folder) of every call that counted.
    failed
        Those of them that failed.

    Examples
    --------
    >>> import errno, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with FailingFilesystem(folder, fail_at=2, error=errno.ENOSPC) as disk:
    ...     try:
    ...         _ = (folder / "a").write_text("content")
    ...         (folder / "a").rename(folder / "b")
    ...     except OSError as error:
    ...         print(error.strerror)
    No space left on device
    >>> disk.calls
    [('open', 'a'), ('write', 'a'), ('rename', 'a')]
    >>> [path.name for path in folder.iterdir()]
    ['a']
    """

    def __init__(
        self,
        folder: Path | str,
        fail_at: int | None = None,
        error: int = errno.EIO,
        *,
        times: float = 1,
        operations: Collection[str] = OPERATIONS,
    ) -> None:
        if unknown := set(operations) - set(OPERATIONS):
            raise ArgumentError("no such operation", got=", ".join(sorted(unknown)), expected=", ".join(OPERATIONS))
        self.calls: list[tuple[str, str]] = []
        self.failed: list[tuple[str, str]] = []
        self._folder = os.path.realpath(folder)
        self._fail_at = fail_at
        self.error = error
        self._times = times
        self._operations = frozenset(operations)
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._active = False

    def __enter__(self) -> FailingFilesystem:
        for name, operation in _FUNCTIONS.items():
            self._replace(os, name, self._counting(getattr(os, name), operation))
        self._replace(io, "open", self._open)
        self._replace(builtins, "open", self._open)
        self._active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._active = False
        self._stack.close()

    def _replace(self, module: Any, name: str, function: Callable[..., Any]) -> None:
        original = getattr(module, name)
        places = [(module, name)]
        # Modules of ours may have imported the function itself.
        for known, other in tuple(sys.modules.items()):
            if known.partition(".")[0] == "inmf_flow" and other is not sys.modules[__name__]:
                places += [(other, own) for own, value in vars(other).items() if value is original]
        for place, own in places:
            setattr(place, own, function)
            self._stack.callback(setattr, place, own, original)

    def _counting(self, original: Callable[..., Any], operation: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            path = arguments[0] if arguments else options.get("path", options.get("src", "."))
            self._meet(operation, path, options.get("dir_fd", options.get("src_dir_fd")))
            return original(*arguments, **options)

        return call

    def _meet(self, operation: str, path: Any, dir_fd: int | None = None) -> None:
        """Count a call, and raise where it is the one that fails."""
        if self._is_next(operation, path, dir_fd):
            self._fail(path)

    def _fail(self, path: Any) -> NoReturn:
        """Raise the error that was asked for."""
        raise OSError(self.error, os.strerror(self.error), str(path))

    def _is_next(self, operation: str, path: Any, dir_fd: int | None = None) -> bool:
        """Count a call and return whether it fails."""
        if not self._active or operation not in self._operations:
            return False
        inside = self._inside(path, dir_fd)
        if inside is None:
            return False
        with self._lock:
            number = len(self.calls)
            self.calls.append((operation, inside))
            fails = self._fail_at is not None and self._fail_at <= number < self._fail_at + self._times
            if fails:
                self.failed.append((operation, inside))
        return fails

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Return a path relative to the folder, or None where it is elsewhere."""
        try:
            if isinstance(path, int):
                name = os.readlink(f"/proc/self/fd/{path}")
            else:
                name = os.fsdecode(path)
                if dir_fd is not None:
                    name = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), name)
        except (OSError, TypeError):
            return None
        # Not `realpath`, which would ask the file system.
        name = os.path.normpath(os.path.join(os.getcwd(), name))
        if name == self._folder:
            return "."
        return name[len(self._folder) + 1 :] if name.startswith(self._folder + os.sep) else None

    def _open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Do what `open` does, on a file whose reads and writes can fail."""
        if self._inside(file) is None:
            return _open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int):
            self._meet("open", file)
        raw = _FailingFile(file, mode.replace("t", "").replace("b", ""), closefd, opener)
        raw.disk, raw.place = self, file
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        stream: Any
        if "+" in mode:
            stream = io.BufferedRandom(raw, size)
        elif "r" in mode:
            stream = io.BufferedReader(raw, size)
        else:
            stream = io.BufferedWriter(raw, size)
        if "b" in mode:
            return stream
        return io.TextIOWrapper(stream, encoding, errors, newline, line_buffering=buffering == 1)


_open = io.open


class _FailingFile(io.FileIO):
    """A file whose reads and writes are counted."""

    disk: FailingFilesystem
    place: Any
    _owes_error = False
    _failed = False

    def write(self, data: Any, /) -> int:
        if self._owes_error:
            self._owes_error = False
            self.disk._fail(self.place)
        if self.disk._is_next("write", self.place):
            half = memoryview(data).cast("B")[: len(data) // 2]
            if self._failed or not half:
                self.disk._fail(self.place)
            self._failed = self._owes_error = True
            # A short count, and an error when the rest is tried, is what a file system gives.
            return super().write(half) or 0
        return super().write(data) or 0

    def readinto(self, buffer: Any, /) -> int:
        self.disk._meet("read", self.place)
        return super().readinto(buffer) or 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.disk._meet("read", self.place)
        return super().read(-1 if size is None else size) or b""

    def readall(self) -> bytes:
        self.disk._meet("read", self.place)
        return super().readall() or b""
