"""Damage to every kind of file in a store is found, and costs what it hit: repair and a run make that again."""

from __future__ import annotations

import errno
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore, open_points, repair_store, verify_store
from inmf_flow.testing.faults import CORRUPTIONS, FailingFilesystem, corrupt, kinds_of_files

KINDS = ("root group", "parts group", "record", "part group", "array metadata", "shard")
COUNTS = [1, pytest.param(200, marks=pytest.mark.full)]
RUNS = [1, pytest.param(12, marks=pytest.mark.full)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two parts of two items each, grids and scattered points. Leave it as it is."""
    store = PointsStore.create(tmp_path_factory.mktemp("damage") / "points.zarr")
    chance = np.random.default_rng(0)
    for part in range(2):
        items = {}
        for item in range(2):
            grid = PointSet.from_grid(np.arange(30.0), np.arange(9.0), chance.random((9, 30)))
            places = chance.random((3, 40))
            items[f"{part}-{item}"] = grid + PointSet.from_points(places[0], places[1] * 100, places[2])
        store.write_part(f"p{part}", items, {name: f"key of {name}" for name in items}, "hash")
    return store.path


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_of_a_store_is_of_a_kind(store: Path) -> None:
    kinds = kinds_of_files(store)
    assert tuple(kinds) == KINDS
    listed = [path.relative_to(store).as_posix() for paths in kinds.values() for path in paths]
    assert sorted(listed) == sorted(_files(store))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("count", COUNTS)
def test_damage_is_found_and_repair_removes_what_it_hit_alone(
    count: int, corruption: str, kind: str, store: Path, tmp_path: Path
) -> None:
    before = _files(store)
    for seed in range(count):
        copy = tmp_path / str(seed)
        shutil.copytree(store, copy)
        path = random.Random(f"{corruption} {kind} {seed}").choice(kinds_of_files(copy)[kind])
        corrupt(path, corruption, seed)
        assert verify_store(copy), f"{corruption} {seed} of {path} passed"
        repair = repair_store(copy)
        assert verify_store(copy) == [], f"{corruption} {seed} of {path} was not repaired"
        name = path.relative_to(copy).as_posix()
        if "group" in kind and kind != "part group":
            assert (repair.rebuilt, repair.lost) == ((name,), ())
            hit = None
        else:
            hit = f"p{name.split('/p')[-1][0]}"
            assert [part.part for part in repair.lost] == [hit]
            assert repair.items == [f"{hit[1]}-0", f"{hit[1]}-1"]
        expected = {n: data for n, data in before.items() if hit is None or f"/{hit}" not in n}
        assert _files(copy) == expected
        assert len(open_points(copy)) == (4 if hit is None else 2)
        shutil.rmtree(copy)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: (path.stat().st_ino, path.stat().st_mtime_ns) for name, path in paths.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("corruption", ["bit flip", "truncation", "deletion"])
@pytest.mark.parametrize("count", RUNS)
def test_after_a_repair_a_run_makes_again_what_was_hit_alone(
    count: int, corruption: str, kind: str, undisturbed: Any, tmp_path: Path
) -> None:
    for seed in range(count):
        project = undisturbed.copy(tmp_path / str(seed))
        store = project.output / "points.zarr"
        path = random.Random(seed).choice(kinds_of_files(store)[kind])
        corrupt(path, corruption, seed)
        lost = repair_store(store).lost
        assert len(lost) == ("group" not in kind or kind == "part group")
        kept = _stamps(project.output)
        outcome = project.run()
        done = {stage: counts["done"] for stage, counts in outcome.counts.items() if counts["done"]}
        assert done == ({"analyze": 1} if lost else {})
        assert outcome.counts["analyze"]["reused"] == 2 - len(lost)
        project.assert_equals(undisturbed)
        after = _stamps(project.output)
        # What was not hit was not even written again.
        rewritten = {name for name in kept if after.get(name) != kept[name]}
        again = {"run.json", "events.jsonl", "ledger/digests"} if lost else {"ledger/digests"}
        assert {name for name in rewritten if not name.startswith("ledger/analyze/")} <= again
        assert project.run().did_nothing


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_sweep_that_cannot_list_the_records_removes_no_part(error: int, store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "points.zarr"
    shutil.copytree(store, copy)
    with FailingFilesystem(copy / "manifest", 0, error, operations=["list"]) as disk, suppress(OSError):
        PointsStore(copy).sweep()
    assert disk.failed
    assert _files(copy) == _files(store)


def test_files_that_a_killed_run_left_are_swept_by_the_next(undisturbed: Any, tmp_path: Path) -> None:
    project = undisturbed.copy(tmp_path / "project")
    for folder in (".", "models", "ledger", "ledger/fit", "separated/one", "points.zarr", "points.zarr/manifest"):
        (project.output / folder / ".inmf-tmp-0123456789ab-x").write_text("half")
    shutil.copytree(project.output / "points.zarr/parts", project.output / "points.zarr/parts/.inmf-tmp-00-part")
    (project.output / "separated/one/male.wav").unlink()
    assert project.run().status == "done"
    repair_store(project.output / "points.zarr")
    project.assert_equals(undisturbed)
