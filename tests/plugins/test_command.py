"""``inmf plugins``: the list and the doctor, on a terminal and off it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

APP = "from inmf_flow.cli.plugins import app; app(prog_name='plugins')"
LONG = "a reason that is far too long for a narrow terminal and has [brackets] in it, " * 3


def command(site: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", APP, *arguments],
        env={**os.environ, "PYTHONPATH": str(site.folder), "COLUMNS": "40"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def broken_site(site: Any, transform_source: Any) -> Any:
    site.install("good-one", {"good": "good_module"}, {"good_module": transform_source("good")})
    site.install("bad-one", {"bad": "bad_module"}, {"bad_module": f"raise ValueError({LONG!r})\n"})
    return site


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_the_list_off_a_terminal_is_one_whole_line_for_each_plugin(
    broken_site: Any, arguments: tuple[str, ...]
) -> None:
    done = command(broken_site, *arguments)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [cell.strip() for cell in lines[0]] == [
        "plugin",
        "distribution",
        "version",
        "status",
        "provides",
        "problems",
    ]
    by_name = {line[0].strip(): [cell.strip() for cell in line] for line in lines[1:]}
    assert by_name["good"] == ["good", "good-one", "1.2.3", "ok", "transform good"]
    assert by_name["bad"][:5] == ["bad", "bad-one", "1.2.3", "failed", ""]
    assert LONG.strip() in by_name["bad"][5]
    assert {len("\t".join(line[:3])) for line in lines} == {len("\t".join(lines[0][:3]))}, "not aligned"


def test_the_list_on_a_terminal_is_a_table(broken_site: Any, on_a_terminal: Any) -> None:
    environment = {"PYTHONPATH": str(broken_site.folder)}
    code, text = on_a_terminal([sys.executable, "-c", APP, "list"], columns=200, env=environment)
    assert code == 0
    assert "┃" in text
    assert "[brackets]" in text


def test_the_doctor_exits_with_1_when_something_is_wrong(broken_site: Any) -> None:
    done = command(broken_site, "doctor")
    assert done.returncode == 1
    wrong = [line.split("\t") for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert [line[1].strip() for line in wrong] == ["bad-one:bad"]
    assert LONG.strip() in wrong[0][4]
    assert "1 of " in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.full
def test_the_doctor_exits_with_0_when_all_is_well(site: Any) -> None:
    done = command(site, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" checks passed.")


def test_ctrl_c_ends_the_doctor_and_whom_it_waits_for(site: Any, transform_source: Any, tmp_path: Path) -> None:
    body = "def analyze(self, audio, sample_rate, *, span=None):\n        "
    body += "import os, time; open(os.environ['MARK'], 'w').write(str(os.getpid())); time.sleep(600)"
    site.install("slow-one", {"slow": "slow_module"}, {"slow_module": transform_source("slow", body)})
    mark = tmp_path / "mark"
    environment = {**os.environ, "PYTHONPATH": str(site.folder), "MARK": str(mark)}
    command = [sys.executable, "-c", APP, "doctor"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: mark.exists() and mark.read_text() != "")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode != 0
    wait_until(lambda: not Path("/proc", mark.read_text()).exists())


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
