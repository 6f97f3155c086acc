"""What became of a run: the object that Python gets, and ``run.json``, ``metrics.csv`` for everybody else."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow._version import __version__
from inmf_flow.corpus import Recording
from inmf_flow.errors import ArgumentError
from inmf_flow.files import atomic_write
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.plan import Planner

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

RUN_FORMAT = 1
_REPORTED_PACKAGES = ("torch", "numpy", "scipy", "zarr", "dask", "distributed", "soundfile", "soxr")


@dataclass
class StageOutcome:
    """Counts of a stage's items, and the seconds it took.

    Attributes
    ----------
    done, reused, failed
        Items done now, items whose earlier result still holds, and items that failed now or before.
    seconds
        Wall-clock time.
    """

    done: int = 0
    reused: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass
class RunOutcome:
    """How a run ended.

    Attributes
    ----------
    name, folder
        The pipeline's name and the run's folder.
    status
        ``done``, ``failed`` (some item failed) or ``interrupted``.
    stages
        Counts by stage.
    failures
        (stage, item, reason) of every item that failed, in this run or before.
    metrics
        One row per item, source and metric.
    estimates
        From item and source to the separated file.
    notes
        Remarks, each once.
    report
        The report page, if there is one.
    seconds
        Wall-clock time of the whole run.
    """

    name: str
    folder: Path
    status: str = "done"
    stages: dict[str, StageOutcome] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    metrics: list[MetricRow] = field(default_factory=list)
    estimates: dict[str, dict[str, Path]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    report: Path | None = None
    seconds: float = 0.0

    @property
    def did_nothing(self) -> bool:
        """Whether every result was there already."""
        return not any(stage.done for stage in self.stages.values())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Items by stage and status."""
        return {
            name: {"done": stage.done, "reused": stage.reused, "failed": stage.failed}
            for name, stage in self.stages.items()
        }


def known_failures(stage: str, entries: Iterable[Entry]) -> Iterator[tuple[str, str, str]]:
    """Yield (stage, item, reason) of failed items, and of training files that a fit had to leave out."""
    for entry in entries:
        if entry.status == "failed":
            yield stage, entry.item, entry.reason or "unknown"
        for item, reason in entry.extra.get("left_out", {}).items():
            yield stage, item, f"left out of {entry.item}'s model: {reason}"


def metric_rows(evaluated: Mapping[str, Entry]) -> list[MetricRow]:
    """Return the metrics of all items from their entries."""
    if not evaluated:
        return []
    from inmf_flow.evaluate import MetricRow

    rows = []
    for item in sorted(evaluated):
        for source, metric, *numbers in evaluated[item].extra.get("rows", ()):
            value, baseline, improvement = map(float, numbers)
            rows.append(MetricRow(item, source, metric, value, baseline, improvement))
    return rows


def outputs_by_source(planner: Planner, entry: Entry) -> dict[str, str]:
    """Return the estimates of an item, relative to the run's folder, in the order of the pipeline's sources.

    Those of components, SOURCE-1 and so on, follow one another by their number.
    """
    paths = {Path(name).stem: name for name in entry.outputs}
    names = list(planner.pipeline.sources)
    if planner.pipeline.separate.outputs == "components":
        names = [f"{source}-{number + 1}" for source in names for number in range(len(paths))]
    return {name: paths[name] for name in names if name in paths}


def write_metrics(outcome: RunOutcome) -> None:
    """Let ``metrics.csv`` hold the outcome's metrics and no others; a file that does is not touched."""
    path = outcome.folder / "metrics.csv"
    if not outcome.metrics:
        path.unlink(missing_ok=True)
        return
    from inmf_flow.evaluate import read_metrics_csv, write_metrics_csv

    try:
        # As text, since NaN does not equal itself.
        same = repr(read_metrics_csv(path)) == repr(outcome.metrics)
    except ArgumentError:
        same = False
    if not same:
        write_metrics_csv(path, outcome.metrics)


