"""What is printed of a pipeline with variants: what would be done, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from inmf_flow.cli.summary import print_explanation, print_failures, print_whether_new, shown

if TYPE_CHECKING:
    from inmf_flow.pipeline import Comparison, RunOutcome


def print_comparison_plan(comparison: Comparison, why: bool) -> None:
    """Print what the runs of all variants would do and, if asked, why."""
    if not comparison.todo:
        typer.echo(f"nothing to do in {shown(comparison.folder)}")
        return
    for name, explained in comparison.explained.items():
        typer.echo(f"[{name}]")
        print_explanation(explained, why)
    typer.echo(
        f"{comparison.todo} results of {len(comparison.explained)} variants to do; models that variants have in common "
        f"are fitted once: {comparison.fits} fits"
    )


def print_comparison(outcome: RunOutcome) -> None:
    """Print the table of a comparison, what failed, and where to look."""
    print_whether_new(outcome)
    table = outcome.folder / "comparison.md"
    if table.is_file():
        for line in table.read_text(encoding="utf-8").splitlines()[1:]:
            typer.echo(line)
        typer.echo("")
    print_failures(outcome)
    for path in (outcome.folder / "comparison.csv", outcome.report):
        if path is not None:
            typer.echo(f"{'table' if path.suffix == '.csv' else 'report'}: {shown(path)}")
    if not outcome.did_nothing:
        done = ", ".join(f"{name} {stage.done}" for name, stage in outcome.stages.items() if stage.done)
        failed = f"; {len(outcome.failures)} failed" if outcome.failures else ""
        typer.echo(f"{len(outcome.variants)} variants done in {outcome.seconds:.1f} s: {done}{failed}")
