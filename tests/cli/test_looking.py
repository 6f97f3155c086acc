"""Commands that only look: `validate`, `schema`, `store`, `plugins`, and what every command has in common."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Program = Callable[..., Any]


def test_validate_says_that_all_is_well(corpus: Any, inmf: Program) -> None:
    before = corpus.stamps()
    done = inmf("validate", corpus.file, corpus.file)
    assert (done.code, done.out, done.err) == (0, f"{corpus.file}: ok\n" * 2, "")
    assert corpus.stamps() == before


def test_validate_lists_every_fault_of_every_file(corpus: Any, inmf: Program, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("name: x\nname: y\ncorpus: {mixture: 1}\n")
    second.write_text("- a\n- list\n")
    done = inmf("validate", first, corpus.file, second, tmp_path / "third.yaml")
    assert done.code == 2
    assert done.out == f"{corpus.file}: ok\n"
    assert f"{first}:2:1: " in done.err
    assert f"{first}:3:10: " in done.err
    assert f"{second}:1:1: " in done.err
    assert str(tmp_path / "third.yaml") in done.err


def test_validate_takes_settings(corpus: Any, inmf: Program) -> None:
    done = inmf("validate", corpus.file, "--set", "fit.max_iter=zero")
    assert done.code == 2
    assert "fit.max_iter" in done.err


def test_schema_is_json_that_knows_the_installed_transforms(inmf: Program) -> None:
    done = inmf("schema")
    assert done.code == 0
    schema = json.loads(done.out)
    assert "n_fft" in done.out
    assert {"corpus", "sources", "transforms"} <= set(schema["properties"])


def test_store_is_shown_and_verified(first_run: Any, inmf: Program, tmp_path: Path) -> None:
    store = first_run[0].copy(tmp_path / "project").output / "points.zarr"
    done = inmf("store", "info", store)
    assert done.code == 0
    assert done.out.startswith(f"{store}: 4 items in 2 parts")
    assert json.loads(inmf("store", "info", store, "--json").out)["items"] == 4
    assert inmf("store", "verify", store).code == 0
    victim = next(store.glob("parts/*/grid_magnitudes/c*"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    done = inmf("store", "verify", store)
    assert done.code == 1
    assert "parts damaged" in done.out


def test_what_store_verify_advises_mends_the_store(project: Any, inmf: Program) -> None:
    store = project.output / "points.zarr"
    before = project.results()
    victim = next(store.glob("parts/*/grid_magnitudes/c*"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x00")
    (store / "manifest" / f"{victim.parts[-3]}.json").unlink()
    project.run()
    assert project.done()["analyze"] == 2
    assert inmf("store", "verify", store).code == 0
    assert project.results() == before


@pytest.mark.parametrize("command", ["info", "verify"])
def test_what_is_no_store_is_refused(inmf: Program, tmp_path: Path, command: str) -> None:
    for path in (tmp_path / "gone", tmp_path):
        done = inmf("store", command, path)
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert str(path) in line


def test_plugins_are_listed_and_well(inmf: Program) -> None:
    done = inmf("plugins")
    assert done.code == 0
    assert done.out == inmf("plugins", "list").out
    (stft,) = [line.split("\t") for line in done.out.splitlines() if line.startswith("stft")]
    assert [cell.strip() for cell in stft[3:5]] == ["ok", "transform stft"]
    done = inmf("plugins", "doctor")
    assert done.code == 0, done.out
    assert done.out.splitlines()[-1].endswith("checks passed.")


@pytest.mark.parametrize("arguments", [["run"], ["nonsense"], ["--nonsense"], ["store"], ["store", "nonsense"]])
def test_a_wrong_command_line_shows_the_usage(inmf: Program, arguments: list[str]) -> None:
    done = inmf(*arguments)
    assert done.code == 2
    assert "Usage: inmf" in done.out + done.err


def test_debug_shows_the_traceback(corpus: Any, tmp_path: Path) -> None:
    program = corpus.command()[0]
    arguments = [program, "--debug", "report", str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_output_that_nobody_reads_to_the_end_is_no_error(corpus: Any) -> None:
    program = corpus.command()[0]
    for command in ("schema", "plugins list"):
        done = subprocess.run(
            f"{program} {command} | true", shell=True, capture_output=True, text=True, timeout=60, env=dict(os.environ)
        )
        assert done.stderr == ""
