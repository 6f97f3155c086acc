"""What a run writes of itself for everybody: ``run.json``, ``metrics.csv``, and ``outcomes.jsonl`` of a large one."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow._version import __version__
from inmf_flow.corpus import Recording
from inmf_flow.files import atomic_write
from inmf_flow.pipeline.dictionaries import model_file, source_of
from inmf_flow.pipeline.documents import holds_lines, relative_path, write_lines
from inmf_flow.pipeline.ledger import Entry
from inmf_flow.pipeline.outcome import MOST_LISTED, Estimates, RunOutcome
from inmf_flow.pipeline.plan import Planner
from inmf_flow.pipeline.stages import StagePlan

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow

RUN_FORMAT = 1
OUTCOMES_FILE = "outcomes.jsonl"
_REPORTED_PACKAGES = ("torch", "numpy", "scipy", "zarr", "dask", "distributed", "soundfile", "soxr")


class Summary:
    """Writes the documents of a run from its plans, whose items' entries are read from the ledger as they are needed.

    Parameters
    ----------
    planner, outcome
        Of the run.

    Attributes
    ----------
    blocked
        Why no mixture could be separated, where that is so.
    """

    def __init__(self, planner: Planner, outcome: RunOutcome) -> None:
        self.blocked: str | None = None
        self._planner = planner
        self._outcome = outcome
        self._plans: Mapping[str, StagePlan] = {}
        self._fitted: Mapping[str, Entry] = {}
        self._written: tuple[str, ...] = ()
        outcome.is_large = self.is_large

    def know(self, plans: Mapping[str, StagePlan], fitted: Mapping[str, Entry], blocked: str | None = None) -> None:
        """Take note of the plans, with what has come of them so far, and of the sources' models."""
        self._plans, self._fitted = plans, fitted
        # The stages after change nothing about that.
        self.blocked = blocked or self.blocked

    @property
    def is_large(self) -> bool:
        """Whether there are so many mixtures that ``run.json`` does not list them."""
        return len(self._planner.mixtures) > MOST_LISTED

    @property
    def _outcomes(self) -> Path:
        return self._planner.run_folder / OUTCOMES_FILE

    def write(self, status: str) -> None:
        """Write ``run.json``: status, counts, timings, versions, configuration and what became of each item.

        Of a large run that is in ``outcomes.jsonl``, an object a line, which is written when the run ends.
        """
        planner, outcome = self._planner, self._outcome
        items: Any = OUTCOMES_FILE
        if not self.is_large:
            items = dict(self._items())
            self._outcomes.unlink(missing_ok=True)
        elif status != "running":
            # Twice if the report comes in between.
            current = tuple(plan.results.digest() for name, plan in self._plans.items() if name != "report")
            if current != self._written or not self._outcomes.is_file():
                write_lines(self._outcomes, self._lines())
                self._written = current
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
            "sources": {name: self._source(name) for name in islice(planner.dictionaries, MOST_LISTED)},
            "items": items,
            "failures": [{"stage": s, "item": i, "reason": r} for s, i, r in outcome.failures],
        }
        atomic_write(planner.run_folder / "run.json", json.dumps(document, indent=1))

    def is_written(self, status: str) -> bool:
        """Return whether ``run.json`` is there and says how the run of this configuration ended."""
        planner = self._planner
        try:
            document = json.loads((planner.run_folder / "run.json").read_bytes())
            if (document["status"], document["config_hash"]) != (status, planner.config_hash):
                return False
            items = document["items"]
            if self.is_large:
                return bool(items == OUTCOMES_FILE) and holds_lines(self._outcomes, self._lines())
            # What a manifest says may have changed where no result did.
            described = {recording.item: self._described(recording) for recording in planner.mixtures}
            known = {item: {key: items[item][key] for key in said} for item, said in described.items()}
            return bool(known == described)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def collect(self) -> None:
        """Let ``metrics.csv`` be the table of all scores, and give the outcome estimates and scores."""
        path = self._planner.run_folder / "metrics.csv"
        for name in ("metrics", "estimates"):
            # Of an earlier time, where a run goes on.
            vars(self._outcome).pop(name, None)
        if not self.is_large:
            rows = list(self._rows())
            self._outcome.read_metrics, self._outcome.read_estimates = (lambda: rows), self._estimates
            # As they are now, whatever becomes of the folder.
            assert self._outcome.metrics is rows
            assert self._outcome.estimates is not None
        else:
            self._outcome.read_metrics, self._outcome.read_estimates = self._metrics, self._estimates
        if next(self._rows(), None) is None:
            path.unlink(missing_ok=True)
            path.with_suffix(".parquet").unlink(missing_ok=True)
            return
        from inmf_flow.evaluate import metrics_csv_lines

        if not holds_lines(path, metrics_csv_lines(self._rows())):
            write_lines(path, metrics_csv_lines(self._rows()))
        self._write_parquet(path.with_suffix(".parquet"))

    def _write_parquet(self, path: Path) -> None:
        scored = self._planner.pipeline.evaluate
        if scored is None or scored.format != "parquet":
            path.unlink(missing_ok=True)
            return
        from inmf_flow.evaluate import metrics_parquet

        content = metrics_parquet(self._rows())
        if not path.is_file() or path.read_bytes() != content:
            atomic_write(path, content)

    def _metrics(self) -> list[MetricRow]:
        from inmf_flow.evaluate import read_metrics_csv

        path = self._planner.run_folder / "metrics.csv"
        return read_metrics_csv(path) if path.is_file() else []

    def _rows(self) -> Iterator[MetricRow]:
        plan = self._plans.get("evaluate")
        if plan is None or not plan.total or self.blocked is not None:
            return
        from inmf_flow.evaluate import MetricRow

        for entry in filter(None, plan.entries()):
            for source, metric, value, baseline, improvement, *further in entry.extra.get("rows", ()):
                numbers = float(value), float(baseline), float(improvement)
                yield MetricRow(entry.item, source, metric, *numbers, *further)

    def _estimates(self) -> Estimates:
        plan = self._plans.get("separate")
        if plan is None or self.blocked is not None:
            return {}
        found = {
            entry.item: {source: self._planner.run_folder / name for source, name in self._outputs(entry).items()}
            for entry in plan.entries()
            if entry is not None and entry.status == "done"
        }
        return dict(sorted(found.items()))

    def _lines(self) -> Iterator[str]:
        for item, described in self._items():
            yield json.dumps({"item": item, **described}) + "\n"

    def _items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each mixture with what became of it."""
        separated, scored = self._plans.get("separate"), self._plans.get("evaluate")
        entries = separated.entries() if separated is not None and self.blocked is None else None
        scores = self._scores(scored) if scored is not None and self.blocked is None else iter(())
        place, score = next(scores, (-1, None))
        for number, recording in enumerate(self._planner.mixtures):
            entry = next(entries, None) if entries is not None else None
            if self.blocked is not None:
                entry = Entry(recording.item, {}, "failed", self.blocked, transient=True)
            failed = entry if entry is not None and entry.status == "failed" else None
            if place == number:
                failed = failed or (score if score is not None and score.status == "failed" else None)
                place, score = next(scores, (-1, None))
            yield recording.item, self._item(recording, entry, failed)

    def _scores(self, plan: StagePlan) -> Iterator[tuple[int, Entry | None]]:
        for place, entry in enumerate(plan.entries()):
            yield plan.works.mixture(place), entry

    def _item(self, recording: Recording, entry: Entry | None, failed: Entry | None) -> dict[str, Any]:
        planner = self._planner
        references = planner.references(recording).items()
        return {
            **self._described(recording),
            "status": "failed" if failed is not None else entry.status if entry is not None else "missing",
            "reason": failed.reason if failed is not None else None,
            "outputs": self._outputs(entry) if entry is not None else {},
            "references": {source: relative_path(planner, path) for source, path in references},
            "duration": entry.extra.get("duration") if entry is not None else None,
            "sample_rate": entry.extra.get("sample_rate") if entry is not None else None,
        }

    def _described(self, recording: Recording) -> dict[str, Any]:
        """Return what is known of a mixture before anything is done to it."""
        limits = {"start": recording.start, "stop": recording.stop} if recording.is_segment else {}
        return {"mixture": relative_path(self._planner, recording.file), **limits, "metadata": recording.metadata}

    def _outputs(self, entry: Entry) -> dict[str, str]:
        """Return the estimates of an item, relative to the run's folder, in the order of the pipeline's sources.

        Those of components, SOURCE-1 and so on, follow one another by their number.
        """
        paths = {name.rpartition("/")[2].rpartition(".")[0]: name for name in entry.outputs}
        names = list(self._planner.pipeline.sources)
        if self._planner.pipeline.separate.outputs == "components":
            names = [f"{source}-{number + 1}" for source in names for number in range(len(paths))]
        return {name: paths[name] for name in names if name in paths}

    def _source(self, name: str) -> dict[str, Any]:
        entry = self._fitted.get(name)
        model = model_file(name)
        return {
            "model": model if entry is not None and model in entry.outputs else None,
            "files": [relative_path(self._planner, path) for path in self._files_of(name, entry)],
            "status": entry.status if entry is not None else "missing",
            "reason": entry.reason if entry is not None else None,
            "n_components": entry.extra.get("n_components") if entry is not None else None,
            "divergence_curve": entry.extra.get("divergence_curve", []) if entry is not None else [],
        }

    def _files_of(self, name: str, entry: Entry | None) -> list[Path | str]:
        """Return the files that a source's model was learned from, or the model that was given for it."""
        if entry is None or entry.status != "done":
            return []
        given = self._planner.pipeline.sources[source_of(name)].model
        if given is not None:
            return [self._planner.pipeline.resolve(given)]
        used = set(entry.extra["items"])
        # Several segments may be of one file.
        return list(dict.fromkeys(r.file for r in self._planner.training[name] if f"{name}/{r.item}" in used))


def _versions() -> dict[str, str]:
    found = {}
    for name in _REPORTED_PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
