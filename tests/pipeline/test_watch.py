"""Runs over folders that fill up: files are taken when they are whole, once, until the run is stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.errors import ConfigError
from inmf_flow.evaluate import read_metrics_csv
from inmf_flow.hookspecs import ItemOutcome, hookimpl
from inmf_flow.pipeline import RunOutcome, load_pipeline, pipeline_from_mapping, read_events, run_pipeline
from inmf_flow.plugins import register_plugin, unregister_plugin

_WATCH = "{folder: incoming, settle: 0.4, poll: 0.1}"


class Watcher:
    """`inmf run` as a process of its own that watches a folder, whose lines are read as they come."""

    def __init__(self, project: Any, *arguments: str) -> None:
        self.process: subprocess.Popen[str] = project.start("--scheduler", project.scheduler, *arguments)
        self.lines: list[str] = []

    def wait_for(self, *beginnings: str) -> None:
        """Read lines until each of these has begun one."""
        assert self.process.stderr is not None
        while not all(any(line.startswith(begin) for line in self.lines) for begin in beginnings):
            line = self.process.stderr.readline()
            assert line, "\n".join(self.lines)
            self.lines.append(line.rstrip("\n"))

    def end(self, signals: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Send a signal and return the exit code and what was printed."""
        self.process.send_signal(signals)
        out, err = self.process.communicate(timeout=60)
        said = "\n".join([*self.lines, err])
        assert "Traceback" not in said, said
        return self.process.returncode, out, said


@contextmanager
def watching(project: Any, *arguments: str) -> Iterator[Watcher]:
    watcher = Watcher(project, *arguments)
    try:
        yield watcher
    finally:
        if watcher.process.poll() is None:
            os.killpg(watcher.process.pid, signal.SIGKILL)
        watcher.process.communicate()


@pytest.fixture
def queue(fresh: Any) -> Any:
    """A project that was never run, which watches a folder that is not there yet."""
    text = fresh.file.read_text()
    assert '{mixtures: "mixtures/*", sample_rate: 16000}' in text
    fresh.file.write_text(text.replace('mixtures: "mixtures/*"', f"watch: {_WATCH}"))
    return fresh


def _put(project: Any, *names: str) -> None:
    for name in names:
        target = project.folder / "incoming" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.folder / "mixtures" / Path(name).name, target)


def _watch(project: Any, idle: float = 0.7, **changes: Any) -> RunOutcome:
    """Run until nothing has come for a while."""
    overrides = [f"corpus.watch.idle={idle}", *(f"{key.replace('__', '.')}={value}" for key, value in changes.items())]
    return run_pipeline(project.file, scheduler=project.scheduler, overrides=overrides)


# Puts files into a folder in all the ways in which programs do it, by a process of its own.
_FILL = """
import os, shutil, sys, time
source, target = sys.argv[1:]
os.makedirs(target + "/late")
data = open(source + "/one.flac", "rb").read()
with open(target + "/one.flac", "wb", buffering=0) as stream:  # cp over a slow link
    for begin in range(0, len(data), len(data) // 6):
        stream.write(data[begin : begin + len(data) // 6])
        time.sleep(0.2)
shutil.copy(source + "/two.flac", target + "/.two.flac.Xq81Zt")  # rsync
shutil.copy(source + "/wide.wav", target + "/late/wide.wav.part")  # a browser
open(target + "/bad.wav", "wb").write(b"RIFF" + bytes(40))
open(target + "/empty.wav", "wb").close()
time.sleep(0.8)
os.rename(target + "/.two.flac.Xq81Zt", target + "/two.flac")
os.rename(target + "/late/wide.wav.part", target + "/late/wide.wav")
"""


