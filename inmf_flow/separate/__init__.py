"""Separation: each source's share at the points of an invertible transform, and back to audio."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from inmf_flow.separate.analysis import analyze_file
from inmf_flow.separate.dictionary import Dictionary
from inmf_flow.separate.files import SeparatedFile, separate_file
from inmf_flow.separate.masks import Mask, parse_mask, source_gains
from inmf_flow.separate.supervised import separate, separate_blocks

__all__ = [
    "Dictionary",
    "Mask",
    "SeparatedFile",
    "analyze_file",
    "parse_mask",
    "separate",
    "separate_blocks",
    "separate_file",
    "source_gains",
]


class _CallablePackage(ModuleType):
    """This package can be called as the function of its name.

    Importing it makes it the attribute ``inmf_flow.separate``, which is the function to those who import that.
    """

    def __call__(self, *args: Any, **options: Any) -> Any:
        return separate(*args, **options)


sys.modules[__name__].__class__ = _CallablePackage
