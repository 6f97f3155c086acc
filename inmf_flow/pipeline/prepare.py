"""What a run sees to before its first task: that it is alone, models that it was given, and what a killed run left."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inmf_flow.errors import ConfigError
from inmf_flow.files import TEMPORARY_MARK
from inmf_flow.pipeline.explain import Explanation


def check_given_models(plan: Explanation) -> None:
    """Load the model files that a pipeline names and that the run has to take over, so that a bad one stops it early.

    Raises
    ------
    ModelFileError
        When one is damaged, or not one of ours.
    """
    fit = plan.stages["fit"]
    for work in fit.todo:
        if "model" in work.payload:
            from inmf_flow.factorize import INMF

            INMF.load(work.payload["model"])


def remove_leftovers(plan: Explanation) -> None:
    """Remove unfinished files of a killed run from the folders that this one writes to; the store has its own sweep."""
    items = plan.stages["separate"].todo if "separate" in plan.stages else ()
    folders = [plan.folder / name for name in (".", "ledger", "models")]
    folders += [plan.folder / "separated" / work.item for work in items]
    for folder in folders:
        for path in folder.glob(f"{TEMPORARY_MARK}*"):
            path.unlink(missing_ok=True)


@contextmanager
def sole_driver(folder: Path) -> Iterator[None]:
    """Hold the run folder's lock; a second driver is told and does nothing."""
    path = folder / "ledger" / "driver.lock"
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
