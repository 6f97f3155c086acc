"""Find the installed plugins without importing them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from inmf_flow.errors import PluginError
from inmf_flow.plugins.records import plugin_key

GROUP = "inmf_flow"
DISABLE_VARIABLE = "INMF_DISABLE_PLUGINS"
_OWN_DISTRIBUTION = "inmf-flow"
_VALUE = re.compile(r"[A-Za-z_][\w.]*(\s*:\s*[A-Za-z_][\w.]*)?(\s*\[.*\])?")


@dataclass(frozen=True)
class FoundPlugin:
    """An entry point of our group.

    Attributes
    ----------
    name, distribution, version
        The entry point's name and the installed package that declares it.
    module
        The entry point's value.
    load
        Imports it and returns the module; raises whatever the import raises.
    problem
        Why it must not be loaded, or None.
    """

    name: str
    distribution: str
    version: str | None
    module: str
    load: Callable[[], object]
    problem: str | None = None

    @property
    def key(self) -> str:
        """``DISTRIBUTION:NAME``."""
        return plugin_key(self.name, self.distribution)


def find_plugins() -> list[FoundPlugin]:
    """List the entry points of the group ``inmf_flow``: our own first, then by distribution and name.

    Plugins named in the environment variable ``INMF_DISABLE_PLUGINS`` (``DISTRIBUTION:NAME`` or ``NAME``,
    separated by commas) are listed with that as their problem.
    """
    found = [_found(point) for point in metadata.entry_points(group=GROUP)]
    return sorted(found, key=lambda p: (p.distribution != _OWN_DISTRIBUTION, p.distribution, p.name, p.module))


def _identity(point: metadata.EntryPoint) -> tuple[str, str | None]:
    """Return the normalized name and the version of the distribution that declares an entry point."""
    try:
        assert point.dist is not None
        name, version = point.dist.metadata["Name"], point.dist.version
    except Exception:
        # Which one depends on Python's version; a package with damaged metadata can be loaded all the same.
        return "(no name)", None
    return (re.sub(r"[-_.]+", "-", name).lower() if name else "(no name)"), version


def _found(point: metadata.EntryPoint) -> FoundPlugin:
    distribution, version = _identity(point)
    problem = None
    if not _VALUE.fullmatch(point.value):
        problem = f"the entry point's value is {point.value!r}; expected the name of a module"
    elif {point.name, plugin_key(point.name, distribution)} & _disabled():
        problem = f"disabled by the environment variable {DISABLE_VARIABLE}"
    load = point.load if problem is None else _refuse(problem)
    return FoundPlugin(point.name, distribution, version, point.value, load, problem)


def _disabled() -> set[str]:
    return {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name.strip()}


def _refuse(problem: str) -> Callable[[], object]:
    def load() -> object:
        raise PluginError(problem)

    return load
