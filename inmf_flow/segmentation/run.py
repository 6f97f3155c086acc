"""A segmentation from its YAML file to a folder of results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import read_audio
from inmf_flow.errors import ConfigError, InmfError
from inmf_flow.factorize import INMF
from inmf_flow.files import atomic_path, atomic_write
from inmf_flow.points import PointSet
from inmf_flow.segmentation.pictures import draw_item, draw_relevance
from inmf_flow.segmentation.probe import ActivationProbe, Bools
from inmf_flow.segmentation.record import (
    SCORES_JSON,
    SEGMENTATION_JSON,
    ItemRecord,
    SegmentationRecord,
    is_segmentation,
    item_record,
    read_segmentation,
    write_probabilities,
    write_record,
)
from inmf_flow.segmentation.scores import FrameScores, score_frames
from inmf_flow.segmentation.segmenter import Segmenter
from inmf_flow.segmentation.settings import SegmentationSettings, found_files, labels_of, load_settings
from inmf_flow.segmentation.timeline import Segment, frame_labels, read_segments, write_segments
from inmf_flow.transform import checked_analysis, get_transforms

Recording = tuple[NDArray[Any], int, list[Segment]]


@dataclass
class Segmented:
    """What a run did.

    Attributes
    ----------
    segments
        By item.
    scores
        By item, of those whose labels are known.
    total
        Over all frames whose labels are known; None where there are none.
    failures
        Reasons by item.
    """

    segments: dict[str, list[Segment]] = field(default_factory=dict)
    scores: dict[str, FrameScores] = field(default_factory=dict)
    total: FrameScores | None = None
    failures: dict[str, str] = field(default_factory=dict)


def run_segmentation(path: Path | str, output: Path | str, *, pictures: bool = True) -> Segmented:
    """Learn dictionary and probe as a file says, segment its recordings, and score those whose labels are known.

    Parameters
    ----------
    path
        The YAML file; see `SegmentationSettings`.
    output
        A folder, made if it is not there; what an earlier segmentation wrote to it is replaced. It gets
        ``dictionary.safetensors``, ``probe.safetensors``, ``segments/ITEM.csv``, ``probabilities/ITEM.csv``,
        ``scores.json``, ``segmentation.json``, ``relevance.png`` and ``pictures/``.
    pictures
        Whether to draw.

    Raises
    ------
    ConfigError, AudioError, ArgumentError
        When the file, or what there is to learn from, is wrong. A recording that cannot be segmented is a failure among
        the results; the others are done.
    """
    path, output = Path(path), Path(output)
    settings, base = load_settings(path), path.parent
    targets = _targets(settings, base)
    training = _training(settings, base)
    segmenter = _learned(settings, base, training)
    _forget(output, targets)
    for name in ("segments", "probabilities"):
        (output / name).mkdir(parents=True, exist_ok=True)
    segmenter.model.save(output / "dictionary.safetensors")
    segmenter.save(output / "probe.safetensors")
    done = Segmented()
    records: dict[str, ItemRecord] = {}
    marks: list[tuple[Bools, Bools]] = []
    for item, (audio_path, labels) in targets.items():
        try:
            audio, rate = read_audio(audio_path, settings.sample_rate)
            features = segmenter.features(audio, rate)
            times, probabilities = segmenter.probabilities_of(features)
            truth = read_segments(labels) if labels is not None else None
            explained = segmenter.explain_features(features)
            found = [each.segment for each in explained]
            scores = segmenter.score(probabilities, truth) if truth is not None else None
            write_segments(output / "segments" / f"{item}.csv", found)
            write_probabilities(output / "probabilities" / f"{item}.csv", times, probabilities, segmenter.classes)
            done.segments[item] = found
            records[item] = item_record(audio_path, audio.shape[-1] / rate, explained, truth)
            if truth is not None and scores is not None:
                done.scores[item] = scores
                marks.append((frame_labels(truth, times, segmenter.classes), segmenter.decisions(probabilities)))
        except InmfError as error:
            done.failures[item] = str(error)
            continue
        if pictures:
            with _picture(output, item) as figure:
                draw_item(figure, times, probabilities, segmenter.classes, found, truth, item)
    if marks:
        truths, decisions = (np.concatenate(each) for each in zip(*marks, strict=True))
        multilabel = segmenter.probe.multilabel
        done.total = score_frames(truths, decisions, segmenter.classes, multilabel=multilabel)
    if pictures:
        with atomic_path(output / "relevance.png") as figure:
            draw_relevance(figure, segmenter)
    atomic_write(output / SCORES_JSON, json.dumps(_summary(done, segmenter), indent=1) + "\n")
    record = SegmentationRecord(
        format=1,
        name=settings.name,
        settings=settings.model_dump(mode="json", exclude_none=True),
        classes=tuple(segmenter.classes),
        frame_rate=segmenter.frame_rate,
        items=records,
    )
    write_record(output, record)
    return done


def _forget(output: Path, targets: Iterable[str]) -> None:
    """Remove what an earlier segmentation says, and the results of recordings that are not in this one."""
    known: set[str] = set()
    if is_segmentation(output):
        with suppress(ConfigError):
            known = set(read_segmentation(output).record.items)
    # A segmentation that is killed leaves none, rather than one of another dictionary.
    for name in (SEGMENTATION_JSON, SCORES_JSON, "report.html", "relevance.png"):
        (output / name).unlink(missing_ok=True)
    for item in known.difference(targets):
        if Path(item).name == item:
            for folder, suffix in (("segments", "csv"), ("probabilities", "csv"), ("pictures", "png")):
                (output / folder / f"{item}.{suffix}").unlink(missing_ok=True)


def _picture(output: Path, name: str) -> Any:
    folder = output / "pictures"
    folder.mkdir(exist_ok=True)
    return atomic_path(folder / f"{name}.png")


def _targets(settings: SegmentationSettings, base: Path) -> dict[str, tuple[Path, Path | None]]:
    targets: dict[str, tuple[Path, Path | None]] = {}
    for each in settings.segment:
        for audio in found_files(base, each.audio):
            item = audio.stem
            if item in targets:
                raise ConfigError("two recordings have the same name", where=base, got=f"{targets[item][0]}, {audio}")
            targets[item] = audio, None if each.labels is None else labels_of(base, each.labels, audio)
    return targets


def _training(settings: SegmentationSettings, base: Path) -> list[Recording]:
    recordings = []
    for each in settings.train:
        for path in found_files(base, each.audio):
            audio, rate = read_audio(path, settings.sample_rate)
            if each.labels is not None:
                segments = read_segments(labels_of(base, each.labels, path))
            else:
                assert each.label is not None
                segments = [Segment(0, audio.shape[-1] / rate, each.label)]
            recordings.append((audio, rate, segments))
    return recordings


def _learned(settings: SegmentationSettings, base: Path, training: Sequence[Recording]) -> Segmenter:
    (transform,) = get_transforms([settings.transform], "transform")
    options = settings.dictionary
    if options.model is not None:
        model = INMF.load(base / options.model)
    else:
        sets = [checked_analysis(transform, audio, rate).without_synthesis() for audio, rate, _ in training]
        model = INMF(options.components, max_iter=options.max_iter, random_state=options.random_state)
        model.fit(PointSet.end_to_end(sets))
    segmenter = Segmenter(
        model,
        transform,
        frame_rate=settings.frame_rate,
        context=settings.context,
        pooling=settings.pooling,
        min_duration=settings.min_duration,
        probe=ActivationProbe(**settings.probe.model_dump()),
    )
    return segmenter.fit(training, settings.classes)


def _summary(done: Segmented, segmenter: Segmenter) -> dict[str, Any]:
    return {
        "classes": segmenter.classes,
        "items": {item: scores.as_json() for item, scores in done.scores.items()},
        "total": None if done.total is None else done.total.as_json(),
        "failures": done.failures,
        "relevance": dict(zip(segmenter.classes, segmenter.relevance().round(6).tolist(), strict=True)),
    }
