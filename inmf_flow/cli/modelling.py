"""``inmf fit`` and ``inmf separate``: single steps, without a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TRANSFORM_HELP = "A transform with its options, such as stft:n_fft=2048,hop_length=512"


def fit(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Recordings (or folders) of one source.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="The model file to write.")],
    components: Annotated[int, typer.Option(min=1, max=4096, help="Number of spectral templates.")] = 20,
    transform: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help=f"{_TRANSFORM_HELP}; repeatable. [default: stft]")
    ] = None,
    field: Annotated[str, typer.Option(metavar="SPEC", help="hat, network or matrix, with options.")] = "hat",
    beta_loss: Annotated[str, typer.Option(help="The divergence: a name, or beta.")] = "kullback-leibler",
    power: Annotated[float, typer.Option(help="Exponent put on magnitudes.")] = 0.5,
    max_iter: Annotated[int | None, typer.Option(min=1, help="Most iterations.")] = None,
    random_state: Annotated[int, typer.Option(min=0, help="Seed of the start.")] = 0,
    sample_rate: Annotated[
        int | None,
        typer.Option(min=100, metavar="HERTZ", help="Resample to this rate first. [default: each file's]"),
    ] = None,
) -> None:
    """Learn one source's dictionary from recordings and write it to a model file."""
    from inmf_flow.corpus import find_files
    from inmf_flow.errors import ArgumentError, AudioError
    from inmf_flow.transform import get_transform

    specs = transform or ["stft"]
    transforms = [get_transform(spec) for spec in specs]
    paths = find_files(audio, "AUDIO")
    if output.is_dir():
        raise ArgumentError("the model file is a folder", where=output, expected="a path such as voice.safetensors")
    from inmf_flow.factorize import INMF
    from inmf_flow.points import PointSet
    from inmf_flow.separate import analyze_file

    model = INMF(
        components,
        field=field,
        beta_loss=beta_loss,
        power=power,
        max_iter=max_iter,
        random_state=random_state,
    )
    sets, used, failures = [], [], 0
    for path in paths:
        try:
            sets.append(analyze_file(path, transforms, sample_rate))
            used.append(path.name)
        except AudioError as error:
            failures += 1
            typer.echo(f"inmf: left out: {error}", err=True)
    if not sets:
        raise AudioError("none of the files could be used", where="AUDIO", got=f"{len(paths)} files")
    model.fit(PointSet.end_to_end(sets))
    model.provenance = {"files": used, "transforms": specs, "sample_rate": sample_rate}
    model.save(output)
    first, last = model.divergence_curve_[0][1], model.divergence_curve_[-1][1]
    typer.echo(
        f"{output}: {components} templates up to {model.max_frequency_:.0f} Hz from {len(used)} files, "
        f"divergence {first:.4g} -> {last:.4g} in {model.n_iter_} iterations"
    )
    if failures:
        raise typer.Exit(1)


def separate(
    mixtures: Annotated[list[Path], typer.Argument(metavar="MIX...", help="Mixtures (or folders of them).")],
    model: Annotated[list[str], typer.Option(metavar="NAME=MODEL", help="A source and its model; repeatable.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to.")],
    transform: Annotated[str, typer.Option(metavar="SPEC", help=f"{_TRANSFORM_HELP}; it must be invertible.")] = "stft",
    wiener: Annotated[
        float | None, typer.Option(help="Exponent of the mask: 1 shares magnitudes, 2 powers. [default: 1]")
    ] = None,
    paper_mask: Annotated[
        bool, typer.Option("--paper-mask", help="The published mask, whose estimates do not add up.")
    ] = False,
    max_iter: Annotated[int, typer.Option(min=1, help="Updates of the activations.")] = 100,
    sample_rate: Annotated[
        int | None,
        typer.Option(min=100, metavar="HERTZ", help="Analyse at this rate. [default: each file's]"),
    ] = None,
) -> None:
    """Separate mixtures with dictionaries and write DIR/ITEM/SOURCE.wav for each mixture and source."""
    from inmf_flow.corpus import find_files, name_recordings
    from inmf_flow.errors import ArgumentError, AudioError
    from inmf_flow.transform import get_transform

    chosen = get_transform(transform)
    paths = _named_models(model)
    recordings = name_recordings(find_files(mixtures, "MIX"))
    if wiener is not None and paper_mask:
        raise ArgumentError("--wiener and --paper-mask exclude each other")
    from inmf_flow.factorize import INMF
    from inmf_flow.separate import Dictionary, parse_mask, separate_file

    mask = parse_mask("paper" if paper_mask else {"wiener": 1 if wiener is None else wiener})
    dictionary = Dictionary({name: INMF.load(path) for name, path in paths.items()})
    failures = 0
    for recording in recordings:
        try:
            result = separate_file(
                recording.path,
                output / recording.item,
                dictionary,
                chosen,
                mask=mask,
                max_iter=max_iter,
                sample_rate=sample_rate,
            )
        except AudioError as error:
            failures += 1
            typer.echo(f"inmf: failed: {error}", err=True)
            continue
        for path in result.outputs.values():
            typer.echo(path)
    if failures:
        raise typer.Exit(1)


def _named_models(given: list[str]) -> dict[str, Path]:
    """Return the model file of each source from NAME=MODEL, every file and name checked."""
    from inmf_flow.errors import ArgumentError

    models: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ArgumentError("not of the form NAME=MODEL", where="--model", got=repr(text))
        if name in models:
            raise ArgumentError(f"the source {name!r} is given twice", where="--model")
        if "/" in name or "\\" in name or name.startswith("."):
            raise ArgumentError("a source's name becomes a file's name", where="--model", got=repr(name))
        models[name] = Path(path)
    return models
