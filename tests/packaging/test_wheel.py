"""What users install: the built wheel in an environment that knows nothing of the source tree."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clean(make_clean: Callable[[], Any]) -> Any:
    return make_clean()


def test_wheel_holds_the_package_and_its_plugins_only(built: Any) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
    tops = {PurePosixPath(name).parts[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert len(info) == 1
    assert tops - info == {"inmf_flow", *(path.name for path in (ROOT / "plugins").glob("inmf_flow_*"))}
    for name in ("py.typed", "testing/audio/speech.flac", "testing/audio/LICENSES.txt"):
        assert f"inmf_flow/{name}" in names
    assert [name for name in names if PurePosixPath(name).match("inmf_flow/report/templates/*")]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert not [name for name in names if "__pycache__" in name]


def test_sdist_holds_what_the_tests_need(built: Any) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in archive.getnames()}
    for name in (
        "pyproject.toml",
        "LICENSE",
        "CHANGELOG.md",
        "tests/conftest.py",
        "pipelines/quickstart.yaml",
    ):
        assert name in names
    assert not [name for name in names if name.startswith((".venv", "pipelines/runs", "runs"))]


def test_installed_package_is_the_wheel(clean: Any) -> None:
    where = clean.run(clean.python, "-c", "import inmf_flow; print(inmf_flow.__file__)").stdout.strip()
    assert Path(where).is_relative_to(clean.python.parents[1])
    assert not Path(where).is_relative_to(ROOT)


def test_installed_program_finds_its_plugins(clean: Any) -> None:
    listed = clean.run(clean.inmf, "plugins", "list").stdout
    for name in ("cqt", "reassigned", "sinusoidal", "stft", "wavelet"):
        assert name in listed


def test_installed_program_runs_the_quickstart(clean: Any) -> None:
    shutil.copytree(ROOT / "pipelines" / "audio", clean.folder / "audio")
    shutil.copy(ROOT / "pipelines" / "quickstart.yaml", clean.folder)
    clean.run(clean.inmf, "run", "quickstart.yaml", "--output", "run")
    assert (clean.folder / "run" / "report.html").is_file()
