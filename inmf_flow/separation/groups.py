"""Components of one fit grouped into sources: blind separation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.fft import dct

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF
from inmf_flow.names import check_name

#: Ways to group components, and what each compares.
GROUPINGS = ("templates", "activations", "harmonic-percussive")

# Bands of the spectral envelope on a mel axis, and cepstral coefficients of it that are compared (without the level).
_BANDS, _CEPSTRA = 40, 13
# Moments a second at which activations are compared.
_CLOCK = 32

Float64 = NDArray[np.float64]


def group_components(
    model: INMF, by: str | Mapping[str, Sequence[int]] = "templates", into: int = 2
) -> dict[str, INMF]:
    """Group the components of a model that was fitted to a mixture into sources.

    Parameters
    ----------
    model
        Of the fields ``hat`` or ``matrix``.
    by
        ``"templates"``: components whose spectral envelopes are alike, by mel-cepstra (Spiertz & Gnann 2009,
        "Source-filter based clustering for monaural blind source separation"); ``"activations"``: components that
        sound together; ``"harmonic-percussive"``: steady lines against short, wide bursts, by how much templates vary
        over frequency and activations over time; or an assignment, from each source's name to the numbers of its
        components, counted from 0.
    into
        Number of groups of the first two.

    Returns
    -------
    models
        ``group-1`` and so on, loudest first; ``harmonic`` and ``percussive``; or as assigned. Components that are
        assigned to nobody are the source ``rest``.

    Raises
    ------
    ArgumentError
        For another way, a number of groups that the components do not make, or an assignment of what is not there.
    """
    if isinstance(by, Mapping):
        return {name: model.subset(numbers) for name, numbers in _assigned(model, by).items()}
    if by == "harmonic-percussive":
        steady = _steadiness(model)
        order = np.argsort(steady)
        # The widest gap among those that leave neither source empty: there need not be as many of one as of the other.
        gaps = np.diff(steady[order])
        percussive = set(order[: int(np.argmax(gaps)) + 1].tolist()) if len(gaps) else set()
        named = {
            "harmonic": [k for k in range(model.n_components) if k not in percussive],
            "percussive": sorted(percussive),
        }
        return {name: model.subset(numbers) for name, numbers in named.items() if numbers}
    if by not in GROUPINGS:
        raise ArgumentError("no such grouping", got=repr(by), expected=", ".join(GROUPINGS) + ", or an assignment")
    if not 1 <= into <= model.n_components:
        raise ArgumentError(
            "components do not make so many groups", got=into, expected=f"1 to {model.n_components}, the components"
        )
    features = _envelopes(model) if by == "templates" else _courses(model)
    groups = _clusters(features, into)
    level = _energy(model)
    groups.sort(key=lambda numbers: -float(level[numbers].sum()))
    return {f"group-{number}": model.subset(numbers) for number, numbers in enumerate(groups, 1)}


def _assigned(model: INMF, by: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    named = {check_name(name, "an assignment of components"): list(numbers) for name, numbers in by.items()}
    given = [number for numbers in named.values() for number in numbers]
    strange = [k for k in given if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k < model.n_components]
    if strange or len(set(given)) < len(given) or not given:
        got = f"no component {strange[0]!r}" if strange else "a component twice" if given else "no components"
        expected = f"each of 0 to {model.n_components - 1} once"
        raise ArgumentError("the assignment does not fit the components", got=got, expected=expected)
    rest = [k for k in range(model.n_components) if k not in given]
    named = {name: numbers for name, numbers in named.items() if numbers}
    return {**named, "rest": [*named.get("rest", []), *rest]} if rest else named


def _clusters(features: Float64, into: int) -> list[list[int]]:
    """Group rows by Ward's method, which is the same in every run."""
    if len(features) == 1:
        return [[0]]
    labels = fcluster(linkage(features, "ward"), into, "maxclust")
    return [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]


def _grid(model: INMF) -> tuple[Float64, Float64]:
    """Return hertz, evenly spaced, and seconds at which components are compared."""
    frequencies = np.linspace(0.0, model.max_frequency_, 1024)
    return frequencies, np.arange(0.0, max(model.duration_, 2 / _CLOCK), 1 / _CLOCK)


def _energy(model: INMF) -> Float64:
    frequencies, times = _grid(model)
    w, h = model.templates(frequencies).astype(np.float64), model.activations(times).astype(np.float64)
    level: Float64 = (w ** (2 / model.power)).sum(0) * (h ** (2 / model.power)).sum(1)
    return level


def _envelopes(model: INMF) -> Float64:
    """Return mel-cepstra of the templates, [K, coefficients], each of length 1."""
    top = 2595 * np.log10(1 + model.max_frequency_ / 700)
    edges = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    frequencies = np.linspace(0.0, model.max_frequency_, 2048)
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    bands = np.clip(np.minimum(rise, fall), 0, None)
    energy = bands @ model.templates(frequencies).astype(np.float64) ** (2 / model.power)
    # 60 dB below its peak a band says nothing any more.
    levels = np.log(energy + 1e-6 * energy.max(0) + 1e-300)
    return _unit(dct(levels, axis=0, norm="ortho")[1 : _CEPSTRA + 1].T)


def _courses(model: INMF) -> Float64:
    """Return activations without their means, [K, T], each of length 1: their distances are their correlations."""
    h = model.activations(_grid(model)[1]).astype(np.float64)
    return _unit(h - h.mean(1, keepdims=True))


def _unit(rows: Float64) -> Float64:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float64 = rows / np.where(norm > 0, norm, 1)
    return unit


def _steadiness(model: INMF) -> Float64:
    """Return for each component the log of how much its template varies, over how much its activation does."""
    frequencies, times = _grid(model)
    variations = []
    for rows in (model.templates(frequencies).T, model.activations(times)):
        rows = rows.astype(np.float64)
        total = np.maximum(rows.sum(1), 1e-300)
        variations.append(np.abs(np.diff(rows, axis=1)).sum(1) / total + 1e-12)
    steady: Float64 = np.log(variations[0] / variations[1])
    return steady
