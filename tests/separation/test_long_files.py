"""Long files are separated segment by segment, and what an interrupted run has left is gone on with, byte for byte."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inmf_flow import INMF, get_transform, separate
from inmf_flow.audio import read_audio, resample, write_audio
from inmf_flow.errors import ArgumentError, AudioError, OutputError
from inmf_flow.separation import Dictionary, FileProgress, Mask, separate_file
from inmf_flow.testing.faults import CORRUPTIONS, FailingFilesystem, corrupt, full_disk

STFT = get_transform("stft", n_fft=256)


class Killed(BaseException):
    """What a process cannot catch."""


class Task:
    """A file of some segments, and what an undisturbed run makes of it."""

    def __init__(self, path: Path, folder: Path, models: dict[str, INMF], **options: Any) -> None:
        self.path, self.models = path, models
        self.options = {"max_iter": 3, "segment_seconds": 0.4, "block_seconds": 0.25, **options}
        self.blocks = 0
        self.done = self.run(folder / "undisturbed", unfinished="ignore", progress=self._count)
        self.expected = {name: path.read_bytes() for name, path in self.done.outputs.items()}

    def _count(self, _: FileProgress) -> None:
        self.blocks += 1

    def run(self, folder: Path, transform: Any = STFT, **options: Any) -> Any:
        dictionary = Dictionary(options.pop("models", self.models))
        return separate_file(
            options.pop("path", self.path),
            folder,
            dictionary,
            transform,
            **{"unfinished": "resume", **self.options, **options},
        )

    def run_until(self, folder: Path, calls: int) -> FileProgress | None:
        """Let a run be killed at one of its reports; return its first report, None if it ended before."""
        told: list[FileProgress] = []

        def die(now: FileProgress) -> None:
            told.append(now)
            if len(told) > calls:
                raise Killed

        try:
            self.run(folder, progress=die)
        except Killed:
            return told[0]
        return None

    def check(self, folder: Path) -> None:
        """Assert that the folder holds the outputs, the same bytes, and nothing else."""
        assert {path.name for path in folder.iterdir()} == {f"{name}.wav" for name in self.expected}
        for name, expected in self.expected.items():
            assert (folder / f"{name}.wav").read_bytes() == expected


def _stereo(voices: Any, rate: int, seconds: float) -> np.ndarray:
    count = int(16000 * seconds)
    audio = np.stack([voices.mixture[:count], voices.mixture[4000 : 4000 + count]])
    return audio if rate == 16000 else resample(audio, 16000, rate)


@pytest.fixture(name="small", scope="module")
def small_fixture(voices: Any) -> dict[str, INMF]:
    return {name: model.subset([0, 1, 2]) for name, model in voices.models.items()}


@pytest.fixture(name="task", scope="module")
def task_fixture(voices: Any, small: dict[str, INMF], tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    write_audio(folder / "mix.wav", _stereo(voices, 16000, 2.3)[:1], 16000)
    return Task(folder / "mix.wav", folder, small)


@pytest.mark.parametrize(
    ("native", "analysed", "start", "stop"),
    [(16000, None, None, None), (44100, 16000, None, None), (11025, 16000, 0.1234, None), (22050, 8000, 0.777, 2.05)],
)
def test_segments_leave_no_trace(
    native: int, analysed: int | None, start: float | None, stop: float | None, voices: Any, tmp_path: Path
) -> None:
    mixture = _stereo(voices, native, 2.4)
    write_audio(tmp_path / "mix.wav", mixture, native)
    found = {}
    for segment in (0.3, 100.0):
        done = separate_file(
            tmp_path / "mix.wav",
            tmp_path / str(segment),
            Dictionary(voices.models),
            STFT,
            max_iter=5,
            sample_rate=analysed,
            start=start,
            stop=stop,
            segment_seconds=segment,
            block_seconds=0.2,
        )
        found[segment] = np.stack([read_audio(path)[0] for path in done.outputs.values()])
        first, last = round((start or 0) * native), None if stop is None else round(stop * native)
        assert np.abs(found[segment].sum(axis=0) - mixture[:, first:last]).max() < 2e-6
    # Below the -100 dB that cuts between blocks leave.
    assert np.abs(found[0.3] - found[100.0]).max() < 1e-5
    if start is None and analysed is None:
        whole = separate(mixture, native, voices.models, STFT, max_iter=5)
        assert np.abs(found[0.3] - np.stack(list(whole.values()))).max() < 1e-5


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(kills=st.lists(st.integers(0, 14), min_size=1, max_size=5))
def test_a_run_killed_anywhere_any_number_of_times_ends_with_the_same_bytes(
    kills: list[int], task: Task, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    for calls in kills:
        if task.run_until(folder, calls) is None:
            break
        # Outputs appear when all are whole.
        assert [path.name for path in folder.iterdir()] == [".partial"]
    task.run(folder)
    task.check(folder)


@pytest.mark.parametrize(
    ("suffix", "native", "analysed", "options"),
    [
        (".flac", 16000, None, {"channels": "shared"}),
        (".wav", 44100, 16000, {"start": 0.3217}),
        (".mp3", 22050, 16000, {"refine": 1.3}),
        (".ogg", 16000, 8000, {"stop": 1.9}),
        (".opus", 48000, 16000, {"mask": Mask(paper=True)}),
    ],
)
def test_every_format_rate_and_option_goes_on_with_the_same_bytes(
    suffix: str, native: int, analysed: int | None, options: dict[str, Any], voices: Any, small: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"mix{suffix}"
    subtype = {"format": "OGG", "subtype": "OPUS"} if suffix == ".opus" else {}
    soundfile.write(path, _stereo(voices, native, 2.2).T, native, **subtype)
    task = Task(path, tmp_path, small, sample_rate=analysed, **options)
    folder = tmp_path / "out"
    resumed: list[float] = []

    def die(told: FileProgress) -> None:
        if told.done > told.resumed + 0.6:
            resumed.append(told.resumed)
            raise Killed

    while not (folder / "male.wav").exists():
        with suppress(Killed):
            task.run(folder, progress=die)
    task.check(folder)
    # Each run went on where the one before had come to.
    assert len(resumed) > 2
    assert sorted(set(resumed)) == resumed


@pytest.mark.parametrize("spec", ["cqt", "wavelet", "stft:n_fft=256 stft:n_fft=512"])
def test_every_transform_goes_on_with_the_same_bytes(spec: str, task: Task, tmp_path: Path) -> None:
    transforms = [get_transform(each) for each in spec.split()]
    task.run(tmp_path / "whole", transforms, unfinished="ignore", segment_seconds=0.9)
    with pytest.raises(Killed):
        task.run(tmp_path / "cut", transforms, segment_seconds=0.9, progress=_killing_after(1.0))
    task.run(tmp_path / "cut", transforms, segment_seconds=0.9)
    for name in task.models:
        assert (tmp_path / "cut" / f"{name}.wav").read_bytes() == (tmp_path / "whole" / f"{name}.wav").read_bytes()


def _killing_after(seconds: float) -> Callable[[FileProgress], None]:
    def die(told: FileProgress) -> None:
        if told.done > seconds:
            raise Killed

    return die


@pytest.fixture(name="unfinished")
def unfinished_fixture(task: Task, tmp_path: Path) -> Path:
    """A folder in which a run was killed in its fourth segment."""
    with pytest.raises(Killed):
        task.run(tmp_path / "out", progress=_killing_after(1.3))
    assert sorted(path.name for path in (tmp_path / "out/.partial").iterdir()) == [
        "female.wav",
        "lock",
        "male.wav",
        "record.json",
    ]
    return tmp_path / "out"


def _begun_at(task: Task, folder: Path, **options: Any) -> float:
    """Finish a run; return what it says that earlier ones have done."""
    told: list[FileProgress] = []
    task.run(folder, progress=told.append, **options)
    assert told[0].done == told[0].resumed
    assert told[-1].done == told[-1].total
    return told[0].resumed


def test_what_is_done_is_not_done_again_and_can_be_heard(task: Task, unfinished: Path) -> None:
    audio, rate = read_audio(unfinished / ".partial/male.wav")
    whole = read_audio(task.done.outputs["male"])[0]
    assert (audio == whole[:, : audio.shape[1]]).all()
    assert _begun_at(task, unfinished) == pytest.approx(1.2) == audio.shape[1] / rate
    task.check(unfinished)
    # A finished run is done again: only an unfinished one is gone on with.
    assert _begun_at(task, unfinished) == 0.0
    task.check(unfinished)


def test_restart_begins_anew(task: Task, unfinished: Path) -> None:
    assert _begun_at(task, unfinished, unfinished="restart") == 0.0
    task.check(unfinished)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("name", ["male.wav", "record.json"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 30))])
def test_damage_to_what_is_done_is_never_taken_for_it(
    kind: str, name: str, seed: int, task: Task, unfinished: Path
) -> None:
    corrupt(unfinished / ".partial" / name, kind, seed)
    task.run(unfinished)
    task.check(unfinished)


def test_a_damaged_sample_is_told(task: Task, unfinished: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (unfinished / ".partial/female.wav").open("rb+") as stream:
        stream.seek(30_000)
        stream.write(b"\x01\x02\x03")
    assert _begun_at(task, unfinished) == 0.0
    assert f"{unfinished}/.partial: what was done is damaged: beginning anew" in caplog.messages


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"max_iter": 4}, "setting"),
        ({"mask": Mask(wiener=2.0)}, "setting"),
        ({"segment_seconds": 0.5}, "setting"),
        ({"transform": get_transform("stft", n_fft=256, hop_length=64)}, "transform"),
        ({"stop": 2.0}, "mixture"),
        ({"path": "other"}, "mixture"),
        ({"models": "swapped"}, "model"),
        ({"models": "other"}, "model"),
    ],
)
def test_another_mixture_model_or_option_begins_anew(
    change: dict[str, Any], what: str, task: Task, unfinished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = dict(change)
    if "path" in change:
        # In place, of the same size and with the same time of change.
        change["path"] = unfinished.parent / "mix.wav"
        content = bytearray(task.path.read_bytes())
        content[60_002] ^= 1
        change["path"].write_bytes(content)
    if "models" in change:
        (one, first), (two, second) = task.models.items()
        change["models"] = {"swapped": {two: second, one: first}, "other": {one: second, two: first}}[change["models"]]
    assert _begun_at(task, unfinished, **change) == 0.0
    assert any(f"of another {what}: beginning anew" in message for message in caplog.messages)
    whole = task.run(unfinished.parent / "whole", **{**change, "unfinished": "ignore"})
    for name, path in whole.outputs.items():
        assert (unfinished / f"{name}.wav").read_bytes() == path.read_bytes()


def test_a_second_process_is_told_and_harms_nothing(task: Task, tmp_path: Path) -> None:
    refused = []

    def try_too(told: FileProgress) -> None:
        if told.done > 0.5 and not refused:
            with pytest.raises(OutputError, match="another process is separating") as caught:
                task.run(tmp_path / "out")
            with pytest.raises(OutputError):
                task.run(tmp_path / "out", unfinished="restart")
            refused.append(caught.value)

    task.run(tmp_path / "out", progress=try_too)
    assert len(refused) == 1
    task.check(tmp_path / "out")


def test_a_mixture_that_is_at_fault_leaves_nothing(voices: Any, task: Task, tmp_path: Path) -> None:
    broken = voices.path.read_bytes()
    (tmp_path / "cut.flac").write_bytes(broken[: len(broken) // 2])
    with pytest.raises(AudioError):
        task.run(tmp_path / "out", path=tmp_path / "cut.flac", segment_seconds=0.5)
    assert not list((tmp_path / "out").iterdir())


def test_what_need_not_be_kept_is_not(voices: Any, task: Task, tmp_path: Path) -> None:
    def look(told: FileProgress) -> None:
        assert not (tmp_path / "out/.partial").exists()

    task.run(tmp_path / "out", unfinished="ignore", progress=look)
    task.run(tmp_path / "out", segment_seconds=2.3, progress=look)
    # In such a file one cannot seek, and a segment would begin by decoding all before it.
    soundfile.write(tmp_path / "mix.wav", voices.mixture[:32000], 16000, subtype="G721_32")
    task.run(tmp_path / "out", path=tmp_path / "mix.wav", progress=look)


@pytest.mark.parametrize(
    ("option", "value"), [("segment_seconds", 0.0), ("segment_seconds", float("inf")), ("unfinished", "maybe")]
)
def test_options_are_checked(option: str, value: Any, task: Task, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=option.split("_")[0][:5]):
        task.run(tmp_path / "out", **{option: value})


@pytest.fixture(name="renaming")
def renaming_fixture(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run was killed when one of its two outputs was in place."""
    replace = os.replace

    def crash(source: Any, target: Any) -> None:
        if Path(target).name == "female.wav":
            raise Killed
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(Killed):
        task.run(tmp_path / "out")
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "out").glob("*.wav")] == ["male.wav"]
    return tmp_path / "out"


