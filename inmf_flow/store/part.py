"""Writing one part: the blocks of a batch of items become ragged columns in a Zarr group."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import PointsError
from inmf_flow.files import digest_bytes, digest_file, fsync_file, fsync_folder
from inmf_flow.points import Block, GridBlock, PointSet, ScatteredBlock
from inmf_flow.store.layout import (
    ATTRIBUTE,
    BLOCK_COLUMNS,
    COLUMNS,
    FORMAT,
    GRID,
    GROUP_FILE,
    NO_CHANNEL_AXIS,
    SCATTERED,
    ColumnSpec,
)
from inmf_flow.store.manifest import ItemRecord, PartRecord

if TYPE_CHECKING:
    import zarr


def write_part_folder(
    folder: Path, part: str, items: Mapping[str, PointSet], keys: Mapping[str, str], config_hash: str
) -> PartRecord:
    """Write a part's Zarr group into a new folder, durably, and return the record that would make it count.

    Raises
    ------
    PointsError
        When an item's points are malformed.
    """
    import zarr

    columns = _Columns()
    table: list[dict[str, Any]] = []
    records: list[ItemRecord] = []
    # Sorted, so that the order in which a task met its items changes nothing.
    for index, item in enumerate(sorted(items)):
        points = items[item]
        try:
            for block in points.blocks:
                columns.add(index, block)
            table.append({"id": item, "key": keys[item], **_facts(points)})
        except PointsError as error:
            raise PointsError(
                error.what, where=f"item {item!r}", got=error.got, expected=error.expected, hint=error.hint
            ) from None
        records.append(ItemRecord(item, keys[item], points.n_points, len(points.blocks), table[-1]["duration"]))
    group = zarr.create_group(folder, attributes={ATTRIBUTE: {"format": FORMAT, "items": table}}, zarr_format=3)
    for name, pieces in columns.pieces.items():
        _write_column(group, COLUMNS[name], columns.rows[name], pieces)
    _consolidate(folder)
    return PartRecord(
        part=part,
        config_hash=config_hash,
        items=tuple(records),
        arrays={name: (COLUMNS[name].shape(rows), COLUMNS[name].dtype) for name, rows in columns.rows.items()},
        files=_settle(folder),
    )


def _consolidate(folder: Path) -> None:
    """Let a part's ``zarr.json`` describe its arrays too: others' tools then need not look for them, which is slow
    where a look is a request. Our own reader holds each array's metadata to the record instead.
    """
    path = folder / GROUP_FILE
    document = json.loads(path.read_bytes())
    # In the form that Zarr's own function writes, which warns of it and is not for several threads.
    arrays = {
        entry.name: json.loads((entry / GROUP_FILE).read_bytes())
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }
    document["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _facts(points: PointSet) -> dict[str, Any]:
    """Return what an item's entry in the table says of it besides its blocks, as plain JSON types."""
    duration = None if points.duration is None else float(points.duration)
    if duration is not None and not math.isfinite(duration):
        raise PointsError("the duration is not finite", got=duration)
    return {
        "sample_rate": None if points.sample_rate is None else int(points.sample_rate),
        "duration": duration,
        "calibration": points.calibration,
    }


