"""Choosing the number of components by points that the fit did not see."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError, PointsError
from inmf_flow.factorize.model import INMF
from inmf_flow.files import atomic_write
from inmf_flow.points import Block, GridBlock, PointSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """How well models of several numbers of components predict points that were hidden from them.

    Printing it shows a table, `plot` draws it.

    Attributes
    ----------
    candidates
        The numbers of components K that were tried, rising, [N].
    divergences
        Mean divergence a hidden point of each candidate in each fold, [N, folds]; see `INMF.divergence`.
    training_divergences
        The same of the points that were fitted, [N, folds].
    """

    candidates: tuple[int, ...]
    divergences: Float64
    training_divergences: Float64

    @property
    def mean(self) -> Float64:
        """The mean of `divergences` over the folds, [N]."""
        mean: Float64 = self.divergences.mean(1)
        return mean

    @property
    def standard_error(self) -> Float64:
        """The standard error of `mean`, [N]: a rough one, since any two folds share most of what they fit."""
        error: Float64 = self.divergences.std(1, ddof=1) / np.sqrt(self.divergences.shape[1])
        return error

    @property
    def n_components(self) -> int:
        """The candidate that predicts hidden points best."""
        return self.candidates[int(np.argmin(self.mean))]

    @property
    def one_standard_error(self) -> int:
        """The smallest candidate that comes within one standard error of the best.

        Breiman, Friedman, Olshen & Stone, "Classification and Regression Trees" (1984), section 3.4.3: what a larger
        model gains beyond it may be chance.
        """
        best = int(np.argmin(self.mean))
        return self.candidates[int(np.argmax(self.mean <= self.mean[best] + self.standard_error[best]))]

    def plot(self, path: str | Path | None = None, ax: Axes | None = None) -> Axes:
        """Draw held-out and training divergence against K, with bars of one standard error and the choice marked.

        Parameters
        ----------
        path
            Where to write the picture, atomically; its suffix is the format (PNG without one).
        ax
            Axes to draw into; by default those of a figure of its own, which pyplot knows nothing of.

        Returns
        -------
        ax
            The axes; ``ax.figure`` is the figure.
        """
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        if ax is None:
            ax = Figure(figsize=(5.6, 3.6), layout="constrained").add_subplot()
        best, modest = self.n_components, self.one_standard_error
        level = float(self.mean.min())
        training = self.training_divergences.mean(1)
        held_out = ax.errorbar(self.candidates, self.mean, self.standard_error, marker="o", ms=4, capsize=3)
        (trained,) = ax.plot(self.candidates, training, marker="s", ms=4, ls="--")
        legend: dict[str, Any] = {"held out": held_out, "training": trained}
        ring: dict[str, Any] = {"ms": 12, "mfc": "none", "color": "black", "ls": ""}
        (legend[f"best: K = {best}"],) = ax.plot([best], [level], marker="o", **ring)
        if modest != best:
            height = float(self.mean[self.candidates.index(modest)])
            (legend[f"within one s.e.: K = {modest}"],) = ax.plot([modest], [height], marker="D", **ring)
        ax.set_xlabel("number of components K")
        ax.set_ylabel("mean divergence per point")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        ax.legend(list(legend.values()), list(legend))
        if path is not None:
            target, picture = Path(path), io.BytesIO()
            ax.figure.canvas.print_figure(picture, format=target.suffix.lstrip(".") or "png", dpi=150)
            atomic_write(target, picture.getvalue())
        return ax

    def __repr__(self) -> str:
        folds = self.divergences.shape[1]
        lines = [f"Selection: K = {self.n_components} predicts hidden points best ({folds} folds)"]
        lines.append(f"{'K':>6}{'held out':>12}{'s.e.':>12}{'training':>12}")
        columns = zip(self.candidates, self.mean, self.standard_error, self.training_divergences.mean(1), strict=True)
        for k, mean, error, training in columns:
            marks = [(k == self.n_components, "best"), (k == self.one_standard_error, "smallest within one s.e.")]
            note = ", ".join(text for marked, text in marks if marked)
            lines.append(f"{k:>6}{mean:>12.4g}{error:>12.2g}{training:>12.4g}  {note}".rstrip())
        return "\n".join(lines)


def select_components(
    points: PointSet,
    candidates: Iterable[int],
    *,
    folds: int = 5,
    holdout: str = "points",
    patch: tuple[float, float] | None = None,
    random_state: int = 0,
    **settings: Any,
) -> Selection:
    """Choose the number of components by cross-validation over points.

    A fit may miss points, so some are hidden from it and it is asked for them: too few components cannot say what is
    there, and too many say what was chance. (Wold, "Cross-validatory estimation of the number of components in factor
    and principal components models", Technometrics 20 (1978), did so for principal components.) Every candidate is
    fitted once for each fold, with the same points hidden and the same seed.

    Parameters
    ----------
    points
        Any point set, of one recording or of several end to end.
    candidates
        Numbers of components to try: different ones, each >= 1.
    folds
        Into how many parts the points are divided, >= 2; each is hidden once.
    holdout, patch
        What is hidden together; see `split_points`. Where frames overlap much, single points can be told from their
        neighbours, chance included: then the more components the better, and only ``"patches"`` find the right number.
    random_state
        Seed of the division; the models of fold i start from ``random_state + i``.
    **settings
        Those of `INMF` but for ``n_components``: ``beta_loss``, ``field``, ``power``, ``max_iter``, ... Give those
        that the final model is to have, since fewer iterations or fewer nodes bear more components.

    Raises
    ------
    ArgumentError
        For candidates or settings that cannot work.
    PointsError
        When there are fewer points, or patches, than folds.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> rates = random.random((20, 2)) @ random.random((2, 30)) * 50
    >>> points = PointSet.from_grid(np.arange(30.0), np.arange(20.0), random.poisson(rates))
    >>> select_components(points, [1, 2, 4], power=1.0, field="matrix", max_iter=100).n_components
    2
    """
    if "n_components" in settings:
        raise ArgumentError(
            "the number of components is what is chosen",
            where="n_components",
            got=repr(settings["n_components"]),
            hint="Give the numbers to try as candidates.",
        )
    tried = _checked(candidates)
    # All settings are checked before the first fit, which may take long.
    models = [INMF(k, random_state=random_state, **settings) for k in tried]
    parts = split_points(points, folds, holdout=holdout, patch=patch, random_state=random_state)
    held_out, training = np.zeros((len(tried), folds)), np.zeros((len(tried), folds))
    for fold, (visible, hidden) in enumerate(parts):
        for row, model in enumerate(models):
            model.random_state = random_state + fold
            model.fit(visible)
            held_out[row, fold] = model.divergence(hidden)
            training[row, fold] = model.divergence(visible)
    return Selection(tried, held_out, training)


def split_points(
    points: PointSet,
    folds: int = 5,
    *,
    holdout: str = "points",
    patch: tuple[float, float] | None = None,
    random_state: int = 0,
) -> Iterator[tuple[PointSet, PointSet]]:
    """Divide points into folds at random, and give for each what is left to fit and what is hidden.

    Each point is hidden in one fold, all its channels at once; missing points in none. Where all points of a frequency
    or of a time would be hidden together, one of them stays visible in every fold, so that its templates or
    activations are not free; a coordinate that has one point only is interpolated from its neighbours.

    Parameters
    ----------
    points
        Any blocks.
    folds
        How many parts, 2 or more.
    holdout
        ``"points"``: each point by itself. It estimates how well gaps of single points are filled, and is right where
        the chance in one point says nothing of the next: measurements, photographs, counts.
        ``"patches"``: all points, of all blocks, in one rectangle of seconds and hertz. It estimates how well a
        stretch is told from other times and other frequencies, and is right where neighbours share their chance, as
        overlapping frames, zero-padded bins, or two transforms of one recording do.
    patch
        Seconds and hertz of a patch; needed for ``"patches"``. Where the first one begins is random. Good ones are two
        windows long and two main lobes high: smaller ones see their neighbours, and much larger ones hide all that a
        frame has of a component. More folds hide less at a time, and so bear larger patches.
    random_state
        Seed: equal ones give equal folds.

    Returns
    -------
    parts
        ``folds`` pairs (visible, hidden) of point sets with the blocks of ``points``; NaN where a point belongs to the
        other.

    Raises
    ------
    ArgumentError
        For arguments that cannot work.
    PointsError
        When there are fewer points, or patches, than folds.
    """
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 2:
        raise ArgumentError("folds must be a whole number", got=repr(folds), expected=">= 2")
    if holdout not in ("points", "patches"):
        raise ArgumentError("there is no such holdout", got=repr(holdout), expected="'points' or 'patches'")
    if (patch is None) != (holdout == "points"):
        raise ArgumentError(
            "a patch goes with holdout='patches'",
            got=f"holdout={holdout!r}, patch={patch!r}",
            expected="patch=(seconds, hertz), such as two windows and two main lobes",
        )
    if patch is not None and not (len(patch) == 2 and all(np.isfinite(side) and side > 0 for side in patch)):
        raise ArgumentError("a patch must have an extent", got=repr(patch), expected="(seconds, hertz), both > 0")
    fold = _folds(points, int(folds), patch, np.random.default_rng(random_state))
    return (_parted(points, fold == number) for number in range(folds))


def _checked(candidates: Iterable[int]) -> tuple[int, ...]:
    """Return the candidates, rising."""
    given = list(candidates)
    for k in given:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ArgumentError("candidates must be whole numbers", where="candidates", got=repr(k), expected=">= 1")
    if not given or len(set(given)) < len(given):
        raise ArgumentError("candidates must be different numbers, one at least", where="candidates", got=repr(given))
    return tuple(sorted(int(k) for k in given))


def _folds(points: PointSet, folds: int, patch: tuple[float, float] | None, random: np.random.Generator) -> Int64:
    """Return the fold that hides each point of all blocks, -1 for none, [P]."""
    times, frequencies, present = _every_point(points)
    here = np.flatnonzero(present)
    times, frequencies = times[here], frequencies[here]
    if patch is None or not len(here):
        together = np.arange(len(here))
    else:
        begin = random.random(2)
        tiles = np.stack([times / patch[0] + begin[0], frequencies / patch[1] + begin[1]])
        together = np.unique(np.floor(tiles), axis=1, return_inverse=True)[1].reshape(-1)
    count = int(together.max(initial=-1)) + 1
    own = (random.permutation(count) % folds)[together]
    for coordinates in (times, frequencies):
        own[_last_visible(coordinates, own, folds, random)] = -1
    if (np.bincount(own[own >= 0], minlength=folds) == 0).any():
        raise PointsError(
            "there is too little to hide for so many folds",
            got=f"{len(here)} points that are not missing" + (f" in {count} patches" if patch else ""),
            expected=f"more than {folds} of each, on several times and frequencies",
            hint="Take fewer folds." if patch is None else "Take smaller patches, or fewer folds.",
        )
    fold = np.full(len(present), -1)
    fold[here] = own
    return fold


def _last_visible(coordinates: Float64, own: Int64, folds: int, random: np.random.Generator) -> Int64:
    """Return one point of each coordinate of which a single fold hides all points, if they are more than one."""
    rows = np.unique(coordinates, return_inverse=True)[1].reshape(-1)
    hidden = np.bincount(rows[own >= 0] * folds + own[own >= 0], minlength=(rows.max(initial=-1) + 1) * folds)
    most, total = hidden.reshape(-1, folds).max(1, initial=0), np.bincount(rows)
    order = random.permutation(len(rows))
    order = order[((most == total) & (total > 1))[rows[order]]]
    chosen: Int64 = order[np.unique(rows[order], return_index=True)[1]]
    return chosen


def _every_point(points: PointSet) -> tuple[Float64, Float64, NDArray[np.bool_]]:
    """Return seconds and hertz of the points of all blocks, and which have weight and a value, each [P]."""
    times, frequencies, present = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, bool)]
    for block in points.blocks:
        known = np.isfinite(block.magnitudes)
        known = (known.any(0) if block.has_channels else known) & (block.weights > 0)
        t, f = block.times, block.frequencies
        if isinstance(block, GridBlock):
            t, f = np.broadcast_to(t, known.shape), np.broadcast_to(f[:, None], known.shape)
        times.append(t.reshape(-1))
        frequencies.append(f.reshape(-1))
        present.append(known.reshape(-1))
    return np.concatenate(times), np.concatenate(frequencies), np.concatenate(present)


def _parted(points: PointSet, hidden: NDArray[np.bool_]) -> tuple[PointSet, PointSet]:
    """Return the points with the hidden ones missing, and with all others missing; ``hidden`` is of all blocks, [P]."""
    visible_blocks, hidden_blocks, start = [], [], 0
    for block in points.blocks:
        shape = block.magnitudes.shape[1:] if block.has_channels else block.magnitudes.shape
        mask = hidden[start : start + int(np.prod(shape))].reshape(shape)
        start += mask.size
        visible_blocks.append(_without(block, mask))
        hidden_blocks.append(_without(block, ~mask))
    bare = points.without_synthesis()
    return replace(bare, blocks=tuple(visible_blocks)), replace(bare, blocks=tuple(hidden_blocks))


def _without(block: Block, mask: NDArray[np.bool_]) -> Block:
    """Return the block with some points of every channel missing."""
    magnitudes = np.where(mask, np.float32(np.nan), block.magnitudes)
    return replace(block, magnitudes=magnitudes, coefficients=None)
