"""``corpus``: recordings that are there, or a folder that is watched for those that arrive."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from inmf_flow.pipeline.config.kinds import FilePath, Real, Recordings, Section, Whole
from inmf_flow.pipeline.config.problems import Finding


class Segments(Section):
    """How recordings that are longer than a segment are cut into items of their own."""

    seconds: Real = Field(ge=1, description="The most that a segment lasts.")
    overlap: Real = Field(
        default=0.0, ge=0, description="Seconds that consecutive segments share, at most half of `seconds`."
    )

    @model_validator(mode="after")
    def _overlaps_no_further_than_its_neighbour(self) -> Segments:
        if self.overlap > self.seconds / 2:
            raise ValueError(f"'overlap' is {self.overlap:g}, expected at most {self.seconds / 2:g}, half of 'seconds'")
        return self


class Watch(Section):
    """A folder that others put recordings into, and when one of them is whole."""

    folder: FilePath = Field(description="The folder, with all below it, or a glob pattern; it need not be there yet.")
    settle: Real = Field(
        default=2.0,
        ge=0,
        le=86_400,
        description="Seconds for which a file's size and time of change stay the same before it is taken.",
    )
    poll: Real = Field(default=1.0, ge=0.05, le=3600, description="Seconds from one look at the folder to the next.")
    idle: Annotated[Real, Field(gt=0)] | None = Field(
        default=None, description="Seconds without anything new after which the run ends; null: it goes on."
    )


def _folder_alone(value: object) -> object:
    return {"folder": os.fspath(value)} if isinstance(value, str | os.PathLike) else value


_WATCH_SCHEMA = {
    "anyOf": [{"type": "string", "minLength": 1}, Watch.model_json_schema(), {"type": "null"}],
}


class Corpus(Section):
    """Which recordings are to be separated."""

    mixtures: Recordings = Field(
        default_factory=tuple,
        description="Files to separate: a path, folder, glob pattern or manifest, or a list of them.",
    )
    watch: Annotated[Watch | None, BeforeValidator(_folder_alone), WithJsonSchema(_WATCH_SCHEMA)] = Field(
        default=None,
        description="Instead of `mixtures` a folder to take files from as they arrive, until the run is stopped: its "
        "path, or {folder, settle, poll, idle}.",
    )
    segments: Segments | None = Field(
        default=None, description="How long recordings are cut into items of their own; null: they are not."
    )
    sample_rate: Annotated[Whole, Field(ge=100, le=768_000)] | None = Field(
        default=None,
        description="Rate in hertz to which audio is resampled for analysis; null keeps each file's own.",
    )


def check_mixtures(data: Mapping[str, Any]) -> list[Finding]:
    """Check that a corpus has either mixtures or a folder to watch, and that what is watched is not compared."""
    corpus = data.get("corpus")
    if not isinstance(corpus, Mapping):
        return []
    # That mixtures are null is told where they are checked themselves.
    given = ["mixtures"] * ("mixtures" in corpus) + ["watch"] * (corpus.get("watch") is not None)
    misspelt = corpus.keys() - Corpus.model_fields.keys()
    if not given and not misspelt:
        what = "the key 'mixtures' is missing in corpus, expected text, a mapping, or a list of them (or 'watch')"
        return [Finding(("corpus",), what)]
    if len(given) == 2:
        what = "corpus has 'mixtures' and 'watch', expected only one of them"
        return [Finding(("corpus", "watch"), what, at_key=True)]
    if given == ["watch"] and data.get("compare") is not None:
        what = "variants are compared on the same mixtures, but corpus.watch takes them as they arrive"
        return [Finding(("compare",), f"{what}: expected corpus.mixtures", at_key=True)]
    return []
