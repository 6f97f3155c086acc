"""What is known of a plugin after loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "failed", "partial"]


@dataclass(frozen=True)
class PluginRecord:
    """One plugin, whether it works or not.

    Attributes
    ----------
    name
        The entry point's name, or the name given to `register_plugin`.
    distribution, version
        The installed package it comes from; None for a plugin registered in this process.
    module
        The module that the entry point names.
    status
        ``"ok"``: no problem; ``"partial"``: some of it works; ``"failed"``: nothing of it is in use.
    provides
        For each kind (``transform``, ``field``, ``divergence``, ``metric``) the names in use.
    hooks
        The life-cycle hooks that it implements.
    problems
        One sentence each.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    status: Status
    provides: Mapping[str, list[str]] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The name that is unique among plugins: ``DISTRIBUTION:NAME``, or ``NAME`` of an in-process one."""
        return plugin_key(self.name, self.distribution)

    @property
    def origin(self) -> str:
        """Where the plugin comes from, for messages and cache keys: ``"inmf-flow 0.1.0"``."""
        if self.distribution is None:
            return f"{self.name} (registered in this process)"
        return f"{self.distribution} {self.version or '(no version)'}"


def plugin_key(name: str, distribution: str | None) -> str:
    """Return the name that is unique among plugins."""
    return name if distribution is None else f"{distribution}:{name}"
