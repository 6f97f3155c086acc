"""The arrays of a part on an object store, read through Zarr by ranges."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import ObjectStore, StorePath

from inmf_flow.remote import RemotePath
from inmf_flow.remote.client import bucket_store


class RecordedObjects(ObjectStore[Any]):
    """The objects of one part; one that a record names and that is gone is an error, where Zarr would read zeros.

    Parameters
    ----------
    folder
        The part's.
    recorded
        Names of its files, relative to it.
    """

    def __init__(self, folder: RemotePath, recorded: Container[str]) -> None:
        super().__init__(bucket_store(folder.bucket), read_only=True)
        self._prefix = folder.key
        self._recorded = recorded
        self._whole: tuple[str, Buffer] | None = None

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object's bytes, or some of them."""
        name = f"{self._prefix}/{key}"
        try:
            found = await super().get(name, prototype, byte_range)
        except Exception as error:
            if byte_range is None or "NotPartial" not in str(error):
                raise
            # A server that gives no ranges: what is asked for next is most likely of the same shard.
            if self._whole is None or self._whole[0] != key:
                whole = await super().get(name, prototype)
                self._whole = None if whole is None else (key, whole)
            found = None if self._whole is None else _cut(self._whole[1], byte_range)
        if found is None and key in self._recorded:
            raise FileNotFoundError(f"{key} is missing")
        return found


def _cut(whole: Buffer, wanted: ByteRequest) -> Buffer:
    if isinstance(wanted, RangeByteRequest):
        return whole[wanted.start : wanted.end]
    if isinstance(wanted, SuffixByteRequest):
        return whole[max(len(whole) - wanted.suffix, 0) :]
    assert isinstance(wanted, OffsetByteRequest)
    return whole[wanted.offset :]


def open_arrays(
    folder: RemotePath, recorded: Container[str], described: Mapping[str, dict[str, Any]]
) -> dict[str, zarr.Array[Any]]:
    """Return a part's arrays from their metadata, which has been read and checked: nothing is asked for."""
    store = RecordedObjects(folder, recorded)
    return {name: zarr.Array.from_dict(StorePath(store, name), metadata) for name, metadata in described.items()}
