"""`Segmenter`: from audio to labelled segments, by a dictionary and a probe on its activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError, ModelFileError
from inmf_flow.factorize import INMF
from inmf_flow.files import digest_bytes
from inmf_flow.segmentation.features import activation_features
from inmf_flow.segmentation.probe import ActivationProbe, Bools, Float64
from inmf_flow.segmentation.scores import FrameScores, score_frames
from inmf_flow.segmentation.timeline import Segment, frame_clock, frame_labels, frame_segments, without_short_runs
from inmf_flow.transform import Transform, as_channels, checked_analysis, get_transforms

_DIGEST_POINTS = 1024


@dataclass(frozen=True)
class ExplainedSegment:
    """A segment with the reasons for its label.

    Attributes
    ----------
    segment
        The segment.
    probability
        Mean of its label's probability over its frames.
    contributions
        Mean over its frames of what each component adds to the label's logit, [K].
    """

    segment: Segment
    probability: float
    contributions: Float64


class Segmenter:
    """Segments audio by a linear probe on the activations of a dictionary; see `ActivationProbe`.

    Parameters
    ----------
    model
        The dictionary, fitted to sound of all classes, or several models' templates in one.
    transform
        Any transform, or its spec; it may differ from that of the dictionary's training.
    frame_rate
        Decisions a second.
    context, pooling
        Seconds over which features are pooled, and how; see `activation_features`.
    min_duration
        Seconds that a decision lasts at least.
    max_iter
        Updates of the activations.
    probe
        The classifier with its settings; by default ``ActivationProbe()``.
    """

    def __init__(
        self,
        model: INMF,
        transform: Transform | str = "stft:n_fft=1024",
        *,
        frame_rate: float = 25.0,
        context: float = 0.3,
        pooling: Sequence[str] = ("mean",),
        min_duration: float = 0.4,
        max_iter: int = 50,
        probe: ActivationProbe | None = None,
    ) -> None:
        self.model = model
        (self.transform,) = get_transforms([transform], "Segmenter")
        self.frame_rate = frame_rate
        self.context = context
        self.pooling = tuple(pooling)
        self.min_duration = min_duration
        self.max_iter = max_iter
        self.probe = probe or ActivationProbe()

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return self.probe.classes_

    def features(self, audio: ArrayLike, sample_rate: int) -> Float64:
        """Return the features of the frames of audio [samples] or [channels, samples], [T, K * poolings]."""
        samples, _ = as_channels(audio, "Segmenter")
        points = checked_analysis(self.transform, samples, sample_rate).without_synthesis()
        activations = self.model.transform(points, max_iter=self.max_iter)
        duration = samples.shape[-1] / sample_rate
        return activation_features(
            activations, duration, frame_rate=self.frame_rate, context=self.context, pooling=self.pooling
        )

    def fit(
        self, recordings: Iterable[tuple[ArrayLike, int, Sequence[Segment]]], classes: Sequence[str] | None = None
    ) -> Segmenter:
        """Let the probe learn from recordings.

        Parameters
        ----------
        recordings
            Audio, its sample rate in hertz, and its segments, of each.
        classes
            Names and order of the classes; by default the labels that occur, sorted.
        """
        given = list(recordings)
        if not given:
            raise ArgumentError("there is no recording to learn from")
        names = list(classes) if classes is not None else sorted({s.label for *_, found in given for s in found})
        features = [self.features(audio, rate) for audio, rate, _ in given]
        truths = [self._marks(len(x), found, names) for x, (*_, found) in zip(features, given, strict=True)]
        self.probe.fit(np.concatenate(features), np.concatenate(truths), names)
        return self

    def probabilities(self, audio: ArrayLike, sample_rate: int) -> tuple[Float64, Float64]:
        """Return the frames' centres in seconds [T] and the probability of each class, [T, C]."""
        return self.probabilities_of(self.features(audio, sample_rate))

    def probabilities_of(self, features: Float64) -> tuple[Float64, Float64]:
        """Return what `probabilities` does for frames of which `features` are known, [T, K * poolings]."""
        found = self.probe.predict_proba(features)
        return frame_clock(len(found) / self.frame_rate, self.frame_rate), found

    def segment(self, audio: ArrayLike, sample_rate: int) -> list[Segment]:
        """Return the segments of audio [samples] or [channels, samples], in the order of time."""
        return self.segments_of(self.probabilities(audio, sample_rate)[1])

    def segments_of(self, probabilities: Float64) -> list[Segment]:
        """Return the segments that probabilities [T, C] mean."""
        return frame_segments(self.decisions(probabilities), self.frame_rate, self.classes)

    def decisions(self, probabilities: Float64) -> Bools:
        """Return which classes frames are decided to have, none of them for less than ``min_duration``, [T, C]."""
        least = round(self.min_duration * self.frame_rate)
        if not self.probe.multilabel:
            return without_short_runs(np.eye(len(self.classes), dtype=bool)[probabilities.argmax(1)], least)
        # Classes that may overlap change by themselves.
        columns = [without_short_runs(column[:, None], least) for column in (probabilities > 0.5).T]
        return np.concatenate(columns, axis=1)

    def explain(self, audio: ArrayLike, sample_rate: int) -> list[ExplainedSegment]:
        """Return the segments of audio [samples] or [channels, samples], each with the components that decided it."""
        return self.explain_features(self.features(audio, sample_rate))

    def explain_features(self, features: Float64) -> list[ExplainedSegment]:
        """Return the explained segments of frames of which `features` are known, [T, K * poolings]."""
        probabilities = self.probe.predict_proba(features)
        explained = []
        for segment in self.segments_of(probabilities):
            frames = slice(round(segment.start * self.frame_rate), round(segment.stop * self.frame_rate))
            number = self.classes.index(segment.label)
            # Contributions are linear: their mean is that of the mean features, and takes no room for every frame.
            added = self._by_component(self.probe.contributions(features[frames].mean(0, keepdims=True)))
            explained.append(ExplainedSegment(segment, float(probabilities[frames, number].mean()), added[0, number]))
        return explained

    def score(self, probabilities: Float64, truth: Sequence[Segment]) -> FrameScores:
        """Return how far what probabilities [T, C] mean is right; see `score_frames`."""
        marks = self._marks(len(probabilities), truth, self.classes)
        return score_frames(marks, self.decisions(probabilities), self.classes, multilabel=self.probe.multilabel)

    def relevance(self) -> Float64:
        """Return how much each component speaks for or against each class, [C, K]; see `ActivationProbe.relevance`."""
        return self._by_component(self.probe.relevance())

    def contributions(self, audio: ArrayLike, sample_rate: int) -> Float64:
        """Return what each component adds to each class's logit in the frames of audio, [T, C, K]."""
        return self._by_component(self.probe.contributions(self.features(audio, sample_rate)))

    def _by_component(self, values: Float64) -> Float64:
        summed: Float64 = values.reshape(*values.shape[:-1], len(self.pooling), -1).sum(-2)
        return summed

    def _marks(self, frames: int, segments: Sequence[Segment], classes: Sequence[str]) -> Bools:
        return frame_labels(segments, frame_clock(frames / self.frame_rate, self.frame_rate), classes)

    def save(self, path: str | Path) -> None:
        """Write probe and settings to a safetensors file; of the dictionary it holds a digest alone."""
        self.probe.provenance = {**self.probe.provenance, "segmenter": self._settings()}
        self.probe.save(path)

    @classmethod
    def load(cls, path: str | Path, model: INMF) -> Segmenter:
        """Read what `save` wrote.

        Parameters
        ----------
        model
            The dictionary that the probe was trained on.

        Raises
        ------
        ModelFileError
            When the file is no segmenter, or of another dictionary.
        """
        from inmf_flow.transform import get_transform

        probe = ActivationProbe.load(path)
        try:
            settings = dict(probe.provenance["segmenter"])
            digest, (name, options) = settings.pop("dictionary"), settings.pop("transform")
            made = cls(model, get_transform(name, **options), probe=probe, **settings)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError("this is no segmenter", where=path, got=f"{type(error).__name__}: {error}") from None
        if digest != dictionary_digest(model):
            raise ModelFileError(
                "the probe was trained on another dictionary", where=path, hint="Give the one it was trained on."
            )
        return made

    def _settings(self) -> dict[str, Any]:
        return {
            "dictionary": dictionary_digest(self.model),
            "transform": [self.transform.name, self.transform.config.model_dump(mode="json")],
            "frame_rate": self.frame_rate,
            "context": self.context,
            "pooling": list(self.pooling),
            "min_duration": self.min_duration,
            "max_iter": self.max_iter,
        }


def dictionary_digest(model: INMF) -> str:
    """Return a digest of a model's templates, which its activations hang on together with its power."""
    hertz: NDArray[np.float64] = np.linspace(0, model.max_frequency_, _DIGEST_POINTS)
    settings = f"{model.power} {model.beta_loss} {model.max_frequency_}"
    return digest_bytes(model.templates(hertz).tobytes(), settings.encode())