def test_what_another_process_puts_there_comes_out_as_in_an_ordinary_run(queue: Any, without_pictures: Any) -> None:
    filler = [sys.executable, "-c", _FILL, str(queue.folder / "mixtures"), str(queue.folder / "incoming")]
    with watching(queue) as watcher:
        watcher.wait_for("watching", "report report.html: done")
        subprocess.run(filler, check=True)
        watcher.wait_for(*(f"evaluate {name}: done" for name in ("one", "two", "wide")), "separate bad: FAILED")
        code, out, said = watcher.end()
    assert code == 1, said
    assert [line for line in watcher.lines if "FAILED" in line] == [
        line for line in watcher.lines if line.startswith("separate bad: FAILED")
    ]
    assert "1 failed" in out
    ours, theirs = queue.results(), without_pictures.results()
    compared = [name for name in theirs if name.startswith(("models/", "separated/"))]
    assert len(compared) == 8
    assert [name for name in compared if ours[name] != theirs[name]] == []
    assert sorted(ours["metrics.csv"].splitlines()) == sorted(theirs["metrics.csv"].splitlines())
    assert [name for name in ours if name.startswith("separated/") and name not in theirs] == []
    document = queue.document()
    assert document["status"] == "failed"
    assert document["counts"]["separate"] == {"done": 3, "reused": 0, "failed": 1}
    assert document["counts"]["evaluate"] == {"done": 3, "reused": 0, "failed": 0}
    assert {item: each["status"] for item, each in document["items"].items()} == {
        **dict.fromkeys(("one", "two", "wide"), "done"),
        "bad": "failed",
    }
    assert "bad.wav" in (queue.output / "quarantine.csv").read_text()
    assert "wide" in (queue.output / "report.html").read_text()
    assert [event["event"] for event in read_events(queue.output)].count("run_end") == 1


def test_after_a_kill_nothing_is_done_twice(queue: Any) -> None:
    with watching(queue) as watcher:
        _put(queue, "one.flac", "two.flac")
        watcher.wait_for("separate one: done", "separate two: done", "evaluate one: done", "evaluate two: done")
        watcher.process.kill()
        watcher.process.wait()
    before = {path: stamp for path, stamp in queue.stamps().items() if "separated/" in path or "models/" in path}
    _put(queue, "wide.wav")
    outcome = _watch(queue)
    assert outcome.status == "done"
    counts = outcome.counts
    assert (counts["separate"], counts["evaluate"]) == ({"done": 1, "reused": 2, "failed": 0},) * 2
    assert counts["fit"] == {"done": 0, "reused": 2, "failed": 0}
    after = queue.stamps()
    folder = "runs/voices/separated"
    assert {path: after[path] for path in before if path != folder} == {p: s for p, s in before.items() if p != folder}
    assert len(outcome.estimates) == 3
    assert _watch(queue, 0.2).did_nothing
    assert queue.document()["status"] == "done"


def test_ctrl_c_while_it_waits_is_its_usual_end(queue: Any) -> None:
    _put(queue, "one.flac")
    with watching(queue) as watcher:
        watcher.wait_for("evaluate one: done")
        assert queue.document()["status"] in ("running", "watching")
        second = queue.run(code=2)
        assert "another run is using this folder" in second.err
        # The record of what was scored is taken just after the line.
        time.sleep(0.5)
        code, out, said = watcher.end(signal.SIGINT)
    assert code == 0, said
    assert "runs/voices/separated/one/male.wav" in out
    assert "interrupted" not in said
    assert queue.document()["status"] == "done"
    assert "one" in (queue.output / "report.html").read_text()


def test_a_stop_while_there_is_work_leaves_it_for_the_next_run(queue: Any) -> None:
    _put(queue, "one.flac")
    text = queue.file.read_text()
    queue.file.write_text(text.replace("{max_iter: 15}", "{max_iter: 40000}"))
    with watching(queue) as watcher:
        watcher.wait_for("report report.html: done")
        end = time.monotonic() + 30
        while not any(event["event"] == "arrived" for event in read_events(queue.output)):
            assert time.monotonic() < end
            time.sleep(0.1)
        time.sleep(0.3)
        code, _, said = watcher.end()
    assert code == 130, said
    assert "run the same command again to go on" in said
    assert queue.document()["status"] == "interrupted"
    assert list(read_events(queue.output))[-1]["status"] == "interrupted"


@pytest.mark.full
def test_a_folder_that_stays_empty_is_waited_for(queue: Any) -> None:
    outcome = _watch(queue, 0.3)
    assert (outcome.status, outcome.estimates) == ("done", {})
    assert outcome.counts["fit"]["done"] == 2
    assert queue.document()["items"] == {}


