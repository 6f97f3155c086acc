from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from inmf_flow.errors import ArgumentError, StoreError, StoreNotFoundError
from inmf_flow.store import PointsStore, open_points, points_store, verify_store
from inmf_flow.store.locks import writing
from inmf_flow.store.manifest import DamagedRecordError, record_path


def test_nothing_there_is_said_so(tmp_path) -> None:
    with pytest.raises(StoreNotFoundError, match="no points store is there"):
        PointsStore.open(tmp_path / "points.zarr")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"attributes": {}}', b"[1]", b"[" * 100_000])
def test_what_is_not_ours_is_refused(content, tmp_path) -> None:
    (tmp_path / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match="not a points store"):
        PointsStore(tmp_path)


def test_a_newer_store_says_to_upgrade(filled) -> None:
    root = filled.path / "zarr.json"
    root.write_bytes(root.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(StoreError, match=r"got format 2; expected format 1.*Upgrade"):
        PointsStore(filled.path)


def test_create_opens_what_is_there_and_finishes_what_was_interrupted(filled, tmp_path) -> None:
    assert len(PointsStore.create(filled.path).records()) == 2
    (tmp_path / "half" / "parts").mkdir(parents=True)
    assert PointsStore.create(tmp_path / "half").records() == []


def test_create_does_not_mix_with_foreign_files(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"something else; got notes\.txt"):
        PointsStore.create(tmp_path)
    with pytest.raises(StoreError, match="it is a file"):
        PointsStore.create(tmp_path / "notes.txt")
    with pytest.raises(StoreError, match="folders of this machine"):
        PointsStore.create("gs://bucket/points.zarr")


def test_items_are_found_by_key(filled, make_points, bits) -> None:
    assert filled.find("kb") == ("p0", "b")
    assert filled.find("unknown") is None
    assert bits(filled.read_item("p0", "b")) == bits(make_points(1, 50))


def test_what_others_write_is_found_at_once(filled, make_points) -> None:
    other = PointsStore(filled.path)
    assert filled.find("kd") is None
    other.write_part("p2", {"d": make_points(3)}, {"d": "kd"}, "hash")
    assert filled.find("kd") == ("p2", "d")
    other.delete_part("p2")
    assert filled.find("kd") is None
    assert [record.part for record in filled.records()] == ["p0", "p1"]


def test_the_same_key_in_several_parts_is_found_in_the_first(filled, make_points) -> None:
    filled.write_part("a0", {"a": make_points(0)}, {"a": "ka"}, "hash")
    assert filled.find("ka") == ("a0", "a")


@pytest.mark.parametrize("place", [("p9", "a"), ("p0", "zz"), ("../p0", "a")])
def test_reading_what_is_not_there_is_a_store_error(filled, place) -> None:
    with pytest.raises(StoreError, match=r"no part|no item"):
        filled.read_item(*place)


def test_writing_again_returns_the_record_that_is_there(filled, make_points) -> None:
    before = {p: p.stat().st_mtime_ns for p in filled.path.rglob("*")}
    again = filled.write_part("p1", {"c": make_points(99)}, {"c": "kc"}, "hash")
    assert again == filled.records()[1]
    assert {p: p.stat().st_mtime_ns for p in filled.path.rglob("*")} == before


def test_a_part_with_other_keys_is_not_overwritten(filled, make_points) -> None:
    with pytest.raises(StoreError, match=r"other items or keys.*Delete it first"):
        filled.write_part("p1", {"c": make_points(3)}, {"c": "changed"}, "hash")
    filled.delete_part("p1")
    filled.write_part("p1", {"c": make_points(3)}, {"c": "changed"}, "hash")
    assert filled.find("changed") == ("p1", "c")


def test_an_unrecorded_part_is_invisible_and_replaced(filled, make_points, bits) -> None:
    record_path(filled.path, "p1").unlink()
    assert [record.part for record in filled.records()] == ["p0"]
    assert "c" not in open_points(filled.path)
    filled.write_part("p1", {"c": make_points(7)}, {"c": "new"}, "hash")
    assert bits(open_points(filled.path)["c"]) == bits(make_points(7))
    assert verify_store(filled.path) == []


@pytest.mark.parametrize(
    ("part", "items", "keys", "message"),
    [
        ("a/b", ["x"], ["x"], "part id cannot be used"),
        (".inmf-tmp-1", ["x"], ["x"], "part id cannot be used"),
        ("p2", [], [], "without items"),
        ("p2", ["x"], ["y"], "do not pair up"),
    ],
)
def test_unusable_arguments_are_named(filled, make_points, part, items, keys, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        filled.write_part(part, {i: make_points(0) for i in items}, dict.fromkeys(keys, "k"), "hash")


def test_deleting_removes_record_and_files_even_of_damaged_parts(filled) -> None:
    record_path(filled.path, "p0").write_bytes(b"rubbish")
    filled.delete_part("p0")
    filled.delete_part("p0")
    assert [record.part for record in filled.records()] == ["p1"]
    assert not (filled.path / "parts" / "p0").exists()
    assert verify_store(filled.path) == []


def test_sweep_removes_leftovers_and_nothing_recorded(filled) -> None:
    left = [
        filled.path / "parts" / ".inmf-tmp-12-p5",
        filled.path / "parts" / "p1",
        filled.path / "manifest" / ".inmf-tmp-34-p6.json",
    ]
    left[0].mkdir()
    (left[0] / "zarr.json").write_text("{")
    record_path(filled.path, "p1").unlink()
    left[2].write_text("{")
    record_path(filled.path, "p0").write_bytes(b"damaged, yet recorded")
    assert sorted(filled.sweep()) == sorted(left)
    assert not any(path.exists() for path in left)
    assert (filled.path / "parts" / "p0" / "zarr.json").exists()
    assert record_path(filled.path, "p0").exists()
    assert filled.sweep() == []


def test_sweep_waits_its_turn_while_somebody_writes(filled) -> None:
    (filled.path / "parts" / ".inmf-tmp-12-p5").mkdir()
    with writing(filled.path):
        assert filled.sweep() == []
    assert len(filled.sweep()) == 1


def test_an_interrupted_write_leaves_nothing(filled, make_points, monkeypatch) -> None:
    import inmf_flow.store.part as part

    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(part, "_settle", interrupt)
    before = sorted(filled.path.rglob("*"))
    with pytest.raises(KeyboardInterrupt):
        filled.write_part("p2", {"d": make_points(0)}, {"d": "kd"}, "hash")
    assert sorted(filled.path.rglob("*")) == before


def test_a_full_disk_is_one_clear_error(filled, make_points, monkeypatch) -> None:
    import inmf_flow.store.part as part

    def full(folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(part, "_settle", full)
    with pytest.raises(StoreError, match=r"part 'p2' cannot be written \(No space left on device\)"):
        filled.write_part("p2", {"d": make_points(0)}, {"d": "kd"}, "hash")


def test_a_store_travels_to_workers(filled, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(filled.path.parent)
    sent = pickle.dumps(PointsStore(filled.path.name))
    monkeypatch.chdir(tmp_path.parent)
    assert pickle.loads(sent).find("ka") == ("p0", "a")


def test_all_parts_but_some_are_deleted_damaged_records_too(filled) -> None:
    (filled.path / "manifest" / "p2.json").write_text("{")
    (filled.path / "manifest" / "p0.json").write_bytes((filled.path / "manifest" / "p0.json").read_bytes()[:50])
    assert filled.keep_only({"p1"}) == ["p0", "p2"]
    assert [record.part for record in filled.records()] == ["p1"]
    assert verify_store(filled.path) == []
    assert filled.keep_only({"p1", "p9"}) == []


def test_a_damaged_record_is_told_from_a_newer_one_and_can_be_replaced(filled, make_points) -> None:
    path = filled.path / "manifest" / "p1.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    with pytest.raises(DamagedRecordError):
        filled.write_part("p1", {"c": make_points(2)}, {"c": "kc"}, "hash")
    filled.delete_part("p1")
    filled.write_part("p1", {"c": make_points(2)}, {"c": "kc"}, "hash")
    assert path.read_bytes() == whole


def test_two_that_create_a_store_at_once_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = points_store._refuse_foreign

    def after_a_twin(path: Path) -> None:
        monkeypatch.setattr(points_store, "_refuse_foreign", check)
        PointsStore.create(path)
        check(path)

    monkeypatch.setattr(points_store, "_refuse_foreign", after_a_twin)
    assert PointsStore.create(tmp_path / "points.zarr").records() == []
