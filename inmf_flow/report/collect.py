"""What a run's folder says, as plain data.

A run may have been stopped half-way and its folder may have been edited: whatever is missing or malformed becomes a
note for the reader of the page. Only a folder that is no run at all is an error.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import ConfigError
from inmf_flow.remote import RemotePath, as_path, join_path

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

RUN_FORMAT = 1
NO_REASON = "no reason was recorded"
STAGES = ("analyze", "fit", "separate", "evaluate", "report")
#: Items, and failures, that a page has at most; files in the folder have all of a larger run.
MOST_LISTED = 10_000


@dataclass(frozen=True)
class Stage:
    """How many pieces of work one stage did, and in how many seconds (None where it was not timed)."""

    name: str
    done: int
    reused: int
    failed: int
    seconds: float | None


@dataclass(frozen=True)
class Source:
    """One source's dictionary: its model file, what it was learned from and how its divergence fell."""

    name: str
    status: str
    reason: str | None
    model: Path | None
    files: tuple[str, ...]
    n_components: int | None
    divergence_curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Item:
    """One mixture with its separated sources and, where they were given, its references."""

    name: str
    status: str
    reason: str | None
    mixture: Path | None
    outputs: Mapping[str, Path]
    references: Mapping[str, Path]
    duration: float | None
    sample_rate: int | None
    start: float | None = None
    stop: float | None = None

    @property
    def failed(self) -> bool:
        """Whether the run recorded a failure for this item."""
        return self.status == "failed"

    @property
    def source_names(self) -> list[str]:
        """The sources that this item has an estimate or a reference of, estimates first."""
        return list(dict.fromkeys([*self.outputs, *self.references]))


@dataclass(frozen=True)
class Failure:
    """Something that the run could not do: at which stage, of which item or source, and why."""

    stage: str
    name: str
    reason: str


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes
    ----------
    written
        When ``run.json`` was last written, in UTC.
    total_seconds
        Wall-clock time of the run, or None.
    items
        The first of the mixtures, at most `MOST_LISTED`.
    rows
        The rows of ``metrics.csv``, in the file's order; of a larger run those of its first items.
    summary
        Of all rows, as `inmf_flow.evaluate.summarize` gives it.
    bounds
        Of upper bounds, as `inmf_flow.evaluate.summarize_oracles` gives it.
    failures
        What failed, from the first stage to the last, at most `MOST_LISTED`.
    n_items, n_done, n_failed, n_failures
        The numbers of all items, of those done and those failed, and of all failures.
    outcomes
        The name of the file that lists all items of a larger run.
    notes
        What the run remarked, and what was missing or could not be understood: sentences for the page.
    """

    folder: Path
    name: str
    status: str
    written: datetime
    config_hash: str
    versions: Mapping[str, str]
    pipeline: Mapping[str, Any]
    stages: tuple[Stage, ...]
    total_seconds: float | None
    sources: tuple[Source, ...]
    items: tuple[Item, ...]
    rows: tuple[MetricRow, ...]
    failures: tuple[Failure, ...] = ()
    notes: list[str] = field(default_factory=list)
    summary: Sequence[Mapping[str, Any]] = ()
    bounds: Sequence[Mapping[str, Any]] = ()
    n_items: int = 0
    n_done: int = 0
    n_failed: int = 0
    n_failures: int = 0
    outcomes: str | None = None

    @property
    def numbers_components(self) -> bool:
        """Whether estimates are of components, so that a component's number is part of a file's name."""
        separate = self.pipeline.get("separate")
        return isinstance(separate, Mapping) and separate.get("outputs") == "components"

    def rows_of(self) -> dict[str, list[MetricRow]]:
        """Return the metric rows of each item."""
        table: dict[str, list[MetricRow]] = {}
        for row in self.rows:
            table.setdefault(row.item, []).append(row)
        return table


def read_run(run_dir: Path | str) -> Run:
    """Read a run's folder.

    Raises
    ------
    ConfigError
        The folder holds no ``run.json``, or one that is not a run's.
    """
    folder = as_path(run_dir)
    path = folder / "run.json"
    record = _read_record(folder, path)
    notes = [str(note) for note in _list(record.get("notes"))]
    timings = _mapping(record, "timings", notes)
    pipeline = _mapping(record, "pipeline", notes)
    sources = tuple(_source(folder, *pair, notes) for pair in _records(record, "sources", notes))
    outcomes = record.get("items")
    listed = _listed(folder, outcomes, notes) if isinstance(outcomes, str) else _records(record, "items", notes)
    items: list[Item] = []
    states = Counter[str]()
    for name, described in listed:
        states[_text(described.get("status")) or "unknown"] += 1
        if len(items) < MOST_LISTED:
            items.append(_item(folder, name, described, notes))
    names = None if states.total() == len(items) else {item.name for item in items}
    rows, summary, bounds = _metric_rows(folder / "metrics.csv", pipeline, names, notes)
    failures = _failures(record.get("failures"), sources, items)
    listed_failures = tuple(islice(failures, MOST_LISTED))
    return Run(
        folder=folder,
        name=_text(record.get("name")) or folder.resolve().name,
        status=_text(record.get("status")) or "unknown",
        written=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        config_hash=_text(record.get("config_hash")) or "",
        versions={name: str(value) for name, value in _mapping(record, "versions", notes).items()},
        pipeline=pipeline,
        stages=_stages(_mapping(record, "counts", notes), timings),
        total_seconds=_number(timings.get("total")),
        sources=sources,
        items=tuple(items),
        rows=rows,
        failures=listed_failures,
        notes=notes,
        summary=summary,
        bounds=bounds,
        n_items=states.total(),
        n_done=states["done"],
        n_failed=states["failed"],
        n_failures=len(listed_failures) + sum(1 for _ in failures),
        outcomes=outcomes if isinstance(outcomes, str) else None,
    )


def _listed(folder: Path, name: str, notes: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the items of a large run from the file that lists them, an object a line."""
    path = _path_inside(folder, name, "the list of items", notes)
    if path is None:
        return
    try:
        with path.open("rb") as stream:
            for line in stream:
                item = json.loads(line)
                if isinstance(item, dict) and isinstance(item.get("item"), str):
                    yield item["item"], item
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"{name} cannot be read to its end: {error}")


