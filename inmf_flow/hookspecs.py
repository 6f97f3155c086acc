"""The hooks that a plugin may implement, and what is passed to them.

A plugin is a module named by an entry point of the group ``inmf_flow``. It decorates functions of these names
with `hookimpl`; it may take fewer arguments than the spec has, and implement as few hooks as it likes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import pluggy

PROJECT_NAME = "inmf_flow"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


class Register(Protocol):
    """What a ``register_*`` hook is given: call it once for each object.

    An object that cannot be used is recorded as a problem of the plugin, which `inmf plugins list` shows, and
    the call returns all the same, so that one bad object does not cost the others.
    """

    def __call__(self, obj: object, name: str | None = None) -> None:
        """Register an object, under its own ``name`` attribute unless another name is given."""


@dataclass(frozen=True)
class StageInfo:
    """How much work a stage of a run has.

    Attributes
    ----------
    total
        The number of items of the stage.
    todo
        How many of them have no valid result from an earlier run.
    """

    total: int
    todo: int


@dataclass(frozen=True)
class RunInfo:
    """A run that begins.

    Attributes
    ----------
    name
        The pipeline's name.
    folder
        The run's folder, which exists.
    stages
        From the stage's name to its work, in the order of the stages.
    dashboard
        The address of the cluster's dashboard; None where there is none.
    """

    name: str
    folder: Path
    stages: Mapping[str, StageInfo]
    dashboard: str | None = None


@dataclass(frozen=True)
class StageProgress:
    """How far a stage of a run is.

    Attributes
    ----------
    done, total
        Of the items that had to be done, those that have ended, and all.
    hours_per_hour
        Hours of audio done per hour since the stage began; None where no duration is known.
    seconds_left
        What the rest will take at that pace; None before the first item.
    """

    done: int
    total: int
    hours_per_hour: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class ItemOutcome:
    """How one item of one stage ended.

    Attributes
    ----------
    stage, item
        The names of the stage and of the item.
    status
        ``"done"`` now, ``"reused"`` from an earlier run, or ``"failed"``.
    reason
        One sentence where it failed, else None.
    seconds
        The time that the item took; 0 for a reused one.
    progress
        How far its stage is with it.
    """

    stage: str
    item: str
    status: Literal["done", "reused", "failed"]
    reason: str | None = None
    seconds: float = 0.0
    progress: StageProgress | None = None


@dataclass(frozen=True)
class RunResult:
    """A run that has ended.

    Attributes
    ----------
    name, folder
        As in `RunInfo`.
    status
        ``"done"``, ``"failed"`` (an item failed) or ``"interrupted"``.
    counts
        For each stage the number of items by status: ``{"analyze": {"done": 2, "reused": 0, "failed": 0}}``.
    seconds
        The time that the run took.
    """

    name: str
    folder: Path
    status: str
    counts: Mapping[str, Mapping[str, int]]
    seconds: float


@hookspec
def register_transforms(register: Register) -> None:
    """Register time-frequency transforms.

    Parameters
    ----------
    register
        Call ``register(cls)`` with each `inmf_flow.transform.Transform`; it is known under ``cls.name``.
    """


@hookspec
def register_fields(register: Register) -> None:
    """Register fields: the families of functions that spectral templates and activations are taken from.

    Parameters
    ----------
    register
        Call ``register(cls)`` or ``register(cls, name)`` with each class.
    """


@hookspec
def register_divergences(register: Register) -> None:
    """Register divergences between magnitudes and their model.

    Parameters
    ----------
    register
        Call ``register(obj)`` or ``register(obj, name)`` with each divergence.
    """


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics of separation.

    Parameters
    ----------
    register
        Call ``register(metric)`` with each `inmf_flow.evaluate.Metric`; it is known under ``metric.name``.
    """


@hookspec
def on_run_start(run: RunInfo) -> None:
    """Take note that a run begins, before its first item.

    Parameters
    ----------
    run
        The run's name, folder and work.
    """


@hookspec
def on_item_end(outcome: ItemOutcome) -> None:
    """Take note that an item of a stage is done or reused; failed items go to `on_item_error` instead.

    Parameters
    ----------
    outcome
        Which item, and how it ended.
    """


@hookspec
def on_item_error(outcome: ItemOutcome) -> None:
    """Take note that an item of a stage failed; the run goes on with the others.

    Parameters
    ----------
    outcome
        Which item, and why it failed.
    """


@hookspec
def on_run_end(result: RunResult) -> None:
    """Take note that a run has ended, whether or not every item is done.

    Parameters
    ----------
    result
        The status, the counts and the time taken.
    """


REGISTER_HOOKS: Mapping[str, str] = {
    "transform": "register_transforms",
    "field": "register_fields",
    "divergence": "register_divergences",
    "metric": "register_metrics",
}
"""From the kind of object to the hook that registers it."""

LIFECYCLE_HOOKS: tuple[str, ...] = ("on_run_start", "on_item_end", "on_item_error", "on_run_end")
"""The hooks that are told how a run goes."""
