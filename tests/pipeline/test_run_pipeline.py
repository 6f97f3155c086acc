"""`run_pipeline` and the life-cycle hooks, from Python."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from inmf_flow import run_pipeline
from inmf_flow.errors import ClusterError, ConfigError
from inmf_flow.hookspecs import ItemOutcome, RunInfo, RunResult, StageInfo, hookimpl
from inmf_flow.pipeline import explain_pipeline, inputs, load_pipeline
from inmf_flow.plugins import register_plugin, unregister_plugin


class Recorder:
    """A plugin that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        self.events.append(("start", run))

    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        self.events.append(("item", outcome))

    @hookimpl
    def on_item_error(self, outcome: ItemOutcome) -> None:
        self.events.append(("error", outcome))

    @hookimpl
    def on_run_end(self, result: RunResult) -> None:
        self.events.append(("end", result))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]


class Raising:
    """A plugin whose every hook fails."""

    @hookimpl
    def on_run_start(self, run: RunInfo) -> None:
        raise RuntimeError("no")

    @hookimpl
    def on_item_end(self, outcome: ItemOutcome) -> None:
        raise ValueError("no")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    plugin = Recorder()
    register_plugin(plugin, "recorder")
    yield plugin
    unregister_plugin("recorder")


def test_hooks_are_told_of_every_item_in_order(fresh: Any, recorder: Recorder) -> None:
    (fresh.folder / "mixtures" / "bad.wav").write_text("no")
    outcome = run_pipeline(fresh.file, scheduler=fresh.scheduler)
    assert (recorder.names()[0], recorder.names()[-1]) == ("start", "end")
    assert Counter(recorder.names()) == {"start": 1, "item": 13, "error": 1, "end": 1}
    start = recorder.events[0][1]
    assert (start.name, start.folder) == ("voices", fresh.output)
    assert start.stages["analyze"] == StageInfo(4, 4)
    assert list(start.stages) == ["analyze", "fit", "separate", "evaluate", "report"]
    stages = [event.stage for name, event in recorder.events if name in ("item", "error")]
    # They overlap, but none begins before the one that it depends on.
    assert list(dict.fromkeys(stages)) == list(start.stages)
    assert Counter(stages) == {"analyze": 4, "fit": 2, "separate": 4, "evaluate": 3, "report": 1}
    (error,) = [event for name, event in recorder.events if name == "error"]
    assert (error.stage, error.item, error.status) == ("separate", "bad", "failed")
    assert "cannot be read as audio" in error.reason
    end = recorder.events[-1][1]
    assert (end.name, end.status) == ("voices", "failed")
    assert end.counts == outcome.counts
    assert end.counts["separate"] == {"done": 3, "reused": 0, "failed": 1}
    assert 0 < end.seconds == outcome.seconds


def test_a_run_with_nothing_to_do_only_begins_and_ends(project: Any, recorder: Recorder) -> None:
    outcome = run_pipeline(project.file)
    assert recorder.names() == ["start", "end"]
    assert all(stage.todo == 0 for stage in recorder.events[0][1].stages.values())
    assert outcome.did_nothing
    assert outcome.status == "done"
    assert {item: list(sources) for item, sources in outcome.estimates.items()} == {
        item: ["male", "female"] for item in ("one", "two", "wide")
    }
    assert len(outcome.metrics) == 6
    assert outcome.report == project.output / "report.html"


def test_a_hook_that_raises_does_not_stop_the_run(project: Any) -> None:
    register_plugin(Raising(), "raising")
    try:
        outcome = run_pipeline(project.file, scheduler=project.scheduler, overrides=["separate.max_iter=2"])
    finally:
        unregister_plugin("raising")
    assert outcome.status == "done"
    assert outcome.counts["separate"]["done"] == 3


def test_a_mapping_is_relative_to_the_working_directory(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    outcome = run_pipeline(yaml.safe_load(project.file.read_text()))
    assert outcome.did_nothing
    assert outcome.folder == project.output


def test_the_output_folder_may_be_elsewhere(project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run_pipeline(project.file, output="somewhere/else", scheduler=project.scheduler)
    assert outcome.folder == tmp_path / "somewhere" / "else"
    assert outcome.estimates["one"]["male"].is_file()


def test_errors_are_exceptions_of_the_one_tree(fresh: Any) -> None:
    with pytest.raises(ConfigError, match="no audio file matches"):
        run_pipeline(fresh.file, overrides=["corpus.mixtures=nothing/*.wav"])
    with pytest.raises(ConfigError, match="not a folder"):
        run_pipeline(fresh.file, output=fresh.file)
    with pytest.raises(ClusterError, match="TLS"):
        run_pipeline(fresh.file, scheduler="tcp://10.0.0.1:8786")


def test_a_run_that_found_no_cluster_can_go_on(fresh: Any, recorder: Recorder) -> None:
    with pytest.raises(ClusterError):
        run_pipeline(fresh.file, scheduler="tcp://10.0.0.1:8786")
    assert fresh.document()["status"] == "failed"
    # Nothing began, so nothing ends.
    assert recorder.names() == []
    fresh.run()
    assert fresh.document()["status"] == "done"


def test_a_scheduler_that_does_not_answer_leaves_what_is_known_in_run_json(project: Any) -> None:
    before = project.document()
    (project.output / "separated/one/male.wav").unlink()
    with pytest.raises(ClusterError):
        run_pipeline(project.file, scheduler="tcp://10.0.0.1:8786")
    document = project.document()
    assert document["status"] == "failed"
    assert document["sources"] == before["sources"]
    assert document["items"]["two"] == before["items"]["two"]
    assert document["items"]["one"]["status"] == "missing"


def test_an_explanation_lists_known_failures_and_reads_nothing_that_is_to_be_done_anyway(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.folder / "mixtures" / "text.wav").write_text("Not audio.")
    run_pipeline(project.file, scheduler=project.scheduler)
    new = project.folder / "mixtures" / "zero.wav"
    new.write_bytes((project.folder / "mixtures" / "wide.wav").read_bytes())
    os.utime(new, (time.time() - 3600,) * 2)
    read = []
    digest_file = inputs.digest_file
    monkeypatch.setattr(inputs, "digest_file", lambda path: read.append(Path(path).name) or digest_file(path))
    pipeline = load_pipeline(project.file)
    explained = explain_pipeline(pipeline, project.output)
    ((stage, item, reason),) = explained.failures
    assert (stage, item) == ("separate", "text")
    assert "cannot be read as audio" in reason
    assert [work.item for work in explained.stages["separate"].todo] == ["zero"]
    outcome = run_pipeline(
        pipeline, output=project.output, scheduler=project.scheduler, overrides=(), explained=explained
    )
    assert outcome.counts["separate"]["done"] == 1
    # The worker that separates it digests it too.
    assert "zero.wav" not in read
