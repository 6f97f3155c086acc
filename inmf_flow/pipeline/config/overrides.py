"""``--set a.b=c``: values from the command line, put into the data before it is validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inmf_flow.pipeline.config.loader import MAX_DEPTH, Document, parse_text
from inmf_flow.pipeline.config.problems import Path, PipelineFileError, Problem, dotted, spell


def apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Put each ``a.b=c`` into the document's data, in order; what cannot be put joins its problems.

    A name that has dots in it is found where the file has it: ``sources.dr. who.components=5``.
    """
    for text in overrides:
        key, equals, value = text.partition("=")
        label = _label(key)
        if not equals or not key.strip():
            document.problems.append(Problem(_label(text), None, None, "expected KEY=VALUE, such as fit.max_iter=50"))
            continue
        try:
            parsed = parse_text(value.strip(), label)
        except PipelineFileError as error:
            document.problems += [Problem(label, None, None, problem.what) for problem in error.problems]
            continue
        document.problems += [Problem(label, None, None, problem.what) for problem in parsed.problems]
        wrong = _put(document, key.strip().split("."), parsed, label)
        if wrong:
            document.problems.append(Problem(label, None, None, wrong))


def _label(key: str) -> str:
    return "--set " + " ".join(key.split())[:120]


def _put(document: Document, parts: list[str], parsed: Document, label: str) -> str | None:
    """Set one value, making mappings on the way; return what is wrong, if anything."""
    target: Any = document.data
    path: Path = ()
    if len(parts) > MAX_DEPTH:
        return f"nested too deep, expected at most {MAX_DEPTH} keys with dots between them"
    while True:
        step, parts = _step(target, parts)
        if step is None:
            return f"{dotted(path)} is {spell(target)}, so nothing can be set in it"
        path = (*path, step)
        if not parts:
            break
        if isinstance(target, dict) and target.get(str(step)) is None:
            target[str(step)] = {}
            document.places.override(path, label)
        target = target[step]
    target[step] = parsed.data
    document.places.override(path, label)
    texts = {(*path, *inner): text for inner, text in parsed.places.texts.items()}
    document.places.texts.update(texts)
    return None


def _step(target: Any, parts: list[str]) -> tuple[str | int | None, list[str]]:
    """Return the next key or index, and what is left of the dotted name."""
    if isinstance(target, dict):
        for length in range(len(parts), 1, -1):
            joined = ".".join(parts[:length])
            if joined in target:
                return joined, parts[length:]
        return parts[0], parts[1:]
    if isinstance(target, list) and parts[0].isdecimal() and parts[0].isascii() and len(parts[0]) < 8:
        index = int(parts[0])
        if index < len(target):
            return index, parts[1:]
    return None, parts
