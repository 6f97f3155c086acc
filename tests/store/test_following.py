"""A store is read while another process writes to it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from inmf_flow import open_points
from inmf_flow.errors import StoreError
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore

_WRITER = """
import sys, time
import numpy as np
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore

store = PointsStore.create(sys.argv[1])
for number in range(4):
    values = np.full((3, 5), number, np.float32)
    points = PointSet.from_grid(np.arange(5) / 10, np.arange(3) * 100.0, values)
    store.write_part(f"p{number}", {f"late-{number}": points}, {f"late-{number}": str(number)}, "c")
    time.sleep(0.3)
"""


def one_item(number: int) -> PointSet:
    return PointSet.from_grid(np.arange(5) / 10, np.arange(3) * 100.0, np.full((3, 5), number, np.float32))


def test_items_come_as_another_process_records_them(tmp_path: Path) -> None:
    path = tmp_path / "points.zarr"
    PointsStore.create(path).write_part("a", {"early": one_item(9)}, {"early": "k"}, "c")
    stored = open_points(path)
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)])
    try:
        alive_at = {}
        values = {}
        for item, points in stored.follow(until=lambda: writer.poll() is not None, poll_seconds=0.05):
            alive_at[item] = writer.poll() is None
            values[item] = float(points.blocks[0].magnitudes[0, 0])
    finally:
        assert writer.wait(60) == 0
    assert values == {"early": 9.0, **{f"late-{number}": float(number) for number in range(4)}}
    # Not all at once when the writer was done.
    assert alive_at["early"]
    assert sum(alive_at.values()) >= 3
    assert list(stored) == sorted(values)


def test_a_writer_that_stops_is_not_waited_for_forever(tmp_path: Path) -> None:
    store = PointsStore.create(tmp_path / "points.zarr")
    store.write_part("a", {"one": one_item(1)}, {"one": "k"}, "c")
    begin = time.monotonic()
    found = [item for item, _ in open_points(store.path).follow(idle_seconds=0.3, poll_seconds=0.05)]
    assert found == ["one"]
    assert 0.3 <= time.monotonic() - begin < 30


def test_items_that_were_gathered_elsewhere_since_are_read_there(tmp_path: Path) -> None:
    store = PointsStore.create(tmp_path / "points.zarr")
    store.write_part("a", {"one": one_item(1)}, {"one": "k1"}, "c")
    store.write_part("b", {"two": one_item(2)}, {"two": "k2"}, "c")
    followed = open_points(store.path).follow(idle_seconds=0.1, poll_seconds=0.05)
    assert next(followed)[0] == "one"
    store.write_part("ab", {"one": one_item(1), "two": one_item(2)}, {"one": "k1", "two": "k2"}, "c")
    store.delete_part("a")
    store.delete_part("b")
    assert [(item, float(points.blocks[0].magnitudes[0, 0])) for item, points in followed] == [("two", 2.0)]


def test_a_damaged_item_is_an_error_there_too(filled: PointsStore) -> None:
    shard = filled.path / "parts/p1/grid_magnitudes/c.0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 8
    shard.write_bytes(data)
    with pytest.raises(StoreError, match="p1"):
        list(open_points(filled.path).follow(idle_seconds=0.1))
