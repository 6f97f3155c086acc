"""The command line: thin functions over the Python API, one clear message for every error."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from inmf_flow._version import __version__
from inmf_flow.cli import evaluation, modelling, pipelines, plugins, segmentation, store, stream
from inmf_flow.cli.interrupts import interrupts_kept

__all__ = ["app", "main"]

app = typer.Typer(
    name="inmf",
    help="Decompose and separate audio with implicit-neural NMF over any time-frequency representation.",
    no_args_is_help=True,
    add_completion=False,
    # Plain text: off a terminal nothing may be wrapped, coloured or cut.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command("run")(pipelines.run)
app.command("validate")(pipelines.validate)
app.command("schema")(pipelines.schema)
app.command("fit")(modelling.fit)
app.command("separate")(modelling.separate)
app.command("stream")(stream.stream)
app.command("evaluate")(evaluation.evaluate)
app.command("segment")(segmentation.segment)
app.command("report")(pipelines.report)
app.add_typer(store.app, name="store")
app.add_typer(plugins.app, name="plugins")

_debug = False
# What shells give for a program that Ctrl-C ended.
_INTERRUPTED = 130


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"inmf_flow {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Decompose and separate audio with implicit-neural NMF over any time-frequency representation."""
    global _debug
    _debug = debug


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 all done, 1 an item failed, 2 the command, a YAML or a model file is wrong."""
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    from inmf_flow.errors import AudioError, InmfError

    for written in (sys.stdout, sys.stderr):
        if isinstance(written, io.TextIOWrapper):
            # Names of files need not be text that the terminal can show.
            written.reconfigure(errors="backslashreplace")
    try:
        with interrupts_kept():
            result = app(arguments, prog_name="inmf", standalone_mode=False)
        if result == _INTERRUPTED:
            # Typer has swallowed the KeyboardInterrupt.
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except InmfError as error:
        if _debug:
            raise
        print(f"inmf: {error}", file=sys.stderr)
        return 1 if isinstance(error, AudioError) else 2
    except (KeyboardInterrupt, typer.Abort):
        if _debug:
            raise
        print(
            "inmf: interrupted; what was finished is kept, run the same command again to go on",
            file=sys.stderr,
        )
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; there is nobody left to tell.
        sys.stderr.close()
        return 1
    except Exception as error:
        show = getattr(error, "show", None)
        if show is not None:
            # A usage error of the command line parser: unknown option, missing argument.
            show(file=sys.stderr)
            return 2
        if _debug or not isinstance(error, OSError):
            raise
        print(f"inmf: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        return 2
