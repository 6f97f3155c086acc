"""What a run will cost is near to what it then costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inmf_flow.pipeline import estimate_run, explain_pipeline, load_pipeline


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
