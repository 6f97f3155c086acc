"""Gains of the frames of a stream: each frame is fitted once, when it comes, and remembered while it is needed."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inmf_flow.factorize.fields import just_above
from inmf_flow.factorize.frames import FrameFit, OnlineTemplates
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.masks import Mask, source_gains

Float32 = NDArray[np.float32]

# Share of a level start in a warm one: a component that the last frame did not have must be able to come back.
_FRESH = 0.5
# Seconds that templates at the start count for where they follow the stream: those of unknown sources next to nothing,
# of known ones a half-life.
_UNKNOWN_PRIOR = 0.05


@dataclass(frozen=True)
class FrameRules:
    """How frames of a stream are fitted.

    Attributes
    ----------
    max_iter
        Updates of the activations at most.
    tol
        Fewer where they change by less than this share in an update.
    budget
        Seconds after which a block's updates end; None: however long they take.
    warm_start
        Start each block's frames from the activations of the last frame before.
    half_lives
        Of the sources whose templates follow the stream, in seconds.
    unknown
        Of the sources that are learned from the stream alone, how many components.
    seed
        Of the unknown sources' first templates.
    """

    max_iter: int
    tol: float = 0.0
    budget: float | None = None
    warm_start: bool = False
    half_lives: Mapping[str, float] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0


class FrameGains:
    """From the points of one grid to each source's gains, frame by frame.

    Parameters
    ----------
    dictionary
        Without context or members.
    names
        Of all sources, known and unknown, in the order of the estimates.
    grid
        Any block of the transform that is used: it has its frequencies and their weights.
    mask, rules
        How.
    """

    def __init__(
        self, dictionary: Dictionary, names: Sequence[str], grid: GridBlock, mask: Mask, rules: FrameRules
    ) -> None:
        self.names, self._rules, self._mask = list(names), rules, mask.resolved(dictionary.beta_loss)
        self.power = dictionary.power
        self.frequencies = grid.frequencies
        self._unseen = grid.frequencies > just_above(dictionary.max_frequency)
        known = dict(zip(dictionary.names, dictionary.models, strict=True))
        tables = {name: model.templates(grid.frequencies) for name, model in known.items()}
        level = float(np.mean([table[~self._unseen].mean() for table in tables.values()]))
        random = np.random.default_rng(rules.seed)
        for name, count in rules.unknown.items():
            tables[name] = random.uniform(0.5, 1.5, (len(grid.frequencies), count)).astype(np.float32) * level
        counts = [tables[name].shape[1] for name in self.names]
        self._edges = np.cumsum([0, *counts]).tolist()
        weights = np.where(self._unseen, np.float32(0), grid.frequency_weights)
        table = np.concatenate([tables[name] for name in self.names], axis=1)
        self._fit = FrameFit(table, weights, dictionary.beta_loss, dictionary.weights)
        self._follower = self._follow(rules) if rules.half_lives else None
        self._last_time = -math.inf
        self._previous: Float32 | None = None
        # Of each source, [C, F, frames] up to the last one.
        self._gains: list[Float32] = []

    def templates(self, name: str) -> Float32:
        """Return a source's templates at the grid's frequencies as they are now, [F, K]."""
        return self._fit.templates[:, self._columns(name)].copy()

    def __call__(self, parts: Sequence[PointSet]) -> list[list[list[Float32]]]:
        """Return the gains of each source on the one block of the one part; frames that are new are fitted."""
        (points,) = parts
        (block,) = points.blocks
        assert isinstance(block, GridBlock)
        magnitudes = block.magnitudes if block.has_channels else block.magnitudes[None]
        old = int(np.searchsorted(block.times, self._last_time, side="right"))
        if old < len(block.times):
            new = self._new_gains(magnitudes[..., old:], self._seconds(block.times[old:]))
            self._last_time = float(block.times[-1])
            if self._gains:
                # Of the frames before, those that are in this block.
                kept = [gains[..., gains.shape[-1] - old :] for gains in self._gains]
                new = [np.concatenate(both, axis=-1) for both in zip(kept, new, strict=True)]
            self._gains = new
        shown = [gains[..., gains.shape[-1] - len(block.times) :] for gains in self._gains]
        return [[[gains if block.has_channels else gains[0]]] for gains in shown]

    def _seconds(self, times: NDArray[np.float64]) -> float:
        """Return how long frames take that come after the last one."""
        if math.isfinite(self._last_time):
            return float(times[-1] - self._last_time)
        return float(times[-1] - times[0]) * len(times) / max(len(times) - 1, 1)

    def _new_gains(self, magnitudes: Float32, seconds: float) -> list[Float32]:
        """Return each source's gains on frames [C, F, N]."""
        channels, rows, count = magnitudes.shape
        # Frames of all channels side by side: each is a problem of its own.
        flat = np.moveaxis(magnitudes, 0, 1).reshape(rows, channels * count)
        values = np.sqrt(flat) if self.power == 0.5 else flat ** np.float32(self.power)
        rules = self._rules
        deadline = None if rules.budget is None else time.perf_counter() + rules.budget
        h, scale, _ = self._fit.fit(values, rules.max_iter, self._start(channels, count), rules.tol, deadline)
        last = h.reshape(-1, channels, count)[..., -1]
        if rules.warm_start and (values > 0).any():
            self._previous = last
        if self._follower is not None:
            self._follower.follow(values, h * scale, seconds)
        models = []
        for first, stop in pairwise(self._edges):
            model = self._fit.templates[:, first:stop] @ h[first:stop]
            model[self._unseen] = 0
            models.append(model)
        gains = source_gains(models, self.power, self._mask)
        return [np.moveaxis(gain.reshape(rows, channels, count), 1, 0) for gain in gains]

    def _start(self, channels: int, count: int) -> Float32 | None:
        if self._previous is None or self._previous.shape[1] != channels:
            return None
        level = self._previous.mean(axis=0, keepdims=True)
        start = np.float32(1 - _FRESH) * self._previous + np.float32(_FRESH) * level
        return np.repeat(start, count, axis=1).astype(np.float32)

    def _follow(self, rules: FrameRules) -> OnlineTemplates:
        columns = [np.arange(self._edges[-1])[self._columns(name)] for name in rules.half_lives]
        counts = [len(mine) for mine in columns]
        unknown = [name in rules.unknown for name in rules.half_lives]
        seconds = list(rules.half_lives.values())
        priors = np.where(unknown, _UNKNOWN_PRIOR, seconds)
        return OnlineTemplates(
            self._fit,
            np.concatenate(columns),
            np.repeat(seconds, counts),
            np.repeat(priors, counts),
            np.repeat(unknown, counts),
        )

    def _columns(self, name: str) -> slice:
        at = self.names.index(name)
        return slice(self._edges[at], self._edges[at + 1])
