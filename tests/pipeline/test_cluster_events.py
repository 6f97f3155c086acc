"""``events.jsonl``: what a program that watches a run is told, and how fast a stage goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.pipeline.events import NAME, EventLog, Pace, read_events


def test_a_run_tells_what_happens_in_order(first_run: Any) -> None:
    project = first_run[0]
    events = list(read_events(project.output))
    assert [events[0]["event"], events[-1]["event"]] == ["run_start", "run_end"]
    assert events[0]["stages"]["analyze"] == {"total": 4, "todo": 4}
    assert (events[-1]["status"], events[-1]["counts"]) == ("done", project.document()["counts"])
    names = [e["stage"] for e in events if e["event"] == "stage_start"]
    assert names == [e["stage"] for e in events if e["event"] == "stage_end"]
    assert names == ["analyze", "fit", "separate", "evaluate", "report"]
    done = [(e["stage"], e["item"]) for e in events if e["event"] == "item" and e["status"] == "done"]
    assert sorted(item for stage, item in done if stage == "separate") == ["one", "two", "wide"]
    assert len(done) == 13
    assert all(e["seconds"] > 0 for e in events if e["event"] == "item")
    assert len([e for e in events if e["event"] == "worker_joined"]) == 2
    assert [e["time"] for e in events] == sorted(e["time"] for e in events)
    last = {e["stage"]: e for e in events if e["event"] == "progress"}
    assert {stage: (e["done"], e["total"]) for stage, e in last.items()}["separate"] == (3, 3)
    assert all(last[stage]["hours_per_hour"] > 0 for stage in ("analyze", "fit", "separate", "evaluate"))


def test_a_later_run_goes_on_in_the_same_file_and_tells_failures(project: Any) -> None:
    before = list(read_events(project.output))
    (project.folder / "mixtures/bad.wav").write_text("no audio")
    project.run("--set", "separate.max_iter=2", code=1)
    events = list(read_events(project.output))
    assert events[: len(before)] == before
    new = events[len(before) :]
    (failed,) = (e for e in new if e["event"] == "item" and e["status"] == "failed")
    assert (failed["stage"], failed["item"]) == ("separate", "bad")
    assert "bad.wav" in failed["reason"]
    assert new[-1]["status"] == "failed"
    assert not [e for e in new if e.get("stage") == "analyze"]


def test_a_run_that_does_nothing_leaves_no_line(project: Any) -> None:
    # The first run notes that files of a copied folder are what they were.
    project.run()
    before = project.stamps()
    project.run()
    assert project.stamps() == before


def test_the_file_decides_nothing_of_what_is_done(project: Any) -> None:
    (project.output / NAME).write_text("rubbish\n")
    assert "nothing to do" in project.run().out
    (project.output / NAME).unlink()
    assert "nothing to do" in project.run().out
    assert not (project.output / NAME).exists()


def test_a_line_that_a_killed_run_left_unfinished_is_passed_over_and_then_cut_off(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.write("one", text="ü\n")
    log.close()
    with (tmp_path / NAME).open("ab") as stream:
        stream.write(b'{"event": "tw' + b"x" * 10_000)
    assert [e["event"] for e in read_events(tmp_path)] == ["one"]
    log.write("three")
    assert [e["event"] for e in read_events(tmp_path / NAME)] == ["one", "three"]
    assert all(json.loads(line) for line in (tmp_path / NAME).read_bytes().splitlines())


@given(whole=st.lists(st.binary(max_size=6000), max_size=4), torn=st.binary(max_size=10_000))
def test_whatever_the_file_held_whole_lines_stay_and_new_ones_are_whole(
    whole: list[bytes], torn: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("events")
    lines = b"".join(line.replace(b"\n", b" ") + b"\n" for line in whole)
    (folder / NAME).write_bytes(lines + torn.replace(b"\n", b" "))
    log = EventLog(folder)
    log.write("new")
    log.close()
    content = (folder / NAME).read_bytes()
    assert content.startswith(lines)
    assert json.loads(content[len(lines) :])["event"] == "new"
    assert list(read_events(folder))[-1]["event"] == "new"


def test_a_line_that_is_only_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b'{"event": "a"}\n[1]\n{"event": "b"}')
    assert [e["event"] for e in read_events(tmp_path)] == ["a"]


def test_a_full_disk_ends_the_file_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = EventLog(tmp_path)
    log.write("one")
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    log.write("two")
    monkeypatch.undo()
    log.write("three")
    log.close()
    assert "cannot be written any more" in caplog.text
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 1
    assert [e["event"] for e in read_events(tmp_path)] == ["one"]


def test_no_folder_to_write_to_ends_no_run(tmp_path: Path) -> None:
    EventLog(tmp_path / "absent").write("one")
    with pytest.raises(FileNotFoundError):
        list(read_events(tmp_path / "absent"))


def test_a_pace_is_audio_over_time_and_what_is_left_goes_by_size() -> None:
    now = [0.0]
    pace = Pace(2, 400, clock=lambda: now[0])
    assert pace.progress().seconds_left is None
    now[0] = 10.0
    first = pace.take(100, audio=3600.0)
    assert (first.done, first.total) == (1, 2)
    assert first.hours_per_hour == pytest.approx(360)
    assert first.seconds_left == pytest.approx(30)
    now[0] = 40.0
    last = pace.take(300, audio=None)
    assert (last.done, last.seconds_left) == (2, pytest.approx(0))


def test_without_all_sizes_items_count_alike() -> None:
    now = [0.0]
    pace = Pace(3, None, clock=lambda: now[0])
    now[0] = 6.0
    told = pace.take(10**9, None)
    assert (told.done, told.hours_per_hour, told.seconds_left) == (1, None, pytest.approx(12))


@given(sizes=st.lists(st.integers(0, 10**12), max_size=20), steps=st.data())
def test_the_time_left_is_never_negative_and_nothing_at_the_end(sizes: list[int], steps: Any) -> None:
    now = [0.0]
    pace = Pace(len(sizes), sum(sizes) if all(sizes) else None, clock=lambda: now[0])
    for size in sizes:
        now[0] += steps.draw(st.floats(0, 1e6))
        left = pace.take(size, None).seconds_left
        assert left is not None
        assert left >= 0
    progress = pace.progress()
    assert progress.done == progress.total
    assert progress.seconds_left in (None, 0)
