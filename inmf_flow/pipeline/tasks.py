"""What workers do. Each task writes its outputs, then its batch's record, and returns receipts, not arrays."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import (
    ArgumentError,
    AudioError,
    AudioUnreachableError,
    InmfError,
    ModelFileError,
    OutputError,
    PluginError,
    StoreError,
)
from inmf_flow.pipeline.dictionaries import model_file, source_of
from inmf_flow.pipeline.inputs import Stamp, complete_inputs, output_stamp
from inmf_flow.pipeline.ledger import Entry, Ledger, describe_output
from inmf_flow.pipeline.modes import fit_members, transforms_of, with_unknown
from inmf_flow.pipeline.places import Place, place_of, place_of_item, split_place
from inmf_flow.pipeline.shared_tasks import PASS, ItemReader, make_start, map_batch
from inmf_flow.pipeline.tidy import STORE, part_name
from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow
    from inmf_flow.points import PointSet
    from inmf_flow.separation import Dictionary
    from inmf_flow.store import PointsStore

# A band narrower than this share of its lower edge is not worth a remark.
_EDGE = 1.01

logger = logging.getLogger("inmf_flow.pipeline")


@dataclass(frozen=True)
class Task:
    """One batch for one worker.

    Attributes
    ----------
    stage, batch
        Names of the stage and of the batch's record.
    run_folder
        The run's folder.
    items
        (item, inputs, payload) of those to be done.
    kept
        (entry, payload) of the batch's items that still hold, for the record.
    settings
        What the stage needs to know, as plain data.
    """

    stage: str
    batch: str
    run_folder: Path
    items: tuple[tuple[str, Mapping[str, str], Mapping[str, Any]], ...]
    kept: tuple[tuple[Entry, Mapping[str, Any]], ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Receipt:
    """What a task returns of one item.

    Attributes
    ----------
    entry, seconds, notes
        Its entry, the seconds it took, and remarks for the user.
    record
        The record that holds the entry; None where no worker has written one.
    stamps
        What the digests were of files that the task has read or written.
    """

    entry: Entry
    seconds: float
    notes: tuple[str, ...] = field(default=())
    record: str | None = None
    stamps: tuple[Stamp, ...] = field(default=())


def run_task(task: Task) -> list[Receipt]:
    """Do a batch. An item that fails is recorded with its reason and does not touch the others."""
    if task.stage == PASS:
        with _as_worker():
            # What it has written says itself what it is; the driver goes on from it.
            return _STAGES[task.stage](task)
    task, stamps = _with_digests(task)
    with _as_worker():
        receipts = _STAGES[task.stage](task)
    kept = [entry for entry, _ in task.kept]
    entries = {entry.item: entry for entry in (*kept, *(receipt.entry for receipt in receipts))}
    Ledger(task.run_folder).write(task.stage, task.batch, [entries[item] for item in sorted(entries)])
    return [
        replace(receipt, record=task.batch, stamps=(*stamps.get(receipt.entry.item, ()), *_written(task, receipt)))
        for receipt in receipts
    ]


def _with_digests(task: Task) -> tuple[Task, dict[str, list[Stamp]]]:
    """Return a task with the digests of the files that it reads among its inputs, and these files' stamps.

    They are digested before they are used: what changes in between is found by the next run.
    """
    items, stamps = [], {}
    for item, inputs, payload in task.items:
        inputs, stamps[item] = complete_inputs(inputs, payload)
        items.append((item, inputs, payload))
    return replace(task, items=tuple(items)), stamps


def _written(task: Task, receipt: Receipt) -> list[Stamp]:
    outputs = receipt.entry.outputs.items()
    found = (output_stamp(task.run_folder / name, digest) for name, (_, digest) in outputs)
    return [stamp for stamp in found if stamp is not None]


@contextmanager
def _as_worker() -> Iterator[None]:
    """One thread a worker: one clip a core beats two threads on a clip (and is the same on every machine).

    What is set is put back: a cluster of threads shares the user's own process.
    """
    import torch

    threads, log = torch.get_num_threads(), logging.getLogger("inmf_flow.separation")
    level = log.level
    torch.set_num_threads(1)
    # Said once by the driver, from the receipts' notes, instead of by every worker.
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        log.setLevel(level)


def _attempt(
    item: str,
    inputs: Mapping[str, str],
    work: Callable[[], tuple[dict[str, tuple[int, str]], dict[str, Any]]],
    *,
    retry: bool = False,
) -> Receipt:
    """Run one item's work and turn whatever happens into an entry; ``retry``: every failure may pass."""
    begin = time.perf_counter()
    try:
        outputs, extra = work()
        entry = Entry(item, inputs, "done", outputs=outputs, extra=extra)
    except ModelFileError:
        raise
    except InmfError as error:
        # A plugin's author mends it without telling us: its version may still be the same.
        transient = retry or isinstance(error, StoreError | OutputError | PluginError | AudioUnreachableError)
        entry = Entry(item, inputs, "failed", str(error), transient=transient)
    except (OSError, MemoryError) as error:
        entry = Entry(item, inputs, "failed", f"{type(error).__name__}: {error}", transient=True)
    except Exception as error:
        # A fault of a plugin or of ours in one item must not stop the others; the log keeps the trace.
        logger.exception("%s failed", item)
        entry = Entry(item, inputs, "failed", f"unexpected {type(error).__name__}: {error}", transient=True)
    return Receipt(entry, time.perf_counter() - begin, tuple(entry.extra.get("notes", ())))


