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


def test_of_many_digests_the_last_of_each_file_is_found(tmp_path: Path) -> None:
    digests = InputDigests(tmp_path / "run/ledger/digests")
    made = {}
    for turn in range(9):
        # Some files of each turn are looked at again in later ones.
        stamps = [(f"/audio/{n}.wav", n, 5, f"{turn:016x}{n:016x}") for n in range(1500 * turn, 1500 * turn + 4000)]
        digests.learn_stamps(stamps)
        digests.save()
        made.update({path: digest for path, _, _, digest in stamps})
    for each in (digests, InputDigests(digests.path)):
        assert {path: each._find(path, n, 5) for n, path in enumerate(made)} == made
        assert each._find("/audio/none.wav", 5, 5) is None
        assert each._find("/audio/1.wav", 1, 6) is None


@pytest.mark.full
def test_digests_take_a_few_bytes_a_file_even_while_they_are_sorted(tmp_path: Path) -> None:
    import tracemalloc

    count, at_once = 1 << 18, 1 << 12
    digests = InputDigests(tmp_path / "run/ledger/digests")
    tracemalloc.start()
    for begin in range(0, count, at_once):
        digests.learn_stamps([(f"/audio/{n}.wav", n, 5, f"{n:032x}") for n in range(begin, begin + at_once)])
    digests.save()
    peak = tracemalloc.get_traced_memory()[1]
    del digests
    tracemalloc.reset_peak()
    read = InputDigests(tmp_path / "run/ledger/digests")
    peak_of_reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read._find("/audio/7.wav", 7, 5) == f"{7:032x}"
    # What is not yet sorted in is held besides, and what is read at a time.
    assert peak < 24 * count + 12e6
    assert peak_of_reading < 24 * count + 12e6


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_recording_takes_a_few_hundred_bytes_even_while_manifests_are_read(tmp_path: Path, form: str) -> None:
    import tracemalloc

    from inmf_flow.pipeline import load_pipeline
    from inmf_flow.pipeline.plan import Planner

    text = (
        "name: large\ncorpus: {mixtures: list.FORM}\ntransforms: {s: {stft: {n_fft: 512, hop_length: 128}}}\n"
        "sources: {a: {audio: a.wav}, b: {audio: b.wav}}\nseparate: {synthesize: s}\n"
        "evaluate: {references: 'refs/{item}/{source}.wav'}\n"
    )
    (tmp_path / "p.yaml").write_text(text.replace("FORM", form))
    peaks = []
    for count in (2000, 6000):
        names = [f"audio/{n // 1000:04d}/clip{n:07d}.wav" for n in range(count)]
        lines = [
            f"{name},{n % 50}" if form == "csv" else f'{{"audio": "{name}", "speaker": {n % 50}}}'
            for n, name in enumerate(names)
        ]
        (tmp_path / f"list.{form}").write_text("\n".join(["audio,speaker", *lines] if form == "csv" else lines) + "\n")
        pipeline = load_pipeline(tmp_path / "p.yaml")
        tracemalloc.start()
        planner = Planner(pipeline, tmp_path / "run")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(planner.mixtures) == count
    assert (peaks[1] - peaks[0]) / 4000 < 650


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
