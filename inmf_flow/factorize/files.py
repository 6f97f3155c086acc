"""Model files: safetensors with one JSON header; no code is ever run on reading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inmf_flow._version import __version__
from inmf_flow.errors import ArgumentError, ModelFileError, UnknownNameError
from inmf_flow.files import atomic_write, digest_bytes, local_file
from inmf_flow.registry import fields

if TYPE_CHECKING:
    from inmf_flow.factorize.model import INMF

FORMAT = 1
_HEADER = "inmf_flow"
SETTINGS = (
    "n_components",
    "beta_loss",
    "field",
    "time_field",
    "power",
    "optimizer",
    "max_iter",
    "tol",
    "random_state",
    "weights",
    "init",
    "n_init",
    "context",
    "relaxation",
    "sparsity",
    "smoothness",
    "decorrelation",
    "negative",
)


def save(model: INMF, path: Path) -> None:
    """Write one member's fields, and in the header all that is needed to use and to trace the model.

    The header is a single entry, since the order of several is not fixed: equal models give equal bytes.
    """
    _write(path, {**_described(model), "provenance": model.provenance}, _arrays(0, model))


def save_ensemble(members: Mapping[str, INMF], provenance: Mapping[str, Any], path: Path) -> None:
    """Write several members, each described as a file of one would, under their names."""
    described = [
        {**_described(member), "name": name, "provenance": member.provenance} for name, member in members.items()
    ]
    arrays: dict[str, Any] = {}
    for number, member in enumerate(members.values()):
        arrays |= _arrays(number, member)
    _write(path, {"ensemble": described, "provenance": dict(provenance)}, arrays)


def content_digest(model: INMF) -> str:
    """Return a digest (32 hexadecimal digits) of all that a model, or each member of an ensemble, separates by."""
    from inmf_flow.factorize.ensemble import Ensemble

    if isinstance(model, Ensemble):
        named = model.members.items()
        return digest_bytes(*(part.encode() for name, one in named for part in (name, content_digest(one))))
    fitted = model._fitted()[0]
    settings = [fitted.name, model.max_frequency_, model.lags_.tolist()]
    settings += [_plain(getattr(model, name)) for name in SETTINGS]
    parts = [json.dumps(settings, default=repr).encode()]
    for name, array in sorted(fitted.state().items()):
        parts += [f"{name} {array.dtype} {array.shape}".encode(), np.ascontiguousarray(array).tobytes()]
    return digest_bytes(*parts)


def _write(path: Path, header: Mapping[str, Any], arrays: dict[str, Any]) -> None:
    serialize = _safetensors(path).numpy.save
    whole = {**header, "format": FORMAT, "written_by": f"inmf_flow {__version__}"}
    atomic_write(path, serialize(arrays, metadata={_HEADER: json.dumps(whole, sort_keys=True)}))


def _fields_of(model: INMF) -> dict[str, Any]:
    return {axis: field for axis, field in (("frequency", model._w), ("time", model._h)) if field is not None}


def _described(model: INMF) -> dict[str, Any]:
    return {
        "members": [{axis: field.name for axis, field in _fields_of(model).items()}],
        "settings": {name: _plain(getattr(model, name)) for name in SETTINGS},
        "hertz": [0.0, model.max_frequency_],
        "seconds": [0.0, model.duration_],
        "lags": model.lags_.tolist(),
        "n_iter": model.n_iter_,
        "divergence_curve": model.divergence_curve_,
    }


def _arrays(number: int, model: INMF) -> dict[str, Any]:
    return {
        f"{number}.{axis}.{name}": np.ascontiguousarray(array)
        for axis, field in _fields_of(model).items()
        for name, array in field.state().items()
    }


def load(cls: type[INMF], path: Path, device: str) -> INMF:
    """Read a file of any format version so far, checking everything before it is used."""
    header, arrays = _read(path)
    try:
        if "ensemble" not in header:
            return _member(cls, header, arrays, 0, device)
        from inmf_flow.factorize.ensemble import Ensemble

        members = {
            str(one["name"]): _member(cls, one, arrays, number, device) for number, one in enumerate(header["ensemble"])
        }
        if len(members) < len(header["ensemble"]):
            raise ValueError("two members have one name")
        ensemble = Ensemble(members)
        ensemble.provenance = dict(header["provenance"])
    except UnknownNameError as error:
        raise ModelFileError(f"the model needs a plugin that is not installed: {error}", where=path) from None
    except (
        ArgumentError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
    ) as error:
        raise ModelFileError(
            f"the model file is damaged: {type(error).__name__}: {error}", where=path, hint="Fit it again."
        ) from None
    return ensemble


def _member(cls: type[INMF], header: Mapping[str, Any], arrays: Mapping[str, Any], number: int, device: str) -> INMF:
    """Make a model of its description and its arrays; raises whatever a wrong description leads to."""
    # Settings that came later are not in older files: these have their defaults.
    settings = {name: header["settings"][name] for name in SETTINGS if name in header["settings"]}
    model = cls(**settings, device=device)
    (kinds,) = header["members"]
    parts = {}
    for axis in ("frequency", "time"):
        prefix = f"{number}.{axis}."
        state = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        field = fields.get(kinds[axis])
        parts[axis] = field.from_state(state, model.n_components, device)  # type: ignore[attr-defined]
    model._w, model._h = parts["frequency"], parts["time"]
    model.max_frequency_ = float(header["hertz"][1])
    model.duration_ = float(header["seconds"][1])
    model.lags_ = np.array(header.get("lags", [0.0]), np.float64)
    if model.lags_.ndim != 1 or not len(model.lags_) or model.lags_[0] != 0 or (np.diff(model.lags_) <= 0).any():
        raise ValueError("lags do not rise from 0")
    model.n_iter_ = int(header["n_iter"])
    model.divergence_curve_ = [(int(i), float(value)) for i, value in header["divergence_curve"]]
    model.provenance = dict(header["provenance"])
    if not np.isfinite([model.max_frequency_, model.duration_]).all():
        raise ValueError("hertz or seconds are not finite")
    return model


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the arrays of a file that is one of ours, of a format that we know."""
    safetensors = _safetensors(path)
    if not path.is_file():
        raise ModelFileError("there is no such model file", where=path, hint="`inmf fit` writes one.")
    try:
        with local_file(path) as local, safetensors.safe_open(local, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            if _HEADER not in metadata:
                raise ModelFileError(
                    "this is not a model of inmf_flow",
                    where=path,
                    expected="a file written by `inmf fit` or INMF.save",
                )
            header = json.loads(metadata[_HEADER])
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"this is not a readable safetensors file: {error}",
            where=path,
            expected="a file written by `inmf fit` or INMF.save",
        ) from None
    version = header.get("format") if isinstance(header, dict) else None
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        raise ModelFileError(
            "the model file has a format that this version cannot read",
            where=path,
            got=f"format {version!r}",
            expected=f"format {FORMAT}",
            hint="Upgrade inmf-flow." if newer else "Fit it again.",
        )
    return header, arrays


def _safetensors(path: Path) -> Any:
    """Import the package that only model files need."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        raise ModelFileError(
            "model files need the package safetensors, which is not installed",
            where=path,
            hint="pip install safetensors",
        ) from None
    return safetensors


def _plain(value: Any) -> Any:
    """Return NumPy scalars as the Python numbers that JSON knows."""
    return value.item() if isinstance(value, np.generic) else value
