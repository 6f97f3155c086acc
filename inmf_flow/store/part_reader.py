"""Reading one part: nothing is allocated before it fits the record and the declared layout."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import StoreError
from inmf_flow.points import Block, GridBlock, PointSet, ScatteredBlock
from inmf_flow.remote import RemotePath
from inmf_flow.store.damage import damaged
from inmf_flow.store.layout import (
    ATTRIBUTE,
    BLOCK_COLUMNS,
    COLUMNS,
    FORMAT,
    GRID,
    GROUP_FILE,
    MAX_COMPRESSION,
    NO_CHANNEL_AXIS,
    PARTS,
    SCATTERED,
    ColumnSpec,
    metadata_fault,
)
from inmf_flow.store.manifest import PartRecord

if TYPE_CHECKING:
    import zarr

# Chunks read in one go: enough to keep the decoder's threads busy, few enough for buffers to be reused.
_CHUNKS_AT_ONCE = 8
_MISSING = np.uint64(2**64 - 1)


class _Fault(Exception):
    """Damage found where the part and item are not at hand."""

    def __init__(self, what: str, array: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.array = array


@dataclass(frozen=True)
class _Row:
    """One row of the block table, by the names in `BLOCK_COLUMNS`."""

    item: int
    kind: int
    channels: int
    frequencies: int
    times: int
    first_frequency: int
    first_time: int
    first_magnitude: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the block's magnitudes."""
        own = (self.frequencies, self.times) if self.kind == GRID else (self.times,)
        return own if self.channels == NO_CHANNEL_AXIS else (self.channels, *own)

    @property
    def points(self) -> int:
        """The number of the block's points."""
        # Python's integers: a forged table must not wrap around.
        size = max(self.channels, 1) * self.times
        return size * self.frequencies if self.kind == GRID else size


