from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping

import google_crc32c
import pytest
import zarr

from inmf_flow.errors import StoreError, StoreNotFoundError
from inmf_flow.files import digest_bytes, digest_file
from inmf_flow.store import open_points, store_info
from inmf_flow.store.layout import canonical_json
from inmf_flow.store.manifest import record_path


def _forge(store, part: str, change) -> None:
    """Change a record and make its checksum and file digests fit what is on disk."""
    path = record_path(store.path, part)
    body = json.loads(path.read_bytes())
    del body["checksum"]
    change(body)
    for name in body["files"]:
        file = store.path / "parts" / part / name
        body["files"][name] = [file.stat().st_size, digest_file(file)]
    path.write_bytes(canonical_json({**body, "checksum": digest_bytes(canonical_json(body))}))


def test_a_store_reads_as_a_mapping(filled, make_points, bits) -> None:
    stored = open_points(filled.path)
    assert isinstance(stored, Mapping)
    assert list(stored) == ["a", "b", "c"]
    assert len(stored) == 3
    assert "b" in stored
    assert bits(stored["c"]) == bits(make_points(2))
    with pytest.raises(KeyError):
        stored["nobody"]
    assert "3 items [a, b, c]" in repr(stored)
    assert bits(pickle.loads(pickle.dumps(stored))["a"]) == bits(make_points(0))


def test_more_parts_than_stay_open_are_read_in_any_order(filled, make_points, bits) -> None:
    for n in range(20):
        filled.write_part(f"q{n:02}", {f"i{n:02}": make_points(n, 5)}, {f"i{n:02}": f"k{n}"}, "hash")
    stored = open_points(filled.path)
    for n in [*range(20), *reversed(range(20))]:
        assert bits(stored[f"i{n:02}"]) == bits(make_points(n, 5))


def test_opening_reads_no_points(filled) -> None:
    shutil.rmtree(filled.path / "parts" / "p0")
    stored = open_points(filled.path)
    assert stored["c"].n_points > 0
    with pytest.raises(StoreError, match="missing"):
        stored["a"]


def test_an_item_twice_with_different_keys_is_ambiguous(filled, make_points) -> None:
    filled.write_part("p2", {"a": make_points(8)}, {"a": "other"}, "hash")
    with pytest.raises(StoreError, match=r"item 'a'.*parts 'p0' and 'p2'.*delete_part"):
        open_points(filled.path)


def test_an_item_twice_with_the_same_key_is_read_from_the_first_part(filled, make_points, bits) -> None:
    filled.write_part("p2", {"a": make_points(0)}, {"a": "ka"}, "hash")
    shutil.rmtree(filled.path / "parts" / "p2")
    assert bits(open_points(filled.path)["a"]) == bits(make_points(0))


def test_no_store_is_said_so(tmp_path) -> None:
    with pytest.raises(StoreNotFoundError):
        open_points(tmp_path / "points.zarr")


def test_a_missing_shard_is_an_error_not_zeros(filled) -> None:
    stored = open_points(filled.path)
    assert stored["a"].n_points
    (filled.path / "parts/p0/grid_magnitudes/c.0").unlink()
    with pytest.raises(StoreError, match=r"part 'p0', array 'grid_magnitudes', item 'a'.*missing.*inmf store verify"):
        stored["a"]


def test_a_flipped_bit_in_the_points_is_an_error_naming_part_array_and_item(filled) -> None:
    shard = filled.path / "parts/p0/grid_magnitudes/c.0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 8
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=r"part 'p0', array 'grid_magnitudes', item 'b'.*inmf store verify"):
        open_points(filled.path)["b"]


def test_a_shard_that_lacks_a_chunk_is_an_error_not_zeros(filled) -> None:
    shard = filled.path / "parts/p0/scattered_magnitudes/c.0"
    index = b"\xff" * 16
    shard.write_bytes(index + google_crc32c.value(index).to_bytes(4, "little"))
    assert (zarr.open_array(shard.parent, mode="r")[:] == 0).all()
    _forge(filled, "p0", lambda body: None)
    with pytest.raises(StoreError, match="lacks chunks"):
        open_points(filled.path)["a"]


def _metadata(filled, change) -> None:
    path = filled.path / "parts/p0/grid_magnitudes/zarr.json"
    metadata = json.loads(path.read_bytes())
    change(metadata)
    path.write_text(json.dumps(metadata))
    _forge(filled, "p0", lambda body: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(shape=[10**13]), "shape is"),
        (lambda m: m.update(data_type="float64"), "data_type is"),
        (lambda m: m["codecs"][0]["configuration"].update(chunk_shape=[1]), "chunk shape is"),
        (lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[10**13]), "shard shape is"),
        (lambda m: m["codecs"][0]["configuration"]["codecs"].pop(), "inner codecs is"),
        (lambda m: m["codecs"].clear(), "metadata is malformed"),
    ],
)
def test_metadata_that_claims_something_else_is_refused_before_allocating(filled, change, message) -> None:
    _metadata(filled, change)
    with pytest.raises(StoreError, match=rf"part 'p0', array 'grid_magnitudes'.*{message}"):
        open_points(filled.path)["a"]


def test_a_small_file_cannot_claim_a_big_array(filled) -> None:
    """Record and metadata agree on 128 MiB in one shard; the shard holds a few kilobytes."""
    rows = 32 << 20

    def claim(metadata) -> None:
        metadata["shape"] = [rows]
        metadata["chunk_grid"]["configuration"]["chunk_shape"] = [rows]
        metadata["codecs"][0]["configuration"]["chunk_shape"] = [1 << 18]

    _metadata(filled, claim)
    _forge(filled, "p0", lambda body: body["arrays"]["grid_magnitudes"].update(shape=[rows]))
    with pytest.raises(StoreError, match=r"grid_magnitudes.*(lacks chunks|outside it|too short)"):
        open_points(filled.path)["a"]


def test_a_block_table_that_leaves_its_arrays_is_refused(filled) -> None:
    table = zarr.open_array(filled.path / "parts/p0/blocks", mode="r+")
    table[0, 7] = 2**62
    _forge(filled, "p0", lambda body: None)
    with pytest.raises(StoreError, match=r"array 'blocks'.*outside its arrays"):
        open_points(filled.path)["a"]


def test_totals_come_from_the_records(filled, make_points) -> None:
    info = store_info(filled.path)
    assert (info.items, info.parts, info.blocks) == (3, 2, 12)
    assert info.points == 2 * make_points(0).n_points + make_points(0, 50).n_points
    own = [
        p
        for p in filled.path.rglob("*")
        if (p.is_file() and p.name != "zarr.json") or "p0" in p.parts or "p1" in p.parts
    ]
    sizes = [p.stat().st_size for p in own if p.is_file()]
    assert info.bytes_on_disk == sum(sizes)
    assert info.files == len(sizes)
    assert info.hours == pytest.approx(3 / 3600)
