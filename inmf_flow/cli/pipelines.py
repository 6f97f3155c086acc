"""``inmf run``, ``inmf validate``, ``inmf schema`` and ``inmf report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from inmf_flow.pipeline import Pipeline

PipelinePath = Annotated[Path, typer.Argument(metavar="PIPELINE.yaml", help="The pipeline file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=c", help="Replace one value of the file; repeatable."),
]


def run(
    pipeline: PipelinePath,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="S", help="local, a Dask scheduler's address, or package.module:factory."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes of the local cluster.")] = None,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Say for each item why it is to be done.")] = False,
) -> None:
    """Run a pipeline: analyse, fit, separate, evaluate, report. What is done already is not done again."""
    from inmf_flow.cli.comparison import print_comparison, print_comparison_plan
    from inmf_flow.cli.progress import showing_progress
    from inmf_flow.cli.summary import print_estimate, print_explanation, print_outcome
    from inmf_flow.pipeline import estimate_run, explain_comparison, explain_pipeline, load_pipeline, run_pipeline
    from inmf_flow.pipeline.memory import check_memory, local_worker_memory

    loaded = load_pipeline(pipeline, overrides or ())
    folder = (as_path(output) if output else loaded.run_folder).absolute()
    if loaded.variants:
        if dry_run or why:
            print_comparison_plan(explain_comparison(loaded, folder), why)
        if not dry_run:
            with showing_progress():
                outcome = run_pipeline(loaded, output=folder, scheduler=scheduler, workers=workers)
            print_comparison(outcome)
            if outcome.failures and _fails(loaded):
                raise typer.Exit(1)
        return
    if loaded.corpus.watch is not None and not dry_run:
        if why:
            print_explanation(explain_pipeline(loaded, folder), why)
        _watch(loaded, folder, scheduler, workers)
        return
    explained = explain_pipeline(loaded, folder)
    if dry_run or why:
        print_explanation(explained, why)
    if dry_run:
        if explained.todo:
            count = workers or loaded.cluster.workers or os.cpu_count() or 1
            print_estimate(estimate_run(explained), count)
            if (scheduler or loaded.cluster.scheduler) == "local":
                check_memory(explained, local_worker_memory(count))
        return
    with showing_progress():
        outcome = run_pipeline(loaded, output=folder, scheduler=scheduler, workers=workers, explained=explained)
    print_outcome(outcome)
    if outcome.failures and _fails(loaded):
        raise typer.Exit(1)


def _watch(pipeline: Pipeline, folder: Path, scheduler: str | None, workers: int | None) -> None:
    from inmf_flow.cli.progress import showing_progress
    from inmf_flow.cli.summary import print_outcome
    from inmf_flow.pipeline import run_pipeline

    assert pipeline.corpus.watch is not None
    watched = pipeline.resolve(pipeline.corpus.watch.folder)
    typer.echo(f"watching {watched}; Ctrl-C ends it", err=True)
    with showing_progress(live=False):
        outcome = run_pipeline(pipeline, output=folder, scheduler=scheduler, workers=workers)
    print_outcome(outcome)
    if outcome.failures and _fails(pipeline):
        raise typer.Exit(1)


def _fails(pipeline: Pipeline) -> bool:
    return pipeline.fail == "any"


def validate(
    pipelines: Annotated[list[Path], typer.Argument(metavar="PIPELINE.yaml...", help="Pipeline files.")],
    overrides: Overrides = None,
) -> None:
    """Check pipeline files and their manifests and print every fault as file:line:column; exit with 2 if there is one.

    That a pattern matches no file here is said, but is no fault of the file: the recordings may be elsewhere.
    """
    from inmf_flow.corpus import ManifestError
    from inmf_flow.errors import ConfigError
    from inmf_flow.pipeline import PipelineFileError, check_corpus, load_pipeline

    faulty = False
    for path in pipelines:
        try:
            loaded = load_pipeline(path, overrides or ())
        except PipelineFileError as error:
            faulty = True
            typer.echo(str(error), err=True)
            continue
        note = None
        try:
            check_corpus(loaded)
            for variant in loaded.variants:
                check_corpus(variant.pipeline)
        except ManifestError as error:
            faulty = True
            typer.echo(str(error), err=True)
            continue
        except ConfigError as error:
            note = error
        typer.echo(f"{path}: ok")
        if note is not None:
            typer.echo(f"{path}: note: {note}", err=True)
    if faulty:
        raise typer.Exit(2)


def schema() -> None:
    """Print the JSON Schema of pipeline files, with the options of every installed transform, for editors."""
    import json

    from inmf_flow.pipeline import pipeline_schema

    typer.echo(json.dumps(pipeline_schema(), indent=2))


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder of a run or a segmentation.")],
    items: Annotated[int, typer.Option(min=0, help="Most mixtures shown with pictures and players.")] = 20,
) -> None:
    """Write report.html again from what a folder holds: of a run, a comparison (the table too) or a segmentation."""
    from inmf_flow.report import write_report
    from inmf_flow.report.comparison import is_comparison, write_comparison
    from inmf_flow.report.segmentation import is_segmentation, write_segmentation_report

    if is_comparison(run_dir):
        typer.echo(write_comparison(run_dir))
    elif is_segmentation(run_dir):
        typer.echo(write_segmentation_report(run_dir, items))
    else:
        typer.echo(write_report(run_dir, items))
