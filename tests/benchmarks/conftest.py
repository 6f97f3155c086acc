"""The benchmarks are programs beside each other, not a package: their folder is put on the path."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest


class Load(Protocol):
    """From a program's name to its module."""

    def __call__(self, name: str) -> ModuleType: ...


@pytest.fixture
def load_benchmark(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import one of the benchmarks."""
    monkeypatch.syspath_prepend(repository / "benchmarks")
    return importlib.import_module
