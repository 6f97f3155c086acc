"""What the driver holds of a corpus, and what it does where records do not fit the plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.pipeline.inputs import UNREAD, UNREADABLE, InputDigests, complete_inputs
from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.pipeline.stages import StagePlan, Works


def plan(folder: Path, names: list[str], size: int = 1) -> StagePlan:
    """Return the plan of a stage of items that depend on their names, sixteen of them a batch."""
    import numpy as np

    works = Works(
        len(names),
        item=lambda place: names[place],
        payload=lambda place: {},
        inputs=lambda place, digest: {"settings": names[place]},
        files=lambda place: (),
        sizes=np.full(len(names), size),
    )
    return StagePlan("separate", works, Ledger(folder), InputDigests(folder / "ledger" / "digests"))


def record(folder: Path, names: list[str]) -> None:
    """Write records as a run over these items would."""
    made = plan(folder, names)
    for batch in made.batches:
        entries = [Entry(work.item, dict(work.inputs), "done") for work in batch.works]
        Ledger(folder).write("separate", batch.name, entries)


def items_of(folder: Path) -> list[list[str]]:
    paths = sorted((folder / "ledger" / "separate").glob("*.json"))
    return [sorted(json.loads(path.read_text())["items"]) for path in paths]


def test_a_new_first_item_moves_entries_to_other_records_and_is_done_alone(tmp_path: Path) -> None:
    names = [f"m{number:03d}" for number in range(50)]
    record(tmp_path, names)
    new = plan(tmp_path, ["a", *names])
    assert [work.item for work in new.todo] == ["a"]
    new.align()
    whole = ["a", *names]
    assert items_of(tmp_path) == [whole[1:16], whole[16:32], whole[32:48], whole[48:]]
    again = plan(tmp_path, whole)
    assert (len(again.todo), again.is_aligned) == (1, True)


def test_a_kill_at_any_moment_of_an_alignment_loses_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inmf_flow.pipeline import ledger

    names = [f"m{number:03d}" for number in range(40)]
    write, writes = ledger.atomic_write, 0
    for moment in range(12):
        folder = tmp_path / str(moment)
        record(folder, names)
        left = moment

        def killed(path: Any, content: Any) -> None:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            write(path, content)

        new = plan(folder, ["a", *names])
        monkeypatch.setattr(ledger, "atomic_write", killed)
        try:
            new.align()
        except KeyboardInterrupt:
            writes += 1
        monkeypatch.setattr(ledger, "atomic_write", write)
        # One who may only look sees all of them, and so does the next run.
        assert [work.item for work in plan(folder, ["a", *names]).todo] == ["a"]
        Ledger(folder).recover("separate")
        resumed = plan(folder, ["a", *names])
        assert [work.item for work in resumed.todo] == ["a"]
        resumed.align()
        assert sum(map(len, items_of(folder))) == 40
    assert writes > 5


def test_a_damaged_record_costs_its_batch(tmp_path: Path) -> None:
    names = [f"m{number:03d}" for number in range(40)]
    record(tmp_path, names)
    path = tmp_path / "ledger/separate/000001.json"
    path.write_bytes(path.read_bytes().replace(b"m020", b"m02x"))
    assert [work.item for work in plan(tmp_path, names).todo] == names[16:32]


def test_digests_are_remembered_and_a_damaged_memory_only_costs_reading(tmp_path: Path) -> None:
    import os

    files = [tmp_path / f"{number}.wav" for number in range(100)]
    for file in files:
        file.write_text(file.name)
        os.utime(file, (1e9, 1e9))
    digests = InputDigests(tmp_path / "run/ledger/digests")
    found = digests.get_all(files)
    digests.save()
    known = InputDigests(digests.path)
    assert {str(file): known.known(file) for file in files} == found
    assert known.known(tmp_path / "none") == UNREADABLE
    files[0].write_text("other")
    assert known.known(files[0]) == UNREAD
    assert digests.path.stat().st_size < 100 * 24 + 64
    digests.path.write_bytes(digests.path.read_bytes()[:-7])
    assert sum(InputDigests(digests.path).known(file) == UNREAD for file in files) == 2
    digests.path.write_bytes(b"no")
    assert InputDigests(digests.path).get(files[1]) == found[str(files[1])]


def test_a_worker_digests_what_the_driver_has_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("audio")
    inputs, _ = complete_inputs({"audio": UNREAD, "settings": "s"}, {"path": str(path)})
    assert inputs == {"audio": InputDigests(tmp_path / "r/l/d").get(path), "settings": "s"}
    missing, stamps = complete_inputs({"audio": UNREAD}, {"path": str(tmp_path / "none")})
    assert (missing, stamps) == ({"audio": UNREADABLE}, [])


def _held(folder: Path, count: int) -> int:
    """Return the bytes that a plan of so many items takes that are all on record."""
    import gc
    import tracemalloc

    names = [f"m{number:07d}" for number in range(count)]
    record(folder, names)
    gc.collect()
    tracemalloc.start()
    made = plan(folder, names)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(made.todo) == 0
    return held


@pytest.mark.full
def test_a_plan_takes_a_hundred_bytes_an_item_whatever_is_on_record(tmp_path: Path) -> None:
    small, large = _held(tmp_path / "small", 1000), _held(tmp_path / "large", 5000)
    assert (large - small) / 4000 < 120
