"""Find, load, list and diagnose plugins, and write new ones.

The functions here act on one manager for the process, which loads the installed plugins the first time that
it is asked for anything.
"""

from __future__ import annotations

from inmf_flow.plugins.doctor import Diagnosis, doctor
from inmf_flow.plugins.manager import PluginManager
from inmf_flow.plugins.records import PluginRecord
from inmf_flow.plugins.scaffold import NewPlugin, new_plugin

__all__ = [
    "Diagnosis",
    "NewPlugin",
    "PluginManager",
    "PluginRecord",
    "call_lifecycle",
    "doctor",
    "load_plugins",
    "new_plugin",
    "plugin_manager",
    "plugin_records",
    "plugin_version",
    "register_plugin",
    "unregister_plugin",
]

_manager = PluginManager()


def plugin_manager() -> PluginManager:
    """Return the manager of this process."""
    return _manager


def load_plugins() -> None:
    """Load every installed plugin, once."""
    _manager.load()


def plugin_records() -> list[PluginRecord]:
    """Return what is known of every plugin, working or not, in the order of loading."""
    return _manager.records()


def register_plugin(plugin: object, name: str) -> PluginRecord:
    """Add a module or an object with hooks for this process only (see `PluginManager.register`)."""
    return _manager.register(plugin, name)


def unregister_plugin(name: str) -> None:
    """Remove a plugin added by `register_plugin` (see `PluginManager.unregister`)."""
    _manager.unregister(name)


def call_lifecycle(hook: str, **arguments: object) -> None:
    """Call a life-cycle hook of every plugin; none can stop the run (see `PluginManager.call_lifecycle`)."""
    _manager.call_lifecycle(hook, **arguments)


def plugin_version(kind: str, name: str) -> str:
    """Return what an object comes from: ``"inmf-flow 0.1.0"`` (see `PluginManager.version`)."""
    return _manager.version(kind, name)
