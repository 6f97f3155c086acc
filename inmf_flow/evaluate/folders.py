"""Scoring a folder of items against a folder of references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inmf_flow.audio import AUDIO_SUFFIXES
from inmf_flow.errors import ArgumentError, InmfError
from inmf_flow.evaluate.items import MetricRow, OracleFunction, evaluate_item
from inmf_flow.evaluate.metric import get_metrics
from inmf_flow.evaluate.windows import TogetherReader
from inmf_flow.remote import as_path

_MIXTURE = "mixture"


@dataclass(frozen=True)
class Mixture:
    """What estimates were separated from: a file, or a part of one.

    Parameters
    ----------
    path
        The audio file.
    start, stop
        Seconds from the file's start; None stands for its start and its end. References are cut alike.
    references
        The name of the folder of its references; by default the item's.
    """

    path: Path
    start: float | None = None
    stop: float | None = None
    references: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The outcome of scoring many items.

    Attributes
    ----------
    rows
        The scores, item by item.
    failures
        Why an item could not be scored, by item.
    missing
        Items that have references but no estimates; they are not failures, since a part may be scored alone.
    notes
        By item, what was left over by a permutation: estimates beyond the references, or the other way round.
    """

    rows: list[MetricRow] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


def evaluate_folders(
    estimates: Path | str,
    references: Path | str,
    metrics: Sequence[str],
    mixtures: Path | str | Mapping[str, Mixture] | None = None,
    *,
    permute: bool = False,
    window: float | None = None,
    oracles: Mapping[str, OracleFunction] | None = None,
) -> Evaluation:
    """Score ``ITEM/SOURCE.{wav,flac,...}`` of one folder against those of another.

    Parameters
    ----------
    estimates, references
        Folders with a sub-folder for each item.
    metrics
        Names of metrics.
    mixtures
        A folder with ``ITEM.{wav,...}`` or ``ITEM/mixture.{wav,...}``, or the mixture of each item. Without it, a file
        ``mixture`` beside an item's references is its mixture, and where there is none `evaluate_item` says what the
        baseline is.
    permute, window, oracles
        As of `evaluate_item`.

    Returns
    -------
    evaluation
        An item that cannot be scored is recorded with its reason and does not stop the others.

    Raises
    ------
    UnknownNameError
        For a metric that is not installed.
    ArgumentError
        When a folder is not there, or there are no estimates in it.
    """
    get_metrics(metrics)
    estimates, references = as_path(estimates), as_path(references)
    items = _items(estimates, "estimates")
    known = _items(references, "references")
    if not items:
        raise ArgumentError(
            "there are no estimates",
            where=estimates,
            got="no sub-folders",
            expected="ITEM/SOURCE.wav (or another audio suffix)",
        )
    listed = mixtures if isinstance(mixtures, Mapping) else {}
    if mixtures is not None and not isinstance(mixtures, Mapping):
        _check_folder(as_path(mixtures), "mixtures")
    if window is not None:
        TogetherReader((), window)  # an error of the call, and not of each item
    outcome = Evaluation(missing=_missing(items, known, listed))
    for item in items:
        try:
            truth, guesses, mixture = _files(item, estimates, references, mixtures)
            rows = evaluate_item(
                item,
                truth,
                guesses,
                mixture.path if mixture else None,
                metrics,
                start=mixture.start if mixture else None,
                stop=mixture.stop if mixture else None,
                permute=permute,
                window=window,
                oracles=oracles,
            )
        except (InmfError, OSError) as error:
            outcome.failures[item] = str(error)
            continue
        outcome.rows.extend(rows)
        if permute and (note := _left_over(rows, truth, guesses)):
            outcome.notes[item] = note
    return outcome


def _left_over(rows: Sequence[MetricRow], truth: Iterable[str], guesses: Iterable[str]) -> str:
    """Say which estimates and references a permutation has no use for."""
    estimates = sorted(set(guesses) - {row.estimate or row.source for row in rows if not row.oracle})
    references = sorted(set(truth) - {row.source for row in rows})
    said = [f"estimates without a reference: {', '.join(estimates)}"] if estimates else []
    return "; ".join(said + ([f"references without an estimate: {', '.join(references)}"] if references else []))


def _missing(items: Sequence[str], known: Sequence[str], listed: Mapping[str, Mixture]) -> list[str]:
    """Return items with references but without estimates; several may be parts of what one folder is of."""
    folders = {item: mixture.references or item for item, mixture in listed.items()}
    wanted = [item for item, folder in folders.items() if folder in known]
    wanted += [item for item in known if item not in folders.values()]
    return sorted(set(wanted) - set(items))


def _files(
    item: str, estimates: Path, references: Path, mixtures: Path | str | Mapping[str, Mixture] | None
) -> tuple[dict[str, Path], dict[str, Path], Mixture | None]:
    """Return an item's references and estimates by source, and its mixture."""
    guesses = _audio_files(estimates / item)
    mixture = None
    if isinstance(mixtures, Mapping):
        if item not in mixtures:
            raise ArgumentError("the item has no mixture", where=item, expected="one that is listed under its name")
        mixture = mixtures[item]
    truth = _references(item, references / ((mixture.references if mixture else None) or item))
    # A mixture among the references is not a source, unless one of the estimates is called so.
    beside = truth.pop(_MIXTURE) if _MIXTURE in truth and _MIXTURE not in guesses else None
    if mixture is None and mixtures is not None and not isinstance(mixtures, Mapping):
        mixture = Mixture(_find_mixture(as_path(mixtures), item))
    if mixture is None and beside is not None:
        mixture = Mixture(beside)
    return truth, guesses, mixture


def _references(item: str, folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ArgumentError("the item has no references", where=item, expected=f"a folder {folder}")
    return _audio_files(folder)


def _find_mixture(mixtures: Path, item: str) -> Path:
    beside = {path.stem: path for path in _audio_paths(mixtures) if path.stem == item}
    inside = _audio_files(mixtures / item) if (mixtures / item).is_dir() else {}
    found = beside.get(item) or inside.get(_MIXTURE)
    if found is None:
        raise ArgumentError(
            "the item has no mixture",
            where=item,
            expected=f"{mixtures / item}.wav or {mixtures / item}/mixture.wav",
        )
    return found


def _check_folder(folder: Path, what: str) -> None:
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing of that name"
        raise ArgumentError(f"the folder of {what} is not there", where=folder, got=got, expected="a folder")


def _items(folder: Path, what: str) -> list[str]:
    _check_folder(folder, what)
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _audio_paths(folder: Path) -> list[Path]:
    # Names with a leading dot are not ours: unfinished files, and what other systems put beside files.
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )


def _audio_files(folder: Path) -> dict[str, Path]:
    """Return the audio files of an item by source."""
    found: dict[str, Path] = {}
    for path in _audio_paths(folder):
        if path.stem in found:
            raise ArgumentError(
                "two files are of the same source",
                where=folder,
                got=f"{found[path.stem].name} and {path.name}",
            )
        found[path.stem] = path
    return found
