"""Each call to the file system fails once in turn: nothing half-written is read, and doing it again mends all."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow.errors import InmfError
from inmf_flow.files import TEMPORARY_MARK, atomic_write, exclusive_write
from inmf_flow.pipeline.ledger import Entry, Ledger, digest_json
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore, open_points, verify_store
from inmf_flow.testing.faults import FailingFilesystem

# Where a write fails Zarr leaves coroutines that it does not await; what counts here is what is left on the disk.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


def shares(count: int) -> list[Any]:
    """Return the parameters of tests that try every call, shared out among so many."""
    return [pytest.param(first, count, marks=pytest.mark.full) for first in range(count)]


def every_call(
    folder: Path, work: Callable[[Path], Any], first: int, step: int
) -> Iterator[tuple[Path, FailingFilesystem]]:
    """Do something in a folder of its own for each call that it makes, and let that one fail.

    Every ``step``-th call from the first is enough for a short test; which error it gives changes from one to the next.
    """
    counted = folder / "counted"
    counted.mkdir()
    with FailingFilesystem(counted) as disk:
        work(counted)
    assert len(disk.calls) > 10
    for number in range(first, len(disk.calls), step):
        place = folder / str(number)
        place.mkdir()
        disk = FailingFilesystem(place, number, ERRORS[(number // step + number) % len(ERRORS)])
        said = os.strerror(disk.error)
        with disk:
            try:
                work(place)
            except (InmfError, OSError) as error:
                said = str(error)
        assert disk.failed
        assert os.strerror(disk.error) in said, disk.failed
        yield place, disk


@pytest.mark.parametrize(("first", "step"), [(4, 12), *shares(4)])
def test_writing_a_part(first: int, step: int, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((20, 30)).astype(np.float32)
    points = PointSet.from_grid(np.arange(30.0), np.arange(20.0), values)

    def write(folder: Path) -> None:
        store = PointsStore.create(folder / "points.zarr")
        store.write_part("p0", {"a": points}, {"a": "ka"}, "hash")

    for place, disk in every_call(tmp_path, write, first, step):
        path = place / "points.zarr"
        if (path / "zarr.json").exists():
            assert all("no record" in problem.what for problem in verify_store(path)), disk.failed
            for item, found in open_points(path).items():
                assert (item, found.blocks[0].magnitudes.tobytes()) == ("a", values.tobytes()), disk.failed
        write(place)
        assert PointsStore(path).sweep() is not None
        assert verify_store(path) == [], disk.failed
        files = {p.relative_to(place): p.read_bytes() for p in place.rglob("*") if p.is_file()}
        counted = tmp_path / "counted"
        assert files == {p.relative_to(counted): p.read_bytes() for p in counted.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("first", "step"), [(1, 3), *shares(1)])
def test_writing_a_record_of_the_ledger(first: int, step: int, tmp_path: Path) -> None:
    once = [Entry("a", {"audio": "1"}, "done")]
    twice = [Entry("a", {"audio": "2"}, "done"), Entry("b", {"audio": "3"}, "failed", "no audio")]

    def write(folder: Path) -> None:
        ledger = Ledger(folder)
        ledger.write("separate", "000000", once)
        ledger.write("separate", "000000", twice)

    for place, disk in every_call(tmp_path, write, first, step):
        entries = Ledger(place).load("separate")
        assert list(entries.values()) in ([], once, twice), disk.failed
        write(place)
        assert list(Ledger(place).load("separate").values()) == twice
        Ledger(place).keep_only("separate", ["000000"])
        assert [path.name for path in (place / "ledger/separate").iterdir()] == ["000000.json"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("operations", [("open", "write", "fsync", "link"), ("write", "link")])
def test_a_disk_that_goes_on_failing_leaves_the_old_content_or_nothing(
    operations: tuple[str, ...], error: int, tmp_path: Path
) -> None:
    content = "after" * 5000
    for number in range(10):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "old").write_text("before")
        with FailingFilesystem(place, number, error, times=math.inf, operations=operations):
            for write, name in ((exclusive_write, "new"), (atomic_write, "old")):
                with suppress(OSError):
                    write(place / name, content)
        assert (place / "old").read_text() in ("before", content)
        assert not (place / "new").exists() or (place / "new").read_text() == content


def _assert_nothing_half_written(output: Path, undisturbed: Any) -> None:
    whole = undisturbed.results()
    for path in output.rglob("*"):
        name = path.relative_to(output).as_posix()
        if not path.is_file() or TEMPORARY_MARK in name:
            continue
        if name.startswith("ledger/") and path.suffix == ".json" and "inputs" not in name:
            body = json.loads(path.read_text())
            assert body.pop("checksum") == digest_json(body), name
        elif name == "run.json":
            assert json.loads(path.read_text())["status"] in ("running", "done", "failed")
        elif name.startswith(("models", "separated", "points.zarr")):
            assert path.read_bytes() == whole[name], name
    if (output / "points.zarr/zarr.json").exists():
        assert all("no record" in problem.what for problem in verify_store(output / "points.zarr"))


@pytest.mark.parametrize(("first", "step"), [(35, 90), *shares(30)])
def test_a_run(first: int, step: int, unrun: Any, undisturbed: Any, tmp_path: Path) -> None:
    for place, disk in every_call(tmp_path, unrun.run, first, step):
        _assert_nothing_half_written(place, undisturbed)
        outcome = unrun.run(place)
        assert (outcome.status, outcome.failures) == ("done", []), disk.failed
        unrun.assert_equals(undisturbed, place)
