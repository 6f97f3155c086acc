"""Checks that need more than one key of a pipeline, or what is installed.

They read the data as it was given and step around what is malformed, which the models report, so that all
errors of a file come at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError

from inmf_flow import registry
from inmf_flow.errors import ArgumentError
from inmf_flow.pipeline.config.kinds import MAX_NAMES, MAX_TRANSFORMS, Choice, parse_choice
from inmf_flow.pipeline.config.problems import Finding, Path, dotted, nearest, one_of, spell
from inmf_flow.pipeline.config.wording import findings_of
from inmf_flow.remote import as_path, is_remote

_MODEL_SUFFIX = ".safetensors"
_AUTO = "auto"
_Texts = Mapping[Path, str]


def check_sources(data: Mapping[str, Any], base: FilePath) -> list[Finding]:
    """Check that each source has audio or a model, and that the model is there."""
    found: list[Finding] = []
    for name, source in _mapping(data, "sources").items():
        if not isinstance(source, Mapping):
            continue
        path: Path = ("sources", name)
        audio, model = source.get("audio"), source.get("model")
        if source.get("learn") is not None:
            if audio is not None or model is not None:
                what = f"{dotted(path)} is learned on the mixtures, expected neither 'audio' nor 'model'"
                found.append(Finding((*path, "learn"), what, at_key=True))
        elif audio is None and model is None:
            what = f"{dotted(path)} has neither 'audio' nor 'model', expected one of them (or 'learn: mixture')"
            found.append(Finding(path, what, at_key=True))
        elif audio is not None and model is not None:
            what = f"{dotted(path)} has 'audio' and 'model', expected only one of them"
            found.append(Finding((*path, "model"), what, at_key=True))
        elif model is not None and source.get("components") is not None:
            what = f"{dotted(path)}.components only has a meaning with 'audio', a model brings its own"
            found.append(Finding((*path, "components"), what, at_key=True))
        if isinstance(model, str | os.PathLike):
            found += _check_model((*path, "model"), os.fspath(model), base)
    return found


def _check_model(path: Path, model: str, base: FilePath) -> list[Finding]:
    file = os.path.join(base, os.path.expanduser(model))
    expected = f"an existing {_MODEL_SUFFIX} file that inmf_flow saved"
    if not model.endswith(_MODEL_SUFFIX):
        return [Finding(path, f"{dotted(path)} is not a model file, got {spell(model)}, expected {expected}")]
    if is_remote(model):
        try:
            found = as_path(model).is_file()
        except (OSError, ArgumentError) as error:
            reason = getattr(error, "strerror", None) or error
            what = f"{dotted(path)} cannot be looked at, got {spell(model)}: {reason}"
            return [Finding(path, what)]
    else:
        found = os.path.isfile(file)
    if not found:
        what = f"{dotted(path)} is not there, got {spell(model)} (in {spell(str(base))}), expected {expected}"
        return [Finding(path, what)]
    return []


def check_transforms(data: Mapping[str, Any], texts: _Texts) -> tuple[list[Finding], dict[str, Choice]]:
    """Check transforms and their options; return those that are right, with all defaults filled in."""
    found: list[Finding] = []
    right: dict[str, Choice] = {}
    for name, given in list(_mapping(data, "transforms").items())[:MAX_TRANSFORMS]:
        try:
            choice = parse_choice(given, "transform")
        except PydanticCustomError:
            continue
        options_at, name_at = _places(("transforms", name), given, choice)
        if choice.name not in registry.transforms:
            found.append(_not_installed(name_at, "transform", choice.name, registry.transforms.names()))
            continue
        wrong, options = _check_options(registry.transforms.get(choice.name), choice, options_at, texts)
        found += wrong
        if options is not None:
            right[name] = Choice(name=choice.name, options=options)
    return found, right


def _places(path: Path, given: object, choice: Choice) -> tuple[Path, Finding]:
    """Return where a choice's options lie, and a finding-to-be at its name."""
    if isinstance(given, str):
        return path, Finding(path, "")
    return (*path, choice.name), Finding((*path, choice.name), "", at_key=True)


def _not_installed(at: Finding, kind: str, name: str, known: Iterable[str]) -> Finding:
    names = sorted(known)
    expected = f", expected {one_of(names)}" if names else ""
    what = f"no {kind} named {spell(name)} is installed{expected}{nearest(name, names)}"
    return Finding(at.path, what, at.at_key)


def _check_options(cls: type, choice: Choice, path: Path, texts: _Texts) -> tuple[list[Finding], dict[str, Any] | None]:
    config_class = getattr(cls, "Config", None)
    if not (isinstance(config_class, type) and issubclass(config_class, BaseModel)):
        return [Finding(path, f"the plugin of {choice.name!r} has no Config, so it cannot be used")], None
    try:
        return [], config_class.model_validate(choice.options).model_dump(mode="json")
    except ValidationError as error:
        return findings_of(error, config_class, choice.options, at=path, texts=texts), None
    except Exception as error:  # a plugin's validator may raise anything; it must not take the others' errors away
        return [Finding(path, f"{dotted(path)}: {_first_line(error)}")], None


