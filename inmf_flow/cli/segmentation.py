"""``inmf segment``: what sounds when, and which components say so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def segment(
    settings: Annotated[Path, typer.Argument(metavar="SETTINGS.yaml", help="What to learn from and what to segment.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to.")],
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Draw nothing, and write no page.")] = False,
) -> None:
    """Label stretches of recordings by a linear probe on the activations of a dictionary."""
    from inmf_flow.segmentation import run_segmentation

    done = run_segmentation(settings, output, pictures=not no_pictures)
    page = None
    if not no_pictures:
        from inmf_flow.report.segmentation import write_segmentation_report

        page = write_segmentation_report(output)
    for item, segments in done.segments.items():
        scores = done.scores.get(item)
        right = f", {100 * scores.accuracy:.1f} % of {scores.frames} frames right" if scores and scores.frames else ""
        typer.echo(f"{item}: {len(segments)} segments{right}")
    if done.total is not None:
        each = ", ".join(f"{name} {value:.3f}" for name, value in done.total.f1.items())
        typer.echo(f"F1: {each}")
    if page is not None:
        typer.echo(f"report: {page}")
    for item, reason in done.failures.items():
        typer.echo(f"inmf: failed: {item}: {reason}", err=True)
    if done.failures:
        raise typer.Exit(1)
