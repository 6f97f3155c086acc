"""Sources without training audio: learned on the mixture itself, beside known ones or alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF, Ensemble
from inmf_flow.factorize.fields import just_above
from inmf_flow.points import PointSet
from inmf_flow.separation.dictionary import Dictionary

# What models that are used together must have in common.
_COMMON = ("power", "beta_loss", "weights", "field")


def learn_unknown(
    points: PointSet, models: Mapping[str, INMF], unknown: Mapping[str, int], **settings: Any
) -> dict[str, INMF]:
    """Learn the dictionaries of unknown sources on a mixture, those of the known ones frozen.

    Semi-supervised separation (Smaragdis, Raj & Shashanka 2007, "Supervised and semi-supervised separation of sounds
    from single-channel mixtures"): all sources' activations and the unknown templates are fitted together, so that the
    unknown ones learn what the known ones do not explain.

    Parameters
    ----------
    points
        The mixture's. Frequencies that some known model has never seen have no say.
    models
        The known sources; with none, all components are learned freely, and one unknown source has them all.
    unknown
        From each unknown source's name to its number of components.
    settings
        Of the fit, as `INMF` takes them. Power, divergence, weights, field and context are the known models'.

    Returns
    -------
    models
        Of the unknown sources, of the fields ``hat`` or ``matrix``.

    Raises
    ------
    ArgumentError
        When a source is known and unknown, or settings contradict the known models.
    """
    twice = sorted(models.keys() & unknown.keys())
    if twice or not unknown:
        raise ArgumentError(
            "sources are either known or unknown", got=", ".join(twice) or "no unknown source", expected="one or more"
        )
    if not models and len(unknown) > 1:
        raise ArgumentError(
            "nothing tells several unknown sources apart",
            got=", ".join(unknown),
            hint="Learn one, and group its components: see group_components.",
        )
    if not models:
        ((name, count),) = unknown.items()
        return {name: INMF(count, **settings).fit(points)}
    if any(isinstance(model, Ensemble) for model in models.values()):
        raise ArgumentError("nothing can be learned beside ensembles", got=", ".join(models), expected="single models")
    known = Dictionary(models)
    count = sum(model.n_components for model in models.values())
    chosen = _settings(known, settings)
    joint = INMF(count + sum(unknown.values()), **chosen)
    joint.fit(points.below(just_above(known.max_frequency)), templates=known, fixed=[True] * count)
    edges = count + np.cumsum([0, *unknown.values()])
    return {
        name: joint.subset(range(first, last)) for name, first, last in zip(unknown, edges, edges[1:], strict=False)
    }


def _settings(known: Dictionary, given: Mapping[str, Any]) -> dict[str, Any]:
    model = known.models[0]
    common = {name: getattr(model, name) for name in _COMMON} | {"context": known.context}
    # Templates of networks are sampled at the nodes of hats.
    if model.field not in ("hat", "matrix") and not str(model.field).startswith("hat"):
        common["field"] = "hat"
    for name, value in given.items():
        if name in common and value != common[name]:
            what = f"{name} is that of the known sources' models"
            raise ArgumentError(what, where="unknown sources", got=value, expected=common[name])
    return {**given, **common}
