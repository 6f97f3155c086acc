"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def _modules_with_examples() -> list[str]:
    names = []
    for base in (ROOT, ROOT / "plugins"):
        for package in sorted(base.glob("inmf_flow*")):
            for path in sorted(package.rglob("*.py")):
                examples = [line for line in path.read_text("utf-8").splitlines() if ">>> " in line]
                # Those that need a file of the reader's own are shown, not run.
                if any("+SKIP" not in line for line in examples):
                    parts = path.relative_to(base).with_suffix("").parts
                    names.append(".".join(part for part in parts if part != "__init__"))
    return names


@pytest.mark.parametrize("name", _modules_with_examples())
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, extraglobs={"np": np}, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert outcome.attempted
    assert not outcome.failed
