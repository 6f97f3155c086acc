"""One small tree of errors: every message says what, where, what was got, what was expected and what to do."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any


class InmfError(Exception):
    """Base of every error that inmf_flow raises on purpose.

    Parameters
    ----------
    what
        One sentence without a full stop: what is wrong.
    where
        The file, key, item or argument at fault.
    got, expected
        The value that was found and the one that would have been right.
    hint
        What the user can do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        got: object = None,
        expected: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.got = None if got is None else str(got)
        self.expected = None if expected is None else str(expected)
        self.hint = hint
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.got is not None:
            text += f"; got {self.got}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.hint:
            text += f". {self.hint}"
        return text

    def __str__(self) -> str:
        return self._message()

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders: the keyword-only arguments must survive pickling.
        return _rebuild, (type(self), self.what, self.where, self.got, self.expected, self.hint)


def _rebuild(
    cls: type[InmfError],
    what: str,
    where: str | None,
    got: str | None,
    expected: str | None,
    hint: str | None,
) -> InmfError:
    return cls(what, where=where, got=got, expected=expected, hint=hint)


class ArgumentError(InmfError, ValueError):
    """An argument of a function or a command has a value that cannot work."""


class ConfigError(InmfError, ValueError):
    """A pipeline file or a transform's configuration is wrong."""


class UnknownNameError(InmfError, LookupError):
    """A transform, field, divergence or metric of that name is not installed."""


class AudioError(InmfError, ValueError):
    """An audio file cannot be used: undecodable, empty, or carrying NaN."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """An audio file is not there."""


class AudioUnreachableError(AudioError, OSError):
    """An audio file cannot be opened for a reason that may pass: its disk, the network, permissions."""


class OutputError(InmfError, OSError):
    """A file cannot be written: no space, no permission."""


class PointsError(InmfError, ValueError):
    """A point set is malformed, or cannot do what was asked of it."""


class TransformError(InmfError, ValueError):
    """A transform cannot analyse or synthesize what it was given."""


class StoreError(InmfError, ValueError):
    """A points store is damaged, incomplete or not a store."""


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No points store is at that path."""


class ModelFileError(InmfError, ValueError):
    """A model file is missing, damaged, or not one of ours."""


class NotFittedError(InmfError, AttributeError, ValueError):
    """A model is asked for something that it only knows after ``fit``."""


class PluginError(InmfError, RuntimeError):
    """A plugin broke its contract."""


class ClusterError(InmfError, RuntimeError):
    """The cluster cannot be reached or cannot do what the pipeline asks."""


def describe_exception(error: BaseException) -> str:
    """Return an exception as one line: its type, its first line and where it was raised."""
    lines = str(error).strip().splitlines()
    text = type(error).__name__ + (f": {lines[0]}" if lines else "")
    frames = traceback.extract_tb(error.__traceback__)
    # importlib's own frames say nothing about a plugin.
    frames = traceback.StackSummary.from_list([f for f in frames if not f.filename.startswith("<frozen ")])
    if frames:
        text += f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return text
