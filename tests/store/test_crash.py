"""Real processes, killed or racing: what is visible afterwards is whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore, open_points, verify_store

# Magnitudes carry the writer's number and the part's, so that a mixture of two writers' parts would show.
WRITER = """
import sys
import numpy as np
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore

path, writer, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = PointsStore.create(path)
print("ready", flush=True)
if "wait" in sys.argv:
    sys.stdin.readline()
for n in range(count):
    values = np.full((50, 400), n, dtype=np.float32)
    values[0] = writer
    times, frequencies = np.arange(400.0), np.arange(50.0)
    items = {f"i{n:04}-{m}": PointSet.from_grid(times, frequencies, values + m) for m in (0, 1)}
    store.write_part(f"p{n:04}", items, {item: f"key of {item}" for item in items}, "h")
"""


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start writers that are ready to write, and see to it that none outlives the test."""
    with ExitStack() as stack:

        def _start(path, writer: int, count: int, *more: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-W", "error", "-c", WRITER, str(path), str(writer), str(count), *more]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout.readline() == "ready\n"
            return process

        yield _start


def _assert_whole(points: PointSet, item: str, writers: set[int]) -> None:
    n, m = int(item[1:5]), int(item[-1])
    values = points.blocks[0].magnitudes
    assert values[0, 0] - m in writers
    assert (values[0] == values[0, 0]).all()
    assert (values[1:] == n + m).all()


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.full)])
def test_a_killed_writer_leaves_only_whole_parts_visible(kills, start, tmp_path) -> None:
    path = tmp_path / "points.zarr"
    rng = random.Random(kills)
    seen = 0
    for kill in range(kills):
        process = start(path, 1, 10_000)
        time.sleep(rng.uniform(0.0, 0.6))
        # However slow the machine is, the last one has written something.
        while kill == kills - 1 and not len(open_points(path)) and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        # Only a part between its rename and its record may show, and only as unrecorded.
        assert all("no record" in problem.what for problem in verify_store(path))
        stored = open_points(path)
        assert len(stored) >= seen
        assert len(stored) % 2 == 0
        seen = len(stored)
        for item in list(stored)[-20:]:
            _assert_whole(stored[item], item, {1})
        store = PointsStore(path)
        store.sweep()
        assert verify_store(path) == []
        assert sorted(p.name for p in (path / "parts").iterdir()) == [
            *(record.part for record in store.records()),
            "zarr.json",
        ]
    assert seen > 0


def test_twin_writers_agree_on_one_of_their_parts(start, tmp_path) -> None:
    path = tmp_path / "points.zarr"
    processes = [start(path, writer, 25, "wait") for writer in (1, 2, 3)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert verify_store(path) == []
    stored = open_points(path)
    assert len(stored) == 50
    for item in stored:
        _assert_whole(stored[item], item, {1, 2, 3})
    assert PointsStore(path).sweep() == []


@pytest.mark.full
def test_sweeping_while_others_write_harms_nobody(start, tmp_path) -> None:
    path = tmp_path / "points.zarr"
    process = start(path, 1, 40)
    store = PointsStore(path)
    while process.poll() is None:
        store.sweep()
        assert verify_store(path) == []
    assert process.wait(timeout=60) == 0
    assert len(open_points(path)) == 80
    assert np.isfinite(open_points(path)["i0000-0"].blocks[0].magnitudes).all()