def is_recorded(planner: Planner, status: str) -> bool:
    """Return whether ``run.json`` is there and says how the run of this configuration ended."""
    try:
        document = json.loads((planner.run_folder / "run.json").read_bytes())
        if (document["status"], document["config_hash"]) != (status, planner.config_hash):
            return False
        # What a manifest says may have changed where no result did.
        described = {recording.item: _described(planner, recording) for recording in planner.mixtures}
        items = document["items"]
        known = {item: {key: items[item][key] for key in said} for item, said in described.items()}
        return bool(known == described)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_run_json(
    planner: Planner, outcome: RunOutcome, entries: Mapping[str, Mapping[str, Entry]], status: str
) -> None:
    """Write ``run.json``: status, counts, timings, versions, configuration and what became of each item."""
    pipeline = planner.pipeline
    document = {
        "format": RUN_FORMAT,
        "name": pipeline.name,
        "status": status,
        "config_hash": planner.config_hash,
        "pipeline": pipeline.as_json(),
        "versions": {"inmf_flow": __version__, "python": platform.python_version(), **_versions()},
        "counts": outcome.counts,
        "timings": {
            **{name: round(stage.seconds, 3) for name, stage in outcome.stages.items()},
            "total": round(outcome.seconds, 3),
        },
        "notes": outcome.notes,
        "sources": {name: _source(planner, name, entries) for name in pipeline.sources},
        "items": {recording.item: _item(planner, recording, entries) for recording in planner.mixtures},
        "failures": [{"stage": s, "item": i, "reason": r} for s, i, r in outcome.failures],
    }
    atomic_write(planner.run_folder / "run.json", json.dumps(document, indent=1))


def _versions() -> dict[str, str]:
    found = {}
    for name in _REPORTED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _source(planner: Planner, name: str, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    entry = entries.get("fit", {}).get(name)
    model = f"models/{name}.safetensors"
    return {
        "model": model if entry is not None and model in entry.outputs else None,
        "files": [relative_path(planner, path) for path in _files_of(planner, name, entry)],
        "status": entry.status if entry is not None else "missing",
        "reason": entry.reason if entry is not None else None,
        "n_components": entry.extra.get("n_components") if entry is not None else None,
        "divergence_curve": entry.extra.get("divergence_curve", []) if entry is not None else [],
    }


def _files_of(planner: Planner, name: str, entry: Entry | None) -> list[Path]:
    """Return the files that a source's model was learned from, or the model that was given for it."""
    if entry is None or entry.status != "done":
        return []
    given = planner.pipeline.sources[name].model
    if given is not None:
        return [planner.pipeline.resolve(given)]
    used = set(entry.extra["items"])
    # Several segments may be of one file.
    return list(dict.fromkeys(r.path for r in planner.training[name] if f"{name}/{r.item}" in used))


def _item(planner: Planner, recording: Recording, entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Any]:
    entry = entries.get("separate", {}).get(recording.item)
    scored = entries.get("evaluate", {}).get(recording.item)
    failed = next((e for e in (entry, scored) if e is not None and e.status == "failed"), None)
    return {
        **_described(planner, recording),
        "status": "failed" if failed is not None else entry.status if entry is not None else "missing",
        "reason": failed.reason if failed is not None else None,
        "outputs": outputs_by_source(planner, entry) if entry is not None else {},
        "references": {source: relative_path(planner, path) for source, path in planner.references(recording).items()},
        "duration": entry.extra.get("duration") if entry is not None else None,
        "sample_rate": entry.extra.get("sample_rate") if entry is not None else None,
    }


def _described(planner: Planner, recording: Recording) -> dict[str, Any]:
    """Return what is known of a mixture before anything is done to it."""
    limits = {"start": recording.start, "stop": recording.stop} if recording.is_segment else {}
    return {"mixture": relative_path(planner, recording.path), **limits, "metadata": recording.metadata}


def relative_path(planner: Planner, path: Path) -> str:
    """Return a path relative to the run's folder where that is short, so that a folder moved as a whole still works."""
    try:
        relative = os.path.relpath(path, planner.run_folder)
    except ValueError:
        return str(path)
    return relative if Path(relative).parts.count("..") <= 4 else str(path)
