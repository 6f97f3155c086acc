"""`inmf separate` on long mixtures: killed, interrupted and gone on with, and what it shows meanwhile."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.cli import file_progress, main
from inmf_flow.separation import FileProgress

PROGRAM = Path(sys.executable).with_name("inmf")
OPTIONS = ["--transform", "stft:n_fft=512", "--max-iter", "40", "--segment", "2"]
SECONDS = 40


@pytest.fixture(name="mixture", scope="module")
def mixture_fixture(corpus: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty seconds of two people."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    write_long(path, corpus.folder / "mixtures/one.flac", SECONDS)
    return path


def write_long(path: Path, short: Path, seconds: float) -> None:
    """Write a recording over and over, each time at another level."""
    audio, rate = soundfile.read(short, dtype="float32")
    chance, left = np.random.default_rng(0), int(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        while left > 0:
            file.write(audio[:left] * np.float32(chance.uniform(0.3, 1)))
            left -= len(audio)


@pytest.fixture(name="models", scope="module")
def models_fixture(first_run: Any) -> list[str]:
    folder = first_run[0].output / "models"
    return [text for name in ("male", "female") for text in ("--model", f"{name}={folder / name}.safetensors")]


@pytest.fixture(name="command")
def command_fixture(mixture: Path, models: list[str], tmp_path: Path) -> list[str]:
    return [str(PROGRAM), "separate", str(mixture), *models, *OPTIONS, "-o", str(tmp_path / "out")]


@pytest.fixture(name="inside")
def inside_fixture(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The program in this process, which has the heavy libraries already."""

    def call(*arguments: str) -> SimpleNamespace:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=printed.out, err=printed.err)

    return call


@pytest.fixture(name="undisturbed", scope="module")
def undisturbed_fixture(mixture: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.raises(SystemExit, match="0"):
        main(["separate", str(mixture), *models, *OPTIONS, "-o", str(folder)])
    return outputs(folder)


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def frames_done(folder: Path) -> int:
    try:
        return int(json.loads((folder / "long/.partial/record.json").read_text())["frames"])
    except (OSError, ValueError):
        return 0


def end_after(command: list[str], folder: Path, frames: int, number: signal.Signals) -> subprocess.Popen[str] | None:
    """Send a process a signal once a record speaks of so many samples; None if it was faster."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and frames_done(folder) < frames:
        time.sleep(0.002)
    if process.poll() is not None:
        process.communicate()
        return None
    process.send_signal(number)
    return process


@pytest.mark.parametrize("count", [2, pytest.param(12, marks=pytest.mark.full)])
def test_a_killed_separation_goes_on_and_ends_with_the_same_bytes(
    count: int, command: list[str], undisturbed: dict[str, bytes], inmf: Callable[..., Any], tmp_path: Path
) -> None:
    folder, chance, done = tmp_path / "out", np.random.default_rng(count), 0
    for _ in range(count):
        # At any moment of the segment that follows.
        process = end_after(command, folder, done + 1, signal.SIGSTOP)
        if process is None:
            # Nothing is left to go on with.
            done = 0
            break
        process.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        before, done = done, frames_done(folder)
        if not done:
            # It had ended, but for removing what it leaves beside its outputs.
            assert undisturbed.items() <= outputs(folder).items()
            break
        assert done > before
    finished = inmf(*command[1:])
    assert finished.code == 0
    if done:
        at = done // 16000
        assert finished.err == f"long: going on at 00:{at // 60:02d}:{at % 60:02d}\n"
    assert outputs(folder) == undisturbed


@pytest.mark.full
def test_ctrl_c_says_that_the_same_command_goes_on(
    command: list[str],
    undisturbed: dict[str, bytes],
    inside: Callable[..., Any],
    on_a_terminal: Callable[..., Any],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    process = end_after(command, folder, 1, signal.SIGINT)
    assert process is not None
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err == "inmf: interrupted; what was finished is kept, run the same command again to go on\n"
    assert frames_done(folder) > 0
    shutil.copytree(folder, tmp_path / "copy")
    # On a terminal there is a bar that goes away.
    code, shown = on_a_terminal(command)
    assert code == 0
    assert "long: going on at 00:00:" in shown
    assert " of 00:00:40" in shown
    assert re.search(r"[0-9.]+ times real time, [0-9]+ s left", shown)
    assert shown.rstrip().endswith("out/long/female.wav")
    assert outputs(folder) == undisturbed
    anew = inside(*command[1:-1], str(tmp_path / "copy"), "--restart")
    assert (anew.code, anew.err) == (0, "")
    assert outputs(tmp_path / "copy") == undisturbed


def test_a_second_one_in_the_same_folder_is_refused(
    command: list[str], undisturbed: dict[str, bytes], inside: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    first = end_after(command, folder, 1, signal.SIGSTOP)
    assert first is not None
    second = inside(*command[1:])
    assert second.code == 1
    (line,) = second.err.splitlines()
    assert f"{folder}/long: another process is separating this mixture into the same folder" in line
    first.send_signal(signal.SIGCONT)
    first.communicate()
    assert first.returncode == 0
    assert outputs(folder) == undisturbed


def test_off_a_terminal_long_separations_say_now_and_then_where_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(file_progress.time, "monotonic", lambda: now[0])
    with file_progress.showing_file("talk", 2, 3) as show:
        show(FileProgress(9300.0, 36000.0, 9300.0))
        for second in range(1, 70):
            now[0] += 1
            show(FileProgress(9300.0 + 30 * second, 36000.0, 9300.0))
    assert capsys.readouterr().err.splitlines() == [
        "talk (2 of 3): going on at 02:35:00",
        "talk (2 of 3): 02:50:00 of 10:00:00, 30 times real time, 14 min left",
        "talk (2 of 3): 03:05:00 of 10:00:00, 30 times real time, 14 min left",
    ]


_PEAK = """
import resource, sys
from inmf_flow.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("suffix", "short", "long"),
    [
        ("flac", 40, 240),
        *(pytest.param(suffix, 600, 7200, marks=pytest.mark.full) for suffix in ("flac", "mp3", "ogg", "wav")),
    ],
)
def test_memory_does_not_grow_with_the_length(
    suffix: str, short: int, long: int, corpus: Any, models: list[str], tmp_path: Path
) -> None:
    peaks = []
    for seconds in (short, long):
        path = tmp_path / f"{seconds}.{suffix}"
        write_long(path, corpus.folder / "mixtures/one.flac", seconds)
        options = ["--transform", "stft:n_fft=512", "--max-iter", "1", "--segment", "30", "-o", str(tmp_path / "out")]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, "separate", str(path), *models, *options],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stderr.splitlines()[-1]) / 1024)
    # MiB; a minute more of one output would be 3.7 of them.
    assert peaks[1] < peaks[0] + 20
