"""Repair removes what is damaged, keeps all else byte for byte, and says what is lost."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from inmf_flow.errors import StoreError, StoreNotFoundError
from inmf_flow.files import TEMPORARY_MARK, digest_bytes
from inmf_flow.store import LostPart, PointsStore, open_points, repair_store, verify_store
from inmf_flow.store.layout import canonical_json
from inmf_flow.store.locks import writing
from inmf_flow.store.manifest import record_path
from inmf_flow.testing.faults import FailingFilesystem, corrupt

SHARD = "parts/p0/grid_magnitudes/c.0"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def test_a_whole_store_is_left_as_it_is(filled) -> None:
    before = stamps(filled.path)
    assert repair_store(filled.path).found_nothing
    assert stamps(filled.path) == before


def test_the_damaged_part_goes_and_the_other_stays_byte_for_byte(filled, make_points, bits) -> None:
    before = contents(filled.path)
    untouched = stamps(filled.path / "parts/p1")
    corrupt(filled.path / SHARD, "truncation", 0)
    size = (filled.path / SHARD).stat().st_size
    repair = repair_store(filled.path)
    reason = f"{SHARD}: has {size} bytes, but {len(before[SHARD])} were written"
    assert repair.lost == (LostPart("p0", ("a", "b"), (reason,)),)
    assert (repair.removed, repair.rebuilt, repair.left) == ((), (), ())
    assert contents(filled.path) == {name: data for name, data in before.items() if "/p0" not in name}
    assert stamps(filled.path / "parts/p1") == untouched
    assert list(open_points(filled.path)) == ["c"]
    assert bits(open_points(filled.path)["c"]) == bits(make_points(2))
    # Made again, the part is the same one.
    filled.write_part("p0", {"a": make_points(0), "b": make_points(1, 50)}, {"a": "ka", "b": "kb"}, "hash")
    assert contents(filled.path) == before


def test_a_dry_run_says_the_same_and_changes_nothing(filled) -> None:
    corrupt(filled.path / SHARD, "bit flip", 0)
    (filled.path / "parts" / f"{TEMPORARY_MARK}p9").mkdir()
    (filled.path / "zarr.json").unlink()
    before = stamps(filled.path)
    promised = repair_store(filled.path, dry_run=True)
    assert stamps(filled.path) == before
    assert promised.lost
    assert promised.removed == (f"parts/{TEMPORARY_MARK}p9",)
    assert promised.rebuilt == ("zarr.json",)
    assert repair_store(filled.path) == promised
    assert repair_store(filled.path).found_nothing


@pytest.mark.parametrize("kind", ["bit flip", "deletion"])
def test_items_of_a_part_whose_record_is_damaged_are_named_from_the_part(filled, kind) -> None:
    corrupt(record_path(filled.path, "p0"), kind, 0)
    (lost,) = repair_store(filled.path).lost
    assert (lost.part, lost.items) == ("p0", ("a", "b"))
    assert verify_store(filled.path) == []
    assert list(open_points(filled.path)) == ["c"]


def test_items_that_nothing_names_any_more_are_unknown(filled) -> None:
    for path in (record_path(filled.path, "p0"), filled.path / "parts/p0/zarr.json"):
        path.write_bytes(b"")
    (lost,) = repair_store(filled.path).lost
    assert (lost.part, lost.items) == ("p0", ())


def test_items_that_another_part_holds_too_are_not_lost(filled, make_points) -> None:
    filled.write_part("p2", {"b": make_points(1, 50)}, {"b": "kb"}, "hash")
    corrupt(filled.path / SHARD, "deletion", 0)
    assert repair_store(filled.path).items == ["a"]
    assert sorted(open_points(filled.path)) == ["b", "c"]


@pytest.mark.parametrize("name", ["zarr.json", "parts/zarr.json"])
@pytest.mark.parametrize("kind", ["bit flip", "truncation", "zero fill", "append", "deletion"])
def test_the_stores_own_groups_are_written_anew_where_they_were(filled, name, kind) -> None:
    before = contents(filled.path)
    inode = (filled.path / name).stat().st_ino
    corrupt(filled.path / name, kind, 1)
    repair = repair_store(filled.path)
    assert (repair.rebuilt, repair.lost) == ((name,), ())
    assert contents(filled.path) == before
    # Locks of running writers are on the file itself.
    assert kind == "deletion" or (filled.path / name).stat().st_ino == inode


def test_lost_folders_are_made_and_what_they_recorded_is_lost(filled) -> None:
    shutil.rmtree(filled.path / "manifest")
    repair = repair_store(filled.path)
    assert repair.items == ["a", "b", "c"]
    assert repair.rebuilt == ("manifest",)
    assert verify_store(filled.path) == []
    shutil.rmtree(filled.path / "parts")
    assert repair_store(filled.path).rebuilt == ("parts", "parts/zarr.json")
    assert verify_store(filled.path) == []


def test_what_killed_writers_left_is_swept_and_a_stray_file_costs_no_part(filled) -> None:
    before = contents(filled.path)
    for name in ("", "parts", "manifest"):
        (filled.path / name / f"{TEMPORARY_MARK}0-x").write_text("half")
    shutil.copytree(filled.path / "parts/p1", filled.path / "parts" / f"{TEMPORARY_MARK}1-p1")
    (filled.path / "parts/p1/blocks/c.7.0").write_text("no record names it")
    (filled.path / "parts/p1/more").mkdir()
    (filled.path / "parts/p1/more/file").write_text("nor this")
    repair = repair_store(filled.path)
    assert repair.lost == repair.rebuilt == repair.left == ()
    assert "parts/p1/blocks/c.7.0" in repair.removed
    assert len(repair.removed) == 7
    assert contents(filled.path) == before


def test_files_of_somebody_else_are_left_and_named(filled) -> None:
    (filled.path / "notes.txt").write_text("mine")
    (filled.path / "manifest/notes.txt").write_text("mine")
    repair = repair_store(filled.path)
    assert sorted(problem.file for problem in repair.left) == ["manifest/notes.txt", "notes.txt"]
    assert verify_store(filled.path) == list(repair.left)
    assert (filled.path / "notes.txt").read_text() == "mine"


def test_files_that_may_not_be_read_are_no_damage(filled) -> None:
    before = contents(filled.path)
    with FailingFilesystem(filled.path / "parts/p0/grid_times", 0, errno.EACCES, times=math.inf, operations=["open"]):
        repair = repair_store(filled.path)
    assert repair.lost == ()
    assert "Permission denied" in repair.left[0].what
    assert contents(filled.path) == before


@pytest.mark.parametrize("error", [pytest.param(errno.EIO, marks=pytest.mark.full), errno.EACCES])
def test_looking_that_fails_once_is_no_damage(filled, error) -> None:
    before = contents(filled.path)
    looking = ("read", "open", "list", "stat")
    with FailingFilesystem(filled.path, operations=looking) as disk:
        repair_store(filled.path)
    for number, (_, path) in enumerate(disk.calls):
        if number % 30 and not path.startswith("manifest"):
            continue
        with FailingFilesystem(filled.path, number, error, operations=looking) as failing:
            lost = ()
            with suppress(StoreError):
                lost = repair_store(filled.path).lost
        assert failing.failed
        assert lost == ()
        assert contents(filled.path) == before


def test_nothing_is_done_while_somebody_writes(filled) -> None:
    corrupt(filled.path / SHARD, "bit flip", 0)
    before = stamps(filled.path)
    for dry_run in (False, True):
        with writing(filled.path), pytest.raises(StoreError, match="somebody is writing to the store"):
            repair_store(filled.path, dry_run=dry_run)
    assert stamps(filled.path) == before


def test_a_newer_store_is_refused_untouched(filled) -> None:
    corrupt(filled.path / SHARD, "bit flip", 0)
    path = record_path(filled.path, "p1")
    body = {**json.loads(path.read_bytes()), "format": 2}
    del body["checksum"]
    path.write_bytes(canonical_json({**body, "checksum": digest_bytes(canonical_json(body))}))
    before = stamps(filled.path)
    with pytest.raises(StoreError, match="newer inmf_flow"):
        repair_store(filled.path)
    assert stamps(filled.path) == before


def test_a_root_of_a_newer_format_is_damage_only_beside_records_of_this_one(filled, tmp_path) -> None:
    root = filled.path / "zarr.json"
    root.write_bytes(root.read_bytes().replace(b'"format": 1', b'"format": 9'))
    assert repair_store(filled.path).rebuilt == ("zarr.json",)
    empty = PointsStore.create(tmp_path / "empty.zarr").path
    (empty / "zarr.json").write_bytes(root.read_bytes().replace(b'"format": 1', b'"format": 9'))
    with pytest.raises(StoreError, match="Upgrade inmf_flow"):
        repair_store(empty)


def test_what_is_no_store_is_refused_untouched(tmp_path) -> None:
    with pytest.raises(StoreNotFoundError):
        repair_store(tmp_path / "nothing")
    for name in ("manifest/a.json", "parts/b/zarr.json", "parts/zarr.json"):
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    before = stamps(tmp_path)
    with pytest.raises(StoreError, match="not a points store"):
        repair_store(tmp_path / "project")
    assert stamps(tmp_path) == before


def test_a_repair_whose_disk_fails_can_be_done_again(filled, tmp_path) -> None:
    corrupt(filled.path / SHARD, "bit flip", 0)
    corrupt(filled.path / "zarr.json", "truncation", 0)
    (filled.path / "manifest" / f"{TEMPORARY_MARK}x").touch()
    names = ("write", "unlink", "rmdir", "rename", "fsync")
    copy = tmp_path / "counted"
    shutil.copytree(filled.path, copy)
    with FailingFilesystem(copy, operations=names) as disk:
        repair_store(copy)
    assert len(disk.calls) > 10
    for number in range(0, len(disk.calls), 3):
        copy = tmp_path / str(number)
        shutil.copytree(filled.path, copy)
        with FailingFilesystem(copy, number, operations=names) as failing:
            said = os.strerror(errno.EIO)
            try:
                repair_store(copy)
            except StoreError as error:
                said = str(error)
        assert failing.failed
        assert os.strerror(errno.EIO) in said
        repair_store(copy)
        assert verify_store(copy) == []
        assert list(open_points(copy)) == ["c"]
