"""The pipeline file: YAML read safely, validated whole, and described for editors."""

from inmf_flow.pipeline.config.corpus import Corpus, Segments, Watch
from inmf_flow.pipeline.config.kinds import Choice, ManifestEntry
from inmf_flow.pipeline.config.models import (
    Cluster,
    Evaluate,
    Fit,
    Pipeline,
    Report,
    Separate,
    Source,
)
from inmf_flow.pipeline.config.problems import PipelineFileError, Problem
from inmf_flow.pipeline.config.schema import pipeline_schema
from inmf_flow.pipeline.config.validate import load_pipeline, pipeline_from_mapping
from inmf_flow.pipeline.config.variants import Variant

__all__ = [
    "Choice",
    "Cluster",
    "Corpus",
    "Evaluate",
    "Fit",
    "ManifestEntry",
    "Pipeline",
    "PipelineFileError",
    "Problem",
    "Report",
    "Segments",
    "Separate",
    "Source",
    "Variant",
    "Watch",
    "load_pipeline",
    "pipeline_from_mapping",
    "pipeline_schema",
]
