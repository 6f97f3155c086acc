"""A driver that is killed again and again: what was committed is neither lost nor done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.store import verify_store
from inmf_flow.testing.faults import kill_at_random

STAGES = ("analyze", "fit", "separate", "evaluate")
# How the driver has its workers, whether its whole group is killed, and the seconds that a run takes.
WAYS = {"alone": ([], False, 6.0), "its group": ([], True, 6.0), "beside a cluster": (["--scheduler"], False, 3.0)}

Committed = dict[tuple[str, str], tuple[Entry, dict[str, tuple[int, int]]]]


def _session(leader: int) -> list[psutil.Process]:
    """Return the processes of a session that still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _run_and_kill(project: Any, way: str, seed: int) -> bool:
    """Start a run and kill it at a random moment; return whether it had ended by then."""
    arguments, group, within = WAYS[way]
    command = project.command(*arguments, *([project.scheduler] if arguments else []))
    # Its two lines of output at the end must not keep it waiting.
    with (project.folder / "printed").open("w") as printed:
        process = subprocess.Popen(
            command, cwd=project.folder, stdout=printed, stderr=printed, text=True, start_new_session=True
        )
        try:
            ended = kill_at_random(process, seed, within, group=group) is None
            if ended:
                assert process.returncode == 0, (project.folder / "printed").read_text()
            end = time.monotonic() + 30
            while alive := _session(process.pid):
                assert time.monotonic() < end, [p.cmdline() for p in alive]
                time.sleep(0.05)
        finally:
            for left in _session(process.pid):
                left.send_signal(signal.SIGKILL)
    return ended


def _committed(output: Path) -> Committed:
    """Return what the ledger holds of items that are done, and which files these are: inode and time of change."""
    found: Committed = {}
    for stage in STAGES:
        for item, entry in Ledger(output).load(stage).items():
            paths = {name: (output / name).stat() for name in entry.outputs}
            files = {name: (status.st_ino, status.st_mtime_ns) for name, status in paths.items()}
            if entry.status == "done":
                found[stage, item] = entry, files
    return found


def _assert_kept(before: Committed, output: Path) -> Committed:
    now = _committed(output)
    assert {key: now.get(key) for key in before} == before
    return now


def _kill_until_done(project: Any, undisturbed: Any, kills: int, chain: int) -> None:
    committed: Committed = {}
    done = 0
    for attempt in range(3 * kills):
        way = list(WAYS)[(chain + attempt) % len(WAYS)]
        ended = _run_and_kill(project, way, seed=1000 * chain + attempt)
        committed = _assert_kept(committed, project.output)
        if ended:
            # From the start again.
            project.without_results()
            committed = {}
        elif way != "beside a cluster" and (project.output / "points.zarr/zarr.json").exists():
            problems = verify_store(project.output / "points.zarr")
            assert all("no record" in problem.what for problem in problems), problems
        done += not ended
        if done == kills:
            break
    assert done >= kills / 2
    project.run()
    _assert_kept(committed, project.output)
    ours, theirs = project.results(), undisturbed.results()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert "nothing to do" in project.run().out


def test_a_driver_killed_twice_loses_nothing_and_does_nothing_twice(fresh: Any, without_pictures: Any) -> None:
    _kill_until_done(fresh, without_pictures, kills=2, chain=2)


# Two thirds of the moments are of drivers with workers of their own: a hundred in all.
@pytest.mark.full
@pytest.mark.parametrize("chain", range(25))
def test_a_driver_killed_many_times_loses_nothing_and_does_nothing_twice(
    chain: int, fresh: Any, without_pictures: Any
) -> None:
    _kill_until_done(fresh, without_pictures, kills=6, chain=chain)
