"""The transform ``my_transform`` as a plugin of inmf_flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inmf_flow.hookspecs import hookimpl

__all__ = ["register_transforms"]


@hookimpl
def register_transforms(register: Callable[..., Any]) -> None:
    """Register `MyTransform` under its name."""
    # Imported here: looking for plugins should not cost anybody the time that it takes.
    from my_transform.transform import MyTransform

    register(MyTransform)