def check_names(data: Mapping[str, Any], transforms: Mapping[str, Choice]) -> list[Finding]:
    """Check names that refer to transforms, and to fields, divergences and metrics that are installed."""
    found: list[Finding] = []
    known = list(_mapping(data, "transforms"))[:MAX_TRANSFORMS]
    fit = _mapping(data, "fit")
    for path, name in _listed(fit.get("analyze"), ("fit", "analyze")):
        if known and name not in known:
            found.append(Finding(path, _no_such_transform(name, known)))
    synthesize = _mapping(data, "separate").get("synthesize")
    found += _check_synthesize(synthesize, known, transforms)
    together = [name for _, name in _listed(fit.get("analyze"), ())] or known
    found += _check_calibrations("fit.analyze", together, transforms)
    found += _check_calibrations("separate.synthesize", [name for _, name in _listed(synthesize, ())], transforms)
    if _mapping(data, "separate").get("outputs") == "components" and _mapping(data, "evaluate"):
        what = "evaluate scores sources, but separate.outputs is 'components', which have no references"
        found.append(Finding(("evaluate",), f"{what}: leave one of the two out", at_key=True))
    found += _check_fields(fit)
    found += _check_learn(fit)
    found += _check_members(data, known, transforms)
    found += _check_modes(data)
    beta_loss = _listed(fit.get("beta_loss"), ("fit", "beta_loss"))
    metrics = _listed(_mapping(data, "evaluate").get("metrics"), ("evaluate", "metrics"))
    for table, names in ((registry.divergences, beta_loss), (registry.metrics, metrics)):
        for path, name in names:
            if name.strip() and name not in table:
                found.append(_not_installed(Finding(path, ""), table.kind, name, table.names()))
    return found


def _check_calibrations(key: str, names: list[str], transforms: Mapping[str, Choice]) -> list[Finding]:
    """Check that the points of transforms that are used together mean the same by a magnitude of 1."""
    given = {name: transforms[name].options.get("calibration") for name in names if name in transforms}
    if len({calibration for calibration in given.values() if calibration is not None}) < 2:
        return []
    said = ", ".join(f"{name}: {calibration}" for name, calibration in given.items())
    what = f"{key} names transforms of different calibrations, which cannot be joined, got {said}"
    return [Finding(("transforms",), what, at_key=True)]


def _check_learn(fit: Mapping[str, Any]) -> list[Finding]:
    """Check what learning batch by batch cannot do."""
    learn = fit.get("learn")
    if learn not in ("passes", "online"):
        return []
    refused: dict[str, tuple[Any, ...]] = {"optimizer": ("warm", "rprop"), "n_init": tuple(range(2, 1001))}
    refused["context"] = ()
    if learn == "online":
        refused |= dict.fromkeys(("sparsity", "smoothness", "decorrelation"), ())
    found = []
    for key, values in refused.items():
        given = fit.get(key)
        if given in values or (not values and isinstance(given, int | float) and given > 0):
            what = f"fit.learn is {spell(learn)}, which takes no fit.{key}, got {spell(given)}"
            found.append(Finding(("fit", key), what))
    try:
        field = parse_choice(fit.get("field", "hat"), "field").name
    except PydanticCustomError:
        return found
    if field not in ("hat", "matrix"):
        what = f"fit.learn is {spell(learn)}, which fits the fields hat and matrix, got {spell(field)}"
        found.append(Finding(("fit", "field"), what))
    return found


def _check_members(data: Mapping[str, Any], known: list[str], transforms: Mapping[str, Choice]) -> list[Finding]:
    """Check the transforms that members of an ensemble name, and that they can be fitted one by one."""
    found = []
    for name, member in _mapping(data, "ensemble").items():
        if not isinstance(member, Mapping):
            continue
        for path, chosen in _listed(member.get("analyze"), ("ensemble", name, "analyze")):
            if known and chosen not in known:
                found.append(Finding(path, _no_such_transform(chosen, known)))
        for path, chosen in _listed(member.get("synthesize"), ("ensemble", name, "synthesize")):
            if known and chosen not in known:
                found.append(Finding(path, _no_such_transform(chosen, known)))
            else:
                found += _check_inverse(path, chosen, transforms)
    learn = _mapping(data, "fit").get("learn")
    if _mapping(data, "ensemble") and learn in ("passes", "online"):
        what = f"fit.learn is {spell(learn)}, which learns one model a source, got an ensemble"
        found.append(Finding(("ensemble",), what, at_key=True))
    return found


