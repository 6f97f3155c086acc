from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from inmf_flow.cli.store import app
from inmf_flow.errors import StoreError, StoreNotFoundError
from inmf_flow.points import PointSet
from inmf_flow.store import PointsStore


@pytest.fixture
def path(tmp_path) -> Path:
    store = PointsStore.create(tmp_path / "points.zarr")
    points = PointSet.from_grid(np.arange(30.0), np.arange(20.0), np.ones((20, 30)), duration=36.0)
    store.write_part("p0", {"a": points, "b": points}, {"a": "ka", "b": "kb"}, "h")
    return store.path


def test_info_prints_totals(path) -> None:
    result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 0
    assert f"{path}: 2 items in 1 parts, 0.02 hours of audio\n1200 points in 2 blocks\n" in result.output
    assert "bytes a point" in result.output


def test_info_as_json_is_one_object(path) -> None:
    facts = json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).output)
    assert (facts["items"], facts["points"], facts["hours"]) == (2, 1200, 0.02)


def test_verify_says_that_all_is_well(path) -> None:
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 0
    assert result.output == f"{path}: every file is as it was written\n"


def test_verify_lists_damage_and_exits_with_1(path) -> None:
    (path / "parts/p0/grid_magnitudes/c.0").unlink()
    result = CliRunner().invoke(app, ["verify", str(path)])
    assert result.exit_code == 1
    assert "parts/p0/grid_magnitudes/c.0, part p0: cannot be read" in result.output
    assert "the next run makes them again" in result.output


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_store_is_left_to_the_program_to_report(command, tmp_path) -> None:
    for place, error in ((tmp_path / "nothing", StoreNotFoundError), (tmp_path, StoreError)):
        assert isinstance(CliRunner().invoke(app, [command, str(place)]).exception, error)
