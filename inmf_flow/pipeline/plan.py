"""What a run has to do: items with their keys, grouped into batches, and why each is to be done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from inmf_flow._version import __version__
from inmf_flow.audio import audio_info
from inmf_flow.corpus import Recording, whole_name
from inmf_flow.errors import AudioError, ConfigError
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.inputs import UNREADABLE, InputDigests
from inmf_flow.pipeline.ledger import Entry, Ledger, digest_json
from inmf_flow.pipeline.recordings import check_corpus
from inmf_flow.registry import parse_spec

STAGES = ("analyze", "fit", "separate", "evaluate", "report")
#: Stands for an input that a stage before will make.
PENDING = "pending"

# Raise a stage's number when equal inputs give another result than before.
_STAGE_VERSIONS = {"analyze": 1, "fit": 2, "separate": 1, "evaluate": 1, "report": 1}
# Batches are cut by these alone, so that they depend on the corpus and not on the cluster or on what remains.
_BATCH_LIMITS = {"analyze": (256, 64 << 20), "separate": (16, 8 << 20), "evaluate": (64, 64 << 20)}


@dataclass(frozen=True)
class Work:
    """One item of a stage: what its result depends on, what a task needs, why it is to be done (None: it is not)."""

    item: str
    inputs: Mapping[str, str]
    payload: Mapping[str, Any]
    size: int = 0
    why: str | None = None


@dataclass(frozen=True)
class Batch:
    """Items that one task does and one record holds."""

    name: str
    works: tuple[Work, ...]

    @property
    def todo(self) -> list[Work]:
        """The items that are to be done."""
        return [work for work in self.works if work.why is not None]


@dataclass(frozen=True)
class StagePlan:
    """A stage's batches, the entries of earlier runs that still hold, and all that were known."""

    stage: str
    batches: tuple[Batch, ...]
    valid: Mapping[str, Entry]
    known: Mapping[str, Entry] = field(default_factory=dict)

    @cached_property
    def todo(self) -> list[Work]:
        """The items that are to be done, in order."""
        return [work for batch in self.batches for work in batch.todo]

    @property
    def total(self) -> int:
        """The number of items."""
        return sum(len(batch.works) for batch in self.batches)


