"""A prefix of an object store that fills up, and a run that watches it with its folder there too."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import soundfile

from inmf_flow.pipeline import read_events, run_pipeline
from inmf_flow.remote import RemotePath

RATE = 16000


def test_objects_are_taken_as_they_arrive_and_once(
    moto_place: RemotePath, threads: str, speech: Mapping[str, Path], tmp_path: Path
) -> None:
    def cut(name: str, start: int) -> bytes:
        soundfile.write(tmp_path / "cut.wav", soundfile.read(speech[name], start=start, frames=4000)[0], RATE)
        return (tmp_path / "cut.wav").read_bytes()

    for source in ("male", "female"):
        (moto_place / source / "a.wav").write_bytes(cut(f"{source}_train", 8000))
    incoming = moto_place / "incoming"
    settings: dict[str, Any] = {
        "name": "queue",
        "corpus": {"watch": {"folder": f"{incoming}/", "settle": 0.3, "poll": 0.1, "idle": 3}, "sample_rate": RATE},
        "transforms": {"fine": {"stft": {"n_fft": 256}}},
        "sources": {name: {"audio": f"{moto_place}/{name}", "components": 2} for name in ("male", "female")},
        "fit": {"max_iter": 3},
        "separate": {"max_iter": 2},
        "report": {"items": 0},
        "output": f"{moto_place}/run",
    }

    def fill() -> None:
        for number in range(2):
            time.sleep(1.5)
            (incoming / "sub" / f"m{number}.wav").write_bytes(cut("male_test", 8000 * number))

    thread = threading.Thread(target=fill)
    thread.start()
    outcome = run_pipeline(settings, scheduler=threads)
    thread.join()
    assert outcome.status == "done", outcome.failures
    assert outcome.counts["separate"] == {"done": 2, "reused": 0, "failed": 0}
    assert {event["files"] for event in read_events(moto_place / "run") if event["event"] == "arrived"} <= {1, 2}
    settings["corpus"]["watch"]["idle"] = 0.2
    again = run_pipeline(settings, scheduler=threads)
    assert again.did_nothing
    assert again.counts["separate"] == {"done": 0, "reused": 2, "failed": 0}
