"""What a run will cost: hours of audio, points, bytes, tasks, memory and time, from headers and a short trial."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import audio_info, open_audio
from inmf_flow.errors import AudioError, InmfError
from inmf_flow.pipeline.places import Place, place_of, place_of_item, split_place

if TYPE_CHECKING:
    from inmf_flow.pipeline.explain import Explanation
    from inmf_flow.points import PointSet
    from inmf_flow.transform import Transform

# Seconds of a recording that the trial analyses, fits and separates, and updates of each.
_TRIAL_SECONDS = 4.0
_TRIAL_UPDATES = 5
# Recordings that are tried before the trial is given up.
_MOST_TRIED = 10
# Iterations of a fit that is not told how many.
_FIT_UPDATES = 300
# Headers are read of so many files a stage, evenly spread; the others are taken to be like them.
_MOST_HEADERS = 500
# Seconds that are analysed and separated at a time.
_BLOCK_SECONDS = {"analyze": 60.0, "separate": 30.0}
# Bytes of a worker with its libraries, and what a fit takes for each byte of points: measured.
WORKER_BYTES = 450 << 20
FIT_BYTES_PER_POINT = 7 * 4
# What a points store holds of each point of a grid, before compression.
_STORED_BYTES = 4


@dataclass(frozen=True)
class StageCost:
    """The cost of what a stage has to do.

    Attributes
    ----------
    items, tasks
        How many, and in how many tasks.
    hours
        Of audio; of fits, what their dictionaries are learned from.
    points
        That are analysed or fitted.
    seconds
        Of one core.
    worker_bytes
        Of memory that a worker needs.
    """

    items: int
    tasks: int
    hours: float = 0.0
    points: float = 0.0
    seconds: float = 0.0
    worker_bytes: float = 0.0

    def plus(self, worker_bytes: float) -> StageCost:
        """Return the cost with more memory for a worker."""
        return replace(self, worker_bytes=self.worker_bytes + worker_bytes)


@dataclass(frozen=True)
class Estimate:
    """The cost of a run.

    Attributes
    ----------
    stages
        By their names; those with nothing to do are left out.
    store_bytes, store_files
        What analysis adds to the points store, before compression.
    unknown
        Why there is no figure for some of it, in sentences.
    """

    stages: Mapping[str, StageCost]
    store_bytes: float = 0.0
    store_files: int = 0
    unknown: tuple[str, ...] = field(default=())

    @property
    def worker_bytes(self) -> float:
        """Memory that a worker needs for the most demanding stage."""
        return max((cost.worker_bytes for cost in self.stages.values()), default=0.0)

    def seconds(self, workers: int) -> float:
        """Return the seconds that so many workers take, where each stage waits for the one before."""
        return sum(cost.seconds / max(min(workers, cost.tasks), 1) for cost in self.stages.values())


def estimate_run(explained: Explanation) -> Estimate:
    """Estimate the cost of what `explain_pipeline` says is to be done; nothing is written.

    A trial analyses, fits and separates a few seconds of the first recording that can be read. It takes some seconds.
    """
    stages: dict[str, StageCost] = {}
    unknown: list[str] = []
    plans = {name: plan for name, plan in explained.stages.items() if plan.todo}
    places = {name: _places(plan.todo.payloads()) for name, plan in plans.items()}
    trial = Trial(explained, [place for name in ("analyze", "fit", "separate") for place in places.get(name, ())])
    store_bytes, store_files = 0.0, 0
    for name, plan in plans.items():
        tasks = len(plan.todo_batches)
        cost = StageCost(len(plan.todo), tasks)
        if name in ("analyze", "fit", "separate") and places[name]:
            cost = replace(cost, hours=hours_of(places[name]))
            try:
                cost = getattr(trial, name)(cost)
            except InmfError as error:
                unknown.append(f"{name} cannot be estimated: {error}")
        stages[name] = cost
        if name == "analyze":
            store_bytes = cost.points * _STORED_BYTES
            store_files = _files(store_bytes, tasks)
    return Estimate(stages, store_bytes, store_files, tuple(unknown))


def _places(payloads: Iterable[Mapping[str, Any]]) -> list[Place]:
    """Return where the recordings are that tasks read."""
    found: list[Place] = []
    for payload in payloads:
        if "path" in payload:
            found.append(place_of(payload))
        found += [place_of_item(payload, item) for item in payload.get("items", ())]
    return found


def hours_of(places: Sequence[Place]) -> float:
    """Return the hours of recordings, from the headers of some of them; those that cannot be read count as none."""
    chosen = places[:: -(-len(places) // _MOST_HEADERS)]
    total = 0.0
    for place in chosen:
        path, start, stop = split_place(place)
        try:
            duration = audio_info(path).duration
        except (InmfError, OSError):
            continue
        total += max(min(duration, math.inf if stop is None else stop) - (start or 0.0), 0.0)
    return total / 3600 * len(places) / len(chosen)


def _files(size: float, parts: int) -> int:
    from inmf_flow.store.layout import COLUMNS, SHARD_BYTES

    # Each array of a part has its metadata and at least one shard; with a part come its group and its record.
    return parts * (2 * len(COLUMNS) + 2) + int(size // SHARD_BYTES)


class Trial:
    """A few seconds of the corpus, put through each stage; what one stage makes the next one takes.

    Parameters
    ----------
    explained
        What is to be done.
    places
        Recordings: the first that can be read is tried.
    """

    def __init__(self, explained: Explanation, places: Sequence[Place]) -> None:
        self._explained = explained
        self._pipeline = explained.pipeline
        self._places = places
        self._model: Any = None

    @property
    def points_a_second(self) -> float:
        """How many points the analysis of a second of audio has."""
        audio, rate = self._excerpt
        return self._points.n_points * rate / int(audio.shape[-1])

    def analyze(self, cost: StageCost) -> StageCost:
        """Add points, seconds and memory of the analysis."""
        audio, rate = self._excerpt
        trial = _measured(lambda: self._analyze(audio, rate))
        points = self._points.n_points * self._share(cost)
        # A batch's points are held until its part is written, and copied once on the way.
        held = 2 * points / max(cost.tasks, 1) * _STORED_BYTES
        return replace(self._costly(cost, "analyze", trial), points=points).plus(held)

    def fit(self, cost: StageCost) -> StageCost:
        """Add points, seconds and memory of the fits."""
        from inmf_flow.factorize import INMF
        from inmf_flow.pipeline.memory import memory_of_fits

        options = self._pipeline.fit
        settings = options.model_dump(
            exclude={"analyze", "field", "learn", "passes", "forgetting", "max_iter", "n_init"}
        )
        model = INMF(self._components, field=options.field.as_json(), max_iter=_TRIAL_UPDATES, **settings)
        seconds, _ = _measured(lambda: model.fit(self._points))
        self._model = model
        points = self._points.n_points * self._share(cost)
        seconds *= self._share(cost) * options.n_init * (options.max_iter or _FIT_UPDATES) / _TRIAL_UPDATES
        needs = memory_of_fits(self._explained)
        # Learned in passes a dictionary needs a batch of points at a time.
        analysis = self._explained.stages.get("analyze")
        batches = max(len(analysis.batches) if analysis is not None else 1, cost.items)
        memory = max(needs.values(), default=WORKER_BYTES + FIT_BYTES_PER_POINT * points / batches)
        return replace(cost, points=points, seconds=seconds, worker_bytes=memory)

    def separate(self, cost: StageCost) -> StageCost:
        """Add seconds and memory of the separation."""
        from inmf_flow.factorize import INMF
        from inmf_flow.separation import separate

        audio, rate = self._excerpt
        if self._model is None:
            self._model = INMF(self._components, power=self._pipeline.fit.power, max_iter=_TRIAL_UPDATES)
            self._model.fit(self._points)
        models = dict.fromkeys(self._pipeline.sources, self._model)
        transforms = self._transforms(self._pipeline.synthesized)
        trial = _measured(lambda: separate(audio, rate, models, transforms, max_iter=self._pipeline.separate.updates))
        return self._costly(cost, "separate", trial)

    def _share(self, cost: StageCost) -> float:
        """Return how many times the trial's audio a stage has."""
        audio, rate = self._excerpt
        return cost.hours * 3600 * rate / int(audio.shape[-1])

    def _costly(self, cost: StageCost, stage: str, trial: tuple[float, float]) -> StageCost:
        seconds, peak = trial
        audio, rate = self._excerpt
        # Recordings shorter than a block are not held longer than they are.
        block = min(_BLOCK_SECONDS[stage], cost.hours * 3600 / max(cost.items, 1))
        memory = WORKER_BYTES + peak * max(block * rate / audio.shape[-1], 1)
        return replace(cost, seconds=seconds * self._share(cost), worker_bytes=memory)

    @property
    def _components(self) -> int:
        return max(source.components for source in self._pipeline.sources.values())

    def _transforms(self, names: Iterable[str]) -> list[Transform]:
        from inmf_flow.transform import get_transform

        choices = (self._pipeline.transforms[name] for name in names)
        return [get_transform(choice.name, **choice.options) for choice in choices]

    def _analyze(self, audio: NDArray[np.float32], rate: int) -> PointSet:
        first, *others = (
            transform.analyze(audio, rate).without_synthesis()
            for transform in self._transforms(self._pipeline.analyzed)
        )
        return sum(others, first)

    @cached_property
    def _points(self) -> PointSet:
        return self._analyze(*self._excerpt)

    @cached_property
    def _excerpt(self) -> tuple[NDArray[np.float32], int]:
        """The first seconds [channels, samples] of the first recording that can be read, and its rate."""
        reason: InmfError | None = None
        for place in self._places[:_MOST_TRIED]:
            path, start, stop = split_place(place)
            try:
                with open_audio(path, self._pipeline.corpus.sample_rate, start, stop) as reader:
                    return next(reader.blocks(int(_TRIAL_SECONDS * reader.sample_rate))), int(reader.sample_rate)
            except StopIteration:
                continue
            except InmfError as error:
                reason = error
        raise reason or AudioError("none of the first recordings has audio")


def _measured(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds of one core that something takes once it is warm, and the most bytes it holds."""
    tracemalloc.start()
    try:
        work()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    begin = time.process_time()
    work()
    return time.process_time() - begin, float(peak)
