"""What tasks do where sources are more than one model, or are learned on the mixture itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inmf_flow.factorize import INMF
    from inmf_flow.points import PointSet
    from inmf_flow.separation import Dictionary
    from inmf_flow.separation.supervised import TransformChoice
    from inmf_flow.transform import Transform

Settings = Mapping[str, Any]


def made(choices: Sequence[Mapping[str, Any]]) -> list[Transform]:
    """Return transforms from their names and options."""
    from inmf_flow.transform import get_transform

    return [get_transform(choice["name"], **choice["options"]) for choice in choices]


def transforms_of(settings: Settings) -> TransformChoice:
    """Return what estimates are made through: the same for all, or for each member of an ensemble its own."""
    from inmf_flow.separation import MemberTransforms

    if settings["members"] is None:
        return made(settings["transforms"])
    return MemberTransforms(tuple(made(member["synthesize"]) for member in settings["members"].values()))


def fit_members(
    members: Mapping[str, Settings], components: int, options: Settings, points: Callable[[Settings], list[PointSet]]
) -> INMF:
    """Fit each member of an ensemble to the points of its own transforms, one after another.

    Parameters
    ----------
    members
        As `stage_settings` has them.
    components, options
        What members have that do not say.
    points
        Called with a member; gives the points of each training file.
    """
    from inmf_flow.factorize import INMF, Ensemble
    from inmf_flow.points import PointSet

    fitted = {}
    for name, member in members.items():
        model = INMF(member["components"] or components, **{**options, **member["fit"]})
        fitted[name] = model.fit(PointSet.end_to_end(points(member)))
    return Ensemble(fitted)


def with_unknown(models: Mapping[str, INMF], place: Any, settings: Settings) -> Dictionary:
    """Return a dictionary that has the sources too that are learned on a mixture.

    Parameters
    ----------
    models
        Of the known sources.
    place
        The mixture: (path, start, stop).
    settings
        Of the stage.
    """
    from inmf_flow.separation import Dictionary, analyze_excerpts, group_components, learn_unknown

    path, start, stop = place
    points = analyze_excerpts(path, made(settings["analyze"]), settings["sample_rate"], start=start, stop=stop)
    options = dict(settings["fit"])
    if models:
        # What is frozen sets these; what a network was fitted by has no meaning for what is learned beside it.
        for name in ("power", "beta_loss", "weights", "field", "context", "time_field", "optimizer", "init"):
            options.pop(name)
    learned = learn_unknown(points, models, settings["unknown"], **options)
    group = settings["group"]
    if group is not None:
        (model,) = learned.values()
        by: Any = group["by"]
        if group["assign"] is not None:
            by = {name: [number - 1 for number in numbers] for name, numbers in group["assign"].items()}
        return Dictionary(group_components(model, by, group["into"]))
    everyone = {**models, **learned}
    return Dictionary({name: everyone[name] for name in settings["order"]}, settings["outputs"])