def _read_record(folder: Path, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            "no run.json: this is not the folder of a run",
            where=folder,
            expected="the folder that `inmf run PIPELINE.yaml --output DIR` wrote",
        ) from None
    except OSError as error:
        raise ConfigError("run.json cannot be read", where=path, got=error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            "run.json is not valid JSON", where=path, got=error, hint="Run the pipeline again to write it anew."
        ) from None
    if not isinstance(record, dict):
        raise ConfigError(
            "run.json does not describe a run", where=path, got=type(record).__name__, expected="a mapping"
        )
    if record.get("format", RUN_FORMAT) != RUN_FORMAT:
        raise ConfigError(
            "run.json has a format that this version does not read",
            where=path,
            got=repr(record["format"]),
            expected=RUN_FORMAT,
            hint="Make the report with the version of inmf_flow that made the run.",
        )
    return record


def _stages(counts: Mapping[str, Any], timings: Mapping[str, Any]) -> tuple[Stage, ...]:
    known = [name for name in STAGES if name in counts or name in timings]
    others = [name for name in {**counts, **timings} if name not in STAGES and name != "total"]
    stages = []
    for name in known + others:
        count = counts.get(name)
        if not isinstance(count, Mapping):
            count = {}
        done, reused, failed = (int(_number(count.get(key)) or 0) for key in ("done", "reused", "failed"))
        stages.append(Stage(name, done, reused, failed, _number(timings.get(name))))
    return tuple(stages)


def _source(folder: Path, name: str, record: Mapping[str, Any], notes: list[str]) -> Source:
    components = _number(record.get("n_components"))
    return Source(
        name=name,
        status=_text(record.get("status")) or "unknown",
        reason=_text(record.get("reason")),
        model=_path_inside(folder, record.get("model"), f"the model of {name}", notes),
        files=tuple(str(file) for file in _list(record.get("files"))),
        n_components=None if components is None else int(components),
        divergence_curve=_curve(record.get("divergence_curve")),
    )


def _item(folder: Path, name: str, record: Mapping[str, Any], notes: list[str]) -> Item:
    rate = _number(record.get("sample_rate"))
    return Item(
        name=name,
        status=_text(record.get("status")) or "unknown",
        reason=_text(record.get("reason")),
        mixture=_path(folder, record.get("mixture")),
        outputs=_outputs(folder, record.get("outputs"), name, notes),
        references=_paths(folder, record.get("references")),
        duration=_number(record.get("duration")),
        sample_rate=None if rate is None else int(rate),
        start=_number(record.get("start")),
        stop=_number(record.get("stop")),
    )


