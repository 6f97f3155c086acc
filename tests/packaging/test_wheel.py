"""What users install: the built wheel in an environment that knows nothing of the source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Built:
    """The two files that a release uploads."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Clean:
    """An environment with the wheel, and an empty folder to work in."""

    python: Path
    inmf: Path
    folder: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the empty folder, with nothing of the source tree in its environment."""
        return _run([str(part) for part in command], self.folder)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    outcome = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, f"{' '.join(command)}\n{outcome.stdout}\n{outcome.stderr}"
    return outcome


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the sdist and, from the sdist as installers do, the wheel; without the network."""
    target = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)], target)
    return Built(next(target.glob("*.tar.gz")), next(target.glob("*.whl")))


@pytest.fixture(scope="module")
def clean(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """Install the wheel where this environment's libraries are seen but its editable install is not."""
    home = tmp_path_factory.mktemp("environment")
    _run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], home)
    python = home / "venv" / "bin" / "python"
    site = Path(
        _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home).stdout.strip()
    )
    # Python reads no .pth files in a folder that a .pth file adds: an editable install there stays unseen.
    libraries = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    _run([*pip, "install", "--no-deps", "--no-index", "--ignore-installed", str(built.wheel)], home)
    folder = home / "empty"
    folder.mkdir()
    return Clean(python, home / "venv" / "bin" / "inmf", folder)


def test_wheel_holds_the_package_and_its_plugins_only(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
    tops = {PurePosixPath(name).parts[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    assert len(info) == 1
    assert tops - info == {"inmf_flow", "inmf_flow_stft"}
    assert "inmf_flow/py.typed" in names
    assert [name for name in names if PurePosixPath(name).match("inmf_flow/report/templates/*")]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert not [name for name in names if "__pycache__" in name]


def test_sdist_holds_what_the_tests_need(built: Built) -> None:
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


def test_installed_package_is_the_wheel(clean: Clean) -> None:
    where = clean.run(clean.python, "-c", "import inmf_flow; print(inmf_flow.__file__)").stdout.strip()
    assert Path(where).is_relative_to(clean.python.parents[1])
    assert not Path(where).is_relative_to(ROOT)


def test_installed_program_finds_its_plugins(clean: Clean) -> None:
    assert "stft" in clean.run(clean.inmf, "plugins", "list").stdout


def test_installed_program_runs_the_quickstart(clean: Clean) -> None:
    shutil.copytree(ROOT / "pipelines" / "audio", clean.folder / "audio")
    shutil.copy(ROOT / "pipelines" / "quickstart.yaml", clean.folder)
    clean.run(clean.inmf, "run", "quickstart.yaml", "--output", "run")
    assert (clean.folder / "run" / "report.html").is_file()
