"""Tasks that separate mixtures with the sources' dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import ArgumentError, ModelFileError
from inmf_flow.pipeline.ledger import describe_output
from inmf_flow.pipeline.modes import transforms_of, with_unknown
from inmf_flow.pipeline.places import place_of, split_place
from inmf_flow.pipeline.task import Receipt, Task, attempt

if TYPE_CHECKING:
    from inmf_flow.separation import Dictionary

# A band narrower than this share of its lower edge is not worth a remark.
_EDGE = 1.01


def separate(task: Task) -> list[Receipt]:
    """Separate a batch of mixtures with the sources' dictionaries."""
    shared = task.settings["models"]
    if task.settings.get("unknown") or len(shared) < len(task.settings["sources"]):
        return [
            attempt(item, inputs, partial(_separate_by_own, item, payload, task))
            for item, inputs, payload in task.items
        ]
    try:
        dictionary = dictionary_of(shared, task)
    except ArgumentError as error:
        # No mixture's fault: these models cannot be used together.
        raise ModelFileError(str(error)) from error
    return [
        attempt(item, inputs, partial(_separate_item, item, payload, dictionary, task))
        for item, inputs, payload in task.items
    ]


def _separate_by_own(
    item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    """Separate a mixture with dictionaries of which some are its own."""
    if "failed" in payload:
        raise ArgumentError(payload["failed"])
    models = task.settings["models"] | payload.get("models", {})
    dictionary = dictionary_of(models, task) if models else None
    if task.settings.get("unknown"):
        known = dict(zip(task.settings["sources"], dictionary.models, strict=True)) if dictionary is not None else {}
        dictionary = with_unknown(known, split_place(place_of(payload)), task.settings)
    assert dictionary is not None
    return _separate_item(item, payload, dictionary, task)


def dictionary_of(models: Mapping[str, tuple[str, str]], task: Task) -> Dictionary:
    """Return the dictionary of these models, given by their files in the run's folder and the files' digests."""
    named = ((name, *models[name]) for name in task.settings["sources"])
    whole = tuple((name, str(task.run_folder / path), digest) for name, path, digest in named)
    return _dictionary(whole, task.settings["outputs"])


@lru_cache(maxsize=4)
def _dictionary(models: tuple[tuple[str, str, str], ...], outputs: str) -> Dictionary:
    """Load the models once a worker; the digests in the key tell a model fitted again from the old one."""
    from inmf_flow.factorize import INMF
    from inmf_flow.separation import Dictionary

    return Dictionary({name: INMF.load(path) for name, path, _ in models}, outputs)


def _separate_item(
    item: str, payload: Mapping[str, Any], dictionary: Dictionary, task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    from inmf_flow.separation import parse_mask, separate_file

    settings = task.settings
    path, start, stop = split_place(place_of(payload))
    result = separate_file(
        path,
        task.run_folder / "separated" / item,
        dictionary,
        transforms_of(settings),
        mask=parse_mask(settings["mask"]),
        max_iter=settings["max_iter"],
        refine=settings["refine"],
        channels=settings["channels"],
        sample_rate=settings["sample_rate"],
        start=start,
        stop=stop,
    )
    outputs = {}
    for path in result.outputs.values():
        outputs.update(describe_output(task.run_folder, path))
    own = result.sample_rate / 2
    known, notes = result.known, []
    if own > known * _EDGE:
        # The published mask does not promise that estimates add up to the mixture.
        paper = settings["mask"] == "paper"
        fate = "the paper's mask loses most of that band" if paper else "the sources share that band equally"
        notes.append(f"from {known:.0f} to {own:.0f} Hz no model has data or the analysis does not reach: {fate}")
    return outputs, {
        "duration": result.frames / result.sample_rate,
        "sample_rate": result.sample_rate,
        "channels": result.channels,
        "notes": notes,
    }
