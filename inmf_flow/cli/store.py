"""``inmf store``: look at, verify and repair a points store."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from inmf_flow.remote import as_path, is_remote

app = typer.Typer(no_args_is_help=True, help="Look at, verify and repair a points store.")

StorePath = Annotated[Path, typer.Argument(help="The store's folder, such as RUN_DIR/points.zarr.", metavar="PATH")]


@app.command()
def info(
    path: StorePath, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
    """Print how much a store holds, from its records."""
    import json
    from dataclasses import asdict

    from inmf_flow.store import store_info

    path = as_path(path)
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

    path = as_path(path)
    problems = verify_store(path)
    for problem in problems:
        typer.echo(str(problem))
    if problems:
        parts = len({problem.part for problem in problems if problem.part})
        typer.echo(
            f"{path}: {len(problems)} problems, {parts} parts damaged. "
            f"`inmf store repair {path}` removes what is damaged: the next run makes them again."
        )
        raise typer.Exit(1)
    typer.echo(f"{path}: every file is as it was written")


@app.command()
def repair(
    path: StorePath,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
) -> None:
    """Remove what is damaged, so that the next run makes it again, and what killed writers left.

    Exits with 1 if something is left to do.
    """
    from inmf_flow.pipeline.prepare import sole_driver
    from inmf_flow.store import repair_store

    path = as_path(path)
    run_folder = path.absolute().parent
    # On an object store the lock is gone when its run has ended.
    in_run = (run_folder / "ledger").is_dir() if is_remote(path) else (run_folder / "ledger" / "driver.lock").exists()
    with sole_driver(run_folder) if in_run and not dry_run else nullcontext():
        found = repair_store(path, dry_run=dry_run)
    if found.found_nothing:
        typer.echo(f"{path}: every file is as it was written")
        return
    would = "would be " if dry_run else ""
    for part in found.lost:
        for reason in part.reasons:
            typer.echo(reason)
        held = f"lost with it: {', '.join(part.items)}" if part.items else "no item is known to be lost with it"
        typer.echo(f"part {part.part}: {would}removed; {held}")
    for name in found.removed:
        typer.echo(f"{name}: {would}removed, no record names it")
    for name in found.rebuilt:
        typer.echo(f"{name}: {would}written anew")
    for problem in found.left:
        typer.echo(f"left as it is: {problem}")
    if found.lost:
        remedy = (
            f"The next `inmf run` into {run_folder} makes their items again, and nothing else of the store."
            if in_run
            else "What wrote them has to write their items again."
        )
        typer.echo(f"{path}: {len(found.lost)} parts with {len(found.items)} items {would}removed. {remedy}")
    if dry_run or found.left:
        raise typer.Exit(1)
