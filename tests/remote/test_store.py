"""Points stores on object stores: the bytes of a local one, and every damage found."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import StoreError, StoreNotFoundError
from inmf_flow.points import PointSet
from inmf_flow.remote import RemotePath
from inmf_flow.store import PointsStore, is_points_store, open_points, repair_store, store_info, verify_store


def _points(seed: int, frames: int = 40) -> PointSet:
    generator = np.random.default_rng(seed)
    times, frequencies = np.arange(frames) / 100, np.linspace(0, 8000, 65)
    return PointSet.from_grid(times, frequencies, generator.random((65, frames)).astype(np.float32))


def _fill(path: Path) -> PointsStore:
    store = PointsStore.create(path)
    for part, items in (("p0", "ab"), ("p1", "c")):
        points = {item: _points(ord(item)) for item in items}
        store.write_part(part, points, {item: f"k{item}" for item in items}, "hash")
    return store


@pytest.fixture
def filled(place: RemotePath) -> PointsStore:
    return _fill(place / "points.zarr")


def test_it_holds_the_bytes_of_a_local_store(filled: PointsStore, tmp_path: Path) -> None:
    local = _fill(tmp_path / "points.zarr").path
    files = {path.relative_to(local).as_posix(): path.read_bytes() for path in local.rglob("*") if path.is_file()}
    objects = {path.relative_to(filled.path).as_posix(): path for path in filled.path.rglob("*") if path.is_file()}
    assert objects.keys() == files.keys()
    assert all(objects[name].read_bytes() == content for name, content in files.items())
    assert store_info(filled.path) == store_info(local)
    assert is_points_store(filled.path)
    assert verify_store(filled.path) == []


def test_points_come_back_to_the_bit(filled: PointsStore) -> None:
    stored = open_points(filled.path)
    assert list(stored) == ["a", "b", "c"]
    for item in stored:
        (block,), (wanted,) = stored[item].blocks, _points(ord(item)).blocks
        np.testing.assert_array_equal(block.magnitudes, wanted.magnitudes)
        np.testing.assert_array_equal(block.times, wanted.times)
    assert filled.find("kc") == ("p1", "c")


def test_zarrs_own_reader_opens_a_part(filled: PointsStore) -> None:
    import zarr
    from zarr.storage import ObjectStore

    from inmf_flow.remote.client import bucket_store

    path = filled.path
    assert isinstance(path, RemotePath)
    store = ObjectStore(bucket_store(path.bucket), read_only=True)
    group = zarr.open_group(store, path=f"{path.key}/parts/p1", mode="r")
    assert group["grid_magnitudes"].shape == (65 * 40,)


def _flip(path: Any) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


def _cut(path: Any) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _delete(path: Any) -> None:
    path.unlink()


_NAMES = ["grid_magnitudes/c.0", "zarr.json", "blocks/zarr.json"]
_DAMAGES = [(name, damage) for name in _NAMES for damage in (_flip, _cut, _delete)]
_FEW = {("grid_magnitudes/c.0", _flip), ("blocks/zarr.json", _delete)}


@pytest.mark.parametrize(
    ("name", "damage"),
    [pytest.param(f"parts/p0/{n}", d, marks=[] if (n, d) in _FEW else pytest.mark.full) for n, d in _DAMAGES]
    + [("manifest/p0.json", _flip), pytest.param("zarr.json", _delete, marks=pytest.mark.full)],
)
def test_damage_is_found_and_repaired_without_touching_the_rest(moto_place: RemotePath, name: str, damage: Any) -> None:
    path = _fill(moto_place / "points.zarr").path
    whole = {each: each.read_bytes() for each in path.rglob("*") if each.is_file() and "/p1" in str(each)}
    damage(path / name)
    assert verify_store(path)
    if name.startswith("parts"):
        with pytest.raises(StoreError):
            [open_points(path)[item] for item in ("a", "b")]
        assert len(open_points(path)["c"].blocks) == 1
    repair = repair_store(path)
    assert [part.part for part in repair.lost] == ([] if name == "zarr.json" else ["p0"])
    assert verify_store(path) == []
    assert whole == {each: each.read_bytes() for each in path.rglob("*") if each.is_file() and "/p1" in str(each)}


def test_a_shard_that_goes_missing_while_a_part_is_open_is_not_read_as_zeros(filled: PointsStore) -> None:
    # So long that each item has chunks of its own.
    filled.write_part("p2", {item: _points(ord(item), 9000) for item in "xy"}, {"x": "kx", "y": "ky"}, "hash")
    stored = open_points(filled.path)
    assert stored["x"].n_points
    (filled.path / "parts/p2/grid_magnitudes/c.0").unlink()
    with pytest.raises(StoreError, match="missing"):
        stored["y"].blocks[0].magnitudes.sum()


def test_what_has_no_record_is_invisible_and_swept(filled: PointsStore) -> None:
    (filled.path / "parts/p9/zarr.json").write_bytes(b"{}")
    assert list(open_points(filled.path)) == ["a", "b", "c"]
    assert [path.name for path in filled.sweep()] == ["p9"]
    assert verify_store(filled.path) == []


def test_twins_that_write_one_part_both_get_its_record(moto_place: RemotePath) -> None:
    path = moto_place / "points.zarr"
    PointsStore.create(path)
    points = {"a": _points(1)}
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(lambda _: PointsStore(path).write_part("p0", points, {"a": "ka"}, "hash"), range(4)))
    assert {record.to_bytes() for record in records} == {(path / "manifest/p0.json").read_bytes()}
    assert verify_store(path) == []
    with pytest.raises(StoreError, match="recorded with other items or keys"):
        PointsStore(path).write_part("p0", points, {"a": "other"}, "hash")


def test_parts_are_deleted_with_their_records(filled: PointsStore) -> None:
    assert filled.keep_only(["p1"]) == ["p0"]
    assert list(open_points(filled.path)) == ["c"]
    assert verify_store(filled.path) == []


def test_nothing_foreign_and_no_store_are_told(place: RemotePath) -> None:
    with pytest.raises(StoreNotFoundError, match="no points store is there"):
        open_points(place)
    with pytest.raises(StoreNotFoundError, match="there is no such bucket"):
        open_points("s3://nobody-has-this/points.zarr")
    (place / "notes.txt").write_bytes(b"mine")
    with pytest.raises(StoreError, match="holds something else"):
        PointsStore.create(place)
    (place / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))
    with pytest.raises(StoreError, match="not a points store"):
        PointsStore(place)
    assert not is_points_store(place)
