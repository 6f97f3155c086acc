"""What every test shares: the quickstart's recordings, and settings that come before any import."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Environment, not calls: it reaches the processes that tests start, and collecting tests imports no torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

ROOT = Path(__file__).resolve().parents[1]

_COMMON = settings(
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    # A busy machine is no fault of the strategy.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("default", _COMMON, max_examples=30)
settings.register_profile("full", _COMMON, max_examples=300)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that pyproject.toml is in."""
    return ROOT


@pytest.fixture(scope="session")
def audio_dir() -> Path:
    """The folder of the quickstart's recordings."""
    return ROOT / "pipelines" / "audio"


@pytest.fixture(scope="session")
def speech(audio_dir: Path) -> dict[str, Path]:
    """Recordings of two people, 16 kHz mono: {male,female}_{train,test} and mixture."""
    return _recordings(audio_dir / "speech")


@pytest.fixture(scope="session")
def music(audio_dir: Path) -> dict[str, Path]:
    """Recordings of one song, 16 kHz mono: {guitar,backing}_{train,test} and mixture."""
    return _recordings(audio_dir / "music")


def _recordings(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.flac"))}
