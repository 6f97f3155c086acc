"""From a name and options, as users write them, to a transform."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from inmf_flow.errors import ConfigError
from inmf_flow.registry import parse_choice, parse_spec, transforms
from inmf_flow.transform.checked import contained
from inmf_flow.transform.contract import Transform


def get_transform(spec: str, /, **options: Any) -> Transform:
    """Return a transform by name.

    Parameters
    ----------
    spec
        The name of an installed transform, with options if you like: ``"stft:n_fft=1024,hop_length=256"``.
    options
        More options; they win over those in ``spec``.

    Raises
    ------
    UnknownNameError
        When no plugin has registered the name; the message lists those there are.
    ConfigError
        When an option is unknown or out of range.
    PluginError
        When the transform raises anything else.

    Examples
    --------
    >>> get_transform("stft", n_fft=1024)
    Stft(n_fft=1024)
    """
    name, given = parse_spec(spec)
    cls = cast("type[Transform]", transforms.get(name))
    with contained(name, "its construction"):
        return cls(**{**given, **options})


def get_transforms(given: Sequence[Transform | str], where: str) -> list[Transform]:
    """Return transforms that are used together, specs looked up.

    Parameters
    ----------
    given
        Transforms or their specs.
    where
        What names them, for errors.

    Raises
    ------
    ConfigError
        When there is none, or a magnitude of 1 does not mean the same in all; and as `get_transform` does.
    """
    found = [get_transform(each) if isinstance(each, str) else each for each in given]
    if not found:
        raise ConfigError("no transform is given", where=where, expected="at least one")
    said = {f"{each!r}": calibration for each in found if (calibration := getattr(each.config, "calibration", None))}
    if len(set(said.values())) > 1:
        raise ConfigError(
            "transforms of different calibrations cannot be used together",
            where=where,
            got=", ".join(f"{name}: {calibration}" for name, calibration in said.items()),
            expected="one calibration",
        )
    return found


def transform_from_mapping(mapping: Mapping[str, Any] | str) -> Transform:
    """Return a transform from its form in YAML: ``{stft: {n_fft: 1024}}`` or ``"stft:n_fft=1024"``."""
    name, options = parse_choice(mapping)
    return get_transform(name, **options)