def _points_of(place: Place, settings: Mapping[str, Any]) -> PointSet:
    from inmf_flow.separation import analyze_file
    from inmf_flow.transform import get_transform

    transforms = [get_transform(choice["name"], **choice["options"]) for choice in settings["transforms"]]
    path, start, stop = split_place(place)
    return analyze_file(path, transforms, settings["sample_rate"], start=start, stop=stop)


def _analyze(task: Task) -> list[Receipt]:
    """Write the points of a batch as one part; items whose points are stored already are copied, not made again."""
    from inmf_flow.store import PointsStore
    from inmf_flow.store.manifest import DamagedRecordError

    store = PointsStore.create(task.run_folder / STORE)
    found: dict[str, PointSet] = {}
    receipts = [
        _attempt(item, inputs, partial(_take_points, found, item, payload, task))
        for item, inputs, payload in task.items
    ]
    keys = {receipt.entry.item: receipt.entry.key for receipt in receipts if receipt.entry.status == "done"}
    for entry, payload in task.kept:
        if entry.status == "done":
            found[entry.item] = _stored_points(store, entry, place_of(payload), task)
            keys[entry.item] = entry.key
    if not keys:
        return receipts
    part = part_name(task.batch, keys)
    try:
        store.write_part(part, found, keys, task.settings["config_hash"])
    except DamagedRecordError:
        store.delete_part(part)
        store.write_part(part, found, keys, task.settings["config_hash"])
    outputs = describe_output(task.run_folder, task.run_folder / STORE / "manifest" / f"{part}.json")
    placed = [_placed(receipt.entry, part, outputs) for receipt in receipts]
    # Entries that were kept now lie in the new part too.
    moved = [_placed(entry, part, outputs) for entry, _ in task.kept]
    done = [Receipt(entry, r.seconds, r.notes) for entry, r in zip(placed, receipts, strict=True)]
    return done + [Receipt(entry, 0.0, ("moved",)) for entry in moved]


def _stored_points(store: PointsStore, entry: Entry, place: Place, task: Task) -> PointSet:
    try:
        return store.read_item(entry.extra["part"], entry.item)
    except StoreError:
        # Damaged: the audio is as it was, or the entry would not hold.
        return _points_of(place, task.settings)


