"""Tables from names to objects: transforms, fields, divergences and metrics.

The tables know nothing of pluggy. ``inmf_flow.plugins`` fills them the first time that a name is asked for which the
built-in parts have not put there, so ``factorize`` works where pluggy is not installed.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from inmf_flow.errors import ArgumentError, UnknownNameError

T = TypeVar("T")

# Filled by name, not by import: this floor must not know the one that loads plugins.
_PLUGIN_LOADER = ("inmf_flow.plugins", "load_plugins")
_loaded = False
# Not the commas between brackets: window=general_gaussian(1.5,300) is one option.
_COMMA = re.compile(r",(?![^(]*\))")


def ensure_plugins_loaded() -> None:
    """Load the installed plugins once; without pluggy only the built-in names remain."""
    global _loaded
    if _loaded:
        return
    try:
        module = importlib.import_module(_PLUGIN_LOADER[0])
    except ModuleNotFoundError as error:
        if error.name != "pluggy":
            raise
    else:
        # Safe to call again from a plugin that is being loaded, and from several threads.
        getattr(module, _PLUGIN_LOADER[1])()
    _loaded = True


class Table(Generic[T]):
    """An ordered table of named objects of one kind.

    Parameters
    ----------
    kind
        What the entries are, in the singular, for messages: ``"transform"``.
    home
        The module whose import registers the built-in entries; imported when a name is not known yet.
    built_in
        The names of those entries, so that they are known, and taken, before the import.
    """

    def __init__(self, kind: str, home: str | None = None, built_in: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.home = home
        self.built_in = built_in
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, entry: T, origin: str | None = None) -> None:
        """Add an entry, and which plugin it is of; a name that is taken raises `ArgumentError` and changes nothing."""
        module = getattr(entry, "__module__", None) or type(entry).__module__
        ours = self.home is not None and module.startswith(self.home)
        taken = self._entries.get(name)
        if (taken is not None and taken is not entry) or (name in self.built_in and not ours):
            raise ArgumentError(
                f"a {self.kind} named {name!r} is already registered",
                got=repr(entry),
                hint=f"It is {'built in' if taken is None else repr(taken)}: give yours another name.",
            )
        self._entries[name] = entry
        if origin is not None:
            self._origins[name] = origin

    def unregister(self, name: str) -> None:
        """Forget an entry; unknown names are ignored."""
        self._entries.pop(name, None)
        self._origins.pop(name, None)

    def origin(self, name: str) -> str | None:
        """Return which plugin an entry is of, as messages name it; None where no plugin is known to be."""
        return self._origins.get(name)

    def get(self, name: str) -> T:
        """Return the entry of that name, loading what may register it if it is not known yet.

        Raises
        ------
        UnknownNameError
            With the nearest match and the list of what is installed.
        """
        if name not in self._entries and name in self.built_in:
            self._import_home()
        if name not in self._entries:
            ensure_plugins_loaded()
        try:
            return self._entries[name]
        except KeyError:
            raise self.unknown(name) from None

    def _import_home(self) -> None:
        if self.home is not None:
            importlib.import_module(self.home)

    def unknown(self, name: str) -> UnknownNameError:
        """Build the error for a name that is not installed."""
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        return UnknownNameError(
            f"no {self.kind} named {name!r} is installed",
            expected="one of " + ", ".join(names) if names else "an installed plugin",
            hint=hint + "`inmf plugins list` shows what is installed.",
        )

    def names(self) -> list[str]:
        """Return the sorted names of everything installed; built-in entries need not be imported for it."""
        ensure_plugins_loaded()
        return sorted({*self._entries, *self.built_in})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self.built_in or name in self.names()


transforms: Table[type] = Table("transform")
fields: Table[type] = Table("field", "inmf_flow.factorize", ("grid", "hat", "matrix", "network", "siren"))
divergences: Table[object] = Table(
    "divergence", "inmf_flow.factorize", ("frobenius", "itakura-saito", "kullback-leibler")
)
metrics: Table[object] = Table("metric", "inmf_flow.evaluate", ("sar", "sdr", "si_sdr", "sir", "stoi"))


def parse_spec(text: str) -> tuple[str, dict[str, object]]:
    """Split ``NAME[:key=value,...]`` into a name and a dictionary of options.

    Values become int, float or bool where they read as one, else they stay text.

    Examples
    --------
    >>> parse_spec("stft:n_fft=2048,window=hann")
    ('stft', {'n_fft': 2048, 'window': 'hann'})
    """
    name, _, rest = text.partition(":")
    options: dict[str, object] = {}
    for part in filter(None, (piece.strip() for piece in _COMMA.split(rest))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ArgumentError(
                "an option is not of the form key=value",
                where=repr(text),
                got=repr(part),
                expected="NAME[:key=value,...], such as stft:n_fft=2048,hop_length=512",
            )
        if key.strip() in options:
            raise ArgumentError("an option is given twice", where=repr(text), got=key.strip())
        options[key.strip()] = _scalar(value.strip())
    if not name.strip():
        raise ArgumentError("the name is missing", got=repr(text), expected="NAME[:key=value,...]")
    return name.strip(), options


def parse_choice(choice: str | Mapping[str, Mapping[str, object] | None]) -> tuple[str, dict[str, object]]:
    """Return name and options of a choice written as ``"name:key=value"`` or as ``{"name": {"key": value}}``."""
    if isinstance(choice, str):
        return parse_spec(choice)
    if not isinstance(choice, Mapping) or len(choice) != 1:
        raise ArgumentError("a choice is one name with its options", got=repr(choice), expected='such as {"hat": {}}')
    ((name, options),) = choice.items()
    if options is not None and not (isinstance(options, Mapping) and all(isinstance(key, str) for key in options)):
        raise ArgumentError(
            "the options of a choice are not a mapping from names to values",
            where=str(name),
            got=repr(options),
            expected="such as {n_fft: 2048}",
        )
    return str(name), dict(options or {})


def _scalar(value: str) -> object:
    lowered = value.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("none", "null"):
        return None
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