class PartReader:
    """A recorded part, checked when it is opened and again as it is read.

    Parameters
    ----------
    root
        The store's folder.
    record
        The part's record.

    Raises
    ------
    StoreError
        When files are missing or of the wrong size, or the metadata is not what was written.
    """

    def __init__(self, root: Path, record: PartRecord) -> None:
        self.root = root
        self.record = record
        self._folder = root / PARTS / record.part
        self._index = {item.id: n for n, item in enumerate(record.items)}
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._last_chunk: dict[str, tuple[int, NDArray[Any]]] = {}
        self._described: dict[str, Any] = {}
        try:
            self._check_sizes()
            self._facts = self._item_table()
            for name, rows in record.rows.items():
                self._check_metadata(COLUMNS[name], rows)
                self._check_shards(COLUMNS[name], rows)
            self._open_arrays()
            self._blocks = self._block_table()
        except _Fault as fault:
            self._raise(fault)

    def read(self, item: str) -> PointSet:
        """Return an item's points, bit for bit as they were written.

        Raises
        ------
        StoreError
            When the part has no such item, or the item is damaged; names part, array and item.
        """
        if item not in self._index:
            raise StoreError(f"part {self.record.part!r} has no item {item!r}", where=self.root)
        index = self._index[item]
        try:
            # Zarr reads a missing shard as zeros, also one that went missing a moment ago.
            if not isinstance(self._folder, RemotePath):
                self._check_sizes()
            blocks = tuple(self._block(row) for row in self._blocks[index])
        except _Fault as fault:
            self._raise(fault, item)
        facts = self._facts[index]
        return PointSet(blocks, facts["sample_rate"], facts["duration"], facts["calibration"])

    def _raise(self, fault: _Fault, item: str | None = None) -> NoReturn:
        raise damaged(self.root, fault.what, part=self.record.part, array=fault.array, item=item) from fault.__cause__

    def _check_sizes(self) -> None:
        sizes = self._listed_sizes()
        for name, (size, _) in self.record.files.items():
            array = name.partition("/")[0] if "/" in name else None
            try:
                found = os.stat(f"{self._folder}/{name}").st_size if sizes is None else sizes[name]
            except KeyError:
                raise _Fault(f"{name} is missing", array) from None
            except OSError as error:
                raise _Fault(f"{name} is missing ({error.strerror})", array) from None
            if found != size:
                raise _Fault(f"{name} has {found} bytes, but {size} were written", array)

    def _listed_sizes(self) -> dict[str, int] | None:
        """Return the sizes of a part's objects by one request; None where asking for each is cheap."""
        if not isinstance(self._folder, RemotePath):
            return None
        try:
            found = [path for path in self._folder.rglob("*") if path.is_file()]
        except OSError as error:
            raise _Fault(f"it cannot be listed ({error.strerror})") from None
        return {path.relative_to(self._folder).as_posix(): path.stat().st_size for path in found}

    def _metadata(self, name: str, array: str | None = None) -> Any:
        try:
            data = (self._folder / name).read_bytes()
        except OSError as error:
            raise _Fault(f"{name} cannot be read ({error.strerror})", array) from None
        if hashlib.blake2b(data, digest_size=16).hexdigest() != self.record.files[name][1]:
            raise _Fault(f"{name} is not what was written", array)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _Fault(f"{name} is not JSON", array) from error

    def _item_table(self) -> list[dict[str, Any]]:
        try:
            own = self._metadata(GROUP_FILE)["attributes"][ATTRIBUTE]
            table: list[dict[str, Any]] = own["items"]
            named = [(entry["id"], entry["key"], entry["duration"]) for entry in table]
            complete = all({"sample_rate", "calibration"} <= entry.keys() for entry in table)
        except (KeyError, TypeError, AttributeError) as error:
            raise _Fault("the item table is malformed") from error
        recorded = [(item.id, item.key, item.duration) for item in self.record.items]
        if own.get("format") != FORMAT or named != recorded or not complete:
            raise _Fault("the item table does not fit the record")
        return table

    def _check_metadata(self, spec: ColumnSpec, rows: int) -> None:
        metadata = self._metadata(f"{spec.name}/{GROUP_FILE}", spec.name)
        try:
            fault = metadata_fault(spec, rows, metadata)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise _Fault("its metadata is malformed", spec.name) from error
        if fault:
            raise _Fault(fault, spec.name)
        self._described[spec.name] = metadata

    def _check_shards(self, spec: ColumnSpec, rows: int) -> None:
        """Check that every chunk is there and could hold what it claims, from the shards' indexes."""
        chunk, shard = spec.chunk_rows(rows), spec.shard_rows(rows)
        for number, name in enumerate(spec.files(rows)[1:]):
            wanted = -(-min(shard, rows - number * shard) // chunk)
            size = self.record.files[name][0]
            index_bytes = 16 * (shard // chunk) + 4
            if size < index_bytes:
                raise _Fault(f"{name} is too short to be a shard", spec.name)
            index = np.frombuffer(self._bytes_of(name, spec, size - index_bytes, 16 * wanted), dtype="<u8")
            index = index[: len(index) // 2 * 2].reshape(-1, 2)
            if len(index) < wanted or (index == _MISSING).any():
                raise _Fault(f"{name} lacks chunks", spec.name)
            ends = index[:, 0] + index[:, 1]
            if (ends < index[:, 0]).any() or (ends > size - index_bytes).any():
                raise _Fault(f"the index of {name} points outside it", spec.name)
            if (index[:, 1] * np.uint64(MAX_COMPRESSION) < chunk * spec.row_bytes).any():
                raise _Fault(f"chunks of {name} are too short for what they claim to hold", spec.name)

    def _bytes_of(self, name: str, spec: ColumnSpec, start: int, count: int) -> bytes:
        path = self._folder / name
        if isinstance(path, RemotePath):
            try:
                return path.read_range(start, start + count)
            except OSError as error:
                raise _Fault(f"{name} cannot be read ({error.strerror})", spec.name) from None
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(count)

    def _open_arrays(self) -> None:
        import zarr

        if isinstance(self._folder, RemotePath):
            from inmf_flow.store.remote_arrays import open_arrays

            try:
                self._arrays = open_arrays(self._folder, self.record.files, self._described)
            except Exception as error:
                raise _Fault(f"cannot be opened ({_brief(error)})") from error
            return
        for name in self.record.arrays:
            try:
                self._arrays[name] = zarr.open_array(self._folder / name, mode="r", zarr_format=3)
            except Exception as error:
                raise _Fault(f"cannot be opened ({_brief(error)})", name) from error

    def _block_table(self) -> list[list[_Row]]:
        """Return the blocks of each item, each one checked to lie inside its arrays."""
        table: list[list[_Row]] = [[] for _ in self.record.items]
        if "blocks" in self._arrays:
            values = self._values("blocks", 0, self.record.rows["blocks"])
            for numbers in values.tolist():
                row = _Row(**dict(zip(BLOCK_COLUMNS, numbers, strict=True)))
                self._check_row(row)
                table[row.item].append(row)
        for item, rows in zip(self.record.items, table, strict=True):
            if len(rows) != item.blocks or sum(row.points for row in rows) != item.points:
                raise _Fault(f"item {item.id!r} does not have the points that the record counts", "blocks")
        return table

    def _check_row(self, row: _Row) -> None:
        rows = self.record.rows
        if row.kind == GRID:
            spans = [
                ("grid_times", row.first_time, row.times),
                ("grid_time_weights", row.first_time, row.times),
                ("grid_frequencies", row.first_frequency, row.frequencies),
                ("grid_frequency_weights", row.first_frequency, row.frequencies),
                ("grid_magnitudes", row.first_magnitude, row.points),
            ]
        else:
            spans = [
                ("scattered_times", row.first_time, row.times),
                ("scattered_frequencies", row.first_frequency, row.frequencies),
                ("scattered_point_weights", row.first_time, row.times),
                ("scattered_magnitudes", row.first_magnitude, row.points),
            ]
        if (
            row.kind not in (GRID, SCATTERED)
            or not 0 <= row.item < len(self.record.items)
            or row.channels < 0
            or (row.kind == SCATTERED and row.times != row.frequencies)
            or any(min(first, count) < 0 or first + count > rows.get(name, 0) for name, first, count in spans)
        ):
            raise _Fault("a block lies outside its arrays", "blocks")

    def _block(self, row: _Row) -> Block:
        magnitudes = "grid_magnitudes" if row.kind == GRID else "scattered_magnitudes"
        values = self._values(magnitudes, row.first_magnitude, row.points).reshape(row.shape)
        if row.kind == GRID:
            return GridBlock(
                times=self._values("grid_times", row.first_time, row.times),
                frequencies=self._values("grid_frequencies", row.first_frequency, row.frequencies),
                magnitudes=values,
                time_weights=self._values("grid_time_weights", row.first_time, row.times),
                frequency_weights=self._values("grid_frequency_weights", row.first_frequency, row.frequencies),
            )
        return ScatteredBlock(
            times=self._values("scattered_times", row.first_time, row.times),
            frequencies=self._values("scattered_frequencies", row.first_frequency, row.frequencies),
            magnitudes=values,
            point_weights=self._values("scattered_point_weights", row.first_time, row.times),
        )

    def _values(self, name: str, first: int, count: int) -> NDArray[Any]:
        """Return rows of an array, as an array of their own."""
        spec = COLUMNS[name]
        if count == 0:
            return np.empty(spec.shape(0), dtype=spec.dtype)
        chunk = spec.chunk_rows(self.record.rows[name])
        start, end = first, first + count
        out = np.empty(spec.shape(count), dtype=spec.dtype)
        short = count <= chunk
        step = chunk if short else chunk * _CHUNKS_AT_ONCE
        while start < end:
            border = start // step * step
            stop = min(end, border + step)
            if short:
                values = self._chunk(name, border, chunk)[start - border : stop - border]
            else:
                values = self._stored(name, start, stop)
            out[start - first : stop - first] = values
            start = stop
        return out

    def _chunk(self, name: str, start: int, chunk: int) -> NDArray[Any]:
        """Return the chunk that begins at a row; the last is kept, as short items lie side by side in it."""
        known = self._last_chunk.get(name)
        if known is None or known[0] != start:
            known = start, self._stored(name, start, min(start + chunk, self.record.rows[name]))
            self._last_chunk[name] = known
        return known[1]

    def _stored(self, name: str, start: int, stop: int) -> NDArray[Any]:
        try:
            values = np.asarray(self._arrays[name][start:stop])
        except MemoryError:
            raise
        except Exception as error:
            raise _Fault(f"rows {start} to {stop} cannot be read ({_brief(error)})", name) from error
        if values.shape != COLUMNS[name].shape(stop - start):
            raise _Fault(f"rows {start} to {stop} came back with shape {values.shape}", name)
        return values


def _brief(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
