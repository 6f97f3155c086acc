"""Checkpoints of shared dictionaries: safetensors with one JSON header, as models are."""

from __future__ import annotations

import json
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import numpy as np

from inmf_flow._version import __version__
from inmf_flow.errors import InmfError, ModelFileError
from inmf_flow.factorize.shared import SharedDictionary
from inmf_flow.files import atomic_write
from inmf_flow.remote import as_path

FORMAT = 1
_HEADER = "inmf_flow_shared_dictionary"
_ARRAYS = {
    "nodes": np.float64,
    "coefficients": np.float32,
    "plain": np.float32,
    "numerator": np.float64,
    "denominator": np.float64,
}


def dictionary_to_bytes(dictionary: SharedDictionary) -> bytes:
    """Return a dictionary as a file's content, for stores that are no folders; equal ones give equal bytes."""
    values = {each.name: getattr(dictionary, each.name) for each in fields_of(dictionary) if each.name not in _ARRAYS}
    header = {"format": FORMAT, "state": values, "written_by": f"inmf_flow {__version__}"}
    arrays = {name: np.ascontiguousarray(getattr(dictionary, name)) for name in _ARRAYS}
    content: bytes = _safetensors().save(arrays, metadata={_HEADER: json.dumps(header, sort_keys=True)})
    return content


def dictionary_from_bytes(content: bytes, where: object = None) -> SharedDictionary:
    """Return the dictionary of a file's content, checked; no code is ever run on reading.

    Raises
    ------
    ModelFileError
        When it is damaged, or not one of ours.
    """
    safetensors = _safetensors()
    try:
        arrays = safetensors.load(content)
        # The package gives no metadata of bytes: the header is JSON after eight bytes of its length.
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        header = json.loads(metadata[_HEADER]) if _HEADER in metadata else None
    except Exception as error:
        raise ModelFileError(f"this is not a readable safetensors file: {error}", where=where) from None
    if header is None:
        raise ModelFileError(
            "this is not a checkpoint of a shared dictionary", where=where, expected="a file written by save_dictionary"
        )
    if header.get("format") != FORMAT:
        raise ModelFileError(
            "the checkpoint has a format that this version cannot read",
            where=where,
            got=f"format {header.get('format')!r}",
            expected=f"format {FORMAT}",
        )
    try:
        return _checked(header["state"], arrays)
    except (InmfError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"the checkpoint is damaged: {type(error).__name__}: {error}", where=where, hint="Learn again."
        ) from None


def save_dictionary(dictionary: SharedDictionary, path: str | Path) -> None:
    """Write a checkpoint, atomically: learning goes on from it as if it had not stopped, to the last bit."""
    atomic_write(path, dictionary_to_bytes(dictionary))


def load_dictionary(path: str | Path) -> SharedDictionary:
    """Read a checkpoint.

    Raises
    ------
    ModelFileError
        When the file is missing, damaged, or not one of ours.
    """
    path = as_path(path)
    if not path.is_file():
        raise ModelFileError("there is no such checkpoint", where=path)
    return dictionary_from_bytes(path.read_bytes(), where=path)


def _checked(state: dict[str, Any], arrays: dict[str, Any]) -> SharedDictionary:
    curve = tuple((int(number), float(value)) for number, value in state["curve"])
    found = SharedDictionary(**{**state, **{name: arrays[name] for name in _ARRAYS}, "curve": curve})
    nodes, shape = found.nodes, (len(found.nodes), found.blank().n_components)
    for name, kind in _ARRAYS.items():
        array = arrays[name]
        if array.dtype != kind or array.shape != (shape[:1] if name == "nodes" else shape):
            raise ValueError(f"{name} are {array.dtype} {array.shape}")
        if not np.isfinite(array).all() or (name != "nodes" and (array < 0).any()):
            raise ValueError(f"{name} are negative or not finite")
    if not len(nodes) or (np.diff(nodes) <= 0).any():
        raise ValueError("nodes do not rise")
    if not (found.scale > 0 and np.isfinite([found.scale, found.max_frequency]).all()):
        raise ValueError("scale or max_frequency is out of range")
    return found


def _safetensors() -> Any:
    """Import the package that only files need."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise ModelFileError(
            "checkpoints need the package safetensors, which is not installed", hint="pip install safetensors"
        ) from None
    return safetensors.numpy
