"""A WAV file that is written over several runs: what was made durable is kept, whatever ends a run."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio.writer import HEADER_BYTES, SAMPLE_BYTES, WavWriter
from inmf_flow.errors import ArgumentError

_READ_BYTES = 1 << 20


class PartialWavWriter(WavWriter):
    """Writes a WAV file in place, and keeps it when its context ends with an error.

    `commit` makes what was written so far durable. A later run gives `take_up` what `commit` said, and appends. Samples
    are those of `WavWriter`, byte for byte, however many runs have written them.

    Parameters
    ----------
    path
        The unfinished file, on a local disk; its folder is there.
    sample_rate
        Hertz.
    channels
        The number of channels.

    Raises
    ------
    ArgumentError, AudioError
        As `WavWriter` does.
    """

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        super().__init__(path, sample_rate, channels)
        self._kept = 0
        self._state = hashlib.blake2b(digest_size=16)

    def take_up(self, frames: int, digest: str) -> bool:
        """Return whether the file begins with so many frames of that digest; if so, they are kept.

        Parameters
        ----------
        frames
            Samples per channel.
        digest
            What `commit` returned when so many had been written.
        """
        state = hashlib.blake2b(digest_size=16)
        left = frames * self.channels * SAMPLE_BYTES
        try:
            with self.path.open("rb") as stream:
                stream.seek(HEADER_BYTES)
                while left and (chunk := stream.read(min(left, _READ_BYTES))):
                    state.update(chunk)
                    left -= len(chunk)
        except OSError:
            return False
        if left or state.hexdigest() != digest:
            return False
        self._kept, self._state = frames, state
        return True

    def _begin(self) -> BinaryIO:
        stream = self._stream = self.path.open("r+b" if self._kept else "w+b")
        self.frames = self._kept
        # What lies beyond was never said to be whole.
        stream.truncate(HEADER_BYTES + self.frames * self.channels * SAMPLE_BYTES)
        stream.write(self._header())
        stream.seek(0, os.SEEK_END)
        return stream

    def _append(self, stream: BinaryIO, interleaved: NDArray[np.float32]) -> None:
        super()._append(stream, interleaved)
        self._state.update(interleaved.data)

    def commit(self) -> str:
        """Make all samples so far durable, and the file one that can be played; return their digest.

        Raises
        ------
        OutputError
            When they cannot be written.
        """
        if self._stream is None:
            raise ArgumentError("the WAV file is not open", where=self.path, hint="Use it in a with statement.")
        try:
            self._stream.seek(0)
            self._stream.write(self._header())
            self._stream.seek(0, os.SEEK_END)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._failure(error) from None
        return self._state.hexdigest()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            # What was not committed is of no use to anybody: whether closing can write it does not matter.
            with suppress(OSError):
                stream.close()
