"""What a run sees to before its first task: models that it was given, and what a killed run left."""

from __future__ import annotations

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
