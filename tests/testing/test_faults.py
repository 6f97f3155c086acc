"""The tools for tests of faults do what they promise."""

from __future__ import annotations

import errno
import io
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError
from inmf_flow.testing.faults import CORRUPTIONS, OPERATIONS, FailingFilesystem, corrupt, kill_at_random, mutated_audio


@given(content=st.binary(min_size=1, max_size=3000), seed=st.integers(0, 1000), kind=st.sampled_from(CORRUPTIONS))
def test_damage_changes_the_file_as_it_says(
    content: bytes, seed: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damage") / "file"
    path.write_bytes(content)
    os.utime(path, (1, 1))
    if kind == "zero fill" and not any(content):
        with pytest.raises(ArgumentError, match="holds nothing that this could change"):
            corrupt(path, kind, seed)
        return
    corrupt(path, kind, seed)
    if kind == "deletion":
        assert not path.exists()
        return
    after = path.read_bytes()
    assert after != content
    if kind == "truncation":
        assert content.startswith(after)
    elif kind == "append":
        assert after.startswith(content)
    else:
        assert len(after) == len(content)
        assert path.stat().st_mtime == 1
    path.write_bytes(content)
    corrupt(path, kind, seed)
    assert path.read_bytes() == after


def test_unknown_damage_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="bit flip, truncation"):
        corrupt(tmp_path, "rust", 0)


def _do_everything(folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "new/a").write_text("content")
    (folder / "new/a").rename(folder / "new/b")
    os.link(folder / "new/b", folder / "new/c")
    with (folder / "new/b").open("rb+") as stream:
        stream.seek(3)
        stream.write(b"x")
        stream.flush()
        os.fsync(stream.fileno())
    assert (folder / "new/b").read_bytes() == b"conxent"
    assert sorted(path.name for path in (folder / "new").iterdir()) == ["b", "c"]
    (folder / "new/b").unlink()
    shutil.rmtree(folder / "new")


def test_every_operation_is_met_and_fails_with_the_error_asked_for(tmp_path: Path) -> None:
    with FailingFilesystem(tmp_path) as disk:
        _do_everything(tmp_path)
    assert {operation for operation, _ in disk.calls} == set(OPERATIONS)
    assert disk.failed == []
    assert list(tmp_path.iterdir()) == []
    for number in range(len(disk.calls)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with FailingFilesystem(folder, number, errno.ENOSPC) as failing, pytest.raises(OSError) as caught:
            _do_everything(folder)
        assert caught.value.errno == errno.ENOSPC
        assert failing.failed == [disk.calls[number]]
        shutil.rmtree(folder)


def test_elsewhere_and_afterwards_nothing_fails(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "in-side"
    for folder in (inside, outside):
        folder.mkdir()
    before = (os.open, os.stat, io.open, open)
    with FailingFilesystem(inside, 0, times=math.inf):
        _do_everything(outside)
        with pytest.raises(OSError, match="Input/output error"):
            (inside / "a").touch()
    assert (os.open, os.stat, io.open, open) == before
    _do_everything(inside)


def test_a_write_that_fails_leaves_half_of_it(tmp_path: Path) -> None:
    full = FailingFilesystem(tmp_path, 0, errno.ENOSPC, times=math.inf, operations=["write"])
    with full, (tmp_path / "a").open("wb", buffering=0) as stream:
        assert stream.write(b"abcdef") == 3
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                stream.write(b"def")
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_an_operation_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no such operation; got chmod"):
        FailingFilesystem(tmp_path, operations=["chmod"])


def _sleep(seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(["sh", "-c", f"sleep {seconds}; :"], text=True, start_new_session=True)


def _is_group(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("group", [False, True])
def test_a_process_is_killed_alone_or_with_its_group(group: bool) -> None:
    process = _sleep(20)
    try:
        seconds = kill_at_random(process, 1, 0.3, group=group)
        assert seconds is not None
        assert 0 <= seconds <= 0.3
        assert process.returncode == -signal.SIGKILL
        # What it had started gets the signal too, and is gone a moment later, or goes on.
        end = time.monotonic() + 5
        while group and _is_group(process.pid) and time.monotonic() < end:
            time.sleep(0.01)
        assert _is_group(process.pid) is not group
    finally:
        if _is_group(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_ends_by_itself_was_not_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], text=True)
    process.wait()
    assert kill_at_random(process, 0, 100) is None


def test_mutated_audio_is_of_all_formats_and_the_same_each_time() -> None:
    files = dict(mutated_audio(3, 42))
    assert files == dict(mutated_audio(3, 42))
    assert files != dict(mutated_audio(4, 42))
    assert {name.rpartition(".")[2] for name in files} == {"wav", "flac", "ogg", "mp3"}
    readable = 0
    for content in files.values():
        try:
            readable += len(soundfile.read(io.BytesIO(content))[0]) > 0
        except soundfile.SoundFileError:
            continue
    assert 5 < readable < 40
