"""Several models of one source, in one file: separation averages what each of them makes of a mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import files
from inmf_flow.factorize.activations import Activations
from inmf_flow.factorize.model import INMF
from inmf_flow.points import PointSet
from inmf_flow.remote import as_path


class Ensemble(INMF):
    """Models of one source that differ in seed, window, power, context or number of components.

    Averaging estimates takes away some of what one model's local minimum, or one window's blur, has put into them; what
    that was found to come to is in docs/separation.md.

    Parameters
    ----------
    members
        From each member's name to its model; models of several sources are used together member by member.

    Attributes
    ----------
    members
        As given.
    n_components
        Of all members together.

    Examples
    --------
    >>> from inmf_flow import PointSet
    >>> points = PointSet.from_grid(np.arange(4) / 10, [100.0, 200.0, 300.0], np.ones((3, 4)))
    >>> model = Ensemble({"sharp": INMF(2, power=1.0), "soft": INMF(3)}).fit(points)
    >>> model.templates([150.0]).shape
    (1, 5)
    """

    def __init__(self, members: Mapping[str, INMF]) -> None:
        self.members = dict(members)
        if not self.members or any(isinstance(member, Ensemble) for member in self.members.values()):
            raise ArgumentError("an ensemble is made of one or more models", got=repr(list(self.members.values())))
        first = next(iter(self.members.values()))
        settings = {name: getattr(first, name) for name in files.SETTINGS}
        settings["n_components"] = sum(member.n_components for member in self.members.values())
        super().__init__(**settings)
        self.context = max(member.context for member in self.members.values())

    def fit(self, points: PointSet | Mapping[str, PointSet], **given: Any) -> Ensemble:
        """Fit each member, to points of its own where a mapping by the members' names is given.

        Raises
        ------
        PointsError, ArgumentError
            As a member's fit does; where points of a member are missing, or templates are given.
        """
        if given:
            raise ArgumentError("an ensemble's members start as they are set", got=", ".join(given))
        missing = [name for name in self.members if isinstance(points, Mapping) and name not in points]
        if missing:
            raise ArgumentError(
                "points of a member are missing", got=", ".join(missing), expected="some for each member"
            )
        for name, member in self.members.items():
            member.fit(points[name] if isinstance(points, Mapping) else points)
        return self

    @property
    def max_frequency_(self) -> float:  # type: ignore[override]
        """Hertz up to which every member has seen data."""
        return min(member.max_frequency_ for member in self.members.values())

    @property
    def duration_(self) -> float:  # type: ignore[override]
        """Seconds that the activations cover."""
        return max(member.duration_ for member in self.members.values())

    @property
    def n_iter_(self) -> int:  # type: ignore[override]
        """Iterations of all members together."""
        return sum(member.n_iter_ for member in self.members.values())

    @property
    def divergence_curve_(self) -> list[tuple[int, float]]:  # type: ignore[override]
        """The curve of the first member."""
        return next(iter(self.members.values())).divergence_curve_

    def templates(self, frequencies: ArrayLike, lag: float | None = None) -> NDArray[np.float32]:
        """Return the members' templates side by side, [F, K of all]; see `INMF.templates`."""
        return np.concatenate([member.templates(frequencies, lag) for member in self.members.values()], axis=1)

    def activations(self, times: ArrayLike) -> NDArray[np.float32]:
        """Return the members' activations one under the other, [K of all, T]; each member explains all by itself."""
        return np.concatenate([member.activations(times) for member in self.members.values()])

    def predict(self, points: PointSet) -> list[NDArray[np.float32]]:
        """Return the mean of the members' models at each block's points; `ArgumentError` where their powers differ."""
        powers = {member.power for member in self.members.values()}
        if len(powers) > 1:
            raise ArgumentError("members of different powers have no common model", got=sorted(powers))
        each = [member.predict(points) for member in self.members.values()]
        return [np.mean(models, axis=0, dtype=np.float32) for models in zip(*each, strict=True)]

    def transform(self, points: PointSet, max_iter: int = 100) -> Activations:
        """Refuse: each member has activations of its own, ask ``members``."""
        raise ArgumentError("an ensemble has no common activations", hint="Ask one of its members.")

    def partial_fit(self, points: PointSet, *, forgetting: float = 1.0) -> Ensemble:
        """Let each member learn from one more point set; see `INMF.partial_fit`."""
        for member in self.members.values():
            member.partial_fit(points, forgetting=forgetting)
        return self

    def divergence(self, points: PointSet, activations: Activations | None = None) -> float:
        """Return the mean of the members' divergences; see `INMF.divergence`."""
        return float(np.mean([member.divergence(points, activations) for member in self.members.values()]))

    def subset(self, components: Sequence[int]) -> INMF:
        """Refuse: components are taken from a member, ask ``members``."""
        raise ArgumentError("components of an ensemble are its members'", hint="Ask one of its members.")

    def save(self, path: str | Path) -> None:
        """Write all members to one safetensors file, atomically; see `INMF.save`."""
        for member in self.members.values():
            member._fitted()
        files.save_ensemble(self.members, self.provenance, as_path(path))

    def __repr__(self) -> str:
        return f"Ensemble({self.members!r})"