def test_files_that_change_are_done_again_and_those_that_are_gone_keep_their_results(queue: Any) -> None:
    _put(queue, "one.flac", "two.flac")
    _watch(queue)
    incoming = queue.folder / "incoming"
    (incoming / "one.flac").unlink()
    shutil.copy(queue.folder / "mixtures" / "wide.wav", incoming / "two.flac")
    os.utime(incoming / "two.flac", (time.time() - 10,) * 2)
    before = queue.results()
    outcome = _watch(queue)
    assert outcome.counts["separate"] == {"done": 1, "reused": 1, "failed": 0}
    after = queue.results()
    changed = {name.split("/")[1] for name in after if name.startswith("separated/") and after[name] != before[name]}
    assert changed == {"two"}
    assert outcome.estimates.keys() == {"one", "two"}
    # What is gone cannot be made again, whatever the settings are.
    outcome = _watch(queue, separate__max_iter=16)
    assert outcome.counts["separate"] == {"done": 1, "reused": 1, "failed": 0}
    assert "one" not in {item for _, item, _ in outcome.failures}


@pytest.mark.full
def test_a_change_while_it_runs_is_done_again_and_a_failure_forgotten(queue: Any) -> None:
    incoming = queue.folder / "incoming"
    incoming.mkdir()
    (incoming / "one.flac").write_bytes(b"not audio")

    def repair() -> None:
        _wait_for_failure(queue)
        _put(queue, "one.flac")

    with _meanwhile(repair):
        outcome = _watch(queue, 3)
    assert outcome.status == "done", outcome.failures
    assert outcome.counts["separate"] == {"done": 1, "reused": 0, "failed": 0}
    assert queue.document()["failures"] == []
    assert not (queue.output / "quarantine.csv").exists()


def _wait_for_failure(project: Any) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if (project.output / "events.jsonl").exists() and any(
            event.get("status") == "failed" for event in read_events(project.output)
        ):
            return
        time.sleep(0.05)


