"""Whether what a plugin registers can be used, judged without running it."""

from __future__ import annotations

import difflib
import inspect
import re

import pluggy

from inmf_flow.hookspecs import LIFECYCLE_HOOKS, PROJECT_NAME, REGISTER_HOOKS

ALL_HOOKS = (*REGISTER_HOOKS.values(), *LIFECYCLE_HOOKS)

_NAME = re.compile(r"[A-Za-z][\w.-]*")
_TRANSFORM_METHODS = ("analyze", "synthesize", "halo")
_TRANSFORM_ATTRIBUTES = ("Config", "invertible")


def name_of(obj: object, name: str | None) -> str | None:
    """Return the name that an object is to be registered under; None where it has none."""
    if name is None:
        name = getattr(obj, "name", None)
    return name if isinstance(name, str) and name else None


def object_problem(kind: str, obj: object, name: str | None) -> str | None:
    """Return one sentence about why an object cannot be registered, or None."""
    own = name_of(obj, name)
    if own is None:
        return f"{describe(obj)} has no name; expected a text attribute `name`"
    if not _NAME.fullmatch(own):
        return f"{kind} {own!r} has a bad name; expected a letter, then letters, digits, '_', '-' and '.'"
    if kind == "transform":
        return _transform_problem(obj, own)
    if kind == "field" and not inspect.isclass(obj):
        return f"field {own!r} is {describe(obj)}; expected a class"
    if kind == "metric" and not callable(getattr(obj, "function", None)):
        return f"metric {own!r} is {describe(obj)}; expected an inmf_flow.evaluate.Metric"
    return None


def _transform_problem(obj: object, name: str) -> str | None:
    # Here, since a machine that only fits models may lack pydantic: its plugins fail, and nothing else.
    from inmf_flow.transform import API_VERSION

    if not inspect.isclass(obj):
        return f"transform {name!r} is {describe(obj)}; expected a Transform class"
    missing = [part for part in _TRANSFORM_METHODS if not callable(getattr(obj, part, None))]
    missing += [part for part in _TRANSFORM_ATTRIBUTES if not hasattr(obj, part)]
    if missing:
        return f"transform {name!r} is not a Transform: it has no {', '.join(missing)}"
    abstract = sorted(getattr(obj, "__abstractmethods__", ()))
    if abstract:
        return f"transform {name!r} cannot be made: {', '.join(abstract)} is still abstract"
    if getattr(obj, "name", None) != name:
        return f"transform {name!r} calls itself {getattr(obj, 'name', None)!r}; expected one name"
    version = getattr(obj, "api_version", None)
    if version != API_VERSION:
        return f"transform {name!r} has api_version {version!r}; this inmf_flow supports {API_VERSION}"
    return None


def hook_problems(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """Return one sentence for each misspelt hook and for each one that lacks its marker."""
    callers = manager.get_hookcallers(plugin) or []
    problems = []
    for caller in callers:
        # A hook marked optional may belong to a later inmf_flow: that is what the mark is for.
        if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls()):
            problems.append(f"there is no hook named {caller.name!r}{nearest_hook(caller.name)}")
    implemented = {caller.name for caller in callers}
    for hook in ALL_HOOKS:
        function = inspect.getattr_static(plugin, hook, None)
        marked = hasattr(function, PROJECT_NAME + "_spec") or hasattr(function, PROJECT_NAME + "_impl")
        if inspect.isfunction(function) and not marked and hook not in implemented:
            problems.append(f"{hook} is not called, because it lacks the decorator inmf_flow.hookspecs.hookimpl")
    if not callers and not problems:
        problems.append("it implements no hook; expected functions decorated with inmf_flow.hookspecs.hookimpl")
    return problems


def nearest_hook(name: str, among: tuple[str, ...] = ALL_HOOKS) -> str:
    """Return ``"; did you mean 'X'?"``, or the list of hooks where none is near."""
    near = difflib.get_close_matches(name, among, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(among)}"


def describe(obj: object) -> str:
    """Return what an object is in a few words that are the same in every process."""
    if inspect.isclass(obj):
        return f"the class {obj.__name__}"
    return f"an instance of {type(obj).__name__}"
