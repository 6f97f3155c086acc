"""What a points store holds: every file, array, column and attribute, declared in one place.

::

    points.zarr/
        zarr.json                   Zarr group; attributes {"inmf_flow": {"format": 1}}
        manifest/PART.json          the record that makes a part count (see `inmf_flow.store.manifest`)
        parts/zarr.json             Zarr group
        parts/PART/zarr.json        Zarr group of one batch of items, with its item table as attributes;
                                    consolidated metadata describes its arrays
        parts/PART/ARRAY/zarr.json  one ragged column: the values of all blocks, end to end
        parts/PART/ARRAY/c.N        its shards

Arrays without any value are not written. ``blocks`` says where each block's values begin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT = 1
ATTRIBUTE = "inmf_flow"
GROUP_FILE = "zarr.json"
MANIFEST = "manifest"
PARTS = "parts"
RECORD_SUFFIX = ".json"

SHARD_BYTES = 128 << 20
# LZ4 cannot shrink by more than 255: a chunk that claims more than this never came from a writer.
MAX_COMPRESSION = 1024

GRID, SCATTERED = 0, 1
NO_CHANNEL_AXIS = 0

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

BLOCK_COLUMNS: Mapping[str, str] = {
    "item": "index of the block's item in the part's item table",
    "kind": "0 grid, 1 scattered",
    "channels": "number of channels; 0 where the magnitudes have no channel axis",
    "frequencies": "F: frequencies of a grid; P: points of a scattered block",
    "times": "T: times of a grid; P: points of a scattered block",
    "first_frequency": "where its frequencies (and their weights) begin; grids with equal axes share them",
    "first_time": "where its times (and their weights) begin; grids with equal axes share them",
    "first_magnitude": "where its magnitudes begin",
}


@dataclass(frozen=True)
class ColumnSpec:
    """One array of a part.

    Attributes
    ----------
    name
        The array's name, which is its folder's.
    dtype
        NumPy's name of the type; little-endian on disk.
    dims
        Names of the dimensions; the first one is ragged (blocks end to end).
    chunk
        Rows of a whole chunk: what is compressed and checked as one.
    meaning
        What the values are, with their unit.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    chunk: int
    meaning: str

    def shape(self, rows: int) -> tuple[int, ...]:
        """Return the array's shape for so many rows."""
        return (rows, len(BLOCK_COLUMNS)) if self.dims[-1] == "column" else (rows,)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row before compression."""
        return int(np.prod(self.shape(1))) * np.dtype(self.dtype).itemsize

    def chunk_rows(self, rows: int) -> int:
        """Rows of one chunk of an array of so many rows, without padding small arrays."""
        return min(self.chunk, rows)

    def shard_rows(self, rows: int) -> int:
        """Rows of one shard file: the array divided evenly into as few shards of <= 128 MiB as it takes."""
        shards = -(-rows * self.row_bytes // SHARD_BYTES)
        chunk = self.chunk_rows(rows)
        return -(-rows // (shards * chunk)) * chunk

    def files(self, rows: int) -> list[str]:
        """Return the array's files, relative to the part."""
        trailing = ".0" * (len(self.dims) - 1)
        shards = -(-rows // self.shard_rows(rows))
        return [f"{self.name}/{GROUP_FILE}", *(f"{self.name}/c.{n}{trailing}" for n in range(shards))]


# Magnitudes and scattered points are read by the item, which is long: chunks of 1 MiB. Axes are short.
COLUMNS: Mapping[str, ColumnSpec] = {
    spec.name: spec
    for spec in (
        ColumnSpec("blocks", "int64", ("block", "column"), 1 << 12, "the block table; `columns` names its columns"),
        ColumnSpec("grid_times", "float64", ("grid_time",), 1 << 13, "times of grids, seconds, rising"),
        ColumnSpec("grid_time_weights", "float32", ("grid_time",), 1 << 13, "widths of cells, seconds"),
        ColumnSpec("grid_frequencies", "float64", ("grid_frequency",), 1 << 13, "frequencies of grids, hertz, rising"),
        ColumnSpec("grid_frequency_weights", "float32", ("grid_frequency",), 1 << 13, "widths of cells, hertz"),
        ColumnSpec(
            "grid_magnitudes",
            "float32",
            ("grid_value",),
            1 << 18,
            "each block's [F, T] or [C, F, T]; NaN is missing",
        ),
        ColumnSpec("scattered_times", "float64", ("point",), 1 << 17, "times of scattered points, seconds"),
        ColumnSpec("scattered_frequencies", "float64", ("point",), 1 << 17, "frequencies of scattered points, hertz"),
        ColumnSpec("scattered_point_weights", "float32", ("point",), 1 << 18, "areas of points, seconds x hertz"),
        ColumnSpec(
            "scattered_magnitudes",
            "float32",
            ("point_value",),
            1 << 18,
            "each block's [P] or [C, P]; NaN is missing",
        ),
    )
}


def is_safe_name(name: str) -> bool:
    """Return whether a part id can be a file's name anywhere, and not one of a temporary file."""
    return _SAFE_NAME.fullmatch(name) is not None


def part_files(rows: Mapping[str, int]) -> set[str]:
    """Return every file of a part, relative to it, from the rows of its arrays."""
    return {GROUP_FILE}.union(*(COLUMNS[name].files(count) for name, count in rows.items()))


def canonical_json(value: object) -> bytes:
    """Return the one spelling of a JSON value that the store's own files use."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def group_json(attributes: Mapping[str, Any]) -> bytes:
    """Return the ``zarr.json`` of a Zarr group."""
    return canonical_json({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)})


def root_json() -> bytes:
    """Return the ``zarr.json`` that marks a folder as a points store of this format."""
    return group_json({ATTRIBUTE: {"format": FORMAT}})


def codec_names(codecs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of a list of Zarr codecs."""
    return [str(codec["name"]) for codec in codecs]


def metadata_fault(spec: ColumnSpec, rows: int, metadata: Mapping[str, Any]) -> str | None:
    """Return what in an array's ``zarr.json`` is not as declared here, or None.

    This is asked before anything is allocated: a file of a few hundred bytes can claim terabytes.
    """
    sharding = metadata["codecs"][0]
    inner = sharding["configuration"]
    trailing = spec.shape(1)[1:]
    claims: dict[str, tuple[object, object]] = {
        "node_type": (metadata["node_type"], "array"),
        "shape": (metadata["shape"], list(spec.shape(rows))),
        "data_type": (metadata["data_type"], spec.dtype),
        "shard shape": (
            metadata["chunk_grid"]["configuration"]["chunk_shape"],
            [spec.shard_rows(rows), *trailing],
        ),
        "chunk shape": (inner["chunk_shape"], [spec.chunk_rows(rows), *trailing]),
        "codecs": (codec_names(metadata["codecs"]), ["sharding_indexed"]),
        "inner codecs": (codec_names(inner["codecs"]), ["bytes", "blosc", "crc32c"]),
        "index codecs": (codec_names(inner["index_codecs"]), ["bytes", "crc32c"]),
        "index location": (inner["index_location"], "end"),
        "chunk keys": (metadata["chunk_key_encoding"]["configuration"]["separator"], "."),
        "storage transformers": (metadata.get("storage_transformers") or [], []),
    }
    for what, (got, expected) in claims.items():
        if got != expected:
            return f"its {what} is {got}, not {expected}"
    return None
