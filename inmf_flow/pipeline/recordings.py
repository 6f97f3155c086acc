"""Which recordings a pipeline means: the mixtures, and what each source is learned from."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from inmf_flow.corpus import Manifest, ManifestError, Recording, Segments, cut_segments, find_recordings
from inmf_flow.corpus.find import NO_MATCH
from inmf_flow.errors import ConfigError
from inmf_flow.pipeline.config import ManifestEntry, Pipeline, Source
from inmf_flow.pipeline.dictionaries import dictionaries_of, dictionary_of, is_own, names_mixture, of_mixture


def check_corpus(
    pipeline: Pipeline, arrived: Sequence[Recording] = ()
) -> tuple[list[Recording], dict[str, list[Recording]]]:
    """Find a pipeline's recordings: the mixtures, and each dictionary's training files; long ones cut into segments.

    A dictionary of one mixture alone for which there is no file has no recordings; it cannot be fitted, and the others
    can. Where a folder is watched the mixtures are those that have arrived.

    Raises
    ------
    ConfigError
        When patterns match no file or manifests are wrong, all of them at once; when several mixtures would share their
        references. A `ManifestError` when there are faults of manifests.
    """
    faults: list[ConfigError] = []
    watched = pipeline.corpus.watch is not None
    mixtures = list(arrived)
    if not watched:
        mixtures = _named(pipeline, pipeline.corpus.mixtures, "corpus.mixtures", faults, overlap=True)
    training = _training(pipeline, mixtures, faults)
    if faults:
        raise _joined(faults)
    references = pipeline.evaluate.references if pipeline.evaluate is not None else None
    # Segments of one file have parts of the same references.
    if references is not None and not names_mixture(references) and (watched or not _are_of_one_file(mixtures)):
        number = "all" if watched else len({recording.file for recording in mixtures})
        raise ConfigError(
            f"{number} mixtures would be scored against the same references",
            where="evaluate.references",
            got=repr(references),
            expected="'{item}' in it, which stands for the mixture's name, or '{folder}', for its folder",
        )
    return mixtures, training


def _are_of_one_file(recordings: Sequence[Recording]) -> bool:
    return all(recording.file == recordings[0].file for recording in recordings)


def training_of(pipeline: Pipeline, mixtures: Sequence[Recording]) -> dict[str, list[Recording]]:
    """Return the training files of dictionaries that each of these mixtures has of its own.

    Raises
    ------
    ConfigError
        As `check_corpus` does.
    """
    faults: list[ConfigError] = []
    training: dict[str, list[Recording]] = {}
    for name, source in pipeline.sources.items():
        if is_own(source):
            training |= _own_training(pipeline, name, source, mixtures, faults)
    if faults:
        raise _joined(faults)
    return _in_order(pipeline, mixtures, training)


def _in_order(
    pipeline: Pipeline, mixtures: Sequence[Recording], training: dict[str, list[Recording]]
) -> dict[str, list[Recording]]:
    return {name: training[name] for name in dictionaries_of(pipeline, mixtures) if name in training}


def _training(
    pipeline: Pipeline, mixtures: Sequence[Recording], faults: list[ConfigError]
) -> dict[str, list[Recording]]:
    training: dict[str, list[Recording]] = {}
    for name, source in pipeline.sources.items():
        if is_own(source):
            training |= _own_training(pipeline, name, source, mixtures, faults)
        elif source.model is None and source.learn is None:
            training[name] = _named(pipeline, source.audio or (), f"sources.{name}.audio", faults, overlap=False)
    return _in_order(pipeline, mixtures, training)


def _own_training(
    pipeline: Pipeline, name: str, source: Source, mixtures: Sequence[Recording], faults: list[ConfigError]
) -> dict[str, list[Recording]]:
    missing: list[ConfigError] = []
    training: dict[str, list[Recording]] = {}
    for mixture in mixtures:
        dictionary = dictionary_of(name, source, mixture)
        if dictionary not in training:
            entries = [_entry_of(entry, mixture) for entry in source.audio or ()]
            training[dictionary] = _named(pipeline, entries, f"sources.{name}.audio", missing, overlap=False)
    faults.extend(fault for fault in missing if fault.what != NO_MATCH)
    if missing and not any(training.values()) and pipeline.corpus.watch is None:
        # Not a mixture that lacks something, but a pattern that is wrong.
        faults.append(missing[0])
    return training


def _named(
    pipeline: Pipeline, entries: Sequence[str | ManifestEntry], where: str, faults: list[ConfigError], *, overlap: bool
) -> list[Recording]:
    """Return the recordings that entries name, cut into segments where the pipeline says so."""
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
