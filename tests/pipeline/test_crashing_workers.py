"""A recording that takes its worker with it costs itself alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

_PLUGIN = '''
import os
from typing import ClassVar
from inmf_flow.hookspecs import hookimpl
from inmf_flow_stft.transform import Stft

class Deadly(Stft):
    """An STFT that brings down its process on audio of 5000 samples."""
    name: ClassVar[str] = "deadly"
    version: ClassVar[str] = "1"

    def analyze(self, audio, sample_rate, *, span=None):
        if audio.shape[-1] == 5000:
            os._exit(1)
        return super().analyze(audio, sample_rate, span=span)

@hookimpl
def register_transforms(register):
    register(Deadly)
'''


@pytest.fixture
def deadly(tmp_path: Path) -> dict[str, str]:
    """The environment in which the transform is installed, and a scheduler that soon gives a task up."""
    site = tmp_path / "site"
    info = site / "inmf_deadly-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "inmf_deadly.py").write_text(_PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inmf-deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[inmf_flow]\ndeadly = inmf_deadly\n")
    return {"PYTHONPATH": str(site), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}


@pytest.mark.full
def test_a_file_that_kills_its_worker_is_the_only_one_to_fail(fresh: Any, deadly: dict[str, str], inmf: Any) -> None:
    from inmf_flow import open_points

    fresh.file.write_text(fresh.file.read_text().replace("stft:", "deadly:"))
    for folder in ("male", "mixtures"):
        soundfile.write(fresh.folder / folder / "bomb.wav", [0.1] * 5000, 16000, subtype="FLOAT")
    done = inmf("run", fresh.file, "--set", "evaluate=null", "--workers", "1", cwd=fresh.folder, env=deadly)
    assert done.code == 1, done.err
    document = fresh.document()
    assert document["counts"]["analyze"] == {"done": 4, "reused": 0, "failed": 1}
    assert document["counts"]["separate"] == {"done": 3, "reused": 0, "failed": 1}
    assert [(f["stage"], f["item"]) for f in document["failures"]] == [("analyze", "male/bomb"), ("separate", "bomb")]
    assert all("the worker died" in failure["reason"] for failure in document["failures"])
    assert sorted(open_points(fresh.output / "points.zarr")) == ["female/a", "female/b", "male/a", "male/b"]
    # One record a batch, and one part.
    assert sorted(path.name for path in (fresh.output / "ledger/analyze").iterdir()) == ["000000.json", "000001.json"]
    assert len(list((fresh.output / "points.zarr/manifest").iterdir())) == 2
    assert set(json.loads((fresh.output / "ledger/separate/000000.json").read_text())["items"]) == {
        "bomb", "one", "two", "wide"
    }  # fmt: skip
