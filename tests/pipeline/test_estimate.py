"""What a run will cost is near to what it then costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline import estimate_run, explain_pipeline, load_pipeline
from inmf_flow.pipeline.memory import check_memory, local_worker_memory, memory_of_fits


def estimate(project: Any, tmp_path: Path, *overrides: str) -> Any:
    pipeline = load_pipeline(project.file, list(overrides))
    return estimate_run(explain_pipeline(pipeline, tmp_path / "new"))


def test_hours_points_tasks_and_bytes_are_those_of_the_run(project: Any, tmp_path: Path) -> None:
    expected = estimate(project, tmp_path)
    document = project.document()
    assert list(expected.stages) == ["analyze", "fit", "separate", "evaluate", "report"]
    seconds = sum(item["duration"] for item in document["items"].values())
    assert expected.stages["separate"].hours * 3600 == pytest.approx(seconds, rel=1e-3)
    from inmf_flow.store import PointsStore

    records = PointsStore.open(project.output / "points.zarr").records()
    points = sum(item.points for record in records for item in record.items)
    assert expected.stages["analyze"].points == pytest.approx(points, rel=0.1)
    assert expected.stages["analyze"].tasks == len(records)
    files = [path for path in (project.output / "points.zarr").rglob("*") if path.is_file()]
    assert len(files) * 0.5 < expected.store_files < len(files) * 2.5
    assert 200e6 < expected.worker_bytes < 3e9


def test_more_updates_and_starts_take_longer_and_more_workers_less(project: Any, tmp_path: Path) -> None:
    short = estimate(project, tmp_path, "fit.max_iter=100")
    long = estimate(project, tmp_path, "fit.max_iter=1000", "fit.n_init=4")
    assert long.stages["fit"].seconds > 5 * short.stages["fit"].seconds
    assert long.seconds(1) > long.seconds(2) >= long.seconds(1000) > 0


def test_recordings_that_cannot_be_read_are_said_and_stop_nothing(project: Any, tmp_path: Path) -> None:
    for name in ("male", "female"):
        for path in (project.folder / name).iterdir():
            path.write_bytes(b"no")
    for path in (project.folder / "mixtures").iterdir():
        path.write_bytes(b"no")
    expected = estimate(project, tmp_path)
    assert any("analyze cannot be estimated" in sentence for sentence in expected.unknown)
    assert expected.stages["analyze"].hours == 0


def test_what_is_done_costs_nothing(project: Any) -> None:
    pipeline = load_pipeline(project.file)
    done = estimate_run(explain_pipeline(pipeline, project.output))
    assert done.stages == {}
    assert (done.seconds(1), done.worker_bytes) == (0, 0)


@pytest.fixture
def half_an_hour(fresh: Any) -> Any:
    """Return the project with a training recording of half an hour, whose points take 1.3 GB to fit in one piece."""
    audio, rate = soundfile.read(fresh.folder / "male" / "a.wav", dtype="float32")
    long = np.tile(audio, 1800 * rate // len(audio))
    soundfile.write(fresh.folder / "male" / "long.wav", long, rate, subtype="PCM_16")
    return fresh


def test_a_fit_without_room_on_the_workers_is_refused_before_anything_is_done(
    half_an_hour: Any, dask_processes: Any
) -> None:
    address = dask_processes.scheduler()
    dask_processes.worker(address, "--memory-limit", "800MB")
    refused = half_an_hour.run("--scheduler", address, code=2)
    assert "the dictionary of 'male' is to be learned in one piece" in refused.err
    assert "1.2 GiB needed" in refused.err
    assert "of 0.7 GiB that the smallest worker has" in refused.err
    assert "learn: passes" in refused.err
    assert not (half_an_hour.output / "points.zarr").exists()


def test_only_fits_in_one_piece_that_may_be_large_are_asked_about(half_an_hour: Any, tmp_path: Path) -> None:
    def needs(*overrides: str, limit: float = 0.0) -> dict[str, float]:
        explained = explain_pipeline(load_pipeline(half_an_hour.file, list(overrides)), tmp_path / "new")
        return memory_of_fits(explained, limit)

    one_piece = needs()
    assert one_piece["male"] > 1e9 > one_piece["female"]
    assert needs("fit.learn=passes") == {}
    assert list(needs(limit=2e9)) == ["male"]
    assert needs(limit=1e12) == {}


def test_a_dry_run_refuses_what_this_machine_has_no_room_for(half_an_hour: Any, tmp_path: Path) -> None:
    explained = explain_pipeline(load_pipeline(half_an_hour.file), tmp_path / "new")
    assert local_worker_memory(2) == pytest.approx(2 * local_worker_memory(4))
    check_memory(explained, 0)
    check_memory(explained, 4e9)
    with pytest.raises(ClusterError, match="in one piece"):
        check_memory(explained, 0.8e9)