class Planner:
    """Plans the stages of one pipeline over one run folder.

    Parameters
    ----------
    pipeline
        The validated pipeline.
    run_folder
        Where results are and go.

    Raises
    ------
    ConfigError
        As `check_corpus` does.
    """

    def __init__(self, pipeline: Pipeline, run_folder: Path) -> None:
        self.pipeline = pipeline
        self.run_folder = run_folder
        self.ledger = Ledger(run_folder)
        self.digests = InputDigests(run_folder / "ledger" / "inputs.json")
        self.mixtures, self.training = check_corpus(pipeline)

    @cached_property
    def config_hash(self) -> str:
        """Digest of all settings that results depend on."""
        data = self.pipeline.as_json()
        return digest_json({key: data[key] for key in data if key not in ("cluster", "output", "fail", "report")})

    @cached_property
    def _transforms(self) -> dict[str, Any]:
        """Each transform as plain data with every default, and the version of what makes it."""
        from inmf_flow.plugins import plugin_version
        from inmf_flow.transform import get_transform

        described = {}
        for name, choice in self.pipeline.transforms.items():
            transform = get_transform(choice.name, **choice.options)
            described[name] = {
                "name": choice.name,
                "options": transform.config.model_dump(mode="json"),
                "version": [transform.version, plugin_version("transform", choice.name)],
            }
        return described

    def _software(self, stage: str) -> str:
        return digest_json([_STAGE_VERSIONS[stage], __version__])

    @cached_property
    def _fit_plugins(self) -> list[str]:
        """The versions of what makes the fields and the divergence."""
        from inmf_flow.plugins import plugin_version

        fit = self.pipeline.fit
        versions = [plugin_version("field", fit.field.name)]
        if fit.time_field != "auto":
            versions.append(plugin_version("field", parse_spec(fit.time_field)[0]))
        if isinstance(fit.beta_loss, str):
            versions.append(plugin_version("divergence", fit.beta_loss))
        return versions

    @property
    def updates(self) -> int:
        """Updates of a mixture's activations."""
        return self.pipeline.separate.updates

    def analyze(self) -> StagePlan:
        """Plan the analysis of training audio; nothing where points are not stored."""
        settings = digest_json(
            [[self._transforms[name] for name in self.pipeline.analyzed], self.pipeline.corpus.sample_rate]
        )
        works = []
        if self.pipeline.store == "zarr":
            for source, recordings in self.training.items():
                for recording in recordings:
                    inputs = {
                        "audio": self.digests.get(recording.path),
                        "transforms": settings,
                        "software": self._software("analyze"),
                        **_segment_input(recording),
                    }
                    payload = {**_located(recording), "source": source}
                    works.append(Work(f"{source}/{recording.item}", inputs, payload, _size(recording)))
        return self._stage("analyze", works, by=lambda work: str(work.payload["source"]))

    def fit(self, analyzed: Mapping[str, Entry]) -> StagePlan:
        """Plan one fit a source; ``analyzed`` holds the entries of the stage before, without those yet to come."""
        settings = [self.pipeline.fit.model_dump(mode="json", exclude={"analyze"}), self._fit_plugins]
        works = []
        for source, options in self.pipeline.sources.items():
            inputs = {
                "settings": digest_json([settings, options.components]),
                "software": self._software("fit"),
            }
            if options.model is not None:
                path = self.pipeline.resolve(options.model)
                inputs = {"model": self.digests.get(path), "software": self._software("fit")}
                works.append(Work(source, inputs, {"model": str(path)}))
                continue
            recordings = self.training[source]
            items = {f"{source}/{r.item}": str(r.path) for r in recordings}
            segments = {f"{source}/{r.item}": [r.start, r.stop] for r in recordings if r.is_segment}
            if self.pipeline.store == "zarr":
                entries = [analyzed.get(item) for item in items]
                known = [[entry.key, entry.status] for entry in entries if entry is not None]
                inputs["points"] = digest_json(known) if len(known) == len(items) else PENDING
                parts = {e.item: e.extra["part"] for e in entries if e is not None and e.status == "done"}
                payload: dict[str, Any] = {"items": items, "parts": parts, "segments": segments}
            else:
                inputs["audio"] = digest_json([self._content(recording) for recording in recordings])
                inputs["transforms"] = digest_json(
                    [
                        [self._transforms[name] for name in self.pipeline.analyzed],
                        self.pipeline.corpus.sample_rate,
                    ]
                )
                payload = {"items": items, "parts": None, "segments": segments}
            works.append(Work(source, inputs, payload))
        return self._stage("fit", works, by=lambda work: work.item)

    def blocked(self, fitted: Mapping[str, Entry]) -> dict[str, Entry]:
        """Return the failures of all mixtures where a source has no model: it then makes no sense to separate."""
        lost = [fitted[name] for name in self.pipeline.sources if name in fitted and fitted[name].status == "failed"]
        if not lost:
            return {}
        reason = "; ".join(f"there is no model of {entry.item} ({entry.reason})" for entry in lost)
        return {r.item: Entry(r.item, {}, "failed", reason, transient=True) for r in self.mixtures}

    def separate(self, fitted: Mapping[str, Entry]) -> StagePlan:
        """Plan the separation of mixtures; ``fitted`` holds the entries of the sources' models."""
        settings = digest_json(
            [
                self.pipeline.separate.outputs,
                self.pipeline.separate.mask,
                self.updates,
                [self._transforms[name] for name in self.pipeline.synthesized],
                self.pipeline.corpus.sample_rate,
            ]
        )
        models = {
            f"model of {source}": _output_digest(fitted.get(source), f"models/{source}.safetensors")
            for source in self.pipeline.sources
        }
        works = [
            Work(
                recording.item,
                {
                    "audio": self.digests.get(recording.path),
                    "settings": settings,
                    "software": self._software("separate"),
                    **models,
                    **_segment_input(recording),
                },
                _located(recording),
                _size(recording),
            )
            for recording in self.mixtures
        ]
        return self._stage("separate", works)

    def evaluate(self, separated: Mapping[str, Entry]) -> StagePlan:
        """Plan the scoring of separated mixtures; those that failed have nothing to score."""
        options = self.pipeline.evaluate
        works = []
        for recording in self.mixtures if options else []:
            entry = separated.get(recording.item)
            if entry is not None and entry.status == "failed":
                continue
            references = self.references(recording)
            inputs = {
                "separated audio": PENDING if entry is None else digest_json(sorted(entry.outputs.items())),
                "mixture": self.digests.get(recording.path),
                "references": digest_json({s: self.digests.get(path) for s, path in references.items()}),
                "metrics": digest_json([self.metric_versions, self._software("evaluate")]),
                **_segment_input(recording),
            }
            payload = {**_located(recording), "references": {s: str(p) for s, p in references.items()}}
            works.append(Work(recording.item, inputs, payload, _size(recording)))
        return self._stage("evaluate", works)

    def report(self, entries: Iterable[Entry]) -> StagePlan:
        """Plan the report page, which depends on every result."""
        results = [[entry.item, entry.key, entry.status] for entry in entries]
        inputs = {
            "results": digest_json(results),
            "settings": digest_json([self.pipeline.as_json()["report"], self.pipeline.name]),
            "software": self._software("report"),
        }
        return self._stage("report", [Work("report.html", inputs, {})])

    def references(self, recording: Recording) -> dict[str, Path]:
        """Return where each source's reference of a mixture, or of what a segment was cut from, should be."""
        if self.pipeline.evaluate is None:
            return {}
        template = self.pipeline.evaluate.references
        item = whole_name(recording)
        return {
            source: self.pipeline.resolve(template.replace("{item}", item).replace("{source}", source))
            for source in self.pipeline.sources
        }

    @cached_property
    def metric_versions(self) -> list[list[str]]:
        """Each metric's name and the version of what computes it."""
        from inmf_flow.plugins import plugin_version

        metrics = self.pipeline.evaluate.metrics if self.pipeline.evaluate else ()
        return [[name, plugin_version("metric", name)] for name in metrics]

    def _content(self, recording: Recording) -> Any:
        """Return a digest of a recording's file, beside its limits where it is a segment."""
        digest = self.digests.get(recording.path)
        return [digest, recording.start, recording.stop] if recording.is_segment else digest

    def _stage(self, stage: str, works: Sequence[Work], by: Any = None) -> StagePlan:
        """Compare works with the ledger and group them into batches."""
        known = self.ledger.load(stage)
        valid: dict[str, Entry] = {}
        decided = []
        for work in works:
            why = self.ledger.why_redo(known.get(work.item), work.inputs, self.digests.get)
            if why is None:
                valid[work.item] = known[work.item]
            decided.append(Work(work.item, work.inputs, work.payload, work.size, why))
        return StagePlan(stage, tuple(_batches(stage, decided, by)), valid, known)


