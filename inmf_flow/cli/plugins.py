"""``inmf plugins``: what is installed, whether it works, and a new one to begin with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="List and diagnose plugins, and write new ones.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def plugins(context: typer.Context) -> None:
    """List and diagnose plugins, and write new ones."""
    if context.invoked_subcommand is None:
        list_plugins()


@app.command("list")
def list_plugins() -> None:
    """Show every plugin, working or not, with what it provides."""
    from inmf_flow.plugins import plugin_records

    rows = []
    for record in plugin_records():
        provides = [f"{kind} {name}" for kind, names in record.provides.items() for name in names]
        rows.append(
            (
                record.name,
                record.distribution or "(this process)",
                record.version or "",
                record.status,
                ", ".join([*provides, *record.hooks]),
                "; ".join(record.problems),
            )
        )
    _show(("plugin", "distribution", "version", "status", "provides", "problems"), rows)


@app.command("doctor")
def diagnose(
    time_limit: Annotated[float, typer.Option(min=0.1, help="Seconds that one step of one plugin may take.")] = 60.0,
) -> None:
    """Load every plugin and try each transform on a short noise; exit with 1 if something is wrong."""
    from inmf_flow.plugins import doctor

    diagnoses = doctor(time_limit)
    rows = [
        ("ok" if found.ok else "WRONG", found.plugin, found.subject, found.check, found.message) for found in diagnoses
    ]
    _show(("verdict", "plugin", "transform", "check", "finding"), rows)
    wrong = sum(not found.ok for found in diagnoses)
    if wrong:
        typer.echo(f"{wrong} of {len(diagnoses)} checks failed.")
        raise typer.Exit(1)
    typer.echo(f"All {len(diagnoses)} checks passed.")


@app.command("new")
def write_new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, such as my-transform.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Write DIR/NAME.")] = Path(),
    author: Annotated[
        str | None, typer.Option(help="Who holds the copyright. [default: The NAME developers]", show_default=False)
    ] = None,
) -> None:
    """Write a plugin to begin with: a distribution with a working transform, its tests and a pipeline."""
    from shlex import quote

    from inmf_flow.plugins import new_plugin

    new = new_plugin(name, output, author)
    typer.echo(f"{new.folder}: {len(new.files)} files, with the transform {new.transform}. Next:")
    typer.echo(f"  pip install -e {quote(f'{new.folder}[test]')}")
    typer.echo(f"  python -m pytest {quote(str(new.folder))}")
    typer.echo("  inmf plugins doctor")
    typer.echo(f"Then change {new.folder / new.package / 'transform.py'}.")


def _show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*header)
        for row in rows:
            # As text, since square brackets in a message are no markup.
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    for line in [header, *rows]:
        # A tab as well as padding: aligned for the eye, and cut -f takes it apart.
        typer.echo("\t".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
