"""inmf_flow: decompose and separate audio with implicit-neural NMF over any time-frequency representation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from inmf_flow._version import __version__

if TYPE_CHECKING:
    from inmf_flow.errors import InmfError
    from inmf_flow.factorize import INMF, Activations
    from inmf_flow.pipeline import run_pipeline
    from inmf_flow.points import PointSet
    from inmf_flow.separation import separate
    from inmf_flow.store import open_points
    from inmf_flow.transform import get_transform

# Imported on first use: `inmf --help` and plugins must not wait for torch.
_HOMES = {
    "INMF": "inmf_flow.factorize",
    "Activations": "inmf_flow.factorize",
    "InmfError": "inmf_flow.errors",
    "PointSet": "inmf_flow.points",
    "get_transform": "inmf_flow.transform",
    "open_points": "inmf_flow.store",
    "run_pipeline": "inmf_flow.pipeline",
    "separate": "inmf_flow.separation",
}

__all__ = [
    "INMF",
    "Activations",
    "InmfError",
    "PointSet",
    "__version__",
    "get_transform",
    "open_points",
    "run_pipeline",
    "separate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'inmf_flow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
