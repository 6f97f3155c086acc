"""``inmf plugins new`` from our wheel: what it writes is built, installed beside us, tested and used in a pipeline."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def clean(make_clean: Callable[[], Any]) -> Any:
    """An environment with our wheel and that of a plugin which our wheel's program wrote."""
    clean = make_clean()
    clean.run(clean.inmf, "plugins", "new", "my-transform")
    clean.run(clean.python, "-m", "build", "--no-isolation", "--outdir", "dist", "my-transform")
    clean.install(next((clean.folder / "dist").glob("*.whl")))
    return clean


def test_its_wheel_holds_its_package_and_licence(clean: Any) -> None:
    with zipfile.ZipFile(next((clean.folder / "dist").glob("*.whl"))) as archive:
        names = set(archive.namelist())
    assert {"my_transform/__init__.py", "my_transform/transform.py"} <= names
    assert {name.partition("/")[0] for name in names} == {"my_transform", "my_transform-0.1.0.dist-info"}
    assert "my_transform-0.1.0.dist-info/licenses/LICENSE" in names


@pytest.mark.full
def test_its_own_tests_pass_on_what_is_installed(clean: Any) -> None:
    where = clean.run(clean.python, "-c", "import my_transform; print(my_transform.__file__)").stdout.strip()
    assert Path(where).is_relative_to(clean.python.parents[1])
    # From beside its folder: inside, Python would import the sources.
    done = clean.run(clean.python, "-m", "pytest", "-q", "-W", "error", "my-transform")
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_it_is_listed_and_the_doctor_finds_nothing_wrong(clean: Any) -> None:
    listed = clean.run(clean.inmf, "plugins", "list").stdout
    line = next(line for line in listed.splitlines() if line.startswith("my_transform"))
    assert line.split() == ["my_transform", "my-transform", "0.1.0", "ok", "transform", "my_transform"]
    found = [line.split("\t") for line in clean.run(clean.inmf, "plugins", "doctor").stdout.splitlines()]
    checks = [(line[0].strip(), line[3].strip()) for line in found if line[1:2] and "my-transform:" in line[1]]
    assert checks == [("ok", "load"), ("ok", "config"), ("ok", "analyze"), ("ok", "round trip")]


@pytest.mark.full
def test_its_pipeline_separates_real_voices(clean: Any, speech: dict[str, Path]) -> None:
    folder = clean.folder / "my-transform"
    for name, path in {"mixtures": "mixture", "first": "male_train", "second": "female_train"}.items():
        (folder / "audio" / name).mkdir(parents=True)
        samples, rate = soundfile.read(speech[path], frames=24_000, dtype="float32")
        soundfile.write(folder / "audio" / name / "voice.wav", samples, rate)
    clean.run(clean.inmf, "validate", folder / "pipeline.yaml")
    clean.run(
        *(clean.inmf, "run", folder / "pipeline.yaml", "--workers", 1, "--output", "run"),
        *("--set", "fit.max_iter=15", "--set", "separate.max_iter=15"),
    )
    assert json.loads((clean.folder / "run" / "run.json").read_text())["status"] == "done"
    estimates = [
        soundfile.read(clean.folder / "run" / "separated" / "voice" / f"{name}.wav") for name in ("first", "second")
    ]
    mixture, _ = soundfile.read(folder / "audio" / "mixtures" / "voice.wav")
    assert abs(sum(estimate for estimate, _ in estimates) - mixture).max() < 1e-5
    assert all(estimate.std() > 0.05 * mixture.std() for estimate, _ in estimates)
