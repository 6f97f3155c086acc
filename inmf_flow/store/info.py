"""What a store holds, from its records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inmf_flow.store.points_store import PointsStore


@dataclass(frozen=True)
class StoreInfo:
    """Totals over all recorded parts.

    Attributes
    ----------
    items, parts, points, blocks, files
        How many there are; files include the records.
    bytes_on_disk
        Bytes of those files.
    bytes_per_point
        Bytes on disk by points; 0 for a store without points.
    hours
        Hours of audio, items of unknown duration not counted.
    """

    items: int
    parts: int
    points: int
    blocks: int
    bytes_on_disk: int
    bytes_per_point: float
    files: int
    hours: float


def store_info(path: Path | str) -> StoreInfo:
    """Return the totals of a store, from its records.

    Raises
    ------
    StoreNotFoundError, StoreError
        When there is no store, or a record is damaged.
    """
    records = PointsStore(path).records()
    items = [item for record in records for item in record.items]
    points = sum(item.points for item in items)
    size = sum(record.nbytes + len(record.to_bytes()) for record in records)
    return StoreInfo(
        items=len(items),
        parts=len(records),
        points=points,
        blocks=sum(item.blocks for item in items),
        bytes_on_disk=size,
        bytes_per_point=size / points if points else 0.0,
        files=sum(len(record.files) + 1 for record in records),
        hours=sum(item.duration or 0.0 for item in items) / 3600.0,
    )
