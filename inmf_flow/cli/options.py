"""Options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from inmf_flow.separation import Mask

Models = Annotated[list[str], typer.Option(metavar="NAME=MODEL", help="A source and its model; repeatable.")]
Wiener = Annotated[float | None, typer.Option(help="Exponent of the mask: 1 shares magnitudes, 2 powers. [default: 1]")]
PaperMask = Annotated[bool, typer.Option("--paper-mask", help="The published mask, whose estimates do not add up.")]


def mask_of(wiener: float | None, paper: bool) -> Mask:
    """Return the mask that the options name; they exclude each other."""
    from inmf_flow.errors import ArgumentError
    from inmf_flow.separation import parse_mask

    if wiener is not None and paper:
        raise ArgumentError("--wiener and --paper-mask exclude each other")
    return parse_mask("paper" if paper else {"wiener": 1 if wiener is None else wiener})


def named_models(given: list[str]) -> dict[str, Path]:
    """Return the model file of each source from NAME=MODEL, every file and name checked."""
    from inmf_flow.errors import ArgumentError
    from inmf_flow.names import check_name

    models: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ArgumentError("not of the form NAME=MODEL", where="--model", got=repr(text))
        if name in models:
            raise ArgumentError(f"the source {name!r} is given twice", where="--model")
        models[check_name(name, "--model")] = as_path(path)
    return models
