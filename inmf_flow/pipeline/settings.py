"""What the tasks of each stage need to know, as plain data that travels well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def _fit(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    options = planner.pipeline.fit.model_dump(exclude={"analyze", "field", "learn", "passes", "forgetting"})
    return {
        **_analyze(planner, entries),
        "fit": {**options, "field": planner.pipeline.fit.field.as_json()},
        "components": {name: source.components for name, source in planner.pipeline.sources.items()},
        "device": "cuda" if GPU in planner.pipeline.cluster.resources.fit else "cpu",
    }


def _separate(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {
        "models": {
            name: (str(planner.run_folder / path), digest)
            for name in planner.pipeline.sources
            for path, (_, digest) in entries["fit"][name].outputs.items()
        },
        "transforms": [_choice(planner, name) for name in planner.pipeline.synthesized],
        "outputs": planner.pipeline.separate.outputs,
        "mask": planner.pipeline.separate.mask,
        "max_iter": planner.updates,
        "sample_rate": planner.pipeline.corpus.sample_rate,
    }


def _evaluate(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    assert planner.pipeline.evaluate is not None
    return {"metrics": list(planner.pipeline.evaluate.metrics)}


def _report(planner: Planner, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    return {"items": planner.pipeline.report.items}


_SETTINGS = {
    "analyze": _analyze,
    "fit": _fit,
    "separate": _separate,
    "evaluate": _evaluate,
    "report": _report,
}
