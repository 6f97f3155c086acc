"""Separation: each source's share at the points of an invertible transform, and back to audio."""

from inmf_flow.separation.analysis import analyze_excerpts, analyze_file
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.files import FileProgress, SeparatedFile, separate_file
from inmf_flow.separation.groups import group_components
from inmf_flow.separation.masks import Mask, parse_mask, source_gains
from inmf_flow.separation.missing import extend_bandwidth, inpaint
from inmf_flow.separation.oracle import ORACLE_MASKS, oracle_estimates
from inmf_flow.separation.stream import StreamSeparator
from inmf_flow.separation.supervised import MemberTransforms, separate, separate_blocks
from inmf_flow.separation.unknown import learn_unknown

__all__ = [
    "ORACLE_MASKS",
    "Dictionary",
    "FileProgress",
    "Mask",
    "MemberTransforms",
    "SeparatedFile",
    "StreamSeparator",
    "analyze_excerpts",
    "analyze_file",
    "extend_bandwidth",
    "group_components",
    "inpaint",
    "learn_unknown",
    "oracle_estimates",
    "parse_mask",
    "separate",
    "separate_blocks",
    "separate_file",
    "source_gains",
]