def _batches(stage: str, works: Sequence[Work], by: Any) -> Iterable[Batch]:
    """Cut items into batches of bounded number and size, never across groups."""
    most_items, most_bytes = _BATCH_LIMITS.get(stage, (1, 1))
    held: list[Work] = []
    count = 0
    for work in works:
        full = len(held) >= most_items or sum(w.size for w in held) + work.size > most_bytes
        other = by is not None and held and by(held[-1]) != by(work)
        if held and (full or other):
            yield Batch(f"{count:06d}", tuple(held))
            held, count = [], count + 1
        held.append(work)
    if held:
        yield Batch(f"{count:06d}", tuple(held))


def _located(recording: Recording) -> dict[str, Any]:
    """Return what a task needs to read a recording."""
    path = {"path": str(recording.path)}
    return {**path, "segment": [recording.start, recording.stop]} if recording.is_segment else path


def _segment_input(recording: Recording) -> dict[str, str]:
    """Return the part of a file that results depend on; of a whole file its content says everything."""
    return {"segment": digest_json([recording.start, recording.stop])} if recording.is_segment else {}


def _size(recording: Recording) -> int:
    """Return the bytes of a recording, of a segment its share of the file's."""
    try:
        status = recording.path.stat()
    except OSError:
        return 0
    size = status.st_size
    if not recording.is_segment:
        return size
    duration = _duration(recording.path, (size, status.st_mtime_ns))
    if duration is None:
        return size
    stop = duration if recording.stop is None else min(recording.stop, duration)
    return math.ceil(size * min(max(stop - (recording.start or 0.0), 0.0) / duration, 1.0))


# Segments of one file follow one another.
@lru_cache(maxsize=1)
def _duration(path: Path, stamp: tuple[int, int]) -> float | None:
    try:
        return audio_info(path).duration
    except (AudioError, OSError):
        return None


def _output_digest(entry: Entry | None, name: str) -> str:
    if entry is None:
        return PENDING
    return entry.outputs[name][1] if name in entry.outputs else UNREADABLE


def check_output_folder(folder: Path) -> None:
    """Refuse a path that is a file, or a folder of something else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError("the output is not a folder", where=folder, hint="Give another --output.")
