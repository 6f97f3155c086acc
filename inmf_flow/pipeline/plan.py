"""What a run has to do: the items of each stage with what their results depend on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow._version import __version__
from inmf_flow.audio import audio_info
from inmf_flow.corpus import Recording, whole_name
from inmf_flow.errors import AudioError, ConfigError
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.inputs import UNREAD, UNREADABLE, InputDigests, file_status
from inmf_flow.pipeline.ledger import Entry, Ledger, digest_json
from inmf_flow.pipeline.recordings import check_corpus
from inmf_flow.pipeline.results import DONE, FAILED, TODO
from inmf_flow.pipeline.stages import Batch, Digest, StagePlan, Work, Works
from inmf_flow.registry import parse_spec
from inmf_flow.remote import is_remote, listed

__all__ = ["PENDING", "STAGES", "Batch", "Planner", "StagePlan", "Work", "check_output_folder"]

STAGES = ("analyze", "fit", "separate", "evaluate", "report")
#: Stands for an input that a stage before will make.
PENDING = "pending"

# Raise a stage's number when equal inputs give another result than before.
_STAGE_VERSIONS = {"analyze": 1, "fit": 2, "separate": 1, "evaluate": 1, "report": 1}


def _with_listings(plan: Callable[..., StagePlan]) -> Callable[..., StagePlan]:
    """Let a stage be planned with a few listings instead of a request for each object that it asks about."""

    @wraps(plan)
    def planned(planner: Planner, *arguments: Any) -> StagePlan:
        with listed(planner.remote_files):
            return plan(planner, *arguments)

    return planned


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
        self.digests = InputDigests(run_folder / "ledger" / "digests")
        self.mixtures, self.training = check_corpus(pipeline)

    @cached_property
    def remote_files(self) -> list[Path]:
        """What planning asks an object store about: recordings, references, and what stages write."""
        found = [r.path for rs in (self.mixtures, *self.training.values()) for r in rs if is_remote(r.file)]
        scored = self.pipeline.evaluate
        if scored is not None and is_remote(self.pipeline.resolve(scored.references)):
            found += [path for recording in self.mixtures for path in self.references(recording).values()]
        if is_remote(self.run_folder):
            # Many of each, so that their folders are worth a listing.
            found += [self.run_folder / folder / "x" for folder in ("separated", "points.zarr/manifest")] * 3
            found += [self.run_folder / "models" / f"{source}.safetensors" for source in self.pipeline.sources]
        return found

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

    @_with_listings
    def analyze(self) -> StagePlan:
        """Plan the analysis of training audio; nothing where points are not stored."""
        common = {
            "transforms": digest_json(
                [[self._transforms[name] for name in self.pipeline.analyzed], self.pipeline.corpus.sample_rate]
            ),
            "software": self._software("analyze"),
        }
        found = self._training_items if self.pipeline.store == "zarr" else []
        recordings = [recording for _, recording in found]

        def inputs(place: int, digest: Digest) -> dict[str, str]:
            recording = recordings[place]
            return {"audio": digest(recording.file), **common, **_segment_input(recording)}

        works = Works(
            len(found),
            item=lambda place: f"{found[place][0]}/{recordings[place].item}",
            payload=lambda place: {**_located(recordings[place]), "source": found[place][0]},
            inputs=inputs,
            files=lambda place: (recordings[place].file,),
            sizes=_sizes(recordings),
            group=lambda place: found[place][0],
        )
        return StagePlan("analyze", works, self.ledger, self.digests)

    @cached_property
    def _training_items(self) -> list[tuple[str, Recording]]:
        return [(source, recording) for source, recordings in self.training.items() for recording in recordings]

    def training_places(self, source: str) -> slice:
        """Return where a source's recordings are among the items of the analysis."""
        names = list(self.training)
        begin = sum(len(self.training[name]) for name in names[: names.index(source)])
        return slice(begin, begin + len(self.training[source]))

    @_with_listings
    def fit(self, analyzed: StagePlan) -> StagePlan:
        """Plan one fit a source; ``analyzed`` is the stage before, with what is yet to come among it."""
        works = [
            self._given(source) if options.model is not None else self.fit_of(source, analyzed)
            for source, options in self.pipeline.sources.items()
        ]
        return StagePlan("fit", Works.of(works), self.ledger, self.digests)

    def _given(self, source: str) -> Work:
        model = self.pipeline.sources[source].model
        assert model is not None
        path = self.pipeline.resolve(model)
        return Work(source, {"model": self.digests.get(path), "software": self._software("fit")}, {"model": str(path)})

    def fit_of(self, source: str, analyzed: StagePlan) -> Work:
        """Return the work of fitting one source."""
        settings = [self.pipeline.fit.model_dump(mode="json", exclude={"analyze"}), self._fit_plugins]
        inputs = {
            "settings": digest_json([settings, self.pipeline.sources[source].components]),
            "software": self._software("fit"),
        }
        recordings = self.training[source]
        items = {f"{source}/{r.item}": r.file for r in recordings}
        segments = {f"{source}/{r.item}": [r.start, r.stop] for r in recordings if r.is_segment}
        parts: dict[str, Any] | None = None
        if self.pipeline.store == "zarr":
            where, results = self.training_places(source), analyzed.results
            places = range(where.start, where.stop)
            known = [[results.key(place), results.word(place)] for place in places if results.status[place]]
            inputs["points"] = digest_json(known) if len(known) == len(items) else PENDING
            done = [place for place in places if results.status[place] == DONE]
            parts = {analyzed.works.item(place): results.part(place) for place in done}
        else:
            digests = self.digests.get_all(r.file for r in recordings)
            inputs["audio"] = digest_json([_content(recording, digests[recording.file]) for recording in recordings])
            inputs["transforms"] = digest_json(
                [[self._transforms[name] for name in self.pipeline.analyzed], self.pipeline.corpus.sample_rate]
            )
        return Work(source, inputs, {"items": items, "parts": parts, "segments": segments})

    def blocked(self, fitted: Mapping[str, Entry]) -> str | None:
        """Return why no mixture can be separated, where a source has no model: it then makes no sense to."""
        lost = [fitted[name] for name in self.pipeline.sources if name in fitted and fitted[name].status == "failed"]
        return "; ".join(f"there is no model of {entry.item} ({entry.reason})" for entry in lost) or None

    @_with_listings
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
        common = {"settings": settings, "software": self._software("separate"), **models}
        mixtures = self.mixtures

        def inputs(place: int, digest: Digest) -> dict[str, str]:
            recording = mixtures[place]
            return {"audio": digest(recording.file), **common, **_segment_input(recording)}

        works = Works(
            len(mixtures),
            item=lambda place: mixtures[place].item,
            payload=lambda place: _located(mixtures[place]),
            inputs=inputs,
            files=lambda place: (mixtures[place].file,),
            sizes=self._mixture_sizes,
        )
        return StagePlan("separate", works, self.ledger, self.digests)

    @cached_property
    def _mixture_sizes(self) -> Any:
        return _sizes(self.mixtures)

    @_with_listings
    def evaluate(self, separated: StagePlan) -> StagePlan:
        """Plan the scoring of separated mixtures; those that failed have nothing to score."""
        if self.pipeline.evaluate is None:
            return StagePlan("evaluate", Works.of([]), self.ledger, self.digests)
        metrics = digest_json([self.metric_versions, self._software("evaluate")])
        results, mixtures = separated.results, self.mixtures
        chosen = np.flatnonzero(np.frombuffer(results.status, np.uint8) != FAILED)

        def inputs(place: int, digest: Digest) -> dict[str, str]:
            whole = int(chosen[place])
            recording = mixtures[whole]
            references = {source: digest(path) for source, path in self.references(recording).items()}
            return {
                "separated audio": PENDING if results.status[whole] == TODO else results.outputs(whole),
                "mixture": digest(recording.file),
                "references": UNREAD if UNREAD in references.values() else digest_json(references),
                "metrics": metrics,
                **_segment_input(recording),
            }

        def payload(place: int) -> dict[str, Any]:
            recording = mixtures[chosen[place]]
            references = {source: str(path) for source, path in self.references(recording).items()}
            return {**_located(recording), "references": references}

        works = Works(
            len(chosen),
            item=lambda place: mixtures[chosen[place]].item,
            payload=payload,
            inputs=inputs,
            files=lambda place: (mixtures[chosen[place]].file, *self.references(mixtures[chosen[place]]).values()),
            sizes=self._mixture_sizes[chosen],
            mixtures=chosen,
        )
        return StagePlan("evaluate", works, self.ledger, self.digests)

    def report(self, stages: Mapping[str, StagePlan]) -> StagePlan:
        """Plan the report page, which depends on every result of the stages before."""
        inputs = {
            "results": digest_json({name: plan.results.digest() for name, plan in stages.items() if name != "report"}),
            "settings": digest_json([self.pipeline.as_json()["report"], self.pipeline.name]),
            "software": self._software("report"),
        }
        return StagePlan("report", Works.of([Work("report.html", inputs, {})]), self.ledger, self.digests)

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


