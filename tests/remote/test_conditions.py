"""Objects that are to be created once, and the lock that is made of them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from inmf_flow.files import atomic_write, exclusive_write
from inmf_flow.remote import RemotePath, lock, writing
from inmf_flow.remote.lock import LockHeldError, LockLostError, holding


def test_of_many_writers_one_creates_an_object(moto_place: RemotePath) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda n: exclusive_write(moto_place / "object", str(n)), range(16)))
    assert created.count(True) == 1
    assert (moto_place / "object").read_text() == str(created.index(True))


def test_what_is_there_is_not_replaced_and_a_trial_leaves_nothing(place: RemotePath) -> None:
    assert exclusive_write(place / "object", "first")
    assert not exclusive_write(place / "object", "second")
    assert tree_names(place) == ["object"]
    assert (place / "object").read_text() == "first"


def tree_names(place: RemotePath) -> list[str]:
    return [path.relative_to(place).as_posix() for path in place.rglob("*")]


def test_a_server_without_conditions_is_told_of_once(
    rclone: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_answers", {})
    with caplog.at_level(logging.WARNING, "inmf_flow.remote"):
        for name in ("a", "b"):
            exclusive_write(RemotePath(f"s3://corpora/{name}-told"), "1")
    (record,) = caplog.records
    assert "does not honour If-None-Match on bucket corpora" in record.message
    assert "let only one run use a folder at a time" in record.message


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock, "STALE_SECONDS", 1.0)
    monkeypatch.setattr(lock, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(lock, "_SETTLE_SECONDS", 0.3)


def test_a_second_holder_is_told_who_the_first_is(place: RemotePath, quick: None) -> None:
    with holding(place / "lock"), pytest.raises(LockHeldError, match=r"process \d+ of "), holding(place / "lock"):
        pytest.fail("two hold it")
    assert not (place / "lock").exists()
    with holding(place / "lock"):
        pass


def test_a_killed_holder_of_this_machine_does_not_keep_anybody_waiting(place: RemotePath) -> None:
    program = f"""
import time
from inmf_flow.remote import RemotePath
from inmf_flow.remote.lock import holding
with holding(RemotePath({str(place / "lock")!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "held\n"
        process.kill()
    assert (place / "lock").exists()
    begin = time.monotonic()
    with holding(place / "lock"):
        assert time.monotonic() - begin < lock.STALE_SECONDS / 2


def test_a_lock_of_another_machine_is_free_when_nobody_writes_it_anew(place: RemotePath, quick: None) -> None:
    atomic_write(
        place / "lock", json.dumps({"owner": "x", "host": "elsewhere", "machine": "m", "pid": 1, "started": "1"})
    )
    begin = time.monotonic()
    with holding(place / "lock"):
        assert time.monotonic() - begin >= lock.STALE_SECONDS


def test_who_loses_the_lock_is_stopped(place: RemotePath, quick: None) -> None:
    other = json.dumps({"owner": "x", "host": "elsewhere", "pid": 7})
    begin = time.monotonic()
    with pytest.raises(LockLostError, match="process 7 of elsewhere"), holding(place / "lock"):
        _lose(place / "lock", other)
    assert time.monotonic() - begin < 10
    assert (place / "lock").read_text() == other


def _lose(path: RemotePath, other: str) -> None:
    atomic_write(path, other)
    time.sleep(20)


def test_ctrl_c_stays_what_it_is_and_gives_the_lock_back(place: RemotePath, quick: None) -> None:
    with pytest.raises(KeyboardInterrupt), holding(place / "lock"):
        raise KeyboardInterrupt
    assert not (place / "lock").exists()
