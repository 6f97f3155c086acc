"""The names and the order of files that have arrived, remembered from run to run; and requests to stop."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import soundfile

from inmf_flow.cli.interrupts import interrupts_kept
from inmf_flow.pipeline import pipeline_from_mapping
from inmf_flow.pipeline.arrived import NAME, Arrived
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.ledger import Entry, Ledger
from inmf_flow.pipeline.stop import Stop


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return _pipeline(tmp_path)


def _pipeline(base: Path, **corpus: object) -> Pipeline:
    return pipeline_from_mapping(
        {
            "name": "queue",
            "corpus": {"watch": "incoming", **corpus},
            "transforms": {"fine": {"stft": {"n_fft": 256}}},
            "sources": {"one": {"audio": "one"}},
        },
        base,
    )


def _items(arrived: Arrived) -> list[str]:
    return [recording.item for recording in arrived.recordings]


def test_names_and_order_outlive_the_process(pipeline: Pipeline, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = Arrived(pipeline, run)
    first.add({f"{tmp_path}/incoming/z/a.wav": (5, 1)})
    first.add({f"{tmp_path}/incoming/A.wav": (6, 2), f"{tmp_path}/incoming/b.wav": (7, 3), "/else/\udcff.wav": (1, 1)})
    assert _items(first) == ["a", "incoming-A", "b", "_"]
    second = Arrived(pipeline, run)
    assert (_items(second), second.stamps) == (_items(first), first.stamps)


def test_the_folder_of_the_pipeline_may_be_moved(pipeline: Pipeline, tmp_path: Path) -> None:
    Arrived(pipeline, tmp_path / "run").add({f"{tmp_path}/incoming/a.wav": (5, 1)})
    moved = _pipeline(tmp_path / "elsewhere")
    assert list(Arrived(moved, tmp_path / "run").stamps) == [f"{tmp_path}/elsewhere/incoming/a.wav"]


@pytest.mark.parametrize(
    "torn", [b'{"path": "incoming/b.wav", "na', b"\xff\n", b"[]\n", b'{"path": "x", "stamp": 3}\n']
)
def test_what_a_killed_run_left_unfinished_is_no_line(torn: bytes, pipeline: Pipeline, tmp_path: Path) -> None:
    Arrived(pipeline, tmp_path).add({f"{tmp_path}/incoming/a.wav": (5, 1)})
    path = tmp_path / "ledger" / NAME
    path.write_bytes(path.read_bytes() + torn)
    again = Arrived(pipeline, tmp_path)
    assert _items(again) == ["a"]
    again.add({f"{tmp_path}/incoming/b.wav": (5, 1)})
    assert _items(Arrived(pipeline, tmp_path)) == ["a", "b"]


def test_what_is_gone_is_known_as_long_as_it_has_results(pipeline: Pipeline, tmp_path: Path) -> None:
    arrived = Arrived(pipeline, tmp_path)
    done, lost, there = (f"{tmp_path}/incoming/{name}.wav" for name in ("done", "lost", "there"))
    arrived.add(dict.fromkeys((done, lost, there), (5, 1)))
    ledger = Ledger(tmp_path)
    ledger.write("separate", "000000", [Entry("done", {}, "done"), Entry("lost", {}, "failed", "it is no audio")])
    assert arrived.leave_out({there}, ledger) == {done}
    assert _items(arrived) == ["done", "there"]
    arrived.add({lost: (9, 9)})
    assert _items(arrived) == ["done", "there", "lost"]


def test_a_file_that_grew_is_cut_anew_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "incoming" / "a.wav"
    path.parent.mkdir()
    arrived = Arrived(_pipeline(tmp_path, segments={"seconds": 1}), tmp_path / "run")
    soundfile.write(path, [0.0] * 8000, 8000)
    assert [recording.item for recording in arrived.add({str(path): (1, 1)})] == ["a"]
    soundfile.write(path, [0.0] * 16000, 8000)
    assert arrived.add({str(path): (2, 2)}) == []
    assert _items(arrived) == ["a@00000000-00001000", "a@00001000-00002000"]
    assert arrived.items([str(path)]) == {"a", *_items(arrived)}


def test_a_first_request_waits_and_a_second_does_not() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        with stop.waiting():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            stop.forget()
            with pytest.raises(KeyboardInterrupt), stop.waiting(False):
                os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt), stop.waiting(False):
                raise AssertionError("what was asked for before is not begun")
        stop.forget()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_request_that_a_finalizer_swallows_is_kept_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __del__(self) -> None:
            # The signal's handler raises in here.
            os.kill(os.getpid(), signal.SIGINT)

    def work() -> None:
        Dying()
        assert stop.asked
        time.sleep(10)

    said: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: said.append(lost.exc_type))
    with interrupts_kept(), Stop() as stop:
        with pytest.raises(KeyboardInterrupt), stop.waiting(False):
            work()
        # A second request ends what a first one would wait for.
        with pytest.raises(KeyboardInterrupt), stop.waiting():
            work()
    assert said == []
