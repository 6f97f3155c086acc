"""``inmf evaluate``: score any folder of estimates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inmf_flow.evaluate import Mixture, OracleFunction

_MOST_NAMES = 5


def evaluate(
    estimates: Annotated[Path, typer.Option(metavar="DIR", help="Folder of ITEM/SOURCE.wav (or flac, ...).")],
    references: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the true ITEM/SOURCE files.")],
    mixtures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of ITEM.wav mixtures, or a manifest of them. [default: the references' sum]"
        ),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; repeatable. [default: si_sdr, sdr, sir, sar, stoi]")
    ] = None,
    permute: Annotated[
        bool, typer.Option("--permute", help="Pair estimates with references by the first metric, not by name.")
    ] = False,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Score windows of this length; an item's score is their median. [default: items over 10 minutes: 30]",
        ),
    ] = None,
    oracle: Annotated[
        list[str] | None, typer.Option(help="An upper bound to score as well: ratio, power or binary; repeatable.")
    ] = None,
    transform: Annotated[
        str, typer.Option(metavar="SPEC", help="The transform of upper bounds, such as stft:n_fft=2048.")
    ] = "stft",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all scores here: .csv or .parquet (needs pyarrow).")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all scores and the summary here.")] = None,
) -> None:
    """Score separated audio against references, and against doing nothing."""
    from inmf_flow.cli.summary import print_metrics
    from inmf_flow.corpus import is_manifest
    from inmf_flow.evaluate import check_metrics_path, evaluate_folders, write_metrics

    estimates, references = as_path(estimates), as_path(references)
    mixtures = as_path(mixtures) if mixtures is not None else None
    metrics = metric or ("si_sdr", "sdr", "sir", "sar", "stoi")
    listed = _listed(mixtures) if mixtures is not None and is_manifest(mixtures) else mixtures
    if out is not None:
        check_metrics_path(out)
    result = evaluate_folders(
        estimates,
        references,
        metrics,
        listed,
        permute=permute,
        window=window,
        oracles=_oracles(oracle or (), transform),
    )
    print_metrics(result.rows)
    for item, note in result.notes.items():
        typer.echo(f"inmf: {item}: {note}", err=True)
    if out is not None:
        write_metrics(out, result.rows)
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


def _oracles(masks: Sequence[str], spec: str) -> dict[str, OracleFunction]:
    """Return what makes the upper bounds of these names."""
    if not masks:
        return {}
    from functools import partial

    from inmf_flow.errors import ArgumentError
    from inmf_flow.separation import ORACLE_MASKS, oracle_estimates
    from inmf_flow.transform import get_transform

    for mask in masks:
        if mask not in ORACLE_MASKS:
            raise ArgumentError("no such upper bound", where="--oracle", got=mask, expected=", ".join(ORACLE_MASKS))
    transform = get_transform(spec)
    return {mask: partial(oracle_estimates, transform=transform, mask=mask) for mask in masks}


def _listed(manifest: Path) -> dict[str, Mixture]:
    """Return the mixtures of a manifest; a segment has part of its recording's references."""
    from inmf_flow.corpus import find_recordings, whole_name
    from inmf_flow.evaluate import Mixture

    return {
        recording.item: Mixture(recording.path, recording.start, recording.stop, whole_name(recording))
        for recording in find_recordings([manifest], "--mixtures")
    }
