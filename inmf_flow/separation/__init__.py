"""Separation: each source's share at the points of an invertible transform, and back to audio."""

from inmf_flow.separation.analysis import analyze_excerpts, analyze_file
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.files import SeparatedFile, separate_file
from inmf_flow.separation.groups import group_components
from inmf_flow.separation.masks import Mask, parse_mask, source_gains
from inmf_flow.separation.supervised import MemberTransforms, separate, separate_blocks
from inmf_flow.separation.unknown import learn_unknown

__all__ = [
    "Dictionary",
    "Mask",
    "MemberTransforms",
    "SeparatedFile",
    "analyze_excerpts",
    "analyze_file",
    "group_components",
    "learn_unknown",
    "parse_mask",
    "separate",
    "separate_blocks",
    "separate_file",
    "source_gains",
]
