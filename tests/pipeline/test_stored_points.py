"""The points store of a run: damage heals, and nothing stale stays in it."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import soundfile


@pytest.mark.parametrize("which", ["one that is kept", "one that is not"])
def test_damaged_points_are_made_again_from_the_audio(project: Any, which: str) -> None:
    before = project.results()
    (part,) = [path for path in (project.output / "points.zarr/parts").iterdir() if path.name.startswith("000000-")]
    data = next(path for path in part.glob("grid_magnitudes/c*") if path.is_file())
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0x10
    data.write_bytes(content)
    if which == "one that is kept":
        # Another file of the batch has changed, so this one's points would be copied.
        shutil.copy(project.folder / "male/a.wav", project.folder / "male/c.wav")
        done = project.run()
        assert project.done()["analyze"] >= 1
    else:
        (project.output / "models/male.safetensors").unlink()
        done = project.run()
        assert "note: stored points were damaged and made again from the audio" in done.out
        assert project.results()["models/male.safetensors"] == before["models/male.safetensors"]
    assert project.document()["status"] == "done"


def test_a_damaged_part_record_heals(project: Any) -> None:
    from inmf_flow import open_points

    before = project.results()
    records = sorted((project.output / "points.zarr/manifest").iterdir())
    # One that a batch will be stored under again, and one that nobody refers to.
    records[0].write_bytes(records[0].read_bytes()[:100])
    (project.output / "points.zarr/manifest/000009-stray.json").write_text("{")
    project.run()
    assert project.done() == {"analyze": 2}
    assert project.results() == before
    assert sorted(open_points(project.output / "points.zarr")) == ["female/a", "female/b", "male/a", "male/b"]
    assert "nothing to do" in project.run().out


def test_no_old_points_stay_when_batches_shift(fresh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from inmf_flow import open_points, run_pipeline
    from inmf_flow.pipeline import stages

    monkeypatch.setitem(stages._BATCH_LIMITS, "analyze", (2, 1 << 30))
    for name in "cd":
        shutil.copy(fresh.folder / "male/b.wav", fresh.folder / f"male/{name}.wav")

    def run() -> tuple[Any, dict[str, float]]:
        outcome = run_pipeline(fresh.file, scheduler=fresh.scheduler, overrides=["separate.max_iter=1"])
        points = open_points(fresh.output / "points.zarr")
        return outcome, {item: points[item].duration for item in points if item.startswith("male/")}

    assert sorted(run()[1]) == [f"male/{name}" for name in "abcd"]
    # The first file's part now serves two batches, and so would the one that holds the old points of the last.
    shutil.copy(fresh.folder / "male/a.wav", fresh.folder / "male/Z.wav")
    audio, rate = soundfile.read(fresh.folder / "male/d.wav", dtype="float32")
    soundfile.write(fresh.folder / "male/d.wav", audio[:-1600], rate, subtype="FLOAT")
    outcome, durations = run()
    assert outcome.counts["analyze"] == {"done": 2, "reused": 5, "failed": 0}
    assert durations == pytest.approx({"male/Z": 1.2, "male/a": 1.2, "male/b": 1.0, "male/c": 1.0, "male/d": 0.9})
    (fresh.folder / "male/c.wav").unlink()
    outcome, durations = run()
    assert outcome.counts["analyze"] == {"done": 0, "reused": 6, "failed": 0}
    assert sorted(durations) == ["male/Z", "male/a", "male/b", "male/d"]
    assert run()[0].did_nothing
