"""``inmf plugins``: the list and the doctor, on a terminal and off it."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_the_doctor_exits_with_0_when_all_is_well(site: Any) -> None:
    done = command(site, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" checks passed.")
