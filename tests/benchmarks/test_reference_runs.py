from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from inmf_flow.points import PointSet


@pytest.fixture
def reference(load_benchmark) -> ModuleType:
    return load_benchmark("reference_runs")


@pytest.fixture
def points() -> PointSet:
    draw = np.random.default_rng(0)
    return PointSet.from_grid(np.arange(8) / 10, np.arange(1, 13) * 100.0, draw.random((12, 8), dtype=np.float32))


@pytest.fixture
def wanted(reference, points: PointSet):
    return reference.Wanted("speech", "a clip", points, iterations=3, seeds=(0, 1))


def quiet(_: str) -> None: ...


def test_a_run_is_computed_once_and_found_again(reference, wanted, tmp_path: Path) -> None:
    first = reference.ReferenceRuns(tmp_path / "runs.json")
    runs = first.get(wanted, quiet)
    assert [run.seed for run in runs] == [0, 1]
    assert runs[0].divergence != runs[1].divergence
    again = reference.ReferenceRuns(tmp_path / "runs.json")
    assert again.get(wanted, quiet) == runs
    assert (first.computed, first.reused, again.computed, again.reused) == (2, 0, 0, 2)


def test_a_kept_run_is_what_the_published_method_ends_with(reference, wanted, tmp_path: Path) -> None:
    kept = reference.ReferenceRuns(tmp_path / "runs.json").get(wanted, quiet)[1]
    run = wanted.opponent(1).fit(3)
    assert (kept.divergence, kept.reached, kept.iterations) == (run.divergence, run.iterations, 3)


@pytest.mark.parametrize(
    "change", [{"clip": "another"}, {"iterations": 2}, {"seeds": (2,)}], ids=["clip", "iterations", "seed"]
)
def test_another_run_is_not_taken_for_it(reference, wanted, change, tmp_path: Path) -> None:
    reference.ReferenceRuns(tmp_path / "runs.json").get(replace(wanted, seeds=(0,)), quiet)
    runs = reference.ReferenceRuns(tmp_path / "runs.json")
    runs.get(replace(wanted, **{"seeds": (0,), **change}), quiet)
    assert (runs.computed, runs.reused) == (1, 0)


def test_points_may_differ_by_rounding_and_by_no_more(reference, wanted, points: PointSet, tmp_path: Path) -> None:
    reference.ReferenceRuns(tmp_path / "runs.json").get(wanted, quiet)
    (block,) = points.blocks

    def computed(magnitudes) -> int:
        runs = reference.ReferenceRuns(tmp_path / f"copy{magnitudes.sum()}.json")
        runs.path.write_bytes((tmp_path / "runs.json").read_bytes())
        other = PointSet.from_grid(block.times, block.frequencies, magnitudes)
        runs.get(replace(wanted, points=other), quiet)
        return int(runs.computed)

    assert computed(block.magnitudes * np.float32(1 + 1e-6)) == 0
    assert computed(block.magnitudes * np.float32(1.001)) == 2
    assert computed(np.ascontiguousarray(block.magnitudes[:, ::-1])) == 2


def test_fresh_runs_replace_those_that_were_kept(reference, wanted, tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    reference.ReferenceRuns(path).get(wanted, quiet)
    size = len(reference.ReferenceRuns(path))
    fresh = reference.ReferenceRuns(path, fresh=True)
    fresh.get(wanted, quiet)
    # Several cases of one call may ask for the same run.
    fresh.get(wanted, quiet)
    assert (fresh.computed, fresh.reused) == (2, 0)
    assert len(reference.ReferenceRuns(path)) == size
