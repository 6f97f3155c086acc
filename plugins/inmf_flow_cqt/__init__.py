"""The constant-Q transform as a plugin of inmf_flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inmf_flow.hookspecs import hookimpl

__all__ = ["register_transforms"]


@hookimpl
def register_transforms(register: Callable[..., Any]) -> None:
    """Register `Cqt` under the name ``cqt``."""
    from inmf_flow_cqt.transform import Cqt

    register(Cqt)
