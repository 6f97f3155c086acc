"""What a pipeline file can say: frozen models with a description for every key.

`load_pipeline` and `pipeline_from_mapping` build a `Pipeline`; they also check what needs more than one key
or an installed plugin.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, Strict, model_validator

from inmf_flow.pipeline.config.corpus import Corpus
from inmf_flow.pipeline.config.kinds import (
    MAX_TRANSFORMS,
    Choice,
    Divergence,
    FieldChoice,
    FieldSpec,
    FilePath,
    Mask,
    Name,
    Names,
    Real,
    Recordings,
    References,
    Scheduler,
    Section,
    Text,
    TransformChoice,
    Whole,
)
from inmf_flow.pipeline.config.variants import Variant, compare_fault
from inmf_flow.remote import as_path, is_remote

Amounts = dict[Text, Annotated[Real, Field(gt=0)]]
"""How much of each of Dask's abstract resources a task takes."""


class Source(Section):
    """One source: audio to learn it from, or a model learned before."""

    audio: Recordings | None = Field(
        default=None,
        description="Recordings of this source alone: a path, folder, glob pattern or manifest, or a list; with "
        "{folder}, {file} or {item} of the mixture in it each mixture has a dictionary of its own.",
    )
    components: Whole = Field(
        default=20, ge=1, le=4096, description="Number of spectral templates to learn from the audio."
    )
    model: FilePath | None = Field(
        default=None, description="A fitted model (.safetensors) to use instead of learning from audio."
    )
    learn: Literal["mixture"] | None = Field(
        default=None,
        description="mixture: there is neither audio nor model; the source is learned on each mixture, beside others.",
    )


# Updates of a mixture's activations where the pipeline does not say.
_UPDATES = {"default": 100, "fast": 30}


class Fit(Section):
    """How dictionaries are learned."""

    field: FieldChoice = Field(
        default=Choice(name="hat"),
        description="What templates and activations are made of: a field's name, or {name: {options}}.",
    )
    time_field: FieldSpec = Field(
        default="auto",
        description="Field of activations over time, NAME[:key=value,...]; auto follows `field`.",
    )
    beta_loss: Divergence = Field(
        default="kullback-leibler", description="The divergence to minimise: a name, or the number beta."
    )
    analyze: Names | None = Field(
        default=None, description="Names of the transforms whose points are fitted; null means all."
    )
    power: Real = Field(
        default=0.5, gt=0, le=4, description="Exponent put on magnitudes before fitting; the paper has 0.5."
    )
    optimizer: Literal["mu", "warm", "rprop"] | None = Field(
        default=None,
        description="mu: multiplicative updates; warm: networks from what mu finds; rprop: the paper's; null: "
        "the field's own choice.",
    )
    learn: Literal["auto", "joint", "passes", "online"] = Field(
        default="auto",
        description="joint: a source's recordings in one piece, in one worker's memory; passes: batch by batch on all "
        "workers, as often as `passes` says; online: batch after batch, templates changing after each; auto: joint up "
        "to 50 million points.",
    )
    passes: Annotated[Whole, Field(ge=1, le=9999)] = Field(
        default=50, description="Most passes over a corpus that is learned batch by batch."
    )
    forgetting: Real = Field(
        default=1.0, ge=0, le=1, description="What earlier batches count at each batch of online learning."
    )
    max_iter: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="Most iterations of a joint fit; null: the optimizer's own choice."
    )
    tol: Real = Field(
        default=1e-5,
        ge=0,
        description="Stop when ten iterations improve the divergence by less than this share.",
    )
    random_state: Whole = Field(
        default=0,
        ge=0,
        le=2**32 - 1,
        description="Seed of everything random; equal seeds give equal results.",
    )
    weights: Literal["area", "uniform"] = Field(
        default="area",
        description="area: a point counts by the seconds x hertz it stands for; uniform: all points alike.",
    )
    init: Literal["moments", "random", "harmonic"] = Field(
        default="moments",
        description="Where templates start: at random moments of the recordings, at random values, at harmonic series.",
    )
    n_init: Annotated[Whole, Field(ge=1, le=1000)] = Field(
        default=1, description="Number of starts; the fit with the least divergence is kept."
    )
    context: Real = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Seconds over which templates move: 0 for templates of hertz alone. Fields hat and matrix, learned "
        "jointly.",
    )
    relaxation: Real = Field(
        default=1.9, ge=1, le=2, description="Extrapolation of multiplicative updates; 1: plain ones."
    )
    sparsity: Real = Field(default=0.0, ge=0, description="Weight of the L1 norm of activations.")
    smoothness: Real = Field(default=0.0, ge=0, description="Weight of the activations' squared changes over time.")
    decorrelation: Real = Field(default=0.0, ge=0, description="Weight of the overlap of different templates.")


