"""Ctrl-C reaches a command wherever in the program it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inmf_flow.cli.interrupts import interrupts_kept

# A finalizer that is at work when the signal comes, as one of Dask's connections may be.
PROGRAM = """
import signal, sys, time
from inmf_flow import cli
from inmf_flow.cli import app

class Slow:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal was not taken")

@app.command("wait")
def wait():
    Slow()
    print("lost", flush=True)
    time.sleep(60)

cli.main(["wait"])
"""


def test_an_interrupt_that_a_finalizer_swallows_ends_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 130
    assert done.stdout == "lost\n"
    assert done.stderr == "inmf: interrupted; what was finished is kept, run the same command again to go on\n"


def test_other_faults_of_finalizers_are_said_and_the_hook_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[type] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: said.append(lost.exc_type))
    before = sys.unraisablehook

    class Faulty:
        def __del__(self) -> None:
            raise ValueError("of the finalizer's own")

    with interrupts_kept():
        Faulty()
    assert said == [ValueError]
    assert sys.unraisablehook is before
