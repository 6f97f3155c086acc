"""What a run has to do: the items of each stage with what their results depend on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow._version import __version__
from inmf_flow.corpus import Recording
from inmf_flow.errors import ConfigError
from inmf_flow.pipeline.config import Pipeline
from inmf_flow.pipeline.dictionaries import (
    NO_MODEL,
    dictionaries_of,
    dictionary_of,
    is_own,
    model_file,
    of_mixture,
    source_of,
)
from inmf_flow.pipeline.inputs import UNREAD, UNREADABLE, InputDigests
from inmf_flow.pipeline.known import Known
from inmf_flow.pipeline.ledger import Entry, Ledger, digest_json
from inmf_flow.pipeline.located import content_of, located, segment_input, sizes_of, unnamed_references
from inmf_flow.pipeline.recordings import check_corpus, training_of
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
    mixtures
        The recordings that have arrived, where a folder is watched; else the pipeline names them.
    known
        What need not be looked at.

    Raises
    ------
    ConfigError
        As `check_corpus` does.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        run_folder: Path,
        mixtures: Sequence[Recording] = (),
        known: Known | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.run_folder = run_folder
        self.ledger = Ledger(run_folder)
        self.digests = InputDigests(run_folder / "ledger" / "digests")
        self.mixtures, self.training = check_corpus(pipeline, mixtures)
        self.known = known or Known()

    def go_on(self, mixtures: list[Recording], added: Sequence[Recording], known: Known) -> None:
        """Plan from now on for more mixtures, ``added`` to those that there were; only these are looked at."""
        before, sizes, dictionaries = self.mixtures, self._mixture_sizes, self.dictionaries
        self.mixtures, self.known = mixtures, known
        for name in ("remote_files", "dictionaries", "_mixture_sizes", "_training_items", "_training_begins"):
            self.__dict__.pop(name, None)
        if len(before) + len(added) == len(mixtures) and all(map(operator.is_, before, mixtures)):
            self._mixture_sizes = np.concatenate([sizes, sizes_of(added)])
        if any(map(is_own, self.pipeline.sources.values())):
            # Behind those that there are, whose places stay the same.
            self.training |= training_of(self.pipeline, added)
            self.dictionaries = tuple(dict.fromkeys([*dictionaries, *dictionaries_of(self.pipeline, added)]))

    @cached_property
    def remote_files(self) -> list[Path]:
        """What planning asks an object store about: recordings, references, and what stages write."""
        found = [r.path for rs in (self.mixtures, *self.training.values()) for r in rs if is_remote(r.file)]
        scored = self.pipeline.evaluate
        references = scored.references if scored is not None else None
        if references is not None and is_remote(self.pipeline.resolve(references)):
            found += [path for recording in self.mixtures for path in self.references(recording).values()]
        if is_remote(self.run_folder):
            # Many of each, so that their folders are worth a listing.
            found += [self.run_folder / folder / "x" for folder in ("separated", "points.zarr/manifest")] * 3
            found += [self.run_folder / model_file(dictionary) for dictionary in self.dictionaries]
        return found

    @cached_property
    def dictionaries(self) -> tuple[str, ...]:
        """Names of all dictionaries: of a source that all mixtures share the source's, else ``ITEM/SOURCE``."""
        return tuple(dictionaries_of(self.pipeline, self.mixtures))

    def dictionaries_for(self, mixture: Recording) -> dict[str, str]:
        """Return the name of the dictionary that a mixture is separated with, by source."""
        known = {name: source for name, source in self.pipeline.sources.items() if source.learn is None}
        return {name: dictionary_of(name, source, mixture) for name, source in known.items()}

    @cached_property
    def config_hash(self) -> str:
        """Digest of all settings that results depend on."""
        data = self.pipeline.as_json()
        without = ("cluster", "output", "fail", "report", "compare")
        return digest_json({key: data[key] for key in data if key not in without})

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
    def _ensemble(self) -> list[Any]:
        """Return what results depend on besides, where there is an ensemble."""
        members = self.pipeline.ensemble
        return [] if members is None else [[[name, member.model_dump(mode="json")] for name, member in members.items()]]

    @property
    def _modes(self) -> list[Any]:
        """Return what estimates depend on besides the models, where it is not the usual."""
        separate, unknown = self.pipeline.separate, self.pipeline.unknown
        group = None if separate.group is None else separate.group.model_dump(mode="json")
        fit = [self.pipeline.fit.model_dump(mode="json"), self._fit_plugins] if unknown else None
        modes = [separate.refine, separate.channels == "shared", group, unknown, fit]
        return [modes] if any(modes) else []

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
        found = self._training_items if self.pipeline.stores_points else []
        recordings = [recording for _, recording in found]

        def inputs(place: int, digest: Digest) -> dict[str, str]:
            recording = recordings[place]
            return {"audio": digest(recording.file), **common, **segment_input(recording)}

        works = Works(
            len(found),
            item=lambda place: f"{found[place][0]}/{recordings[place].item}",
            payload=lambda place: {**located(recordings[place]), "source": found[place][0]},
            inputs=inputs,
            files=lambda place: (recordings[place].file,),
            sizes=sizes_of(recordings),
            group=lambda place: found[place][0],
        )
        return StagePlan("analyze", works, self.ledger, self.digests, self.known)

    @cached_property
    def _training_items(self) -> list[tuple[str, Recording]]:
        return [(source, recording) for source, recordings in self.training.items() for recording in recordings]

    @cached_property
    def _training_begins(self) -> dict[str, int]:
        begins = np.cumsum([0, *map(len, self.training.values())]).tolist()
        return dict(zip(self.training, begins, strict=False))

    def training_places(self, dictionary: str) -> slice:
        """Return where a dictionary's recordings are among the items of the analysis."""
        begin = self._training_begins[dictionary]
        return slice(begin, begin + len(self.training[dictionary]))

    @_with_listings
    def fit(self, analyzed: StagePlan) -> StagePlan:
        """Plan one fit a dictionary; ``analyzed`` is the stage before, with what is yet to come among it."""
        works = [
            self.fit_of(dictionary, analyzed) if dictionary in self.training else self._given(dictionary)
            for dictionary in self.dictionaries
        ]
        return StagePlan("fit", Works.of(works), self.ledger, self.digests, self.known)

    def _given(self, source: str) -> Work:
        model = self.pipeline.sources[source].model
        assert model is not None
        path = self.pipeline.resolve(model)
        return Work(source, {"model": self.digests.get(path), "software": self._software("fit")}, {"model": str(path)})

    def fit_of(self, source: str, analyzed: StagePlan) -> Work:
        """Return the work of fitting one dictionary, by its name."""
        options = self.pipeline.sources[source_of(source)]
        settings = [self.pipeline.fit.model_dump(mode="json", exclude={"analyze"}), self._fit_plugins]
        inputs = {
            "settings": digest_json([settings, options.components, *self._ensemble]),
            "software": self._software("fit"),
        }
        recordings = self.training[source]
        items = {f"{source}/{r.item}": r.file for r in recordings}
        segments = {f"{source}/{r.item}": [r.start, r.stop] for r in recordings if r.is_segment}
        parts: dict[str, Any] | None = None
        if not recordings:
            patterns = ", ".join(repr(entry) for entry in options.audio or ())
            missing = f"no audio file matches {patterns} for this mixture"
            return Work(source, {**inputs, "audio": digest_json([])}, {"failed": missing, "lasting": True})
        if self.pipeline.stores_points:
            where, results = self.training_places(source), analyzed.results
            places = range(where.start, where.stop)
            known = [[results.key(place), results.word(place)] for place in places if results.status[place]]
            inputs["points"] = digest_json(known) if len(known) == len(items) else PENDING
            done = [place for place in places if results.status[place] == DONE]
            parts = {analyzed.works.item(place): results.part(place) for place in done}
        else:
            digests = self.digests.get_all(r.file for r in recordings)
            inputs["audio"] = digest_json([content_of(recording, digests[recording.file]) for recording in recordings])
            inputs["transforms"] = digest_json(
                [[self._transforms[name] for name in self.pipeline.analyzed], self.pipeline.corpus.sample_rate]
            )
        return Work(source, inputs, {"items": items, "parts": parts, "segments": segments})

    def blocked(self, fitted: Mapping[str, Entry]) -> str | None:
        """Return why no mixture can be separated, where a source that all share has no model."""
        return _lost(fitted, self.pipeline.sources)

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
                *self._ensemble,
                *self._modes,
            ]
        )
        own = [name for name, source in self.pipeline.sources.items() if is_own(source)]
        models = {
            f"model of {source}": _output_digest(fitted.get(source), model_file(source))
            for source in self.pipeline.sources
            if source not in own and source not in self.pipeline.unknown
        }
        common = {"settings": settings, "software": self._software("separate"), **models}
        mixtures = self.mixtures

        def inputs(place: int, digest: Digest) -> dict[str, str]:
            recording = mixtures[place]
            models = self._own_models(recording, own, fitted) if own else {}
            return {"audio": digest(recording.file), **common, **models, **segment_input(recording)}

        def payload(place: int) -> dict[str, Any]:
            where = located(mixtures[place])
            return where | self._own_dictionaries(mixtures[place], own, fitted) if own else where

        works = Works(
            len(mixtures),
            item=lambda place: mixtures[place].item,
            payload=payload,
            inputs=inputs,
            files=lambda place: (mixtures[place].file,),
            sizes=self._mixture_sizes,
        )
        return StagePlan("separate", works, self.ledger, self.digests, self.known)

    def _own_models(self, mixture: Recording, own: Sequence[str], fitted: Mapping[str, Entry]) -> dict[str, str]:
        """Return the digests of a mixture's own models; where there is none, of the reason."""
        names = self.dictionaries_for(mixture)
        entries = {source: fitted.get(names[source]) for source in own}
        return {
            f"model of {source}": digest_json(["failed", entry.reason])
            if entry is not None and entry.status == "failed"
            else _output_digest(entry, model_file(names[source]))
            for source, entry in entries.items()
        }

    def _own_dictionaries(self, mixture: Recording, own: Sequence[str], fitted: Mapping[str, Entry]) -> dict[str, Any]:
        """Return what the task of a mixture needs to know of the mixture's own models, or why they are not there."""
        names = self.dictionaries_for(mixture)
        lost = _lost(fitted, [names[source] for source in own])
        if lost is not None:
            return {"failed": lost}
        found = {source: fitted[names[source]] for source in own if names[source] in fitted}
        return {"models": {source: _model_of(entry) for source, entry in found.items()}}

    @cached_property
    def _mixture_sizes(self) -> Any:
        return sizes_of(self.mixtures)

    @_with_listings
    def evaluate(self, separated: StagePlan) -> StagePlan:
        """Plan the scoring of separated mixtures; those that failed have nothing to score."""
        if self.pipeline.evaluate is None:
            return StagePlan("evaluate", Works.of([]), self.ledger, self.digests, self.known)
        metrics = digest_json([self.metric_versions, self._software("evaluate"), *self._scoring()])
        results, mixtures = separated.results, self.mixtures
        divergence = self.pipeline.evaluate.divergence
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
                **({"models": self._models_of(separated, whole)} if divergence else {}),
                **segment_input(recording),
            }

        def payload(place: int) -> dict[str, Any]:
            recording = mixtures[chosen[place]]
            references = {source: str(path) for source, path in self.references(recording).items()}
            where = {**located(recording), "references": references}
            models = separated.works.payload(int(chosen[place])).get("models") if divergence else None
            return where if models is None else where | {"models": models}

        works = Works(
            len(chosen),
            item=lambda place: mixtures[chosen[place]].item,
            payload=payload,
            inputs=inputs,
            files=lambda place: (mixtures[chosen[place]].file, *self.references(mixtures[chosen[place]]).values()),
            sizes=self._mixture_sizes[chosen],
            mixtures=chosen,
        )
        return StagePlan("evaluate", works, self.ledger, self.digests, self.known)

    def _models_of(self, separated: StagePlan, place: int) -> str:
        """Return a digest of what a mixture was separated with, settings and analysis included."""
        return PENDING if separated.results.status[place] == TODO else separated.results.key(place)

    def report(self, stages: Mapping[str, StagePlan]) -> StagePlan:
        """Plan the report page, which depends on every result of the stages before."""
        inputs = {
            "results": digest_json({name: plan.results.digest() for name, plan in stages.items() if name != "report"}),
            "settings": digest_json([self.pipeline.as_json()["report"], self.pipeline.name]),
            "software": self._software("report"),
        }
        return StagePlan("report", Works.of([Work("report.html", inputs, {})]), self.ledger, self.digests, self.known)

    def _scoring(self) -> list[Any]:
        """Return how scores are made where that is not the default, so that what was scored by default stays."""
        scored = self.pipeline.evaluate
        assert scored is not None
        asked: list[Any] = []
        if scored.permute or scored.window is not None:
            asked.append([scored.permute, scored.window])
        if scored.oracle:
            choice = self.pipeline.transforms[self.pipeline.synthesized[0]]
            asked.append([list(scored.oracle), choice.name, dict(choice.options)])
        return asked

    def references(self, recording: Recording) -> dict[str, Path]:
        """Return where each source's reference of a mixture, or of what a segment was cut from, should be."""
        if self.pipeline.evaluate is None or self.pipeline.evaluate.references is None:
            return {}
        template = of_mixture(self.pipeline.evaluate.references, recording)
        if self.pipeline.evaluate.permute:
            return unnamed_references(self.pipeline.resolve(template))
        named = {source: template.replace("{source}", source) for source in self.pipeline.estimated}
        return {source: self.pipeline.resolve(path) for source, path in named.items()}

    @cached_property
    def metric_versions(self) -> list[list[str]]:
        """Each metric's name and the version of what computes it."""
        from inmf_flow.plugins import plugin_version

        scored = self.pipeline.evaluate
        metrics = scored.metrics if scored is not None and scored.references is not None else ()
        return [[name, plugin_version("metric", name)] for name in metrics]


def _lost(fitted: Mapping[str, Entry], dictionaries: Iterable[str]) -> str | None:
    """Return why some of these dictionaries are not there, or None."""
    failed = [fitted[name] for name in dictionaries if name in fitted and fitted[name].status == "failed"]
    return "; ".join(f"{NO_MODEL} {entry.item} ({entry.reason})" for entry in failed) or None


def _model_of(entry: Entry) -> tuple[str, str]:
    """Return a model's file, relative to the run's folder, and the digest of its content."""
    name = model_file(entry.item)
    return name, entry.outputs[name][1]


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
