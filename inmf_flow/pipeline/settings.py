"""What the tasks of each stage need to know, as plain data that travels well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inmf_flow.pipeline.dictionaries import is_own
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.local import GPU
from inmf_flow.pipeline.plan import Planner


def stage_settings(stage: str, planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> Mapping[str, Any]:
    """Return the settings of a stage's tasks."""
    return _SETTINGS[stage](planner, entries)


def _choice(planner: Planner, name: str) -> dict[str, Any]:
    choice = planner.pipeline.transforms[name]
    return {"name": choice.name, "options": dict(choice.options)}


def _analyze(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {
        "transforms": [_choice(planner, name) for name in planner.pipeline.analyzed],
        "sample_rate": planner.pipeline.corpus.sample_rate,
        "config_hash": planner.config_hash,
    }


def _members(planner: Planner) -> dict[str, dict[str, Any]] | None:
    """Return what each member of the ensemble is fitted to and separates through, and its own settings."""
    pipeline = planner.pipeline
    if pipeline.ensemble is None:
        return None
    analyzed = pipeline.fit.analyze or tuple(pipeline.transforms)
    synthesized = pipeline.separate.synthesize or (next(iter(pipeline.transforms)),)
    return {
        name: {
            "analyze": [_choice(planner, one) for one in member.analyze or analyzed],
            "synthesize": [_choice(planner, one) for one in member.synthesize or synthesized],
            "components": member.components,
            "fit": {
                key: getattr(member, key)
                for key in ("power", "context", "random_state")
                if getattr(member, key) is not None
            },
        }
        for name, member in pipeline.ensemble.items()
    }


def _unknown(planner: Planner) -> dict[str, Any]:
    """Return what a mixture's own sources are learned with, where there are any."""
    pipeline = planner.pipeline
    if not pipeline.unknown:
        return {}
    group = pipeline.separate.group
    return {
        "order": list(pipeline.sources),
        "unknown": pipeline.unknown,
        "group": None if group is None else {"by": group.by, "into": group.into, "assign": group.assign},
        "fit": _fit_options(planner),
        "analyze": [_choice(planner, name) for name in pipeline.analyzed],
    }


def _fit_options(planner: Planner) -> dict[str, Any]:
    options = planner.pipeline.fit.model_dump(exclude={"analyze", "field", "learn", "passes", "forgetting"})
    return {**options, "field": planner.pipeline.fit.field.as_json()}


def _fit(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {
        **_analyze(planner, entries),
        "fit": _fit_options(planner),
        "components": {name: source.components for name, source in planner.pipeline.sources.items()},
        "members": _members(planner),
        "device": "cuda" if GPU in planner.pipeline.cluster.resources.fit else "cpu",
    }


def _separate(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {
        "sources": [name for name, source in planner.pipeline.sources.items() if source.learn is None],
        **_unknown(planner),
        # Those that all mixtures share; a mixture's own are in its payload.
        "models": {
            name: (path, digest)
            for name, source in planner.pipeline.sources.items()
            if not is_own(source) and source.learn is None
            for path, (_, digest) in entries["fit"][name].outputs.items()
        },
        "transforms": [_choice(planner, name) for name in planner.pipeline.synthesized],
        "members": _members(planner),
        "refine": planner.pipeline.separate.refine,
        "channels": planner.pipeline.separate.channels,
        "outputs": planner.pipeline.separate.outputs,
        "mask": planner.pipeline.separate.mask,
        "max_iter": planner.updates,
        "sample_rate": planner.pipeline.corpus.sample_rate,
    }


def _evaluate(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    assert planner.pipeline.evaluate is not None
    scored = planner.pipeline.evaluate
    settings = {
        "metrics": list(scored.metrics),
        "estimated": list(planner.pipeline.estimated),
        "permute": scored.permute and scored.references is not None,
        "window": scored.window,
        "oracle": list(scored.oracle),
        "oracle_transform": _choice(planner, planner.pipeline.synthesized[0]) if scored.oracle else None,
    }
    return {**_separate(planner, entries), **settings} if scored.divergence else settings


def _report(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {"items": planner.pipeline.report.items}


_SETTINGS = {
    "analyze": _analyze,
    "fit": _fit,
    "separate": _separate,
    "evaluate": _evaluate,
    "report": _report,
}
