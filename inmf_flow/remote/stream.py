"""Reading an object as a seekable file, a range at a time."""

from __future__ import annotations

import io
import tempfile
from typing import IO, TYPE_CHECKING, Any

from inmf_flow.remote import client

if TYPE_CHECKING:
    from inmf_flow.remote.path import RemotePath

# A header, and a short clip as a whole, come with the first request; whoever reads on gets more at a time.
_FIRST, _MOST = 1 << 18, 1 << 22
# Endpoints and buckets whose servers do not give ranges.
_WHOLE_ONLY: set[tuple[str, str]] = set()


class RemoteFile(io.RawIOBase):
    """An object as a file for reading; what is held of it does not grow with its size.

    All that is read is of the object that was there when it was opened: one that is replaced meanwhile is an error.
    Where a server does not give ranges the object is copied into an unnamed temporary file of this machine.

    Attributes
    ----------
    size
        Bytes.
    error
        The first failure, for callers that cannot be told by an exception.

    Raises
    ------
    OSError
        When there is no such object, or it cannot be reached.
    """

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self._bucket, self._key = path.bucket, path.key
        self.path = path
        self.error: OSError | None = None
        self._position = 0
        self._copy: IO[bytes] | None = None
        self._server = (client.endpoint(), path.bucket)
        self._next = _FIRST
        self._blocks: list[tuple[int, bytes]] = []
        if self._server in _WHOLE_ONLY:
            self._copy_whole()
            return
        try:
            first, status = client.read_range(self._bucket, self._key, 0, _FIRST)
        except client.NoRangesError:
            _WHOLE_ONLY.add(self._server)
            self._copy_whole()
            return
        except (FileNotFoundError, PermissionError, ConnectionError):
            raise
        except OSError:
            # Of nothing there is no first part.
            status, first = client.head(self._bucket, self._key), b""
            if status.st_size:
                raise
        self.size, self._etag = status.st_size, status.etag
        self._blocks = [(0, first)]

    def _copy_whole(self) -> None:
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this file
        try:
            for chunk in client.chunks(self._bucket, self._key):
                copy.write(chunk)
        except BaseException:
            copy.close()
            raise
        self.size = copy.tell()
        self._copy = copy

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place; nothing is asked for before something is read."""
        base = {0: 0, 1: self._position, 2: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Read the next bytes, at least one where there are any, into a buffer; return how many."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), self.size - self._position)
        if count <= 0:
            return 0
        if self._copy is not None:
            self._copy.seek(self._position)
            data = self._copy.read(count)
        else:
            start, block = self._block()
            data = block[self._position - start : self._position - start + count]
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _block(self) -> tuple[int, bytes]:
        """Return what is held around the next byte, asked for if it is not."""
        for start, block in self._blocks:
            if start <= self._position < start + len(block):
                return start, block
        last = self._blocks[-1]
        # Reading on, not here and there.
        self._next = min(2 * self._next, _MOST) if self._position == last[0] + len(last[1]) else _FIRST
        stop = min(self._position + self._next, self.size)
        try:
            data, _ = client.read_range(self._bucket, self._key, self._position, stop, self._etag)
            if not data:
                raise ConnectionError("the server gave nothing")
        except OSError as error:
            self.error = self.error or error
            raise
        # The first is kept: decoders come back to the header.
        self._blocks = [self._blocks[0], (self._position, data)]
        return self._blocks[-1]

    def close(self) -> None:
        """Give back what is held."""
        if self._copy is not None:
            self._copy.close()
        self._blocks = []
        super().close()
