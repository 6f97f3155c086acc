"""Stages that wait for one another item by item, and not as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.pipeline import run_pipeline
from inmf_flow.pipeline.dispatch import TaskQueue
from inmf_flow.pipeline.events import read_events
from inmf_flow.pipeline.session import Session
from inmf_flow.pipeline.tasks import Receipt, run_task


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let tasks run one after another in this process, those of the latest stage first; return which ran."""
    ran: list[tuple[str, str]] = []

    def run_queue(self: Session, queue: TaskQueue) -> Iterator[tuple[str, list[Receipt]]]:
        while True:
            task = next((task for stage in reversed(queue.stages) if (task := queue.take(stage))), None)
            if task is None:
                return
            ran.append((task.stage, task.batch))
            yield task.stage, run_task(task)

    monkeypatch.setattr(Session, "open", lambda self, stages: None)
    monkeypatch.setattr(Session, "worker_memory", lambda self, stage: 0)
    monkeypatch.setattr(Session, "run_queue", run_queue)
    # Each mixture and each score is a batch of its own.
    monkeypatch.setattr(
        "inmf_flow.pipeline.stages._BATCH_LIMITS", dict.fromkeys(("analyze", "separate", "evaluate"), (1, 1))
    )
    return ran


def by_stage(ran: list[tuple[str, str]]) -> str:
    return " ".join(stage for stage, _ in ran)


def content(folder: Path) -> dict[str, bytes]:
    """Return everything of a run's folder that another run of the same has too."""
    own = {"run.json", "events.jsonl", "digests", "report.html"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in own)
    # The page has the run's times in it, and its record the page's digest.
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.parent.name != "report"}


def test_sources_are_fitted_and_mixtures_scored_while_others_are_still_to_come(
    fresh: Any, in_this_process: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_pipeline(fresh.file, output=fresh.output)
    assert by_stage(in_this_process) == (
        "analyze analyze fit analyze analyze fit separate evaluate separate evaluate separate evaluate report"
    )
    assert outcome.status == "done"
    assert {name: (stage.done, stage.reused, stage.failed) for name, stage in outcome.stages.items()} == {
        "analyze": (4, 0, 0),
        "fit": (2, 0, 0),
        "separate": (3, 0, 0),
        "evaluate": (3, 0, 0),
        "report": (1, 0, 0),
    }
    events = [(event["event"], event.get("stage")) for event in read_events(fresh.output)]
    for stage in outcome.stages:
        assert events.count(("stage_start", stage)) == events.count(("stage_end", stage)) == 1
        assert events.index(("stage_start", stage)) < events.index(("item", stage))

    # The same as when each stage waits for the one before.
    monkeypatch.setattr("inmf_flow.pipeline.run.fits_ahead", lambda *plans: None)
    monkeypatch.setattr("inmf_flow.pipeline.run.scores_ahead", lambda *plans: None)
    one_after_another = fresh.output.with_name("one-after-another")
    in_this_process.clear()
    run_pipeline(fresh.file, output=one_after_another)
    assert by_stage(in_this_process).endswith("fit fit separate separate separate evaluate evaluate evaluate report")
    assert content(one_after_another) == content(fresh.output)


def test_what_was_done_ahead_is_not_done_again(fresh: Any, in_this_process: list[tuple[str, str]]) -> None:
    run_pipeline(fresh.file, output=fresh.output)
    in_this_process.clear()
    again = run_pipeline(fresh.file, output=fresh.output)
    assert in_this_process == []
    assert again.did_nothing
    # Another number of updates: separated and scored again, one by one.
    run_pipeline(fresh.file, output=fresh.output, overrides=["separate.max_iter=3"])
    assert by_stage(in_this_process) == "separate evaluate separate evaluate separate evaluate report"


def test_what_fails_on_the_way_fails_once(fresh: Any, in_this_process: list[tuple[str, str]]) -> None:
    """A mixture that cannot be read is not scored; a score without its reference fails ahead, and is told once."""
    (fresh.folder / "mixtures" / "two.flac").write_bytes(b"no")
    next(fresh.folder.rglob("one/male.*")).unlink()
    outcome = run_pipeline(fresh.file, output=fresh.output)
    assert sorted((stage, item) for stage, item, _ in outcome.failures) == [("evaluate", "one"), ("separate", "two")]
    assert by_stage(in_this_process).count("evaluate") == 2
    counts = outcome.counts
    assert counts["separate"] == {"done": 2, "reused": 0, "failed": 1}
    assert counts["evaluate"] == {"done": 1, "reused": 0, "failed": 1}
    known = run_pipeline(fresh.file, output=fresh.output)
    assert sorted(known.failures) == sorted(outcome.failures)


def test_a_training_file_that_fails_leaves_its_sources_fit_to_the_others(
    fresh: Any, in_this_process: list[tuple[str, str]]
) -> None:
    (fresh.folder / "male" / "b.wav").write_bytes(b"no")
    outcome = run_pipeline(fresh.file, output=fresh.output)
    assert by_stage(in_this_process).startswith("analyze analyze fit analyze analyze fit")
    assert [(stage, item) for stage, item, _ in outcome.failures] == [("analyze", "male/b")]
    assert outcome.counts["fit"] == {"done": 2, "reused": 0, "failed": 0}


def test_points_that_are_to_be_gathered_are_not_fitted_ahead(
    fresh: Any, in_this_process: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "inmf_flow.pipeline.stages._BATCH_LIMITS", {"analyze": (8, 1 << 30), "separate": (1, 1), "evaluate": (1, 1)}
    )
    run_pipeline(fresh.file, output=fresh.output)
    whole = content(fresh.output)
    (fresh.folder / "male" / "c.wav").write_bytes((fresh.folder / "male" / "a.wav").read_bytes())
    run_pipeline(fresh.file, output=fresh.output)
    (fresh.folder / "male" / "c.wav").unlink()
    run_pipeline(fresh.file, output=fresh.output)
    assert content(fresh.output) == whole
