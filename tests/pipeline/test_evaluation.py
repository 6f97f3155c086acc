"""What a pipeline's `evaluate` section adds to scores: permutation, windows, upper bounds, Parquet."""

import shutil

import pytest

from inmf_flow.evaluate import read_metrics, read_metrics_csv


def test_upper_bounds_permutation_and_parquet_of_a_run(project):
    pytest.importorskip("pyarrow")
    for item in project.folder.glob("references/*"):
        for path in item.iterdir():
            if path.stem in ("male", "female"):
                shutil.move(path, path.with_stem("voice-" + path.stem))
    done = project.run(
        *("--set", "evaluate.permute=true", "--set", "evaluate.oracle=[ratio]"),
        *("--set", "evaluate.window=1", "--set", "evaluate.format=parquet"),
    )
    rows = read_metrics_csv(project.output / "metrics.csv")
    assert rows == read_metrics(project.output / "metrics.parquet")
    estimates = [row for row in rows if not row.oracle]
    bounds = [row for row in rows if row.oracle == "ratio"]
    assert len(estimates) == len(bounds) == 6
    assert {row.source for row in rows} == {"voice-male", "voice-female"}
    assert {row.estimate for row in estimates} == {"male", "female"}
    assert sum(row.value for row in bounds) > sum(row.value for row in estimates)
    assert "(ratio)" in (project.output / "report.html").read_text()
    assert "mean SI-SDR" in done.out
