"""From a file or a mapping to a validated `Pipeline`, or to all of its errors at once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from inmf_flow.pipeline.config.checks import check_names, check_sources, check_transforms
from inmf_flow.pipeline.config.corpus import check_mixtures
from inmf_flow.pipeline.config.loader import MAX_DEPTH, Document, Places, read_document
from inmf_flow.pipeline.config.models import Pipeline
from inmf_flow.pipeline.config.overrides import apply_overrides
from inmf_flow.pipeline.config.problems import Finding, Path, PipelineFileError, Problem, dotted, spell
from inmf_flow.pipeline.config.variants import Labels, Variant, place_of_change, variants_of
from inmf_flow.pipeline.config.wording import findings_of

MAX_PROBLEMS = 500

__all__ = ["PipelineFileError", "Problem", "load_pipeline", "pipeline_from_mapping"]


def load_pipeline(path: FilePath | str, overrides: Sequence[str] = ()) -> Pipeline:
    """Read and validate a pipeline file.

    Parameters
    ----------
    path
        The YAML file; relative paths in it start from its folder.
    overrides
        ``a.b=c`` texts that replace values of the file; ``c`` is read as YAML.

    Raises
    ------
    PipelineFileError
        With every problem of the file, each with its line and column.
    """
    document = read_document(path)
    apply_overrides(document, overrides)
    return _validated(document, FilePath(path).absolute().parent)


def pipeline_from_mapping(data: Mapping[str, Any], base: FilePath | str = ".") -> Pipeline:
    """Validate a pipeline that is given as plain data: what a pipeline file would hold.

    Parameters
    ----------
    data
        Mappings, lists, texts, numbers, booleans, None and paths.
    base
        The folder that relative paths start from.

    Raises
    ------
    PipelineFileError
        With every problem of the data.
    """
    findings: list[Finding] = []
    plain = _plain(data, (), findings)
    places = Places("pipeline")
    problems = [places.problem(finding) for finding in findings]
    if not isinstance(plain, dict):
        raise PipelineFileError(problems or [Problem("pipeline", None, None, "expected a mapping of keys")])
    return _validated(Document(plain, places, problems), FilePath(base).absolute())


def _validated(document: Document, base: FilePath) -> Pipeline:
    places = document.places
    pipeline, findings = _checked(document.data, places.texts, base)
    variants: list[Variant] = []
    if pipeline is not None and pipeline.compare is not None:
        for labels, varied in variants_of(document.data):
            made, wrong = _checked(varied, {}, base)
            findings += [_in_variant(finding, pipeline.compare, labels) for finding in wrong]
            if made is not None:
                variants.append(Variant(labels, made))
    problems = document.problems + [places.problem(finding) for finding in findings]
    if problems or pipeline is None:
        raise PipelineFileError(_in_reading_order(problems))
    pipeline._variants = tuple(variants)
    return pipeline


def _checked(
    data: Mapping[str, Any], texts: Mapping[Path, str], base: FilePath
) -> tuple[Pipeline | None, list[Finding]]:
    """Return the pipeline that data describe, or what is wrong with them."""
    findings: list[Finding] = []
    pipeline: Pipeline | None = None
    try:
        pipeline = Pipeline.model_validate(data)
    except ValidationError as error:
        findings += findings_of(error, Pipeline, data, texts=texts)
    wrong_transforms, transforms = check_transforms(data, texts)
    findings += wrong_transforms + check_mixtures(data) + check_names(data, transforms) + check_sources(data, base)
    if findings or pipeline is None:
        return None, findings
    pipeline = pipeline.model_copy(update={"transforms": transforms})
    pipeline._base = base
    return pipeline, []


def _in_variant(finding: Finding, axes: Mapping[str, Mapping[str, Any]], labels: Labels) -> Finding:
    """Return a finding of a variant as one of the file."""
    path = place_of_change(axes, labels, finding.path)
    said = ", ".join(f"{axis} {label}" for axis, label in labels.items())
    at_key = finding.at_key and path is not None and len(path) == 3 + len(finding.path)
    return Finding(path or ("compare",), f"compare ({said}): {finding.what}", at_key)


def _in_reading_order(problems: list[Problem]) -> list[Problem]:
    """Sort by line and column, what has none last, and drop what is said twice and what nobody would read."""
    problems = sorted(
        dict.fromkeys(problems),
        key=lambda problem: (problem.line or math.inf, problem.column or math.inf),
    )
    if len(problems) > MAX_PROBLEMS:
        rest = f"{len(problems) - MAX_PROBLEMS} more problems"
        problems[MAX_PROBLEMS:] = [Problem(problems[0].file, None, None, rest)]
    return problems


def _plain(value: Any, path: Path, findings: list[Finding], outer: tuple[int, ...] = ()) -> Any:
    """Copy data, noting what a pipeline file could not hold."""
    if id(value) in outer or len(path) > MAX_DEPTH:
        findings.append(Finding(path, f"{dotted(path)} is nested too deep, expected at most {MAX_DEPTH} levels"))
        return None
    inner = (*outer, id(value))
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                findings.append(Finding(path, f"a key must be text, got {spell(key)}{_inside(path)}"))
        named = {key: item for key, item in value.items() if isinstance(key, str)}
        return {key: _plain(item, (*path, key), findings, inner) for key, item in named.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*path, index), findings, inner) for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if value is None or isinstance(value, str | int | float):
        return value
    kind, expected = type(value).__name__, "text, a number, a list or a mapping"
    what = f"{dotted(path) or 'the pipeline'} is of type {kind}, expected {expected}"
    findings.append(Finding(path, what))
    return None


def _inside(path: Path) -> str:
    return f" in {dotted(path)}" if path else ""
