"""On a machine with torch and NumPy and none of our other dependencies, factorize works; only files need more."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

_PROGRAM = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in BLOCKED:
            return self.finder.find_spec(name, path, target)

BLOCKED = set(sys.argv[1].split(","))
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]

import numpy as np
from inmf_flow.errors import ModelFileError, UnknownNameError
from inmf_flow.factorize import INMF
from inmf_flow.points import PointSet

random = np.random.default_rng(0)
grid = PointSet.from_grid(np.arange(12) / 10, np.arange(20) * 100.0, random.gamma(0.5, 1.0, (20, 12)))
some = PointSet.from_points(random.random(30), random.random(30) * 1900, random.random(30))
for field in ("hat", "matrix", "network:hidden=4"):
    for points in (grid, some, grid + some):
        model = INMF(2, field=field, max_iter=10).fit(points)
        assert model.transform(points)([0.1, 0.2]).shape == (2, 2)
        assert np.isfinite(model.divergence(points))

def message(call, kind):
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError("no error")

assert "hat" in message(lambda: INMF(field="hut"), UnknownNameError)
for call in (lambda: model.save("model.safetensors"), lambda: INMF.load("model.safetensors")):
    text = message(call, ModelFileError)
    assert "safetensors, which is not installed" in text, text
    assert "pip install safetensors" in text, text
assert not BLOCKED & {name.partition(".")[0] for name in sys.modules}
print("done")
"""

# Imported under another name than they are installed; jinja2 is one of torch's own requirements.
_MODULES = {"pywavelets": "pywt", "pyyaml": "yaml"}
_KEPT = {"numpy", "torch", "jinja2"}


def test_fit_and_transform_work_without_the_other_dependencies(repository: Path, tmp_path: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[^A-Za-z0-9_-]", line)[0].lower() for line in project["dependencies"]} - _KEPT
    blocked = {_MODULES.get(name, name) for name in names} | {"numba", "sklearn"}
    assert {"scipy", "safetensors", "pluggy", "pydantic", "soundfile", "pywt", "zarr"} <= blocked
    outcome = subprocess.run(
        [sys.executable, "-c", _PROGRAM, ",".join(sorted(blocked))],
        cwd=tmp_path,
        env={"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip() == "done"
    assert list(tmp_path.iterdir()) == []