def _failures(recorded: object, sources: Sequence[Source], items: Sequence[Item]) -> Iterator[Failure]:
    known = set()
    for entry in _list(recorded):
        if isinstance(entry, dict):
            name = _text(entry.get("item")) or "–"
            known.add(name)
            yield Failure(_text(entry.get("stage")) or "–", name, _text(entry.get("reason")) or NO_REASON)
    for stage, outcomes in (("fit", sources), ("separate", items)):
        for outcome in outcomes:
            if outcome.status == "failed" and outcome.name not in known:
                yield Failure(stage, outcome.name, outcome.reason or NO_REASON)


def _metric_rows(
    path: Path, pipeline: Mapping[str, Any], names: set[str] | None, notes: list[str]
) -> tuple[tuple[MetricRow, ...], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of these items, or of all, the summary of all, and that of upper bounds."""
    from inmf_flow.evaluate import iterate_metrics_csv, summarize, summarize_oracles

    if not path.exists() and "evaluate" in pipeline and pipeline["evaluate"] is None:
        return (), [], []
    if not path.exists():
        notes.append("There is no metrics.csv: nothing was evaluated, or the run stopped before that.")
        return (), [], []
    kept = []
    has_bounds = False

    def rows() -> Iterator[MetricRow]:
        nonlocal has_bounds
        for row in iterate_metrics_csv(path):
            has_bounds = has_bounds or bool(row.oracle)
            if names is None or row.item in names:
                kept.append(row)
            yield row

    try:
        summary = summarize(rows())
        bounds = summarize_oracles(iterate_metrics_csv(path)) if has_bounds else []
    except Exception as error:  # Whatever is wrong with the table, the rest of the page is still worth having.
        notes.append(f"metrics.csv cannot be read: {error}")
        return (), [], []
    return tuple(kept), summary, bounds


def _mapping(record: Mapping[str, Any], key: str, notes: list[str]) -> Mapping[str, Any]:
    value = record.get(key)
    if value is None:
        notes.append(f"run.json says nothing about {key}.")
        return {}
    if not isinstance(value, dict):
        notes.append(f"run.json: {key} is not a mapping but a {type(value).__name__}; left out.")
        return {}
    return value


def _records(record: Mapping[str, Any], key: str, notes: list[str]) -> list[tuple[str, Mapping[str, Any]]]:
    pairs: list[tuple[str, Mapping[str, Any]]] = []
    for name, value in _mapping(record, key, notes).items():
        if isinstance(value, dict):
            pairs.append((name, value))
        else:
            notes.append(f"run.json: {key}: {name} is not a mapping; left out.")
    return pairs


def _curve(value: object) -> tuple[tuple[float, float], ...]:
    points = []
    for pair in _list(value):
        if isinstance(pair, list) and len(pair) == 2:
            x, y = _number(pair[0]), _number(pair[1])
            if x is not None and y is not None:
                points.append((x, y))
    return tuple(points)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _path(folder: Path, value: object) -> Path | None:
    # Path's / leaves an absolute right side as it is.
    return join_path(folder, value) if isinstance(value, str) and value and "\0" not in value else None


def _path_inside(folder: Path, value: object, what: str, notes: list[str]) -> Path | None:
    """Return the path of something that the run wrote; whoever edits run.json cannot have other files shown."""
    path = _path(folder, value)
    if isinstance(folder, RemotePath) or isinstance(path, RemotePath):
        inside = path is None or path.is_relative_to(folder)
    else:
        inside = path is None or Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    if inside:
        return path
    notes.append(f"run.json: {what} is said to be {value}, outside the run's folder; left out.")
    return None


def _outputs(folder: Path, value: object, item: str, notes: list[str]) -> dict[str, Path]:
    given = value if isinstance(value, dict) else {}
    paths = {}
    for name, text in given.items():
        path = _path_inside(folder, text, f"the estimate of {name} in {item}", notes)
        if path is not None:
            paths[name] = path
    return paths


def _paths(folder: Path, value: object) -> dict[str, Path]:
    if not isinstance(value, dict):
        return {}
    return {name: path for name, text in value.items() if (path := _path(folder, text)) is not None}
