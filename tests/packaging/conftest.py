"""What users install: both files of a release, and environments that know nothing of the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Built:
    """The two files that a release uploads."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Clean:
    """An environment with some wheels, and an empty folder to work in."""

    python: Path
    inmf: Path
    folder: Path

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the empty folder, with nothing of the source tree in its environment."""
        return _run([str(part) for part in command], self.folder)

    def install(self, wheel: Path) -> None:
        """Install a wheel, whose dependencies are there, without the network."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.python)]
        _run([*pip, "install", "--no-deps", "--no-index", "--ignore-installed", str(wheel)], self.folder)


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    outcome = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, f"{' '.join(command)}\n{outcome.stdout}\n{outcome.stderr}"
    return outcome


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the sdist and, from the sdist as installers do, the wheel; without the network."""
    target = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(ROOT)], target)
    return Built(next(target.glob("*.tar.gz")), next(target.glob("*.whl")))


@pytest.fixture(scope="session")
def make_clean(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Clean]:
    """A function that installs our wheel where this environment's libraries are seen, but not its editable install."""

    def make() -> Clean:
        home = tmp_path_factory.mktemp("environment")
        _run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], home)
        python = home / "venv" / "bin" / "python"
        found = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home)
        # Python reads no .pth files in a folder that a .pth file adds: an editable install there stays unseen.
        libraries = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        Path(found.stdout.strip(), "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
        folder = home / "empty"
        folder.mkdir()
        clean = Clean(python, home / "venv" / "bin" / "inmf", folder)
        clean.install(built.wheel)
        return clean

    return make