def _located(recording: Recording) -> dict[str, Any]:
    """Return what a task needs to read a recording."""
    path = {"path": recording.file}
    return {**path, "segment": [recording.start, recording.stop]} if recording.is_segment else path


def _segment_input(recording: Recording) -> dict[str, str]:
    """Return the part of a file that results depend on; of a whole file its content says everything."""
    return {"segment": digest_json([recording.start, recording.stop])} if recording.is_segment else {}


def _content(recording: Recording, digest: str) -> Any:
    """Return a digest of a recording's file, beside its limits where it is a segment."""
    return [digest, recording.start, recording.stop] if recording.is_segment else digest


def _sizes(recordings: Sequence[Recording]) -> Any:
    """Return the bytes of each recording, of a segment its share of the file's."""
    return np.fromiter(map(_size, recordings), np.int64, len(recordings))


def _size(recording: Recording) -> int:
    try:
        status = file_status(recording.file)
    except (OSError, ValueError):
        return 0
    size = int(status.st_size)
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
    if is_remote(folder):
        try:
            folder.is_dir()
        except (FileNotFoundError, PermissionError) as error:
            raise ConfigError(f"the output cannot be used: {error.strerror}", where=folder) from None
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError("the output is not a folder", where=folder, hint="Give another --output.")
