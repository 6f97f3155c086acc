"""Model files of every format version so far are read as the version that wrote them would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inmf_flow import INMF, PointSet
from inmf_flow.factorize.files import FORMAT

FOLDER = Path(__file__).parent / "models"
FILES = sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def expected(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


def assert_says_what_it_said(model: INMF, truth: dict[str, Any]) -> None:
    for of, at, told in (
        (model.templates, truth["hertz"], truth["templates"]),
        (model.activations, truth["seconds"], truth["activations"]),
    ):
        assert np.max(told) > 0.1
        assert np.allclose(of(at), told, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
@pytest.mark.parametrize("field", ["hat", "matrix", "network"])
def test_every_format_version_has_kept_files(version: int, field: str) -> None:
    name = f"format{version}-{field}"
    assert name in FILES, "see models/README.md: a new format version needs files of its own"
    content = (FOLDER / f"{name}.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["inmf_flow"])
    assert (header["format"], header["members"][0]["frequency"]) == (version, field)


@pytest.mark.parametrize("name", FILES)
def test_functions_are_those_that_were_written(name: str) -> None:
    assert_says_what_it_said(INMF.load(FOLDER / f"{name}.safetensors"), expected(name))


@pytest.mark.parametrize("name", FILES)
def test_settings_and_what_a_fit_leaves_are_those_that_were_written(name: str) -> None:
    model, truth = INMF.load(FOLDER / f"{name}.safetensors"), expected(name)
    for setting, value in truth["settings"].items():
        assert getattr(model, setting) == value, setting
    for attribute in ("provenance", "max_frequency_", "duration_", "n_iter_"):
        assert getattr(model, attribute) == truth[attribute], attribute
    assert model.divergence_curve_[-1] == (truth["n_iter_"], truth["last_divergence"])


@pytest.mark.parametrize("name", FILES)
def test_an_old_file_written_anew_says_the_same(name: str, tmp_path: Path) -> None:
    INMF.load(FOLDER / f"{name}.safetensors").save(tmp_path / "new.safetensors")
    model, truth = INMF.load(tmp_path / "new.safetensors"), expected(name)
    assert_says_what_it_said(model, truth)
    assert model.provenance == truth["provenance"]


@pytest.mark.parametrize("name", FILES)
def test_frozen_templates_of_an_old_file_explain_points(name: str) -> None:
    model = INMF.load(FOLDER / f"{name}.safetensors")
    hertz, seconds = np.linspace(100, 4000, 30), np.linspace(0, 1, 5)
    truth = model.templates(hertz) @ np.abs(np.random.default_rng(0).standard_normal((3, 5)))
    points = PointSet.from_grid(seconds, hertz, truth ** (1 / model.power))
    rough, good = model.transform(points, max_iter=1), model.transform(points, max_iter=200)
    assert model.divergence(points, good) < 0.1 * model.divergence(points, rough)
