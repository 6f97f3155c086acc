"""`run_pipeline`: from a pipeline to the run, the comparison or the watch that it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inmf_flow.pipeline.comparison import run_comparison
from inmf_flow.pipeline.config import Pipeline, load_pipeline, pipeline_from_mapping
from inmf_flow.pipeline.explain import Explanation
from inmf_flow.pipeline.outcome import RunOutcome
from inmf_flow.pipeline.plan import Planner, check_output_folder
from inmf_flow.pipeline.prepare import sole_driver
from inmf_flow.pipeline.run import Run
from inmf_flow.pipeline.session import SharedClient
from inmf_flow.pipeline.takeover import Donors
from inmf_flow.pipeline.watch import watch_folder
from inmf_flow.remote import as_path


def run_pipeline(
    pipeline: Pipeline | Path | str | Mapping[str, Any],
    *,
    output: Path | str | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    overrides: Sequence[str] = (),
    explained: Explanation | None = None,
) -> RunOutcome:
    """Run a pipeline: analyse, fit, separate, evaluate, report. What is done already is not done again.

    Parameters
    ----------
    pipeline
        A YAML file, or its content as a mapping (paths relative to the working directory), or a validated pipeline.
    output
        The run's folder; by default what the pipeline says.
    scheduler, workers
        In place of ``cluster.scheduler`` and ``cluster.workers``.
    overrides
        ``"a.b=c"`` changes to a YAML file, as `--set` takes them.
    explained
        What `explain_pipeline` said of this pipeline and folder just before: files that it has looked at are not read
        again to tell whether they changed.

    Returns
    -------
    outcome
        Status, counts, failures with their reasons, metrics and paths. Bad recordings are failed items, not exceptions.

    Raises
    ------
    ConfigError
        When the pipeline is wrong; all faults at once.
    ModelFileError
        When a model that it names cannot be used.
    ClusterError
        When the cluster cannot be reached.

    Notes
    -----
    A pipeline that watches a folder runs until nothing has come for the time that it says, or until a
    `KeyboardInterrupt`, which while it waits is the usual end: the outcome is returned.

    Local workers are processes: a script must call this under ``if __name__ == "__main__":``.
    """
    if isinstance(pipeline, Mapping):
        pipeline = pipeline_from_mapping(dict(pipeline), Path.cwd())
    elif not isinstance(pipeline, Pipeline):
        pipeline = load_pipeline(Path(pipeline), overrides)
    folder = as_path(output) if output is not None else pipeline.run_folder
    check_output_folder(folder)
    # Paths that workers get must not depend on a working directory.
    folder = folder.absolute()
    where, count = scheduler or pipeline.cluster.scheduler, workers or pipeline.cluster.workers
    if pipeline.variants:
        return _run_variants(pipeline, folder, where, count)
    if pipeline.corpus.watch is not None:
        return watch_folder(pipeline, folder, where, count)
    if explained is not None and (explained.pipeline, explained.folder) == (pipeline, folder):
        planner = explained.planner
    else:
        planner = Planner(pipeline, folder)
    with sole_driver(folder):
        return Run(planner, where, count).run()


def _run_variants(pipeline: Pipeline, folder: Path, scheduler: str, workers: int | None) -> RunOutcome:
    with SharedClient() as shared:

        def run_one(planner: Planner, donors: Donors) -> RunOutcome:
            with sole_driver(planner.run_folder):
                return Run(planner, scheduler, workers, donors, shared).run()

        with sole_driver(folder):
            return run_comparison(pipeline, folder, run_one)
