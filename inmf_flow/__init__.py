"""inmf_flow: decompose and separate audio with implicit-neural NMF over any time-frequency representation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from inmf_flow._version import __version__

if TYPE_CHECKING:
    from inmf_flow import linear
    from inmf_flow.errors import InmfError
    from inmf_flow.factorize import (
        INMF,
        Activations,
        Ensemble,
        Selection,
        fit_batch,
        fit_segments,
        fit_shared,
        select_components,
    )
    from inmf_flow.pipeline import run_pipeline
    from inmf_flow.points import PointSet
    from inmf_flow.separation import StreamSeparator, separate
    from inmf_flow.store import open_points
    from inmf_flow.transform import get_transform

# Imported on first use: `inmf --help` and plugins must not wait for torch.
_HOMES = {
    "INMF": "inmf_flow.factorize",
    "Activations": "inmf_flow.factorize",
    "Ensemble": "inmf_flow.factorize",
    "InmfError": "inmf_flow.errors",
    "PointSet": "inmf_flow.points",
    "Selection": "inmf_flow.factorize",
    "StreamSeparator": "inmf_flow.separation",
    "fit_batch": "inmf_flow.factorize",
    "fit_segments": "inmf_flow.factorize",
    "fit_shared": "inmf_flow.factorize",
    "get_transform": "inmf_flow.transform",
    "open_points": "inmf_flow.store",
    "run_pipeline": "inmf_flow.pipeline",
    "select_components": "inmf_flow.factorize",
    "separate": "inmf_flow.separation",
}

__all__ = [
    "INMF",
    "Activations",
    "Ensemble",
    "InmfError",
    "PointSet",
    "Selection",
    "StreamSeparator",
    "__version__",
    "fit_batch",
    "fit_segments",
    "fit_shared",
    "get_transform",
    "linear",
    "open_points",
    "run_pipeline",
    "select_components",
    "separate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name == "linear":
        return importlib.import_module("inmf_flow.linear")
    raise AttributeError(f"module 'inmf_flow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
