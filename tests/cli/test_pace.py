"""What the display of a run says of its throughput and of the time left."""

from __future__ import annotations

from pathlib import Path

import pytest

from inmf_flow.cli import progress
from inmf_flow.hookspecs import ItemOutcome, RunInfo, StageInfo, StageProgress


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, ""),
        (StageProgress(0, 9), ""),
        (StageProgress(1, 9, 85.25, 40.2), "85.2 h of audio an hour, 40 s left"),
        (StageProgress(1, 9, None, 600.0), "10 min left"),
        (StageProgress(1, 9, 1234.0, 3 * 3600 + 125), "1234 h of audio an hour, 3 h 02 min left"),
        (StageProgress(9, 9, 0.5, 0.0), "0.5 h of audio an hour"),
    ],
)
def test_pace_in_words(told: StageProgress | None, words: str) -> None:
    assert progress.describe_pace(told) == words


def test_off_a_terminal_the_pace_is_said_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = progress.PlainProgress()
    for number in range(1, 8):
        now[0] += 10
        told = StageProgress(number, 8, 60.0, 10.0 * (8 - number))
        display.on_item_end(ItemOutcome("separate", f"m{number}", "done", None, 1.0, told))
    lines = [line for line in capsys.readouterr().err.splitlines() if " of " in line]
    assert lines == [
        "separate: 3 of 8, 60 h of audio an hour, 50 s left",
        "separate: 6 of 8, 60 h of audio an hour, 20 s left",
    ]


def test_on_a_terminal_the_pace_stands_beside_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    display = progress.LiveProgress()
    display.on_run_start(RunInfo("voices", Path("runs/voices"), {"separate": StageInfo(2, 2)}))
    told = StageProgress(1, 2, 60.0, 30.0)
    display.on_item_end(ItemOutcome("separate", "one", "done", None, 1.0, told))
    assert display._progress.tasks[0].fields["pace"] == "60 h of audio an hour, 30 s left"
    display.close()
