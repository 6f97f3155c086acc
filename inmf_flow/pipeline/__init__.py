"""Pipelines: from a YAML file to tasks on a cluster, and what became of each item."""

from inmf_flow.pipeline.comparison import Comparison, explain_comparison
from inmf_flow.pipeline.config import (
    Pipeline,
    PipelineFileError,
    load_pipeline,
    pipeline_from_mapping,
    pipeline_schema,
)
from inmf_flow.pipeline.estimate import Estimate, StageCost, estimate_run
from inmf_flow.pipeline.events import read_events
from inmf_flow.pipeline.explain import explain_pipeline
from inmf_flow.pipeline.outcome import RunOutcome, StageOutcome
from inmf_flow.pipeline.recordings import check_corpus
from inmf_flow.pipeline.start import run_pipeline

__all__ = [
    "Comparison",
    "Estimate",
    "Pipeline",
    "PipelineFileError",
    "RunOutcome",
    "StageCost",
    "StageOutcome",
    "check_corpus",
    "estimate_run",
    "explain_comparison",
    "explain_pipeline",
    "load_pipeline",
    "pipeline_from_mapping",
    "pipeline_schema",
    "read_events",
    "run_pipeline",
]
