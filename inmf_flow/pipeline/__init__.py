"""Pipelines: from a YAML file to tasks on a cluster, and what became of each item."""

from inmf_flow.pipeline.config import (
    Pipeline,
    PipelineFileError,
    load_pipeline,
    pipeline_from_mapping,
    pipeline_schema,
)
from inmf_flow.pipeline.explain import explain_pipeline
from inmf_flow.pipeline.outcome import RunOutcome, StageOutcome
from inmf_flow.pipeline.plan import check_corpus
from inmf_flow.pipeline.run import run_pipeline

__all__ = [
    "Pipeline",
    "PipelineFileError",
    "RunOutcome",
    "StageOutcome",
    "check_corpus",
    "explain_pipeline",
    "load_pipeline",
    "pipeline_from_mapping",
    "pipeline_schema",
    "run_pipeline",
]