@contextmanager
def _meanwhile(work: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def test_names_stay_when_files_of_the_same_name_come(queue: Any) -> None:
    _put(queue, "sub/one.flac")
    _watch(queue)
    before = queue.stamps()
    _put(queue, "one.flac", "aaa/one.flac")
    outcome = _watch(queue)
    assert sorted(outcome.estimates) == ["aaa-one", "incoming-one", "one"]
    assert outcome.counts["separate"] == {"done": 2, "reused": 1, "failed": 0}
    mine = [name for name in before if "/separated/one/" in name]
    assert mine
    assert {name: before[name] for name in mine} == {name: queue.stamps()[name] for name in mine}
    # Without references, as in any run.
    assert {item for stage, item, _ in outcome.failures if stage == "evaluate"} == {"aaa-one", "incoming-one"}


@pytest.mark.parametrize("pause", [0.0, pytest.param(1.2, marks=pytest.mark.full)])
def test_segments_and_many_rounds_end_as_one_run_would(pause: float, queue: Any) -> None:
    def fill() -> None:
        for name in ("one.flac", "two.flac", "wide.wav"):
            time.sleep(pause)
            _put(queue, name)

    changes = {"corpus__segments": "{seconds: 1}", "evaluate": "null"}
    with _meanwhile(fill):
        outcome = _watch(queue, 0.7 + 3 * pause, **changes)
    assert outcome.status == "done", outcome.failures
    rounds = [event for event in read_events(queue.output) if event["event"] == "arrived"]
    assert len(rounds) >= 1 + bool(pause)
    again = _watch(queue, 0.2, **changes)
    assert again.did_nothing
    assert again.counts["separate"]["reused"] == outcome.counts["separate"]["done"] == len(outcome.estimates)


@pytest.mark.full
def test_dictionaries_of_each_mixture_are_learned_as_mixtures_come(queue: Any) -> None:
    def fill() -> None:
        for number, name in enumerate(("one", "two")):
            folder = queue.folder / "incoming" / name
            folder.mkdir(parents=True)
            for source in ("male", "female"):
                shutil.copy(queue.folder / source / "a.wav", folder / f"{source}.wav")
            shutil.copy(queue.folder / "mixtures" / f"{name}.flac", folder / f"mixture{number}.flac")
            time.sleep(1)

    changes = {f"sources__{source}__audio": f"'{{folder}}/{source}.wav'" for source in ("male", "female")}
    changes |= {"corpus__watch__folder": "incoming/*/mixture*.flac", "evaluate": "null"}
    with _meanwhile(fill):
        outcome = _watch(queue, 3, **changes)
    assert outcome.status == "done", outcome.failures
    assert outcome.counts["fit"] == {"done": 4, "reused": 0, "failed": 0}
    assert outcome.counts["separate"] == {"done": 2, "reused": 0, "failed": 0}
    assert _watch(queue, 0.2, **changes).did_nothing


def test_what_the_run_makes_does_not_arrive_where_its_folder_is_in_the_watched_one(queue: Any) -> None:
    _put(queue, "one.flac")
    outcome = _watch(queue, corpus__watch__folder="../project/incoming", output="../project/incoming/results", idle=1.5)
    assert outcome.estimates.keys() == {"one"}
    assert (queue.folder / "incoming" / "results" / "separated" / "one" / "male.wav").is_file()


def test_a_dry_run_plans_what_is_there_now_and_writes_nothing(queue: Any) -> None:
    _put(queue, "one.flac", "two.flac")
    before = queue.stamps()
    said = queue.run("--dry-run", "--why").out
    assert "separate: 2 of 2 to do" in said
    assert queue.stamps() == before
    assert "separate: 0 of 0" not in said


def test_the_shipped_example_separates_what_arrives(tmp_path: Path, repository: Path, scheduler: str) -> None:
    shutil.copy(repository / "pipelines" / "watch.yaml", tmp_path)
    (tmp_path / "audio").symlink_to(repository / "pipelines" / "audio")
    (tmp_path / "incoming").mkdir()
    shutil.copy(tmp_path / "audio" / "speech" / "mixture.flac", tmp_path / "incoming")
    quick = ["fit.max_iter=5", "separate.max_iter=5", "report.items=0"]
    watch = ["corpus.watch={folder: incoming/, settle: 0.2, poll: 0.1, idle: 0.5}"]
    outcome = run_pipeline(tmp_path / "watch.yaml", scheduler=scheduler, overrides=quick + watch)
    assert outcome.estimates.keys() == {"mixture"}


def test_what_does_not_go_together_is_refused(queue: Any) -> None:
    data = json.loads(json.dumps(load_pipeline(queue.file).as_json()))
    data["corpus"]["mixtures"] = "mixtures"
    with pytest.raises(ConfigError, match="'mixtures' and 'watch'"):
        pipeline_from_mapping(data, queue.folder)
    del data["corpus"]["mixtures"], data["corpus"]["watch"]
    with pytest.raises(ConfigError, match="'mixtures' is missing in corpus"):
        pipeline_from_mapping(data, queue.folder)
    data["corpus"]["watch"] = "incoming"
    data["compare"] = {"size": {"small": {"fit": {"power": 1}}}}
    with pytest.raises(ConfigError, match="takes them as they arrive"):
        pipeline_from_mapping(data, queue.folder)
    del data["compare"]
    assert pipeline_from_mapping(data, queue.folder).corpus.watch.settle == 2


def test_one_reference_for_all_that_may_come_is_refused(queue: Any) -> None:
    with pytest.raises(ConfigError, match="scored against the same references"):
        _watch(queue, evaluate__references="references/one/{source}.wav")


@pytest.mark.parametrize("stage", ["separate", "evaluate"])
def test_a_request_with_the_last_result_of_a_round_leaves_nothing_undone(queue: Any, stage: str) -> None:
    class Asking:
        """Asks for the end when the last item of a stage is told, before the round it belongs to is over."""

        @hookimpl
        def on_item_end(self, outcome: ItemOutcome) -> None:
            told.append(outcome.stage)
            if told.count(stage) == 2 and outcome.stage == stage:
                os.kill(os.getpid(), signal.SIGTERM)

    told: list[str] = []
    _put(queue, "one.flac", "two.flac")
    register_plugin(Asking(), "asking")
    try:
        if stage == "evaluate":
            assert _watch(queue, 60).status == "done"
        else:
            with pytest.raises(KeyboardInterrupt):
                _watch(queue, 60)
    finally:
        unregister_plugin("asking")
    assert _watch(queue, 0.2).did_nothing == (stage == "evaluate")
    assert {row.item for row in read_metrics_csv(queue.output / "metrics.csv")} == {"one", "two"}
