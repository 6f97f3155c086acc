"""Which recordings a pipeline means: the mixtures, and what each source is learned from."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from inmf_flow.corpus import Manifest, ManifestError, Recording, Segments, cut_segments, find_recordings
from inmf_flow.corpus.find import NO_MATCH
from inmf_flow.errors import ConfigError
from inmf_flow.pipeline.config import ManifestEntry, Pipeline, Source
from inmf_flow.pipeline.dictionaries import dictionary_of, is_own, names_mixture, of_mixture


def check_corpus(pipeline: Pipeline) -> tuple[list[Recording], dict[str, list[Recording]]]:
    """Find a pipeline's recordings: the mixtures, and each dictionary's training files; long ones cut into segments.

    A dictionary of one mixture alone for which there is no file has no recordings; it cannot be fitted, and the others
    can.

    Raises
    ------
    ConfigError
        When patterns match no file or manifests are wrong, all of them at once; when several mixtures would share their
        references. A `ManifestError` when there are faults of manifests.
    """
    faults: list[ConfigError] = []

    def named(
        entries: Sequence[str | ManifestEntry], where: str, overlap: bool, faults: list[ConfigError] = faults
    ) -> list[Recording]:
        resolved = [_resolved(pipeline, entry) for entry in entries]
        found = find_recordings(resolved, where, faults=faults)
        segments = pipeline.corpus.segments
        if segments is None:
            return found
        # What is learned from should not count twice.
        limits = Segments(segments.seconds, segments.overlap if overlap else 0.0)
        try:
            return cut_segments(found, limits)
        except ConfigError as error:
            faults.append(error)
            return []

    mixtures = named(pipeline.corpus.mixtures, "corpus.mixtures", overlap=True)
    training: dict[str, list[Recording]] = {}

    def add_own(name: str, source: Source) -> None:
        missing: list[ConfigError] = []
        before = len(training)
        for mixture in mixtures:
            dictionary = dictionary_of(name, source, mixture)
            if dictionary not in training:
                entries = [_entry_of(entry, mixture) for entry in source.audio or ()]
                training[dictionary] = named(entries, f"sources.{name}.audio", overlap=False, faults=missing)
        faults.extend(fault for fault in missing if fault.what != NO_MATCH)
        if missing and not any(list(training.values())[before:]):
            # Not a mixture that lacks something, but a pattern that is wrong.
            faults.append(missing[0])

    for name, source in pipeline.sources.items():
        if is_own(source):
            add_own(name, source)
        elif source.model is None and source.learn is None:
            training[name] = named(source.audio or (), f"sources.{name}.audio", overlap=False)
    if faults:
        raise _joined(faults)
    # Segments of one file have parts of the same references.
    files = len({recording.path for recording in mixtures})
    references = pipeline.evaluate.references if pipeline.evaluate is not None else None
    if references is not None and files > 1 and not names_mixture(references):
        raise ConfigError(
            f"{files} mixtures would be scored against the same references",
            where="evaluate.references",
            got=repr(references),
            expected="'{item}' in it, which stands for the mixture's name, or '{folder}', for its folder",
        )
    return mixtures, training


def _entry_of(entry: str | ManifestEntry, mixture: Recording) -> str | ManifestEntry:
    return of_mixture(entry, mixture, pattern=glob.has_magic(entry)) if isinstance(entry, str) else entry


def _resolved(pipeline: Pipeline, entry: str | ManifestEntry) -> Path | Manifest:
    """Return an entry with its paths from the pipeline's folder."""
    if isinstance(entry, str):
        return pipeline.resolve(entry)
    root = None if entry.root is None else pipeline.resolve(entry.root)
    return Manifest(pipeline.resolve(entry.manifest), root, entry.allow_outside)


def _joined(faults: Sequence[ConfigError]) -> ConfigError:
    """Return one error that says all that is wrong with a corpus."""
    if len(faults) == 1:
        return faults[0]
    if all(fault.what == NO_MATCH for fault in faults):
        return ConfigError(
            f"no audio file matches {len(faults)} patterns",
            got="; ".join(f"{fault.where}: {fault.got}" for fault in faults),
            hint=faults[0].hint,
        )
    lines = [line for fault in faults for line in str(fault).splitlines()]
    if any(isinstance(fault, ManifestError) for fault in faults):
        return ManifestError(lines)
    return ConfigError("\n".join(lines))
