"""``inmf fit`` and ``inmf separate``: single steps, without a pipeline file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inmf_flow.cli.options import Models, PaperMask, Wiener, mask_of, named_models
from inmf_flow.remote import as_path, is_remote

if TYPE_CHECKING:
    from inmf_flow.corpus import Recording
    from inmf_flow.factorize import INMF
    from inmf_flow.points import PointSet
    from inmf_flow.transform import Transform

_TRANSFORM_HELP = "A transform with its options, such as stft:n_fft=2048,hop_length=512"

_Audio = Annotated[
    list[Path],
    typer.Argument(
        metavar="AUDIO...", help="Recordings (folders, manifests) of one source, or points stores of earlier runs."
    ),
]
_Items = Annotated[
    str, typer.Option(metavar="PATTERN", help="Which items of a points store to learn from, such as 'alice/*'.")
]
_ModelOutput = Annotated[Path, typer.Option("-o", "--output", metavar="MODEL", help="The model file to write.")]
_Components = Annotated[int, typer.Option(min=1, max=4096, help="Number of spectral templates.")]
_Transforms = Annotated[
    list[str] | None, typer.Option(metavar="SPEC", help=f"{_TRANSFORM_HELP}; repeatable. [default: stft]")
]
_Field = Annotated[str, typer.Option(metavar="SPEC", help="hat, network or matrix, with options.")]
_BetaLoss = Annotated[str, typer.Option(help="The divergence: a name, or beta.")]
_Power = Annotated[float, typer.Option(help="Exponent put on magnitudes.")]
_Iterations = Annotated[int | None, typer.Option(min=1, help="Most iterations.")]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the start.")]
_FitRate = Annotated[
    int | None, typer.Option(min=100, metavar="HERTZ", help="Resample to this rate first. [default: each file's]")
]
_Mixtures = Annotated[list[Path], typer.Argument(metavar="MIX...", help="Mixtures (or folders or manifests of them).")]
_Folder = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write to.")]
_Inverses = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SPEC",
        help=f"{_TRANSFORM_HELP}, invertible; repeatable: estimates are averaged. [default: stft]",
    ),
]
_ByComponent = Annotated[
    bool, typer.Option("--components", help="Write every component of every model, SOURCE-1 and so on.")
]
_Updates = Annotated[int, typer.Option(min=1, help="Updates of the activations.")]
_SeparateRate = Annotated[
    int | None, typer.Option(min=100, metavar="HERTZ", help="Analyse at this rate. [default: each file's]")
]
_Segment = Annotated[
    float,
    typer.Option(
        "--segment",
        min=1.0,
        max=86400.0,
        metavar="SECONDS",
        help="Of longer mixtures, seconds of audio between two points from which an interrupted run goes on.",
    ),
]
_Restart = Annotated[bool, typer.Option("--restart", help="Begin anew what an earlier run has left unfinished.")]


def fit(
    audio: _Audio,
    output: _ModelOutput,
    components: _Components = 20,
    transform: _Transforms = None,
    field: _Field = "hat",
    beta_loss: _BetaLoss = "kullback-leibler",
    power: _Power = 0.5,
    max_iter: _Iterations = None,
    random_state: _Seed = 0,
    sample_rate: _FitRate = None,
    items: _Items = "*",
) -> None:
    """Learn one source's dictionary from recordings, or from their stored points, and write it to a model file."""
    from inmf_flow.corpus import find_recordings
    from inmf_flow.errors import ArgumentError
    from inmf_flow.store import is_points_store
    from inmf_flow.transform import get_transforms

    audio, output = [as_path(path) for path in audio], as_path(output)
    stores = [path for path in audio if is_points_store(path)]
    if stores and len(stores) < len(audio):
        raise ArgumentError(
            "points stores and recordings cannot be mixed", where="AUDIO", got=f"{stores[0]} and others"
        )
    if stores and (transform or sample_rate):
        raise ArgumentError(
            "stored points are analysed already", where="--transform" if transform else "--sample-rate", got=stores[0]
        )
    if items != "*" and not stores:
        raise ArgumentError("only points stores have items to choose from", where="--items", got=repr(items))
    specs = transform or ["stft"]
    transforms = get_transforms(specs, "--transform")
    recordings = [] if stores else find_recordings(audio, "AUDIO")
    if not is_remote(output) and output.is_dir():
        raise ArgumentError("the model file is a folder", where=output, expected="a path such as voice.safetensors")
    from inmf_flow.factorize import INMF

    model = INMF(
        components, field=field, beta_loss=beta_loss, power=power, max_iter=max_iter, random_state=random_state
    )
    if stores:
        points, used = _stored_points(stores, items)
        model.fit(points)
        model.provenance = {"stores": [str(path) for path in stores], "items": used}
    else:
        points, used = _points_of(recordings, transforms, sample_rate)
        model.fit(points)
        model.provenance = {"files": used, "transforms": specs, "sample_rate": sample_rate}
    model.save(output)
    _print_fit(output, model, f"{len(used)} items" if stores else f"{len(used)} files")
    if len(used) < len(recordings):
        raise typer.Exit(1)


