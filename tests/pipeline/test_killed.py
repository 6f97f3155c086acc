"""Runs that are killed or interrupted, and what the next run makes of what they left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from inmf_flow.files import TEMPORARY_MARK

# Events of a run: its first line, the dashboard, then a line an item.
EVENTS = 15


class Driver:
    """A run in a session of its own, whose lines are read as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []

    def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        """Read lines until they satisfy a condition, or the run ends."""
        assert self.process.stderr is not None
        while not condition(self.lines):
            line = self.process.stderr.readline()
            if not line:
                return
            self.lines.append(line.rstrip("\n"))

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes: the children that run distributed's nanny."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with_name = " ".join(child.cmdline())
            if "spawn_main" in with_name:
                found.append(child)
        return found

    def alive(self) -> list[psutil.Process]:
        """Return the processes of the session that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def finish(self, timeout: float = 120) -> tuple[int, str, str]:
        """Wait for the end and return the exit code and what was printed."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, "\n".join([*self.lines, err])

    def assert_no_orphans(self, seconds: float = 20) -> None:
        """Wait until no process of the session is left."""
        end = time.monotonic() + seconds
        while alive := self.alive():
            assert time.monotonic() < end, [(p.pid, p.cmdline()) for p in alive]
            time.sleep(0.1)


@contextmanager
def running(project: Any, *arguments: str) -> Iterator[Driver]:
    driver = Driver(project.start(*arguments))
    try:
        yield driver
    finally:
        for process in driver.alive():
            process.kill()
        driver.process.kill()
        driver.process.communicate()


def _assert_whole(project: Any, undisturbed: Any) -> None:
    """Check that the results are those of a run that nobody disturbed, and that nothing unfinished is left."""
    theirs, ours = undisturbed.results(), project.results()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert [name for name in project.files() if TEMPORARY_MARK in name] == []
    document = project.document()
    assert document["status"] == "done"
    assert document["items"] == undisturbed.document()["items"]
    assert document["sources"] == undisturbed.document()["sources"]


def _kill_and_go_on(project: Any, undisturbed: Any, seed: int) -> None:
    chance = random.Random(seed)
    events, delay = chance.randrange(EVENTS), chance.uniform(0, 0.6)
    if chance.random() < 0.2:
        # At a moment of the start-up, before there is any event.
        events, delay = 0, chance.uniform(0, 3)
    with running(project) as driver:
        driver.wait_for(lambda lines: len(lines) >= events)
        time.sleep(delay)
        if seed % 2:
            os.killpg(driver.process.pid, signal.SIGKILL)
        else:
            os.kill(driver.process.pid, signal.SIGKILL)
        driver.process.wait()
        # Without their driver the workers end too.
        driver.assert_no_orphans()
    if (project.output / "run.json").exists():
        assert project.document()["status"] in ("running", "done")
    project.run()
    _assert_whole(project, undisturbed)
    assert "nothing to do" in project.run().out


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_that_was_killed_goes_on_to_the_same_results(fresh: Any, without_pictures: Any, seed: int) -> None:
    _kill_and_go_on(fresh, without_pictures, seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, *range(3, 35)])
def test_a_run_that_was_killed_goes_on_to_the_same_results_at_many_moments(
    fresh: Any, without_pictures: Any, seed: int
) -> None:
    _kill_and_go_on(fresh, without_pictures, seed)


@pytest.mark.parametrize("how", ["a terminal's Ctrl-C", pytest.param("kill -INT", marks=pytest.mark.full)])
def test_an_interrupted_run_says_so_leaves_nobody_behind_and_goes_on(
    fresh: Any, without_pictures: Any, how: str
) -> None:
    with running(fresh) as driver:
        driver.wait_for(lambda lines: any("analyse" in line and "done in" in line for line in lines))
        if how == "kill -INT":
            os.kill(driver.process.pid, signal.SIGINT)
        else:
            os.killpg(driver.process.pid, signal.SIGINT)
        begin = time.monotonic()
        code, out, err = driver.finish()
        assert time.monotonic() - begin < 30
        assert code == 130
        assert "inmf: interrupted; what was finished is kept, run the same command again to go on" in err
        assert "Traceback" not in out + err
        driver.assert_no_orphans()
    document = fresh.document()
    assert document["status"] == "interrupted"
    assert document["counts"]["analyze"]["done"] >= 1
    fresh.run()
    assert fresh.done().get("analyze", 0) < 4
    _assert_whole(fresh, without_pictures)


@pytest.mark.full
def test_a_run_whose_workers_are_killed_finishes(fresh: Any) -> None:
    long = ["--set", "fit.max_iter=400", "--set", "fit.tol=0"]
    with running(fresh, *long) as driver:
        driver.wait_for(lambda lines: any("analyse female/b" in line for line in lines))
        time.sleep(0.3)
        killed = driver.workers()
        assert killed, "the workers could not be found"
        killed[0].send_signal(signal.SIGKILL)
        code, out, err = driver.finish()
        assert code == 0, out + err
        assert "Traceback" not in out + err
        assert "FAILED" not in err
        driver.assert_no_orphans()
    assert fresh.document()["counts"]["fit"] == {"done": 2, "reused": 0, "failed": 0}


@pytest.mark.full
def test_a_second_driver_is_told_and_does_nothing(fresh: Any, without_pictures: Any) -> None:
    with running(fresh, "--workers", "1") as driver:
        driver.wait_for(lambda lines: len(lines) >= 1)
        second = fresh.run(code=2)
        assert "another run is using this folder" in second.err
        assert str(fresh.output) in second.err
        assert len(second.err.splitlines()) == 1
        # Looking is allowed.
        assert "to do" in fresh.run("--dry-run").out
        code, _, err = driver.finish()
        assert code == 0, err
    _assert_whole(fresh, without_pictures)


def test_an_interrupted_run_with_other_settings_leaves_nothing_that_passes_for_results_of_these(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inmf_flow.pipeline import run_pipeline
    from inmf_flow.pipeline.session import Session

    path = project.output / "separated" / "one" / "male.wav"
    right = path.read_bytes()

    def killed_after_writing(self: Any, queue: Any) -> Iterator[Any]:
        if "separate" in queue.stages:
            path.write_bytes(bytes(reversed(right)))
            raise KeyboardInterrupt
        yield from run_queue(self, queue)

    run_queue = Session.run_queue
    monkeypatch.setattr(Session, "run_queue", killed_after_writing)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(project.file, scheduler=project.scheduler, overrides=["separate.max_iter=3"])
    monkeypatch.undo()
    project.run()
    assert path.read_bytes() == right


def test_a_run_killed_before_its_last_words_is_put_right(project: Any) -> None:
    document = project.document()
    before = project.files()
    (project.output / "run.json").write_text(json.dumps({**document, "status": "running"}))
    metrics = project.output / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    assert "nothing to do" in project.run().out
    assert project.document()["status"] == "done"
    assert metrics.read_bytes() == before["metrics.csv"]
