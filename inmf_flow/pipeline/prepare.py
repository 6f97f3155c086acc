"""What a run sees to before its first task: that it is alone, models that it was given, and what a killed run left."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.pipeline.explain import Explanation
from inmf_flow.pipeline.outcome import MOST_LISTED
from inmf_flow.pipeline.plan import STAGES
from inmf_flow.remote import RemotePath


def check_given_models(plan: Explanation) -> None:
    """Load the model files that a pipeline names and that the run has to take over, so that a bad one stops it early.

    Of a large run the workers do that, as their first tasks: what it takes to load a model would double the driver's
    memory, and a cluster is soon started in comparison.

    Raises
    ------
    ModelFileError
        When one is damaged, or not one of ours.
    """
    if "separate" in plan.stages and plan.stages["separate"].total > MOST_LISTED:
        return
    # Where all is learned on the mixtures there is nothing to fit before.
    for work in plan.stages["fit"].todo if "fit" in plan.stages else ():
        if "model" in work.payload:
            from inmf_flow.factorize import INMF

            INMF.load(work.payload["model"])


def remove_leftovers(run_folder: Path, items: Iterable[str] | None = None) -> None:
    """Remove unfinished files of a killed run from the folders that this one writes to; the store has its own sweep.

    ``items``: of the folders of these estimates. Without them, of the folders that all have in common.
    """
    if isinstance(run_folder, RemotePath) and items is not None:
        # Objects appear whole: what is uploaded has no other name before.
        return
    if items is None:
        ledgers = [f"ledger/{stage}" for stage in STAGES]
        folders = [run_folder / name for name in (".", "ledger", "models", *ledgers)]
        if not isinstance(run_folder, RemotePath):
            # Dictionaries of one mixture are in a folder each.
            folders += [path for path in (run_folder / "models").glob("*") if path.is_dir()]
    else:
        folders = [run_folder / "separated" / item for item in items]
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in folder.iterdir():
                if path.name.startswith(TEMPORARY_MARK):
                    path.unlink(missing_ok=True)


@contextmanager
def sole_driver(folder: Path) -> Iterator[None]:
    """Hold the run folder's lock; a second driver is told and does nothing."""
    path = folder / "ledger" / "driver.lock"
    if isinstance(path, RemotePath):
        with _sole_driver_of(path, folder):
            yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    except OSError as error:
        raise ConfigError(f"the run's folder cannot be written: {error.strerror}", where=folder) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                "another run is using this folder",
                where=folder,
                hint="Wait for it to end, or give another --output.",
            ) from None
        except OSError as error:
            raise ConfigError(
                f"the file system of the run's folder gives no locks ({error.strerror})",
                where=folder,
                hint="Give an --output on a local disk.",
            ) from None
        yield


def store_remark(folder: Path) -> str | None:
    """Return what the user should know of the object store that a run's folder is on."""
    if not isinstance(folder, RemotePath):
        return None
    from inmf_flow.remote.writing import honours_conditions

    if honours_conditions(folder / "ledger" / "driver.lock"):
        return None
    return f"the server of {folder} does not honour If-None-Match: let only one run use this folder at a time"


@contextmanager
def _sole_driver_of(path: RemotePath, folder: Path) -> Iterator[None]:
    from inmf_flow.remote.lock import LockHeldError, LockLostError, holding

    try:
        with holding(path):
            yield
    except LockHeldError as error:
        raise ConfigError(
            "another run is using this folder",
            where=folder,
            got=str(error),
            hint="Wait for it to end, or give another --output.",
        ) from None
    except LockLostError as error:
        raise ConfigError(
            "another run has taken this folder over, so this one has stopped",
            where=folder,
            got=str(error),
            hint="Run it again when the other has ended.",
        ) from None
    except PermissionError as error:
        raise ConfigError(f"the run's folder cannot be written: {error.strerror}", where=folder) from None
    except FileNotFoundError as error:
        if error.filename == str(path) or "bucket" in (error.strerror or ""):
            raise ConfigError(f"the run's folder cannot be written: {error.strerror}", where=folder) from None
        raise
