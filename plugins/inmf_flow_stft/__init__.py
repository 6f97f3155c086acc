"""The short-time Fourier transform as a plugin of inmf_flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inmf_flow.hookspecs import hookimpl

__all__ = ["register_transforms"]


@hookimpl
def register_transforms(register: Callable[..., Any]) -> None:
    """Register `Stft` under the name ``stft``."""
    from inmf_flow_stft.transform import Stft

    register(Stft)
