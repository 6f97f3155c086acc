"""`inmf store repair`: what it prints, and its exit codes."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from inmf_flow.cli import main
from inmf_flow.cli.store import app
from inmf_flow.pipeline.prepare import sole_driver
from inmf_flow.testing.faults import corrupt

SHARD = "parts/p0/grid_magnitudes/c.0"


def test_a_whole_store_needs_no_repair(filled) -> None:
    result = CliRunner().invoke(app, ["repair", str(filled.path)])
    assert (result.exit_code, result.output) == (0, f"{filled.path}: every file is as it was written\n")


def test_damage_is_removed_and_what_is_lost_is_named(filled) -> None:
    corrupt(filled.path / SHARD, "deletion", 0)
    looked = CliRunner().invoke(app, ["repair", str(filled.path), "--dry-run"])
    assert looked.exit_code == 1
    assert "part p0: would be removed; lost with it: a, b\n" in looked.output
    assert (filled.path / "parts/p0").is_dir()
    result = CliRunner().invoke(app, ["repair", str(filled.path)])
    assert result.exit_code == 0
    assert result.output == (
        f"{SHARD}: cannot be read (No such file or directory)\n"
        "part p0: removed; lost with it: a, b\n"
        f"{filled.path}: 1 parts with 2 items removed. What wrote them has to write their items again.\n"
    )
    assert CliRunner().invoke(app, ["verify", str(filled.path)]).exit_code == 0


def test_what_is_left_to_do_is_said_with_exit_code_1(filled) -> None:
    (filled.path / "notes.txt").touch()
    result = CliRunner().invoke(app, ["repair", str(filled.path)])
    assert result.exit_code == 1
    assert result.output == "left as it is: notes.txt: the store did not write this file\n"


def test_a_store_of_a_run_that_is_going_on_is_refused(filled, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled.path.parent
    corrupt(filled.path / SHARD, "deletion", 0)
    with sole_driver(folder), pytest.raises(SystemExit) as ended:
        main(["store", "repair", str(filled.path)])
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "another run is using this folder" in message
    assert len(message.splitlines()) == 1
    assert (filled.path / "parts/p0").is_dir()
    result = CliRunner().invoke(app, ["repair", str(filled.path)])
    assert f"The next `inmf run` into {folder} makes their items again" in result.output


def test_what_is_no_store_ends_with_exit_code_2(filled, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(filled.path)
    with pytest.raises(SystemExit) as ended:
        main(["store", "repair", str(filled.path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"inmf: {filled.path}: no points store is there\n"
