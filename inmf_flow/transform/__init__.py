"""The transform contract: what a plugin gives, and how to look one up and run it block by block."""

from inmf_flow.transform.blocks import SlidingAudio, analyze_in_blocks, synthesis_context
from inmf_flow.transform.checked import (
    checked_analysis,
    checked_halo,
    checked_latency,
    checked_synthesis,
    fault_of_points,
)
from inmf_flow.transform.contract import (
    API_VERSION,
    Calibration,
    Gains,
    Invertibility,
    Span,
    Transform,
    TransformConfig,
    as_channels,
)
from inmf_flow.transform.gains import resolve_gains
from inmf_flow.transform.lookup import get_transform, get_transforms, transform_from_mapping
from inmf_flow.transform.steps import check_sample_rate, origin_of, samples_between

__all__ = [
    "API_VERSION",
    "Calibration",
    "Gains",
    "Invertibility",
    "SlidingAudio",
    "Span",
    "Transform",
    "TransformConfig",
    "analyze_in_blocks",
    "as_channels",
    "check_sample_rate",
    "checked_analysis",
    "checked_halo",
    "checked_latency",
    "checked_synthesis",
    "fault_of_points",
    "get_transform",
    "get_transforms",
    "origin_of",
    "resolve_gains",
    "samples_between",
    "synthesis_context",
    "transform_from_mapping",
]
