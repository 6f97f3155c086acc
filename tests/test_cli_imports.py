"""Asking for help, and importing the package, loads none of the heavy libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "librosa",
    "dask",
    "distributed",
    "matplotlib",
    "zarr",
    "scipy",
    "numba",
    "sklearn",
    "soundfile",
}

_ASK = """
import json, sys
try:
    {code}
except SystemExit as stop:
    assert stop.code in (None, 0), stop.code
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def _modules_after(code: str) -> set[str]:
    outcome = subprocess.run(
        [sys.executable, "-c", _ASK.format(code=code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return {name.partition(".")[0] for name in json.loads(outcome.stdout.splitlines()[-1])}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["separate", "--help"]])
def test_help_imports_no_heavy_library(arguments: list[str]) -> None:
    code = f"sys.argv = ['inmf', *{arguments!r}]; from inmf_flow.cli import main; main()"
    assert not _modules_after(code) & HEAVY


def test_importing_the_package_imports_no_heavy_library() -> None:
    assert not _modules_after("import inmf_flow") & (HEAVY | {"numpy", "pydantic"})


def test_public_names_are_listed_and_importable() -> None:
    import inmf_flow

    for name in inmf_flow.__all__:
        assert hasattr(inmf_flow, name), name
        assert name in dir(inmf_flow)


def test_the_function_separate_is_not_hidden_by_a_package() -> None:
    code = "import inmf_flow.separation; from inmf_flow import separate; import inmf_flow; "
    _modules_after(code + "assert inmf_flow.separate is separate is inmf_flow.separation.separate")