def _check_modes(data: Mapping[str, Any]) -> list[Finding]:
    """Check what goes with sources that are learned on the mixtures, and with groups of their components."""
    sources = {name: source for name, source in _mapping(data, "sources").items() if isinstance(source, Mapping)}
    learned = [name for name, source in sources.items() if source.get("learn") is not None]
    separate = _mapping(data, "separate")
    found = []
    if learned and _mapping(data, "ensemble"):
        what = "an ensemble has no members for what is learned on the mixtures, got " + ", ".join(learned)
        found.append(Finding(("ensemble",), what, at_key=True))
    if len(learned) > 1 and len(learned) == len(sources):
        what = "nothing tells several sources apart that are all learned on the mixtures: learn one, and group it"
        found.append(Finding(("sources", learned[1], "learn"), f"{what} (separate.group)", at_key=True))
    if _mapping(data, "evaluate").get("divergence") is True and (learned or _mapping(data, "ensemble")):
        what = "evaluate.divergence is of one dictionary a source that is learned before, got "
        what += "an ensemble" if _mapping(data, "ensemble") else ", ".join(learned)
        found.append(Finding(("evaluate", "divergence"), what, at_key=True))
    if separate.get("group") is not None:
        if len(sources) != 1 or not learned:
            got = ", ".join(sources) or "none"
            what = f"separate.group needs one source that is learned on the mixtures, got {got}"
            found.append(Finding(("separate", "group"), what, at_key=True))
        if separate.get("outputs") == "components":
            what = "separate.outputs is 'components', which leaves nothing to group"
            found.append(Finding(("separate", "group"), what, at_key=True))
    return found


def _check_fields(fit: Mapping[str, Any]) -> list[Finding]:
    multiplicative = fit.get("optimizer") == "mu"
    found = _check_field(("fit", "field"), fit.get("field"), multiplicative)
    if fit.get("time_field") != _AUTO:
        found += _check_field(("fit", "time_field"), fit.get("time_field"), multiplicative, automatic=(_AUTO,))
    return found


def _check_field(path: Path, given: object, multiplicative: bool, automatic: tuple[str, ...] = ()) -> list[Finding]:
    if given is None:
        return []
    try:
        choice = parse_choice(given, "field")
    except PydanticCustomError:
        return []
    options_at, at = _places(path, given, choice)
    if choice.name in automatic:
        return [Finding(at.path, f"{dotted(path)} must be {spell(choice.name)} alone, got {spell(given)}")]
    if choice.name not in registry.fields:
        return [_not_installed(at, "field", choice.name, {*automatic, *registry.fields.names()})]
    # Fields import torch: they are asked only where there is something to ask.
    found = _check_field_options(choice, options_at, at.at_key) if choice.options else []
    if multiplicative and not _is_linear(choice.name):
        what = f"{dotted(path)} is {spell(choice.name)}, which multiplicative updates cannot fit"
        found.append(Finding(at.path, f"{what}, expected fit.optimizer to be 'warm', 'rprop' or null", at.at_key))
    return found


def _check_field_options(choice: Choice, path: Path, is_mapping: bool) -> list[Finding]:
    try:
        cls: Any = registry.fields.get(choice.name)
        known = list(cls.options)
        unknown = [key for key in choice.options if key not in known]
        if not unknown:
            cls.check_options(choice.options)
    except Exception as error:  # see _check_options
        return [Finding(path, f"{dotted(path)}: {_first_line(error)}")]
    found = []
    for key in unknown:
        near = nearest(key, known)
        expected = "" if near else f", expected {one_of(known)}" if known else ", expected no options"
        what = f"unknown key {spell(key)} in {dotted(path)}{expected}{near}"
        found.append(Finding((*path, key), what, at_key=True) if is_mapping else Finding(path, what))
    return found


def _is_linear(name: str) -> bool:
    from inmf_flow.factorize import LinearField

    cls: object = registry.fields.get(name)
    return isinstance(cls, type) and issubclass(cls, LinearField)


def _check_synthesize(given: object, known: list[str], right: Mapping[str, Choice]) -> list[Finding]:
    if given is None:
        first = next(iter(known), "")
        return _check_inverse(("transforms", first), first, right, by_default=True)
    found = []
    for path, name in _listed(given, ("separate", "synthesize")):
        if known and name not in known:
            found.append(Finding(path, _no_such_transform(name, known)))
        else:
            found += _check_inverse(path, name, right)
    return found


def _check_inverse(path: Path, name: str, right: Mapping[str, Choice], by_default: bool = False) -> list[Finding]:
    if name not in right:
        return []
    choice = right[name]
    try:
        cls: Any = registry.transforms.get(choice.name)
        invertible = cls(cls.Config.model_validate(choice.options)).invertible
    except Exception as error:  # see _check_options
        return [Finding(path, f"the transform {spell(name)} cannot be made: {_first_line(error)}")]
    if invertible != "none":
        return []
    what = f"separate.synthesize needs a transform that can be inverted, got {spell(name)} ({choice.name})"
    if by_default:
        what += ", the first of the transforms: name another one in separate.synthesize"
    return [Finding(path, what, at_key=by_default)]


def _no_such_transform(name: str, known: list[str]) -> str:
    expected = f"expected {one_of(known)}{nearest(name, known)}"
    return f"no transform of this pipeline is named {spell(name)}, {expected}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _listed(value: object, path: Path) -> list[tuple[Path, str]]:
    """Return each name of a name or a list of names with its path."""
    if isinstance(value, str):
        return [(path, value)]
    if isinstance(value, list | tuple):
        return [((*path, index), name) for index, name in enumerate(value[:MAX_NAMES]) if isinstance(name, str)]
    return []
