"""What is printed at the end: results, scores, explanations. Plain lines, whole on a terminal and off it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from inmf_flow.remote import is_remote

if TYPE_CHECKING:
    from inmf_flow.evaluate import MetricRow
    from inmf_flow.pipeline import RunOutcome
    from inmf_flow.pipeline.estimate import Estimate
    from inmf_flow.pipeline.explain import Explanation

# More items than this are summed up; the files have them all.
_MOST_LINES = 40
# Failures of earlier runs that a plan lists.
_MOST_KNOWN = 10_000


def print_outcome(outcome: RunOutcome) -> None:
    """Print what a run made, how good it is, what failed, and where to look."""
    print_whether_new(outcome)
    _print_estimates(outcome)
    print_failures(outcome)
    if outcome.report:
        typer.echo(f"report: {shown(outcome.report)}")
    done = ", ".join(f"{name} {stage.done}" for name, stage in outcome.stages.items() if stage.done)
    if not outcome.did_nothing:
        failed = f"; {len(outcome.failures)} failed" if outcome.failures else ""
        typer.echo(f"done in {outcome.seconds:.1f} s: {done}{failed}")


def print_whether_new(outcome: RunOutcome) -> None:
    """Print that a run found everything done, if it did."""
    if outcome.did_nothing:
        items = sum(stage.reused for stage in outcome.stages.values())
        if outcome.failures:
            typer.echo(f"nothing new: {items} results are up to date, {len(outcome.failures)} failed")
        else:
            typer.echo(f"nothing to do: all {items} results are up to date")


def print_failures(outcome: RunOutcome) -> None:
    """Print the remarks of a run, and the first of its failures."""
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    for stage, item, reason in outcome.failures[:_MOST_LINES]:
        typer.echo(f"failed: {stage} {item}: {reason}")
    if len(outcome.failures) > _MOST_LINES:
        typer.echo(
            f"failed: ... and {len(outcome.failures) - _MOST_LINES} more, all in "
            f"{shown(outcome.folder / ('comparison.json' if outcome.variants else 'run.json'))}"
        )


def _print_estimates(outcome: RunOutcome) -> None:
    if outcome.is_large:
        # Nobody reads a million lines, and the files have them.
        typer.echo(f"separated: see {shown(outcome.folder / 'outcomes.jsonl')}")
        return
    scores = {(row.item, row.source): row for row in outcome.metrics if row.metric == "si_sdr" and not row.oracle}
    lines = [
        (f"separated: {shown(path)}", scores.get((item, source)))
        for item, sources in outcome.estimates.items()
        for source, path in sources.items()
    ]
    width = max((len(text) for text, _ in lines[:_MOST_LINES]), default=0)
    for text, row in lines[:_MOST_LINES]:
        typer.echo(f"{text:<{width}}  {_score(row)}".rstrip())
    if len(lines) > _MOST_LINES:
        folder = shown(outcome.folder / "separated")
        typer.echo(f"separated: ... and {len(lines) - _MOST_LINES} more in {folder}")
    known = [row for row in scores.values() if math.isfinite(row.value) and math.isfinite(row.improvement)]
    if known:
        mean = sum(row.value for row in known) / len(known)
        gain = sum(row.improvement for row in known) / len(known)
        sure = ""
        if len({row.item for row in known}) > 1:
            from inmf_flow.evaluate import group_numbers, mean_interval

            low, high = mean_interval([row.improvement for row in known], group_numbers(row.item for row in known))
            sure = f", 95% interval {low:+.2f} to {high:+.2f} dB"
        typer.echo(f"mean SI-SDR: {mean:.2f} dB, {gain:+.2f} dB over doing nothing ({len(known)} estimates{sure})")


def _score(row: MetricRow | None) -> str:
    if row is None:
        return ""
    value, nothing, gain = (round(number, 2) + 0.0 for number in (row.value, row.baseline, row.improvement))
    # Adding 0.0 turns -0.0 into 0.0.
    return f"SI-SDR {value:6.2f} dB, doing nothing {nothing:6.2f} dB, gain {gain:+.2f} dB"


def print_explanation(explanation: Explanation, why: bool) -> None:
    """Print what a run would do and, if asked, why."""
    if not explanation.todo:
        typer.echo(f"nothing to do in {shown(explanation.folder)}")
    for stage, item, reason in explanation.failures[:_MOST_KNOWN]:
        typer.echo(f"failed before: {stage} {item}: {reason}. It is tried again when what it depends on changes")
    if len(explanation.failures) > _MOST_KNOWN:
        typer.echo(f"failed before: ... and {len(explanation.failures) - _MOST_KNOWN} more")
    for name, plan in explanation.stages.items():
        typer.echo(f"{name}: {len(plan.todo)} of {plan.total} to do")
        if why:
            for work in plan.todo:
                typer.echo(f"  {work.item}: {work.why}")


def print_estimate(estimate: Estimate, workers: int) -> None:
    """Print what a run will cost on so many workers."""
    for name, cost in estimate.stages.items():
        if not cost.hours:
            continue
        tasks = "1 task" if cost.tasks == 1 else f"{cost.tasks} tasks"
        points = f", {_counted(cost.points)} points" if cost.points else ""
        typer.echo(
            f"{name}: {_lasting(cost.hours * 3600)} of audio in {tasks}{points}, about {_lasting(cost.seconds)} of one "
            f"core, {_sized(cost.worker_bytes)} a worker"
        )
    if estimate.store_bytes:
        typer.echo(f"points store: about {_sized(estimate.store_bytes)} in {estimate.store_files} files")
    for sentence in estimate.unknown:
        typer.echo(f"note: {sentence}")
    seconds = estimate.seconds(workers)
    if seconds:
        workers_text = "1 worker" if workers == 1 else f"{workers} workers"
        typer.echo(f"in all about {_lasting(seconds)} on {workers_text}, by a trial of a few seconds of audio")


def _lasting(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _sized(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"


def _counted(number: float) -> str:
    for unit in ("", " thousand", " million", " billion"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} trillion"


def print_metrics(rows: Sequence[MetricRow]) -> None:
    """Print a table of means and medians for each source and metric, and the gain over doing nothing."""
    from inmf_flow.evaluate import summarize, summarize_oracles

    header = ("source", "metric", "items", "mean", "95% interval", "median", "q25", "q75", "mean gain", "95% interval")
    table: list[tuple[str, ...]] = [header]
    for entry in [*summarize(rows), *summarize_oracles(rows)]:
        mean, median, q25, q75, gain = (
            _number(entry[key]) for key in ("mean", "median", "q25", "q75", "mean_improvement")
        )
        of_mean, of_gain = (
            f"{_number(entry[f'{name}_low'])} to {_number(entry[f'{name}_high'])}" if entry["items"] > 1 else "-"
            for name in ("mean", "improvement")
        )
        bound = f" (upper bound: {entry['oracle']})" if "oracle" in entry else ""
        names = (str(entry["source"]) + bound, str(entry["metric"]), str(entry["n"]))
        table.append((*names, mean, of_mean, median, q25, q75, gain, "-" if gain == "-" else of_gain))
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    for row in table:
        cells = [
            f"{cell:<{w}}" if i < 2 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def metrics_json(rows: Sequence[MetricRow], failures: Mapping[str, str], missing: Sequence[str]) -> str:
    """Return scores, summary, failures and unscored items as a JSON document; what is not finite becomes null."""
    import json
    from dataclasses import asdict

    from inmf_flow.evaluate import summarize, summarize_oracles

    def clean(value: object) -> object:
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    document = {
        "rows": [asdict(row) for row in rows],
        "summary": [*summarize(rows), *summarize_oracles(rows)],
        "failures": dict(failures),
        "missing": list(missing),
    }
    return json.dumps(clean(document), indent=1)


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) and math.isfinite(value) else "-"


def shown(path: Path) -> str:
    """Return a path as short as it can be said from the working directory."""
    if is_remote(path):
        return str(path)
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