def test_a_crash_between_the_renames_costs_nothing(task: Task, renaming: Path) -> None:
    told: list[FileProgress] = []
    task.run(renaming, progress=told.append)
    assert [each.resumed for each in told] == [pytest.approx(2.3)]
    task.check(renaming)


def test_an_output_that_somebody_removed_between_the_renames_is_made_again(
    task: Task, renaming: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (renaming / "male.wav").write_bytes(b"somebody's")
    assert _begun_at(task, renaming) == 0.0
    assert f"{renaming}/.partial: what was done is not there any more: beginning anew" in caplog.messages
    task.check(renaming)


@pytest.mark.parametrize(("first", "step"), [(3, 23), *(pytest.param(n, 4, marks=pytest.mark.full) for n in range(4))])
def test_any_call_to_the_file_system_may_fail(first: int, step: int, task: Task, tmp_path: Path) -> None:
    with FailingFilesystem(tmp_path / "counted") as disk:
        task.run(tmp_path / "counted")
    assert len(disk.calls) > 50
    for number in range(first, len(disk.calls), step):
        folder = tmp_path / str(number)
        error = (errno.ENOSPC, errno.EIO, errno.EACCES)[number % 3]
        disk = FailingFilesystem(folder, number, error)
        said = os.strerror(error)
        with disk:
            try:
                task.run(folder)
            except OSError as caught:
                said = str(caught)
        assert disk.failed
        assert os.strerror(error) in said, disk.failed
        for path in folder.glob("*.wav"):
            assert path.read_bytes() == task.expected[path.stem], disk.failed
        task.run(folder)
        task.check(folder)


def test_a_full_disk_is_told_and_gone_on_with_when_there_is_room(task: Task, tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk", 200_000) as disk:
        if disk.kind != "tmpfs":
            pytest.skip("this user may not mount a tmpfs")
        with pytest.raises(OutputError, match=r"No space left on device\. What was done is kept"):
            task.run(disk.folder / "out")
        disk.make_room(16 << 20)
        assert _begun_at(task, disk.folder / "out") > 0.7
        task.check(disk.folder / "out")
