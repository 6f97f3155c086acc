"""Load plugins one by one, so that one that breaks never takes the program down."""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pluggy

from inmf_flow import hookspecs, registry
from inmf_flow.errors import ArgumentError, PluginError, UnknownNameError, describe_exception
from inmf_flow.plugins.checks import describe, hook_problems, name_of, nearest_hook, object_problem
from inmf_flow.plugins.discovery import DISABLE_VARIABLE, FoundPlugin, find_plugins
from inmf_flow.plugins.records import PluginRecord, Status, plugin_key

logger = logging.getLogger("inmf_flow.plugins")

# What a plugin may raise without ending the program; Ctrl-C still ends it.
CONTAINED = (Exception, SystemExit)
# Seconds after which a plugin that is still loading is named: whoever waits learns for what.
PATIENCE = 10.0

_TABLES: Mapping[str, registry.Table[object]] = {
    "transform": registry.transforms,  # type: ignore[dict-item]  # what enters it is checked to be a class
    "field": registry.fields,  # type: ignore[dict-item]
    "divergence": registry.divergences,
    "metric": registry.metrics,
}


@dataclass
class _Entry:
    """A plugin while it is loaded: `PluginRecord` is its public face.

    Each has a pluggy manager of its own, so that a hook call reaches one plugin: its exception is then known
    to be its own, and stops no other.
    """

    name: str
    distribution: str | None
    version: str | None
    module: str
    plugin: object = None
    manager: pluggy.PluginManager | None = None
    provides: dict[str, list[str]] = field(default_factory=dict)
    hooks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return plugin_key(self.name, self.distribution)

    def record(self) -> PluginRecord:
        used = any(self.provides.values()) or bool(self.hooks)
        status: Status = "ok" if not self.problems else "partial" if used else "failed"
        provides = {kind: list(names) for kind, names in self.provides.items() if names}
        return PluginRecord(
            self.name,
            self.distribution,
            self.version,
            self.module,
            status,
            provides,
            list(self.hooks),
            list(self.problems),
        )

    def problem(self, sentence: str) -> None:
        self.problems.append(sentence)
        logger.info("plugin %s: %s", self.key, sentence)

    def call(self, hook: str, **arguments: object) -> None:
        assert self.manager is not None
        getattr(self.manager.hook, hook)(**arguments)