class _Columns:
    """The values of all blocks, column by column; pieces are kept as they are and joined when written."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[NDArray[Any]]] = {}
        self.rows: dict[str, int] = {}
        self._axes: dict[str, int] = {}

    def add(self, item: int, block: Block) -> None:
        """Append one block, checked as its own constructor would."""
        if isinstance(block, GridBlock):
            self._add_grid(item, block)
        else:
            self._add_scattered(item, block)

    def _add_grid(self, item: int, block: GridBlock) -> None:
        checked = GridBlock.build(
            block.times,
            block.frequencies,
            block.magnitudes,
            time_weights=block.time_weights,
            frequency_weights=block.frequency_weights,
        )
        channels = _channels(checked.magnitudes, 3)
        row = {
            "item": item,
            "kind": GRID,
            "channels": channels,
            "frequencies": len(checked.frequencies),
            "times": len(checked.times),
            "first_frequency": self._axis("grid_frequencies", checked.frequencies, checked.frequency_weights),
            "first_time": self._axis("grid_times", checked.times, checked.time_weights),
            "first_magnitude": self._append("grid_magnitudes", checked.magnitudes),
        }
        self._append("blocks", np.array([[row[name] for name in BLOCK_COLUMNS]], dtype=np.int64))

    def _add_scattered(self, item: int, block: ScatteredBlock) -> None:
        checked = ScatteredBlock.build(block.times, block.frequencies, block.magnitudes, weights=block.point_weights)
        channels = _channels(checked.magnitudes, 2)
        first = self._append("scattered_times", checked.times)
        self._append("scattered_frequencies", checked.frequencies)
        self._append("scattered_point_weights", checked.point_weights)
        row = {
            "item": item,
            "kind": SCATTERED,
            "channels": channels,
            "frequencies": len(checked.times),
            "times": len(checked.times),
            "first_frequency": first,
            "first_time": first,
            "first_magnitude": self._append("scattered_magnitudes", checked.magnitudes),
        }
        self._append("blocks", np.array([[row[name] for name in BLOCK_COLUMNS]], dtype=np.int64))

    def _axis(self, name: str, centres: NDArray[np.float64], widths: NDArray[np.float32]) -> int:
        """Append an axis unless an equal one is there: short clips of one transform share most of theirs."""
        key = digest_bytes(name.encode(), centres.tobytes(), widths.tobytes())
        if key not in self._axes:
            self._axes[key] = self._append(name, centres)
            self._append("grid_time_weights" if name == "grid_times" else "grid_frequency_weights", widths)
        return self._axes[key]

    def _append(self, name: str, values: NDArray[Any]) -> int:
        """Append values to a column and return where they begin."""
        first = self.rows.get(name, 0)
        rows = values if name == "blocks" else values.reshape(-1)
        if len(rows):
            self.pieces.setdefault(name, []).append(rows)
            self.rows[name] = first + len(rows)
        return first


def _channels(magnitudes: NDArray[np.float32], axes: int) -> int:
    if magnitudes.ndim < axes:
        return NO_CHANNEL_AXIS
    if magnitudes.shape[0] == 0:
        raise PointsError("a block has a channel axis without channels", expected="at least one channel")
    return int(magnitudes.shape[0])


def _write_column(group: zarr.Group, spec: ColumnSpec, rows: int, pieces: list[NDArray[Any]]) -> None:
    from zarr.codecs import BloscCodec, Crc32cCodec

    dtype = np.dtype(spec.dtype)
    trailing = spec.shape(1)[1:]
    attributes: dict[str, Any] = {"meaning": spec.meaning}
    if spec.dims[-1] == "column":
        attributes["columns"] = dict(BLOCK_COLUMNS)
    array = group.create_array(
        spec.name,
        shape=spec.shape(rows),
        dtype=dtype,
        chunks=(spec.chunk_rows(rows), *trailing),
        shards=(spec.shard_rows(rows), *trailing),
        # Crc over what is stored: LZ4 and Zarr pass most flipped bits in silence.
        compressors=[
            BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize),
            Crc32cCodec(),
        ],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=spec.dims,
        attributes=attributes,
        # A chunk of zeros that is not written could not be told from one that was lost.
        config={"write_empty_chunks": True},
    )
    start = 0
    for slab in _slabs(pieces, spec.shard_rows(rows)):
        array[start : start + len(slab)] = slab
        start += len(slab)


def _slabs(pieces: list[NDArray[Any]], size: int) -> Iterator[NDArray[Any]]:
    """Join pieces into slabs of so many rows (but the last), so that only one is copied at a time."""
    waiting: list[NDArray[Any]] = []
    held = 0
    for piece in pieces:
        start = 0
        while start < len(piece):
            taken = piece[start : start + size - held]
            waiting.append(taken)
            start += len(taken)
            held += len(taken)
            if held == size:
                yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]
                waiting, held = [], 0
    if held:
        yield np.concatenate(waiting) if len(waiting) > 1 else waiting[0]


def _settle(folder: Path) -> dict[str, tuple[int, str]]:
    """Make everything in a folder durable and return the size and digest of each file."""

    def fail(error: OSError) -> None:
        raise error

    files: dict[str, tuple[int, str]] = {}
    # Left to itself, it passes over folders that cannot be listed.
    for place, _, names in os.walk(folder, topdown=False, onerror=fail):
        for name in sorted(names):
            path = Path(place, name)
            fsync_file(path)
            files[path.relative_to(folder).as_posix()] = (path.stat().st_size, digest_file(path))
        fsync_folder(Path(place))
    return files