def _points_of(
    recordings: Sequence[Recording], transforms: Sequence[Transform], sample_rate: int | None
) -> tuple[PointSet, list[str]]:
    """Return the points of all recordings that can be used, end to end, and the names of their files."""
    from inmf_flow.errors import AudioError
    from inmf_flow.points import PointSet
    from inmf_flow.separation import analyze_file

    sets, used = [], []
    for recording in recordings:
        with _going_on_after(recording.path, "left out"):
            limits = {"start": recording.start, "stop": recording.stop}
            sets.append(analyze_file(recording.path, transforms, sample_rate, **limits))
            used.append(recording.path.name)
    if not sets:
        raise AudioError("none of the files could be used", where="AUDIO", got=f"{len(recordings)} files")
    return PointSet.end_to_end(sets), used


def _stored_points(stores: Sequence[Path], pattern: str) -> tuple[PointSet, list[str]]:
    """Return the points of all items of stores whose names match, end to end, and these names."""
    from fnmatch import fnmatchcase

    from inmf_flow.errors import ArgumentError
    from inmf_flow.points import PointSet
    from inmf_flow.store import open_points

    sets, used = [], []
    for store in stores:
        points = open_points(store)
        chosen = sorted(item for item in points if fnmatchcase(item, pattern))
        sets += [points[item] for item in chosen]
        used += chosen
    if not sets:
        raise ArgumentError("no stored item matches", where="--items", got=repr(pattern))
    return PointSet.end_to_end(sets), used


def _print_fit(output: Path, model: INMF, source: str) -> None:
    first, last = model.divergence_curve_[0][1], model.divergence_curve_[-1][1]
    typer.echo(
        f"{output}: {model.n_components} templates up to {model.max_frequency_:.0f} Hz from {source}, "
        f"divergence {first:.4g} -> {last:.4g} in {model.n_iter_} iterations"
    )


def separate(
    mixtures: _Mixtures,
    model: Models,
    output: _Folder,
    transform: _Inverses = None,
    wiener: Wiener = None,
    paper_mask: PaperMask = False,
    components: _ByComponent = False,
    max_iter: _Updates = 100,
    sample_rate: _SeparateRate = None,
    segment: _Segment = 300.0,
    restart: _Restart = False,
) -> None:
    """Separate mixtures with dictionaries and write DIR/ITEM/SOURCE.wav for each mixture and source."""
    from inmf_flow.corpus import find_recordings
    from inmf_flow.transform import get_transforms

    chosen = get_transforms(transform or ["stft"], "--transform")
    mixtures, output = [as_path(path) for path in mixtures], as_path(output)
    models = named_models(model)
    recordings = find_recordings(mixtures, "MIX")
    mask = mask_of(wiener, paper_mask)
    from inmf_flow.cli.file_progress import showing_file
    from inmf_flow.factorize import INMF
    from inmf_flow.separation import Dictionary, separate_file

    dictionary = Dictionary(
        {name: INMF.load(path) for name, path in models.items()}, "components" if components else "sources"
    )
    done = 0
    for number, recording in enumerate(recordings, 1):
        outputs: list[Path] = []
        with (
            _going_on_after(recording.path, "failed"),
            showing_file(recording.item, number, len(recordings)) as progress,
        ):
            folder = output / recording.item
            result = separate_file(
                recording.path,
                folder,
                dictionary,
                chosen,
                mask=mask,
                max_iter=max_iter,
                sample_rate=sample_rate,
                start=recording.start,
                stop=recording.stop,
                segment_seconds=segment,
                unfinished="restart" if restart else "resume",
                progress=progress,
            )
            outputs += result.outputs.values()
            done += 1
        for path in outputs:
            typer.echo(path)
    if done < len(recordings):
        raise typer.Exit(1)


@contextmanager
def _going_on_after(path: Path, what: str) -> Iterator[None]:
    """Say what is wrong with one file and go on; what is wrong with the command or a model stops it."""
    from inmf_flow.errors import ArgumentError, InmfError, ModelFileError

    try:
        yield
    except (ArgumentError, ModelFileError):
        raise
    except (InmfError, OSError) as error:
        reason = str(error) or type(error).__name__
        where = "" if str(path) in reason else f"{path}: "
        typer.echo(f"inmf: {what}: {where}{reason}", err=True)