class PluginManager:
    """Loads plugins, knows where each name comes from, and calls the life-cycle hooks.

    Parameters
    ----------
    find
        Lists the entry points to load.
    tables
        From the kind of object to the table that is filled.
    patience
        Seconds after which a warning names a plugin that is still loading.
    """

    def __init__(
        self,
        find: Callable[[], Sequence[FoundPlugin]] = find_plugins,
        tables: Mapping[str, registry.Table[object]] = _TABLES,
        patience: float = PATIENCE,
    ) -> None:
        self._find = find
        self._tables = tables
        self._patience = patience
        self._entries: list[_Entry] = []
        self._owners: dict[tuple[str, str], _Entry] = {}
        self._reported: set[tuple[str, str]] = set()
        self._lock = threading.RLock()
        self._state = "new"

    def load(self, before: Callable[[str], None] | None = None) -> None:
        """Load every installed plugin, once; another thread waits until that is done.

        Parameters
        ----------
        before
            Called with each plugin's key before it is imported.
        """
        with self._lock:
            # A plugin that asks for a transform while it is imported comes back here in the same thread.
            if self._state != "new":
                return
            self._state = "loading"
            try:
                for found in self._find():
                    if before is not None:
                        before(found.key)
                    with _named_when_slow(found.key, self._patience):
                        self._load_one(found)
            finally:
                self._state = "loaded"

    def records(self) -> list[PluginRecord]:
        """Return what is known of every plugin, in the order of loading."""
        self.load()
        return [entry.record() for entry in self._entries]

    def in_process_records(self) -> list[PluginRecord]:
        """Return what is known of the plugins registered in this process; loads nothing."""
        return [entry.record() for entry in self._entries if entry.distribution is None]

    def register(self, plugin: object, name: str) -> PluginRecord:
        """Add a module or an object whose functions are marked with `hookimpl`, for this process only.

        Returns
        -------
        record
            What of it is in use, and its problems.

        Raises
        ------
        PluginError
            When a plugin of that name is registered already.
        """
        self.load()
        with self._lock:
            if any(entry.key == name for entry in self._entries):
                raise PluginError(
                    f"a plugin named {name!r} is already registered",
                    hint="Give it another name, or unregister that one.",
                )
            module = getattr(plugin, "__name__", None) or type(plugin).__qualname__
            entry = _Entry(name, None, getattr(plugin, "__version__", None), module)
            self._entries.append(entry)
            self._attach(entry, plugin)
            return entry.record()

    def unregister(self, name: str) -> None:
        """Remove a plugin added by `register`, with everything it had registered.

        Raises
        ------
        UnknownNameError
            When no plugin of that name was registered in this process.
        """
        with self._lock:
            for entry in self._entries:
                if entry.distribution is None and entry.name == name:
                    break
            else:
                names = ", ".join(e.name for e in self._entries if e.distribution is None)
                raise UnknownNameError(
                    f"no plugin named {name!r} is registered in this process",
                    expected=names or "none is registered",
                )
            self._entries.remove(entry)
            self._reported = {(key, hook) for key, hook in self._reported if key != entry.key}
            for kind, own in [(kind, own) for (kind, own), owner in self._owners.items() if owner is entry]:
                self._withdraw(kind, own, entry)

    def call_lifecycle(self, hook: str, **arguments: object) -> None:
        """Call a life-cycle hook of every plugin that has it, in the order of loading.

        An exception in a plugin is logged and recorded once among its problems; it never stops the run or the
        other plugins.

        Parameters
        ----------
        hook
            One of `inmf_flow.hookspecs.LIFECYCLE_HOOKS`.
        **arguments
            What the hook's spec names: ``run``, ``outcome`` or ``result``.

        Raises
        ------
        ArgumentError
            When there is no such hook.
        """
        if hook not in hookspecs.LIFECYCLE_HOOKS:
            hint = nearest_hook(hook, hookspecs.LIFECYCLE_HOOKS)
            raise ArgumentError(f"there is no life-cycle hook named {hook!r}{hint}")
        self.load()
        for entry in [entry for entry in self._entries if hook in entry.hooks]:
            try:
                entry.call(hook, **arguments)
            except CONTAINED as error:
                self._report_once(entry, hook, error)

    def version(self, kind: str, name: str) -> str:
        """Return distribution and version that an object comes from, for cache keys: ``"inmf-flow 0.1.0"``.

        Parameters
        ----------
        kind
            ``"transform"``, ``"field"``, ``"divergence"`` or ``"metric"``.
        name
            A registered name.

        Raises
        ------
        UnknownNameError
            When no such object is installed.
        """
        if kind not in self._tables:
            raise ArgumentError("there is no such kind", got=repr(kind), expected=", ".join(self._tables))
        self.load()
        owner = self._owners.get((kind, name))
        if owner is not None:
            return owner.record().origin
        if name not in self._tables[kind]:
            raise self._tables[kind].unknown(name)
        from inmf_flow._version import __version__

        return f"inmf-flow {__version__}"

    def _load_one(self, found: FoundPlugin) -> None:
        entry = _Entry(found.name, found.distribution, found.version, found.module)
        twin = next((e for e in self._entries if e.name == found.name and e.distribution is not None), None)
        self._entries.append(entry)
        if found.problem is not None:
            entry.problem(found.problem)
            return
        if twin is not None:
            entry.problem(f"{twin.record().origin} has an entry point named {found.name!r} too; both are loaded")
        try:
            plugin = found.load()
        except CONTAINED as error:
            entry.problem(f"loading {found.module} failed: {describe_exception(error)}")
            logger.debug("traceback of plugin %s", entry.key, exc_info=error)
            return
        self._attach(entry, plugin)

    def _attach(self, entry: _Entry, plugin: object) -> None:
        if inspect.isclass(plugin):
            entry.problem(f"it is {describe(plugin)}; expected a module, or an instance")
            return
        same = next((e for e in self._entries if e is not entry and e.plugin is plugin), None)
        if same is not None:
            entry.problem(f"it is the same module as the plugin {same.key}, which is loaded already")
            return
        manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, entry.key)
            problems = hook_problems(manager, plugin)
            implemented = {caller.name for caller in manager.get_hookcallers(plugin) or []}
        except CONTAINED as error:
            text = " ".join(str(error).split()) if isinstance(error, pluggy.PluginValidationError) else ""
            entry.problem(f"a hook does not fit its spec: {text or describe_exception(error)}")
            return
        entry.plugin, entry.manager = plugin, manager
        for sentence in problems:
            entry.problem(sentence)
        for kind, hook in hookspecs.REGISTER_HOOKS.items():
            if hook in implemented:
                self._call_register_hook(entry, kind, hook)
        entry.hooks = [hook for hook in hookspecs.LIFECYCLE_HOOKS if hook in implemented]

    def _call_register_hook(self, entry: _Entry, kind: str, hook: str) -> None:
        is_open = True

        def register(obj: object, name: str | None = None) -> None:
            if not is_open:
                raise PluginError(f"register was called after {hook} had returned", where=entry.key)
            self._register_object(entry, kind, obj, name)

        try:
            entry.call(hook, register=register)
        except CONTAINED as error:
            taken_back = entry.provides.get(kind, [])
            names = f"; taken back: {', '.join(taken_back)}" if taken_back else ""
            entry.problem(f"{hook} raised {describe_exception(error)}{names}")
            logger.debug("traceback of plugin %s", entry.key, exc_info=error)
            for name in list(taken_back):
                self._withdraw(kind, name, entry)
        finally:
            is_open = False

    def _register_object(self, entry: _Entry, kind: str, obj: object, name: str | None) -> None:
        try:
            problem = object_problem(kind, obj, name)
            own = name_of(obj, name)
        except CONTAINED as error:
            problem, own = f"an object cannot be looked at: {describe_exception(error)}", None
        if problem is not None or own is None:
            entry.problem(problem or f"{describe(obj)} has no name")
            return
        if self._is_taken(entry, kind, own, obj):
            return
        self._owners[kind, own] = entry
        entry.provides.setdefault(kind, []).append(own)

    def _is_taken(self, entry: _Entry, kind: str, name: str, obj: object) -> bool:
        """Put an object into its table unless the name has another owner; then say so."""
        owner = self._owners.get((kind, name))
        holder = "inmf_flow itself" if owner is None else f"{owner.key} ({owner.record().origin})"
        # The table accepts the same object again; two plugins that bring it are nevertheless two.
        if owner is None and name not in self._tables[kind].built_in:
            try:
                self._tables[kind].register(name, obj, f"{entry.key} ({entry.record().origin})")
            except ArgumentError:
                holder = "an object registered by hand"
            else:
                return False
        entry.problem(f"{kind} {name!r} is not used: the name is taken by {holder}; give yours another name")
        return True

    def _withdraw(self, kind: str, name: str, entry: _Entry) -> None:
        self._tables[kind].unregister(name)
        del self._owners[kind, name]
        entry.provides[kind].remove(name)

    def _report_once(self, entry: _Entry, hook: str, error: BaseException) -> None:
        with self._lock:
            if (entry.key, hook) in self._reported:
                return
            self._reported.add((entry.key, hook))
            sentence = f"{hook} raised {describe_exception(error)}"
            entry.problems.append(sentence)
        logger.warning("plugin %s: %s; the run goes on", entry.key, sentence)


@contextmanager
def _named_when_slow(key: str, patience: float) -> Iterator[None]:
    """Warn when the block takes longer than so many seconds; it cannot be stopped, but the user can leave it out."""

    def warn() -> None:
        logger.warning(
            "plugin %s has been loading for %g seconds; to leave it out, set %s=%s",
            key,
            patience,
            DISABLE_VARIABLE,
            key,
        )

    timer = threading.Timer(patience, warn)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
