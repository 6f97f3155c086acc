from __future__ import annotations

import json

import pytest

from inmf_flow.errors import StoreError
from inmf_flow.files import digest_bytes
from inmf_flow.store.layout import canonical_json
from inmf_flow.store.manifest import read_record, record_path


def _rewrite(store, part, change) -> None:
    """Change a record's content and give it a checksum that fits."""
    path = record_path(store.path, part)
    body = json.loads(path.read_bytes())
    del body["checksum"]
    change(body)
    path.write_bytes(canonical_json({**body, "checksum": digest_bytes(canonical_json(body))}))


def test_a_record_says_what_its_part_holds(filled, make_points) -> None:
    record = read_record(filled.path, "p0")
    assert [(item.id, item.key, item.blocks) for item in record.items] == [("a", "ka", 4), ("b", "kb", 4)]
    assert record.items[0].points == make_points(0).n_points
    assert record.config_hash == "hash"
    on_disk = {p.relative_to(filled.path / "parts/p0").as_posix() for p in (filled.path / "parts/p0").rglob("*.*")}
    assert on_disk == set(record.files)


def test_no_record_is_none(filled) -> None:
    assert read_record(filled.path, "p9") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-5],
        lambda data: b"",
        lambda data: data + b" ",
        lambda data: data.replace(b'"ka"', b'"kx"'),
        lambda data: data.replace(b"{", b"{ ", 1),
        lambda data: b"[" * 100_000,
        lambda data: b"\xff\xfe",
        lambda data: b"[]",
    ],
)
def test_a_damaged_record_is_one_clear_error(filled, damage) -> None:
    path = record_path(filled.path, "p0")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=r"part 'p0': the record manifest/p0.json is damaged.*inmf store verify"):
        filled.records()


def test_another_parts_record_is_not_taken(filled) -> None:
    record_path(filled.path, "p0").write_bytes(record_path(filled.path, "p1").read_bytes())
    with pytest.raises(StoreError, match="another part's"):
        read_record(filled.path, "p0")


def test_a_newer_format_says_to_upgrade(filled) -> None:
    _rewrite(filled, "p0", lambda body: body.update(format=2))
    with pytest.raises(StoreError, match=r"newer inmf_flow.*Upgrade"):
        read_record(filled.path, "p0")


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["files"].update({"../../outside": [1, "00"]}),
        lambda body: body["files"].pop("zarr.json"),
        lambda body: body["arrays"].update(secret={"shape": [3], "dtype": "float32"}),
        lambda body: body["arrays"]["blocks"].update(shape=[8]),
        lambda body: body["arrays"]["grid_magnitudes"].update(shape=[10**13]),
        lambda body: body["arrays"]["grid_magnitudes"].update(shape=[10**30]),
        lambda body: body["arrays"]["grid_magnitudes"].update(shape=[-1]),
        lambda body: body["arrays"]["grid_magnitudes"].update(dtype="float64"),
        lambda body: body["items"].append(body["items"][0]),
        lambda body: body["items"][0].pop("key"),
    ],
)
def test_a_forged_record_is_refused_even_with_a_fitting_checksum(filled, change) -> None:
    _rewrite(filled, "p0", change)
    with pytest.raises(StoreError, match="damaged"):
        read_record(filled.path, "p0")
