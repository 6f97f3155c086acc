from __future__ import annotations

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from inmf_flow.errors import StoreError, StoreNotFoundError
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore, open_points, verify_store
from inmf_flow.store.manifest import record_path


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _delete(path: Path, rng: random.Random) -> None:
    path.unlink()


def _extend(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 9)))


def _add(path: Path, rng: random.Random) -> None:
    path.with_name(rng.choice(["c.1", "note.txt", "copy of " + path.name])).write_bytes(path.read_bytes())


def _readable(path: Path) -> dict[str, PointSet]:
    """Return the items that can be read."""
    items: dict[str, PointSet] = {}
    with suppress(StoreError):
        stored = open_points(path)
        for item in stored:
            with suppress(StoreError):
                items[item] = stored[item]
    return items


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.full)])
def test_every_corruption_is_found_and_none_reads_as_other_points(count, filled, make_points, bits, tmp_path) -> None:
    truth = {"a": bits(make_points(0)), "b": bits(make_points(1, 50)), "c": bits(make_points(2))}
    assert verify_store(filled.path) == []
    files = sorted(p.relative_to(filled.path) for p in filled.path.rglob("*") if p.is_file())
    rng = random.Random(count)
    rng.shuffle(files)
    harms = [_flip, _truncate, _delete, _extend, _add]
    for n in range(count):
        copy = tmp_path / "copy"
        shutil.copytree(filled.path, copy)
        # Coprime strides: every kind of file meets every kind of harm.
        name, harm = files[n % len(files)], harms[(n + n // len(files)) % len(harms)]
        harm(copy / name, rng)
        assert verify_store(copy), f"{harm.__name__} of {name} passed"
        for item, points in _readable(copy).items():
            assert bits(points) == truth[item], f"{harm.__name__} of {name} changed {item}"
        shutil.rmtree(copy)


def test_damage_names_the_file_and_the_items_that_are_lost(filled) -> None:
    shard = filled.path / "parts/p1/scattered_times/c.0"
    data = bytearray(shard.read_bytes())
    data[10] ^= 1
    shard.write_bytes(data)
    first, second = verify_store(filled.path)
    assert (first.part, first.item, first.file) == ("p1", None, "parts/p1/scattered_times/c.0")
    assert (second.part, second.item) == ("p1", "c")
    assert str(first).startswith("parts/p1/scattered_times/c.0, part p1: is not what was written")


def test_a_part_that_cannot_be_opened_is_one_line_not_one_an_item(filled) -> None:
    (filled.path / "parts/p0/blocks/zarr.json").unlink()
    problems = verify_store(filled.path)
    assert [p.item for p in problems] == [None, None]
    assert "none of its 2 items" in problems[1].what


def test_a_part_without_record_is_a_problem(filled) -> None:
    record_path(filled.path, "p1").unlink()
    (problem,) = verify_store(filled.path)
    assert (problem.part, problem.file) == ("p1", "parts/p1")
    assert "no record" in problem.what


def test_leftovers_of_killed_writers_are_no_problem(filled) -> None:
    (filled.path / "parts" / ".inmf-tmp-1-p7").mkdir()
    (filled.path / "manifest" / ".inmf-tmp-1-p7.json").write_text("")
    assert verify_store(filled.path) == []


@pytest.mark.parametrize("folder", ["manifest", "parts"])
def test_a_lost_folder_is_a_problem(filled, folder) -> None:
    shutil.rmtree(filled.path / folder)
    assert any(problem.file == folder for problem in verify_store(filled.path))


def test_a_lost_root_is_a_problem_where_the_rest_is_a_store(filled) -> None:
    (filled.path / "zarr.json").unlink()
    assert [problem.file for problem in verify_store(filled.path)] == ["zarr.json"]


def test_what_is_no_store_is_an_error(tmp_path) -> None:
    with pytest.raises(StoreNotFoundError):
        verify_store(tmp_path / "nothing")
    with pytest.raises(StoreError, match="not a points store"):
        verify_store(tmp_path)


def test_an_empty_store_is_whole(tmp_path) -> None:
    assert verify_store(PointsStore.create(tmp_path / "s").path) == []
