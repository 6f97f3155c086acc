"""Explainable segmentation: a linear probe on activations says what sounds when, and which components say so."""

from inmf_flow.segmentation.features import activation_features
from inmf_flow.segmentation.probe import ActivationProbe
from inmf_flow.segmentation.run import Segmented, run_segmentation
from inmf_flow.segmentation.scores import FrameScores, score_frames
from inmf_flow.segmentation.segmenter import ExplainedSegment, Segmenter, dictionary_digest
from inmf_flow.segmentation.timeline import (
    Segment,
    frame_clock,
    frame_labels,
    frame_segments,
    read_segments,
    without_short_runs,
    write_segments,
)

__all__ = [
    "ActivationProbe",
    "ExplainedSegment",
    "FrameScores",
    "Segment",
    "Segmented",
    "Segmenter",
    "activation_features",
    "dictionary_digest",
    "frame_clock",
    "frame_labels",
    "frame_segments",
    "read_segments",
    "run_segmentation",
    "score_frames",
    "without_short_runs",
    "write_segments",
]
