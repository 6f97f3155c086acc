"""Where the outputs of a file go: files that appear when all are whole, or ones that a later run can go on with."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from inmf_flow.audio import PartialWavWriter, WavWriter
from inmf_flow.errors import InmfError, OutputError
from inmf_flow.files import atomic_write, digest_bytes, fsync_folder
from inmf_flow.separation.file_segments import Estimates

logger = logging.getLogger("inmf_flow.separation")

PARTIAL = ".partial"
_RECORD, _LOCK = "record.json", "lock"
_FORMAT = 1


class WholeOutputs:
    """Files that appear when the block ends without an error; else nothing is left.

    Parameters
    ----------
    outputs
        The files by source.
    sample_rate, channels
        Of each.

    Attributes
    ----------
    frames
        Samples of each so far.
    is_whole
        Whether nothing is left to be done.
    """

    def __init__(self, outputs: Mapping[str, Path], sample_rate: int, channels: int) -> None:
        self._stack = ExitStack()
        self._writers = {name: WavWriter(path, sample_rate, channels) for name, path in outputs.items()}
        self.frames = 0
        self.is_whole = False

    def __enter__(self) -> WholeOutputs:
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def write(self, piece: Estimates) -> None:
        """Append a stretch [channels, samples] of each source."""
        for name, writer in self._writers.items():
            writer.write(piece[name])
        self.frames += next(iter(piece.values())).shape[-1]

    def commit(self) -> None:
        """Nothing is kept of what is not whole."""

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class PartialOutputs:
    """Files that are written in a hidden folder beside their own places, and kept there when the block is left early.

    After `commit` a later run with the same key goes on from there. Samples are fsynced before the record that speaks
    of them, the record is written atomically, and it holds digests of all samples: what is not exactly as the record
    says is not used. The folder is to be used by one process at a time: see `outputs_for`.

    Parameters
    ----------
    outputs
        The files by source, all in one folder of a local disk.
    sample_rate, channels
        Of each.
    key
        All that outputs depend on, by what it is called in messages.
    restart
        Begin anew whatever there is.

    Attributes
    ----------
    frames
        Samples of each that are written; when the block begins, those of earlier runs.
    is_whole
        Whether nothing is left to be done, as after a crash between the renames.

    Raises
    ------
    OutputError
        When something cannot be written.
    """

    def __init__(
        self, outputs: Mapping[str, Path], sample_rate: int, channels: int, key: Mapping[str, str], restart: bool
    ) -> None:
        self._outputs, self._key, self._restart = dict(outputs), dict(key), restart
        self._folder = _folder_of(outputs)
        self._format = sample_rate, channels
        self._stack = ExitStack()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._writers = {name: PartialWavWriter(self._folder / f"{name}.wav", *self._format) for name in self._outputs}
        self.frames = 0
        self.is_whole = False

    def __enter__(self) -> PartialOutputs:
        with ExitStack() as stack, _saying_what_is_kept(self._folder):
            self._take_up()
            if not self.is_whole:
                for writer in self._writers.values():
                    stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def write(self, piece: Estimates) -> None:
        """Append a stretch [channels, samples] of each source."""
        with _saying_what_is_kept(self._folder):
            for name, writer in self._writers.items():
                writer.write(piece[name])
        self.frames += next(iter(piece.values())).shape[-1]

    def commit(self) -> None:
        """Keep what was written so far, whatever happens from now on."""
        with _saying_what_is_kept(self._folder):
            digests = {name: writer.commit() for name, writer in self._writers.items()}
            # The names of new files must be as durable as what the record says of them.
            fsync_folder(self._folder)
            self._record({"digests": digests})

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        with self._stack as stack:
            if error is None:
                with _saying_what_is_kept(self._folder):
                    self._finish()
            elif isinstance(error, InmfError) and not isinstance(error, OSError):
                # The mixture or the models are at fault: the same would happen again.
                stack.callback(_clear, self._folder)

    def _finish(self) -> None:
        if not self.is_whole:
            for writer in self._writers.values():
                writer.commit()
                writer.__exit__(None, None, None)
            # From here on a file may be in its own place already.
            self._record({"whole": {name: _stamp(writer.path) for name, writer in self._writers.items()}})
        for name, writer in self._writers.items():
            with suppress(FileNotFoundError):
                os.replace(writer.path, self._outputs[name])
        fsync_folder(self._folder.parent)
        _clear(self._folder)

    def _record(self, what: Mapping[str, Any]) -> None:
        body = {"format": _FORMAT, "key": self._key, "frames": self.frames, **what}
        atomic_write(self._folder / _RECORD, json.dumps({**body, "checksum": _checksum(body)}, sort_keys=True))

    def _take_up(self) -> None:
        """Find what an earlier run has left; say why where it is of no use."""
        record = self._folder / _RECORD
        if record.exists() and not self._restart:
            reason = self._fault(record.read_text(errors="replace"))
            if reason is None:
                return
            logger.warning("%s: %s: beginning anew", self._folder, reason)
            self._begin_anew()
        _clear(self._folder, keep_lock=True)

    def _fault(self, text: str) -> str | None:
        """Take up what a record speaks of; return why that is not possible, or None."""
        try:
            record = json.loads(text)
            checksum = record.pop("checksum")
            if checksum != _checksum(record) or record["format"] != _FORMAT:
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            return "the record of what is done is damaged"
        other = [name for name in {**self._key, **record["key"]} if self._key.get(name) != record["key"].get(name)]
        if other:
            return f"what was done is of another {' and '.join(sorted(other))}"
        self.frames = record["frames"]
        if "whole" in record:
            self.is_whole = all(self._is_in_place(name, stamp) for name, stamp in record["whole"].items())
            return None if self.is_whole else "what was done is not there any more"
        sound = (writer.take_up(self.frames, record["digests"][name]) for name, writer in self._writers.items())
        return None if all(sound) else "what was done is damaged"

    def _is_in_place(self, name: str, stamp: Any) -> bool:
        """Return whether a whole file is where it was written, or where it was about to be moved."""
        return any(_stamp(path) == stamp for path in (self._writers[name].path, self._outputs[name]))


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _checksum(body: Any) -> str:
    return digest_bytes(json.dumps(body, sort_keys=True).encode())


def _clear(folder: Path, keep_lock: bool = False) -> None:
    """Remove what is in the folder, the record first: without it nothing else counts."""
    with suppress(FileNotFoundError):
        (folder / _RECORD).unlink()
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink()
    if not keep_lock:
        shutil.rmtree(folder, ignore_errors=True)


def _folder_of(outputs: Mapping[str, Path]) -> Path:
    return next(iter(outputs.values())).parent / PARTIAL


@contextmanager
def outputs_for(
    outputs: Mapping[str, Path], sample_rate: int, channels: int, key: Mapping[str, str] | None, restart: bool
) -> Iterator[WholeOutputs | PartialOutputs]:
    """Give the outputs of a file: ones that a later run can go on with where there is a key.

    Raises
    ------
    OutputError
        When another process is at these outputs.
    """
    if key is not None:
        with _alone_in(_folder_of(outputs)) as alone:
            if alone:
                with PartialOutputs(outputs, sample_rate, channels, key, restart) as partial:
                    yield partial
                return
    with WholeOutputs(outputs, sample_rate, channels) as whole:
        yield whole


@contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, which the end of this process ends too; give False where the file system has none."""
    with _saying_what_is_kept(folder):
        stream, locked = _locked(folder)
    with stream:
        if locked:
            # Or a power failure could take the folder, whatever is durable in it.
            fsync_folder(folder.parent)
            fsync_folder(folder.parent.parent)
        else:
            logger.warning("%s: the file system gives no locks: an interrupted separation begins anew", folder.parent)
            _clear(folder)
        yield locked


def _locked(folder: Path) -> tuple[BinaryIO, bool]:
    path = folder / _LOCK
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Whoever had the lock may have removed it with the folder meanwhile: then there is another to be had.
        with suppress(FileNotFoundError), ExitStack() as stack:
            stream = stack.enter_context(path.open("ab"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    "another process is separating this mixture into the same folder",
                    where=folder.parent,
                    hint="Wait for it to end, or give another folder.",
                ) from None
            except OSError:
                stack.pop_all()
                return stream, False
            if os.fstat(stream.fileno()).st_ino == path.stat().st_ino:
                stack.pop_all()
                return stream, True


@contextmanager
def _saying_what_is_kept(folder: Path) -> Iterator[None]:
    """Let an error of the operating system say that the same command goes on."""
    hint = "What was done is kept: when there is room, or what else is wrong was mended, run the same again."
    try:
        yield
    except OutputError as error:
        if error.hint is None:
            error = OutputError(error.what, where=error.where, got=error.got, hint=hint)
        raise error from None
    except OSError as error:
        got = error.strerror or str(error)
        raise OutputError("the outputs cannot be written", where=error.filename or folder, got=got, hint=hint) from None
