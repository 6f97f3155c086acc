"""Where the sources of a stream go to: files that appear when they are whole, and pipes that others read from."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio.pcm import PcmFormat
from inmf_flow.audio.writer import WavWriter
from inmf_flow.errors import OutputError

Float32 = NDArray[np.float32]

# Blocks that wait for a reader; one that does not read holds the stream up then.
_MOST_WAITING = 256
# Seconds between two looks at whether the reader has gone.
_LOOK = 0.2


class Sink(Protocol):
    """Takes audio block by block."""

    @property
    def gone(self) -> bool:
        """Whether nobody takes what is written any more."""
        ...

    def write(self, audio: Float32) -> None:
        """Take a block, [channels, samples]."""
        ...

    def end(self) -> None:
        """Say that nothing more comes, without waiting for anybody."""
        ...

    def close(self) -> None:
        """Make what was written whole."""
        ...

    def abandon(self) -> None:
        """Leave nothing behind."""
        ...


class FileSink:
    """A WAV file that appears when it is closed."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self.gone = False
        self._writer = WavWriter(path, sample_rate, channels).__enter__()

    def write(self, audio: Float32) -> None:
        """Append a block; a file that cannot be written any more is given up."""
        try:
            self._writer.write(audio)
        except BaseException as error:
            self.gone = True
            self._writer.__exit__(type(error), error, error.__traceback__)
            raise

    def end(self) -> None:
        """Wait for `close`: a file has no reader that could wait."""

    def close(self) -> None:
        """Let the file appear under its name."""
        if not self.gone:
            self.gone = True
            self._writer.__exit__(None, None, None)

    def abandon(self) -> None:
        """Remove what was written."""
        if not self.gone:
            self.gone = True
            error = OutputError("the file was given up", where=self._writer.path)
            self._writer.__exit__(type(error), error, None)


class PipeSink:
    """Bare samples into a pipe, from a thread of its own: a pipe may be opened only when its reader has read another.

    Parameters
    ----------
    opened
        Opens the pipe and returns its file descriptor; it may wait for a reader.
    form
        Of the samples.
    name
        For messages.
    """

    def __init__(self, opened: Callable[[], int], form: PcmFormat, name: str) -> None:
        self.name = name
        self._opened, self._form = opened, form
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._gone = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name=f"pipe {name}", daemon=True)
        self._thread.start()

    @property
    def gone(self) -> bool:
        """Whether the reader has gone."""
        return self._gone.is_set()

    def write(self, audio: Float32) -> None:
        """Hand a block on; wait while the reader is far behind."""
        self._put(self._form.encode(audio))

    def end(self) -> None:
        """Let the reader see the end once it has read everything."""
        self._put(None)

    def close(self) -> None:
        """Wait until all was read, or nobody reads; raise `OutputError` where writing failed for another reason."""
        self._thread.join()
        if self._failure is not None:
            got = self._failure.strerror or str(self._failure)
            raise OutputError("the pipe cannot be written", where=self.name, got=got)

    def abandon(self) -> None:
        """Write nothing more, and do not wait for a reader."""
        self._gone.set()

    def _put(self, data: bytes | None) -> None:
        while not self.gone:
            try:
                self._waiting.put(data, timeout=_LOOK)
                return
            except queue.Full:
                continue

    def _run(self) -> None:
        try:
            descriptor = self._opened()
            try:
                while (data := self._waiting.get()) is not None:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
        except BrokenPipeError:
            pass
        except OSError as error:
            self._failure = error
        finally:
            self._gone.set()


#: In place of a source's name: all sources, one after the other as channels of one stream.
ALL_SOURCES = ""


class Sinks:
    """Several sinks, closed together: all that was written is whole, whatever fails.

    Parameters
    ----------
    sinks
        From a source's name, or `ALL_SOURCES`, to a sink.
    """

    def __init__(self, sinks: dict[str, Sink]) -> None:
        self._sinks = sinks
        self._told: set[str] = set()

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures: list[Exception] = []
        # All end before one is waited for: who reads one pipe to its end may open the next only then.
        for sink in self._sinks.values():
            sink.end()
        for sink in self._sinks.values():
            try:
                sink.close()
            except Exception as failure:
                failures.append(failure)
        if failures and error is None:
            raise failures[0]

    @property
    def gone(self) -> bool:
        """Whether nobody takes anything any more."""
        return all(sink.gone for sink in self._sinks.values())

    def newly_gone(self) -> list[str]:
        """Return the names of sinks whose readers have gone since this was last asked."""
        found = [name for name, sink in self._sinks.items() if sink.gone and name not in self._told]
        self._told.update(found)
        return found

    def write(self, blocks: dict[str, Float32]) -> None:
        """Hand each sink the block of its source, [channels, samples]."""
        for name, sink in self._sinks.items():
            if not sink.gone:
                sink.write(np.concatenate(list(blocks.values())) if name == ALL_SOURCES else blocks[name])
