"""Tasks that learn dictionaries: of one source in one piece, or steps towards one that a whole corpus shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import AudioError, AudioUnreachableError, StoreError
from inmf_flow.pipeline.dictionaries import model_file, source_of
from inmf_flow.pipeline.ledger import describe_output
from inmf_flow.pipeline.modes import fit_members
from inmf_flow.pipeline.places import place_of_item
from inmf_flow.pipeline.shared_tasks import ItemReader, make_start, map_batch
from inmf_flow.pipeline.task import Receipt, Task, attempt, points_of
from inmf_flow.pipeline.tidy import STORE

if TYPE_CHECKING:
    from inmf_flow.points import PointSet


def learn_step(task: Task) -> list[Receipt]:
    """Do a step towards a dictionary that a whole corpus shares."""
    return [attempt(item, inputs, partial(_shared_step, item, payload, task)) for item, inputs, payload in task.items]


def _shared_step(
    source: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    notes: list[str] = []
    reader = ItemReader(task.run_folder, task.settings, points_of)
    if "sample" in payload:
        make_start(source, payload, task.settings, reader)
    else:
        map_batch(payload, reader, _device(task, notes))
    return {}, {"left_out": reader.left_out, "notes": notes}


def fit(task: Task) -> list[Receipt]:
    """Fit one source's dictionary, or take over the model that was given for it."""
    return [attempt(item, inputs, partial(_fit_source, item, payload, task)) for item, inputs, payload in task.items]


def _fit_source(
    source: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    from inmf_flow.factorize import INMF, load_dictionary
    from inmf_flow.points import PointSet

    target = task.run_folder / model_file(source)
    notes: list[str] = []
    left_out: dict[str, str] = {}
    if "failed" in payload:
        raise (AudioError if payload.get("lasting") else StoreError)(payload["failed"])
    if "model" in payload:
        model = INMF.load(payload["model"])
        used: list[str] = []
    elif "dictionary" in payload:
        model, used, left_out = load_dictionary(payload["dictionary"]).model(), payload["used"], payload["left_out"]
        model.provenance = _provenance(source, used, payload, task)
    else:
        options = {**task.settings["fit"], "device": _device(task, notes)}
        components = task.settings["components"][source_of(source)]
        if task.settings.get("members") is None:
            sets, used = _training_points(source, payload, task, notes, left_out)
            model = INMF(n_components=components, **options).fit(PointSet.end_to_end(sets))
        else:
            used = []

            def points_of_member(member: Mapping[str, Any]) -> list[PointSet]:
                own = replace(task, settings={**task.settings, "transforms": member["analyze"]})
                sets, used[:] = _training_points(source, payload, own, notes, left_out)
                return sets

            model = fit_members(task.settings["members"], components, options, points_of_member)
        model.provenance = _provenance(source, used, payload, task)
    model.save(target)
    return describe_output(task.run_folder, target), {
        "items": used,
        "n_components": int(model.n_components),
        "n_iter": model.n_iter_,
        "divergence_curve": [[i, value] for i, value in model.divergence_curve_],
        "left_out": left_out,
        "notes": notes,
    }


def _provenance(source: str, used: list[str], payload: Mapping[str, Any], task: Task) -> dict[str, Any]:
    return {
        "source": source,
        "files": [Path(payload["items"][item]).name for item in used],
        "transforms": [[choice["name"], choice["options"]] for choice in task.settings["transforms"]],
        "sample_rate": task.settings["sample_rate"],
    }


def _device(task: Task, notes: list[str]) -> str:
    """Return where to fit: on the GPU that the stage asks for, if the worker that declares it has one."""
    import torch

    device = str(task.settings.get("device", "cpu"))
    if device != "cpu" and not torch.cuda.is_available():
        notes.append(f"the worker declares a GPU, but torch {torch.__version__} finds none: fitted without")
        return "cpu"
    return device


def _training_points(
    source: str, payload: Mapping[str, Any], task: Task, notes: list[str], left_out: dict[str, str]
) -> tuple[list[PointSet], list[str]]:
    """Read a source's points from the store; damaged ones are made again from the audio.

    Returns the points and the items used. A file that is no audio is left out; any other trouble may pass and must not
    give a model that lacks it for ever.
    """
    from inmf_flow.store import PointsStore

    sets, used = [], []
    for item in payload["items"]:
        try:
            if payload["parts"] is None:
                points = points_of(place_of_item(payload, item), task.settings)
            elif item not in payload["parts"]:
                continue
            else:
                try:
                    points = PointsStore.open(task.run_folder / STORE).read_item(payload["parts"][item], item)
                except StoreError as error:
                    notes.append(f"stored points were damaged and made again from the audio: {error}")
                    points = points_of(place_of_item(payload, item), task.settings)
        except AudioUnreachableError:
            raise
        except AudioError as error:
            left_out[item] = str(error)
            continue
        sets.append(points)
        used.append(item)
    if not sets:
        reasons = list(left_out.values())[:3] or [f"{len(payload['items'])} files whose analysis failed"]
        raise AudioError("none of its training files could be used", where=source, got="; ".join(reasons))
    return sets, used
