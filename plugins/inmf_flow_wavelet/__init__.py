"""Wavelet transforms as a plugin of inmf_flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inmf_flow.hookspecs import hookimpl

__all__ = ["register_transforms"]


@hookimpl
def register_transforms(register: Callable[..., Any]) -> None:
    """Register `Wavelet` under the name ``wavelet``."""
    from inmf_flow_wavelet.transform import Wavelet

    register(Wavelet)