def _take_points(
    found: dict[str, PointSet], item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    points = _points_of(place_of(payload), task.settings)
    found[item] = points
    return {}, {"points": points.n_points, "seconds": points.duration}


def _placed(entry: Entry, part: str, outputs: dict[str, tuple[int, str]]) -> Entry:
    if entry.status != "done":
        return entry
    return Entry(entry.item, entry.inputs, "done", outputs=outputs, extra={**entry.extra, "part": part})


def _pass(task: Task) -> list[Receipt]:
    """Do a step towards a dictionary that a whole corpus shares."""
    return [_attempt(item, inputs, partial(_shared_step, item, payload, task)) for item, inputs, payload in task.items]


def _shared_step(
    source: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    notes: list[str] = []
    reader = ItemReader(task.run_folder, task.settings, _points_of)
    if "sample" in payload:
        make_start(source, payload, task.settings, reader)
    else:
        map_batch(payload, reader, _device(task, notes))
    return {}, {"left_out": reader.left_out, "notes": notes}


def _fit(task: Task) -> list[Receipt]:
    """Fit one source's dictionary, or take over the model that was given for it."""
    return [_attempt(item, inputs, partial(_fit_source, item, payload, task)) for item, inputs, payload in task.items]


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
        if task.settings["members"] is None:
            sets, used = _training_points(source, payload, task, notes, left_out)
            model = INMF(n_components=components, **options).fit(PointSet.end_to_end(sets))
        else:
            used = []

            def points_of(member: Mapping[str, Any]) -> list[PointSet]:
                own = replace(task, settings={**task.settings, "transforms": member["analyze"]})
                sets, used[:] = _training_points(source, payload, own, notes, left_out)
                return sets

            model = fit_members(task.settings["members"], components, options, points_of)
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
                points = _points_of(place_of_item(payload, item), task.settings)
            elif item not in payload["parts"]:
                continue
            else:
                try:
                    points = PointsStore.open(task.run_folder / STORE).read_item(payload["parts"][item], item)
                except StoreError as error:
                    notes.append(f"stored points were damaged and made again from the audio: {error}")
                    points = _points_of(place_of_item(payload, item), task.settings)
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


def _separate(task: Task) -> list[Receipt]:
    """Separate a batch of mixtures with the sources' dictionaries."""
    shared = task.settings["models"]
    if task.settings.get("unknown") or len(shared) < len(task.settings["sources"]):
        return [
            _attempt(item, inputs, partial(_separate_by_own, item, payload, task))
            for item, inputs, payload in task.items
        ]
    try:
        dictionary = _dictionary_of(shared, task)
    except ArgumentError as error:
        # No mixture's fault: these models cannot be used together.
        raise ModelFileError(str(error)) from error
    return [
        _attempt(item, inputs, partial(_separate_item, item, payload, dictionary, task))
        for item, inputs, payload in task.items
    ]


def _separate_by_own(
    item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    """Separate a mixture with dictionaries of which some are its own."""
    if "failed" in payload:
        raise ArgumentError(payload["failed"])
    models = task.settings["models"] | payload.get("models", {})
    dictionary = _dictionary_of(models, task) if models else None
    if task.settings.get("unknown"):
        known = dict(zip(task.settings["sources"], dictionary.models, strict=True)) if dictionary is not None else {}
        dictionary = with_unknown(known, split_place(place_of(payload)), task.settings)
    assert dictionary is not None
    return _separate_item(item, payload, dictionary, task)


def _dictionary_of(models: Mapping[str, tuple[str, str]], task: Task) -> Dictionary:
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


def _evaluate(task: Task) -> list[Receipt]:
    """Score a batch of separated mixtures."""
    return [
        _attempt(item, inputs, partial(_evaluate_item, item, payload, task)) for item, inputs, payload in task.items
    ]


def _evaluate_item(
    item: str, payload: Mapping[str, Any], task: Task
) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    from inmf_flow.evaluate import evaluate_item

    mixture, start, stop = split_place(place_of(payload))
    rows = [_divergence_row(item, payload, task)] if "models" in task.settings else []
    settings = task.settings
    if payload["references"] or settings["permute"]:
        estimates = settings["estimated"] if settings["permute"] else payload["references"]
        rows += evaluate_item(
            item,
            {source: as_path(path) for source, path in payload["references"].items()},
            {source: task.run_folder / "separated" / item / f"{source}.wav" for source in estimates},
            mixture,
            settings["metrics"],
            start=start,
            stop=stop,
            permute=settings["permute"],
            window=settings["window"],
            oracles={mask: partial(_oracle, settings["oracle_transform"], mask) for mask in settings["oracle"]},
        )
    numbers = [[_number(x) for x in (row.value, row.baseline, row.improvement)] for row in rows]
    further = [[row.oracle, row.estimate] if row.oracle or row.estimate else [] for row in rows]
    described = zip(rows, numbers, further, strict=True)
    return {}, {"rows": [[row.source, row.metric, *n, *more] for row, n, more in described]}


def _oracle(choice: Mapping[str, Any], mask: str, mixture: Any, references: Any, sample_rate: int) -> Any:
    """Return estimates of one window by a mask that knows the references."""
    from inmf_flow.separation import oracle_estimates
    from inmf_flow.transform import get_transform

    transform = get_transform(choice["name"], **choice["options"])
    return oracle_estimates(mixture, references, sample_rate, transform, mask)


def _divergence_row(item: str, payload: Mapping[str, Any], task: Task) -> MetricRow:
    """Return the mean divergence of a mixture's points from what its dictionaries make of them."""
    from inmf_flow.evaluate import MetricRow
    from inmf_flow.separation.reconstruction import reconstruction_divergence
    from inmf_flow.transform import get_transform

    settings = task.settings
    path, start, stop = split_place(place_of(payload))
    value = reconstruction_divergence(
        str(path),
        _dictionary_of(settings["models"] | payload.get("models", {}), task),
        [get_transform(choice["name"], **choice["options"]) for choice in settings["transforms"]],
        settings["sample_rate"],
        max_iter=settings["max_iter"],
        start=start,
        stop=stop,
    )
    return MetricRow(item, "mixture", "divergence", value, math.nan, math.nan)


def _number(value: float) -> float | str:
    """Return a number that JSON has; NaN and infinity as text."""
    return value if abs(value) < float("inf") else str(value)


def _report(task: Task) -> list[Receipt]:
    """Write the report page."""
    from inmf_flow.report import write_report

    def work() -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
        return describe_output(task.run_folder, write_report(task.run_folder, task.settings["items"])), {}

    # The page is made of the run's own files: what cannot be read is the disk's fault, and not theirs.
    return [_attempt(item, inputs, work, retry=True) for item, inputs, _ in task.items]


_STAGES: dict[str, Callable[[Task], list[Receipt]]] = {
    PASS: _pass,
    "analyze": _analyze,
    "fit": _fit,
    "separate": _separate,
    "evaluate": _evaluate,
    "report": _report,
}
