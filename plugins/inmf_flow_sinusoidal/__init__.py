"""Sinusoidal tracks with an exact residual, and the reassigned STFT, as a plugin of inmf_flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inmf_flow.hookspecs import hookimpl

if TYPE_CHECKING:
    from inmf_flow.points import PointSet
    from inmf_flow_sinusoidal.tracks import Partial

__all__ = ["partials", "register_transforms"]


@hookimpl
def register_transforms(register: Callable[..., Any]) -> None:
    """Register `Sinusoidal` as ``sinusoidal`` and `Reassigned` as ``reassigned``."""
    from inmf_flow_sinusoidal.reassigned import Reassigned
    from inmf_flow_sinusoidal.transform import Sinusoidal

    register(Sinusoidal)
    register(Reassigned)


def partials(points: PointSet) -> list[Partial]:
    """Return the partials among the points that `Sinusoidal.analyze` gave, in the order of their first times.

    Raises
    ------
    TransformError
        When the points come from elsewhere, or were stored or joined: they do not say which belong together.
    """
    from inmf_flow_sinusoidal.transform import partials_of

    return partials_of(points)
