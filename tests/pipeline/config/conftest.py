from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

import inmf_flow.factorize  # noqa: F401 - registers the built-in fields, once
from inmf_flow import registry
from inmf_flow.pipeline.config import Pipeline, PipelineFileError, load_pipeline

VALID = """\
name: two-speakers
corpus: {mixtures: "data/mix/*.flac", sample_rate: 16000}
transforms:
  fine: {toy: {n_fft: 2000, hop_length: 1000}}
  short: toy:n_fft=512
  plain: toy
  rough: {lossy: null}
sources:
  alice: {audio: "data/alice/*.wav", components: 20}
  bob jr.: {audio: [data/bob/a.wav, data/bob/b.wav]}
fit:
  field: {hat: {nodes: 256}}
  analyze: [fine, rough]
  tol: 1e-3
separate: {synthesize: fine, mask: {wiener: 2}}
evaluate: {references: "data/ref/{item}/{source}.flac", metrics: [si_sdr, stoi]}
cluster: {scheduler: local, workers: 2}
"""


class ToyConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    n_fft: int = Field(default=2000, ge=2, description="Samples of a frame.")
    hop_length: int | None = Field(default=None, ge=1, description="Samples between frames.")
    window: str = Field(default="hann", description="Name of the window.")
    calibration: Literal["tone", "noise"] = Field(default="tone", description="What magnitude 1 means.")

    @model_validator(mode="after")
    def _hop_fits(self) -> ToyConfig:
        if self.hop_length is not None and self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft")
        return self


class Toy:
    Config = ToyConfig
    invertible = "exact"

    def __init__(self, config: ToyConfig) -> None:
        self.config = config


class Lossy(Toy):
    invertible = "none"


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two transforms, and none of the installed plugins, whatever those are."""
    for name in ("transforms", "fields", "divergences", "metrics"):
        table = getattr(registry, name)
        built_in = {key: entry for key, entry in table._entries.items() if key in table.built_in}
        monkeypatch.setattr(table, "_entries", built_in)
    monkeypatch.setattr(registry, "_loaded", True)
    registry.transforms.register("toy", Toy)
    registry.transforms.register("lossy", Lossy)


@pytest.fixture
def valid() -> str:
    return VALID


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Pipeline]:
    def load_text(text: str | bytes, overrides: Sequence[str] = ()) -> Pipeline:
        file = tmp_path / "p.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_pipeline(file, overrides)

    return load_text


@pytest.fixture
def problems(load: Callable[..., Pipeline], tmp_path: Path) -> Callable[..., list[str]]:
    """Return the lines of the error that a text gives, the folder cut off."""

    def lines(text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
        with pytest.raises(PipelineFileError) as caught:
            load(text, overrides)
        error: Any = caught.value
        assert str(error).splitlines() == [str(problem) for problem in error.problems]
        return str(error).replace(f"{tmp_path}/", "").splitlines()

    return lines
