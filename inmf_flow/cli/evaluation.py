"""``inmf evaluate``: score any folder of estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MOST_NAMES = 5


def evaluate(
    estimates: Annotated[Path, typer.Option(metavar="DIR", help="Folder of ITEM/SOURCE.wav (or flac, ...).")],
    references: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the true ITEM/SOURCE files.")],
    mixtures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of ITEM.wav mixtures. [default: the references' sum]"),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; repeatable. [default: si_sdr, sdr, sir, sar, stoi]")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all scores and the summary here.")] = None,
) -> None:
    """Score separated audio against references, and against doing nothing."""
    from inmf_flow.cli.summary import print_metrics
    from inmf_flow.evaluate import evaluate_folders

    result = evaluate_folders(estimates, references, metric or ("si_sdr", "sdr", "sir", "sar", "stoi"), mixtures)
    print_metrics(result.rows)
    for item, reason in result.failures.items():
        typer.echo(f"inmf: failed: {item}: {reason}", err=True)
    if result.missing:
        names = ", ".join(result.missing[:_MOST_NAMES]) + ", ..." * (len(result.missing) > _MOST_NAMES)
        typer.echo(f"inmf: {len(result.missing)} items with references have no estimates: {names}", err=True)
    if json is not None:
        from inmf_flow.cli.summary import metrics_json
        from inmf_flow.files import atomic_write

        atomic_write(json, metrics_json(result.rows, result.failures, result.missing))
    if result.failures or result.missing:
        raise typer.Exit(1)
