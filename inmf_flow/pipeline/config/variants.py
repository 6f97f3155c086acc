"""``compare``: variants of one pipeline, each the whole file with some of its keys replaced."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inmf_flow.pipeline.config.problems import Path, one_of, spell

if TYPE_CHECKING:
    from inmf_flow.pipeline.config.models import Pipeline

MAX_AXES = 4
MAX_VARIANTS = 256
#: Keys of a file that are of all its variants alike.
COMMON_KEYS = ("name", "compare", "output", "cluster", "fail")
#: What stands for something else in paths, or is another column of the table, and so cannot be an axis.
RESERVED_AXES = ("item", "folder", "file", "source", "metric", "value", "baseline", "improvement", "oracle")

Labels = dict[str, str]


@dataclass(frozen=True)
class Variant:
    """One of the pipelines that are compared.

    Attributes
    ----------
    labels
        From each axis to this variant's label on it.
    pipeline
        A pipeline of its own, without ``compare``.
    """

    labels: Mapping[str, str]
    pipeline: Pipeline

    @property
    def name(self) -> str:
        """Its labels with slashes between them: the folder of its run below ``variants/``."""
        return "/".join(self.labels.values())


def compare_fault(axes: Mapping[str, Mapping[str, Mapping[str, Any] | None]]) -> str | None:
    """Return what is wrong with a comparison's axes and labels, if anything."""
    reserved = [axis for axis in axes if axis in RESERVED_AXES]
    if reserved:
        return f"an axis cannot be called {one_of(reserved)}, which stands for something else in paths and tables"
    count = math.prod(map(len, axes.values()))
    if len(axes) > MAX_AXES or count > MAX_VARIANTS:
        return f"there are {count} variants on {len(axes)} axes, expected at most {MAX_VARIANTS} on {MAX_AXES}"
    for axis, labels in axes.items():
        if not labels:
            return f"the axis {spell(axis)} has no labels"
        if len({label.casefold() for label in labels}) < len(labels):
            return f"labels of the axis {spell(axis)} differ by case alone, but become names of folders"
        for label, changes in labels.items():
            common = [key for key in changes or () if key in COMMON_KEYS]
            if common:
                return f"{spell(label)} changes {one_of(common)}, which all variants have in common"
    return None


def variants_of(data: Mapping[str, Any]) -> Iterator[tuple[Labels, dict[str, Any]]]:
    """Yield the labels and the data of each variant, the last axis changing fastest.

    Parameters
    ----------
    data
        What a pipeline file holds, with a ``compare`` that is right.
    """
    axes: Mapping[str, Mapping[str, Mapping[str, Any] | None]] = data["compare"]
    for chosen in itertools.product(*axes.values()):
        labels = dict(zip(axes, chosen, strict=True))
        varied: Any = {key: value for key, value in data.items() if key not in ("compare", "output")}
        for axis, label in labels.items():
            varied = _merged(varied, _filled(axes[axis][label] or {}, labels), ())
        yield labels, varied


def place_of_change(axes: Mapping[str, Mapping[str, Any]], labels: Labels, path: Path) -> Path | None:
    """Return where in the file the change lies that a key of a variant has its value from, or None."""
    for length in range(len(path), 0, -1):
        for axis, label in reversed(labels.items()):
            if _holds(axes[axis][label], path[:length]):
                return ("compare", axis, label, *path[:length])
    return None


def _holds(value: Any, path: Path) -> bool:
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = value[step]
    return True


def _filled(value: Any, labels: Labels) -> Any:
    """Put labels in the place of their axes' names in braces, in all text."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, labels) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, labels) for inner in value]
    if isinstance(value, str):
        for axis, label in labels.items():
            value = value.replace(f"{{{axis}}}", label)
    return value


def _merged(given: Any, changes: Any, path: Path) -> Any:
    """Put changes into data: mappings are joined key by key, all else is replaced."""
    if not isinstance(given, Mapping) or not isinstance(changes, Mapping):
        return changes
    if _is_choice(path) and set(given) != set(changes):
        # Another transform has other options.
        return changes
    joined = {key: _merged(given[key], value, (*path, key)) for key, value in changes.items() if key in given}
    return {**given, **changes, **joined}


def _is_choice(path: Path) -> bool:
    return path in (("fit", "field"), ("separate", "mask")) or (len(path) == 2 and path[0] == "transforms")