class Group(Section):
    """How the components of a source that is learned on the mixture become sources."""

    by: Literal["templates", "activations", "harmonic-percussive"] = Field(
        default="templates",
        description="templates: by their spectral envelopes; activations: by when they sound; harmonic-percussive: "
        "steady lines against short bursts.",
    )
    into: Annotated[Whole, Field(ge=1, le=256)] = Field(
        default=2, description="Number of groups by templates or activations: group-1 and so on, loudest first."
    )
    assign: dict[Name, tuple[Annotated[Whole, Field(ge=1)], ...]] | None = Field(
        default=None,
        description="Numbers of each source's components instead, as in the names of `outputs: components`: "
        "{drums: [1, 4]}; all others are the source rest.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """What the groups are called."""
        if self.assign is not None:
            return (*self.assign, *(() if "rest" in self.assign else ("rest",)))
        if self.by == "harmonic-percussive":
            return "harmonic", "percussive"
        return tuple(f"group-{number}" for number in range(1, self.into + 1))


class Separate(Section):
    """How mixtures are separated."""

    synthesize: Names | None = Field(
        default=None,
        description="Name of the transform that makes audio again, or of several whose estimates are averaged; null: "
        "the first of `transforms`.",
    )
    outputs: Literal["sources", "components"] = Field(
        default="sources",
        description="sources: a file for each source; components: one for each component, SOURCE-1 and so on.",
    )
    mask: Mask = Field(
        default="default",
        description="default: estimates add up to the mixture; paper: the published mask; binary: the loudest takes "
        "all; divergence: the exponent that the divergence suggests; {wiener: e}.",
    )
    max_iter: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="Updates of a mixture's activations; null: what `quality` says."
    )
    refine: Annotated[Real, Field(gt=0, lt=100)] | None = Field(
        default=None,
        description="Exponent of a second mask, of the estimates' own magnitudes, such as 1.3; null: there is none.",
    )
    channels: Literal["each", "shared"] = Field(
        default="each",
        description="each: channels are fitted one by one; shared: with common activations and a gain of each source "
        "in each.",
    )
    group: Group | None = Field(
        default=None,
        description="How components of the one source that is learned on the mixture are grouped; null: they are not.",
    )
    quality: Literal["fast", "default"] = Field(
        default="default", description="How many updates a mixture gets where max_iter is null: default 100, fast 30."
    )

    @property
    def updates(self) -> int:
        """Updates of a mixture's activations."""
        return self.max_iter or _UPDATES[self.quality]


class Member(Section):
    """One model of every source, beside the others of an ensemble; null: as in `fit`, `separate` and `sources`."""

    analyze: Names | None = Field(default=None, description="Names of the transforms whose points it is fitted to.")
    synthesize: Names | None = Field(default=None, description="Name of the transform that it separates through.")
    components: Annotated[Whole, Field(ge=1, le=4096)] | None = Field(default=None, description="Number of templates.")
    power: Annotated[Real, Field(gt=0, le=4)] | None = Field(default=None, description="Exponent put on magnitudes.")
    context: Annotated[Real, Field(ge=0, le=1)] | None = Field(
        default=None, description="Seconds over which templates move."
    )
    random_state: Annotated[Whole, Field(ge=0, le=2**32 - 1)] | None = Field(default=None, description="Seed.")


class Evaluate(Section):
    """How separated audio is scored."""

    references: References | None = Field(
        description="Path of the true sources, with {source} in it, and {item} (the mixture's name) or {folder} (its "
        "folder); null: there are none."
    )
    metrics: Names = Field(default=("si_sdr",), description="Names of the metrics to compute.")
    permute: bool = Field(
        default=False,
        description="References get those estimates that make the mean of the first metric best, whatever their names.",
    )
    window: Annotated[Real, Field(gt=0, le=3600)] | None = Field(
        default=None,
        description="Seconds of windows that are scored by themselves, an item's score being their median; null: "
        "items of up to 10 minutes whole, longer ones in windows of 30.",
    )
    oracle: tuple[Literal["ratio", "binary", "power"], ...] = Field(
        default=(), description="Masks that know the references, scored as upper bounds: ratio, binary, power."
    )
    format: Literal["csv", "parquet"] = Field(
        default="csv", description="parquet: metrics.parquet is written beside metrics.csv; it needs pyarrow."
    )
    divergence: Annotated[bool, Strict()] = Field(
        default=False,
        description="Whether to compute the mean divergence of a mixture's points from what its dictionaries make of "
        "them, at unit energy; it needs no references.",
    )

    @model_validator(mode="after")
    def _has_something_to_score(self) -> Evaluate:
        if self.references is None and not self.divergence:
            raise ValueError("'references' is null, which leaves nothing to score unless 'divergence' is true")
        return self


class Report(Section):
    """What the report page shows."""

    items: Whole = Field(default=20, ge=0, description="Most mixtures shown with pictures and players.")


class Resources(Section):
    """What a worker must declare to be given tasks of a stage; stages that are not named go to any worker."""

    analyze: Amounts = Field(default={}, description="For an analysis, such as {MEMORY: 8e9}.")
    fit: Amounts = Field(default={}, description="For a fit, such as {GPU: 1}.")
    separate: Amounts = Field(default={}, description="For a batch of separations.")
    evaluate: Amounts = Field(default={}, description="For a batch of scores.")
    report: Amounts = Field(default={}, description="For the report page.")


class Tls(Section):
    """Certificates to talk to a scheduler with."""

    ca: FilePath = Field(description="PEM file of the authority that signed everybody's certificates.")
    cert: FilePath = Field(description="PEM file of the certificate to show.")
    key: FilePath | None = Field(
        default=None, description="PEM file of the certificate's private key; null: it is in `cert`."
    )


class Cluster(Section):
    """Where the work runs."""

    scheduler: Scheduler = Field(
        default="local", description="local, an address (tcp://..., tls://...), or package.module:factory."
    )
    workers: Annotated[Whole, Field(ge=1, le=65_536)] | None = Field(
        default=None, description="Number of worker processes of a local cluster; null: one a core."
    )
    gpus: Annotated[Whole, Field(ge=1, le=1024)] | Literal["all"] | None = Field(
        default=None,
        description="GPUs of this machine to start a worker of a local cluster for, each with the resource GPU: 1.",
    )
    resources: Annotated[Resources, BeforeValidator(lambda value: {} if value is None else value)] = Field(
        default=Resources(), description="What the workers of a stage must declare: {fit: {GPU: 1}}."
    )
    tls: Tls | None = Field(
        default=None, description="Certificates for a scheduler at tls://...; null: those of Dask's own settings."
    )

    @model_validator(mode="after")
    def _fits_its_scheduler(self) -> Cluster:
        if self.gpus is not None and self.scheduler != "local":
            raise ValueError(
                "'gpus' is for a local cluster; elsewhere start GPU workers with `dask worker --resources GPU=1`"
            )
        if self.tls is not None and self.scheduler.startswith("tcp://"):
            raise ValueError("'tls' is given, but the scheduler's address is tcp://, expected tls://")
        return self


def _empty_if_null(value: object) -> object:
    return {} if value is None else value


class Pipeline(Section):
    """A separation from recordings to report."""

    name: Name = Field(description="Name of the pipeline; the run's folder is runs/NAME.")
    corpus: Corpus = Field(description="Which recordings are to be separated.")
    transforms: dict[Name, TransformChoice] = Field(
        min_length=1,
        max_length=MAX_TRANSFORMS,
        description="Time-frequency transforms under names of your own: {fine: {stft: {...}}}.",
    )
    sources: dict[Name, Source] = Field(
        min_length=1, description="One dictionary each; the names become names of files."
    )
    fit: Annotated[Fit, BeforeValidator(_empty_if_null)] = Field(
        default=Fit(), description="How dictionaries are learned."
    )
    separate: Annotated[Separate, BeforeValidator(_empty_if_null)] = Field(
        default=Separate(), description="How mixtures are separated."
    )
    ensemble: Annotated[dict[Name, Member], Field(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="Models of each source that differ in window, power, context, components or seed, whose estimates "
        "are averaged: {short: {analyze: fine}, long: {...}}; null: one model a source.",
    )
    evaluate: Evaluate | None = Field(default=None, description="How separated audio is scored; null: it is not.")
    report: Annotated[Report, BeforeValidator(_empty_if_null)] = Field(
        default=Report(), description="What the report page shows."
    )
    cluster: Annotated[Cluster, BeforeValidator(_empty_if_null)] = Field(
        default=Cluster(), description="Where the work runs."
    )
    store: Literal["zarr", "none"] = Field(
        default="zarr",
        description="zarr: points are kept and reused; none: they are made again for each fit.",
    )
    fail: Literal["any", "never"] = Field(
        default="any",
        description="any: a failed item makes the run fail (exit 1); never: it is only recorded.",
    )
    output: FilePath | None = Field(default=None, description="Folder of the run; null: runs/NAME.")
    compare: Annotated[dict[Name, dict[Name, dict[str, Any] | None]], Field(min_length=1)] | None = Field(
        default=None,
        description="Variants of this pipeline to run side by side: {axis: {label: {section: {key: value}}}}.",
    )

    _base: Path = PrivateAttr(default=Path("."))
    _variants: tuple[Variant, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _has_axes_that_can_be_crossed(self) -> Pipeline:
        fault = compare_fault(self.compare) if self.compare is not None else None
        if fault is not None:
            raise ValueError(f"'compare': {fault}")
        return self

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The pipelines that ``compare`` makes of this one; none without it."""
        return self._variants

    @property
    def base(self) -> Path:
        """The folder that relative paths start from: the pipeline file's."""
        return self._base

    @property
    def analyzed(self) -> tuple[str, ...]:
        """Names of the transforms whose points are fitted."""
        common = self.fit.analyze or tuple(self.transforms)
        if self.ensemble is None:
            return common
        return tuple(dict.fromkeys(name for member in self.ensemble.values() for name in member.analyze or common))

    @property
    def synthesized(self) -> tuple[str, ...]:
        """Names of the transforms that make audio again."""
        common = self.separate.synthesize or (next(iter(self.transforms)),)
        if self.ensemble is None:
            return common
        return tuple(dict.fromkeys(name for member in self.ensemble.values() for name in member.synthesize or common))

    @property
    def stores_points(self) -> bool:
        """Whether points are kept for the fits; members of an ensemble are fitted to points of their own."""
        return self.store == "zarr" and self.ensemble is None

    @property
    def estimated(self) -> tuple[str, ...]:
        """Names of the sources that there are estimates of."""
        return self.separate.group.names if self.separate.group is not None else tuple(self.sources)

    @property
    def unknown(self) -> dict[str, int]:
        """The number of components of each source that is learned on the mixtures."""
        return {name: source.components for name, source in self.sources.items() if source.learn is not None}

    @property
    def run_folder(self) -> Path:
        """The folder that the run writes to."""
        return self.resolve(self.output or f"runs/{self.name}")

    def resolve(self, pattern: str) -> Path:
        """Return a path or glob pattern of the file as one that does not depend on the working directory.

        Parameters
        ----------
        pattern
            Relative to the pipeline file's folder, absolute, beginning with ``~``, or ``s3://BUCKET/PREFIX``.
        """
        return as_path(pattern) if is_remote(pattern) else self._base / os.path.expanduser(pattern)

    def as_json(self) -> dict[str, Any]:
        """Return the pipeline as plain data with every default filled in, equal for equal pipelines.

        `pipeline_from_mapping` makes the same pipeline of it.
        """
        data = self.model_dump(mode="json")
        for name, source in self.sources.items():
            keys = ("audio", "components") if source.model is None else ("model",)
            if source.learn is not None:
                keys = ("learn", "components")
            data["sources"][name] = {key: data["sources"][name][key] for key in keys}
        data["fit"]["analyze"] = list(self.fit.analyze or self.transforms)
        data["separate"]["synthesize"] = list(self.separate.synthesize or [next(iter(self.transforms))])
        data["output"] = self.output or f"runs/{self.name}"
        data["corpus"].pop("watch" if self.corpus.watch is None else "mixtures")
        return data
