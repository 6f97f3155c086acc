"""``inmf store``: look at and verify a points store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at and verify a points store.")

StorePath = Annotated[Path, typer.Argument(help="The store's folder, such as RUN_DIR/points.zarr.", metavar="PATH")]


@app.command()
def info(
    path: StorePath, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Print how much a store holds, from its records."""
    import json
    from dataclasses import asdict

    from inmf_flow.store import store_info

    facts = store_info(path)
    if as_json:
        typer.echo(json.dumps(asdict(facts), indent=2))
        return
    typer.echo(f"{path}: {facts.items} items in {facts.parts} parts, {facts.hours:.2f} hours of audio")
    typer.echo(f"{facts.points} points in {facts.blocks} blocks")
    size = f"{facts.bytes_on_disk / 1e6:.1f} MB in {facts.files} files"
    typer.echo(f"{size}, {facts.bytes_per_point:.2f} bytes a point")


@app.command()
def verify(path: StorePath) -> None:
    """Compare every byte of a store with its records; exit with 1 if anything differs."""
    from inmf_flow.store import verify_store

    problems = verify_store(path)
    for problem in problems:
        typer.echo(str(problem))
    if problems:
        parts = len({problem.part for problem in problems if problem.part})
        typer.echo(
            f"{path}: {len(problems)} problems, {parts} parts damaged. "
            f"Delete the records of damaged parts in {path / 'manifest'}: the next run makes them again."
        )
        raise typer.Exit(1)
    typer.echo(f"{path}: every file is as it was written")
