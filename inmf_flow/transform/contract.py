"""`Transform`: the class that a transform plugin registers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet

API_VERSION = 1
# Beyond any microphone array: the axes are the wrong way round.
_MOST_CHANNELS = 1024

Calibration = Literal["tone", "noise"]
Invertibility = Literal["exact", "approximate", "none"]
GainFunction = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[Any]]
Gains = Sequence[NDArray[Any]] | GainFunction


class TransformConfig(BaseModel):
    """Options of a transform: frozen, and unknown names are refused. Subclass it with typed fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Span:
    """Which part of a recording is given to ``analyze``, and which points are wanted. All in samples.

    Attributes
    ----------
    offset
        Index within the recording of the first sample that is given.
    start, stop
        Points are wanted whose time lies in [start, stop); with ``stop == length`` those at the very end too.
    length
        Samples in the whole recording, or None while more may come.
    """

    offset: int
    start: int
    stop: int
    length: int | None

    @classmethod
    def whole(cls, length: int) -> Span:
        """Return the span of a recording that is given at once."""
        return cls(0, 0, length, length)

    @property
    def is_last(self) -> bool:
        """Whether the span reaches the recording's end."""
        return self.length is not None and self.stop >= self.length


class Transform(ABC):
    """A time-frequency analysis with true coordinates and, mostly, an inverse.

    A subclass sets ``name`` and ``Config``, says in ``invertible`` and ``min_snr_db`` what its inverse promises, and
    gives ``halo``, ``analyze`` and ``synthesize``. `inmf_flow.testing.TransformConformance` proves one.

    Parameters
    ----------
    config
        An instance of ``Config``; or give its fields as keyword arguments.

    Raises
    ------
    ConfigError
        When an option is unknown or out of range; every fault is named.
    """

    name: ClassVar[str]
    api_version: ClassVar[int] = API_VERSION
    #: Raise it when equal input and options give other points than before: it is part of every content key.
    version: ClassVar[str] = "1"
    Config: ClassVar[type[TransformConfig]] = TransformConfig

    def __init__(self, config: TransformConfig | None = None, **options: Any) -> None:
        if config is not None and options:
            raise ConfigError("give a config or options, not both", where=self.name)
        if config is None:
            config = self.parse(options)
        if not isinstance(config, self.Config):
            raise ConfigError(
                "the config is of another transform",
                where=self.name,
                got=type(config).__name__,
                expected="its Config",
            )
        self.config = config

    @classmethod
    def parse(cls, options: dict[str, Any]) -> TransformConfig:
        """Return a valid config, or raise `ConfigError` that names every wrong option."""
        try:
            return cls.Config(**options)
        except ValidationError as error:
            faults = "; ".join(map(_fault, error.errors()))
            raise ConfigError(
                f"bad options: {faults}",
                where=cls.name,
                expected=f"some of {', '.join(cls.Config.model_fields)}",
            ) from None

    @property
    def invertible(self) -> Invertibility:
        """Whether ``synthesize`` gives the input back: ``exact``, ``approximate`` or ``none``."""
        return "none"

    @property
    def min_snr_db(self) -> float | None:
        """The promised signal-to-noise ratio of a round trip in decibels; None without an inverse."""
        return None

    @abstractmethod
    def halo(self, sample_rate: int) -> tuple[int, int]:
        """Return how many samples before and after its own time a point depends on."""

    def latency(self, sample_rate: int) -> int:
        """Return how many samples after a sample must have come before it can be synthesized.

        By default the samples before and after a point that it depends on: a sample's last points lie after it by as
        much as they depend on what was before them, and themselves on what comes after.
        """
        left, right = self.halo(sample_rate)
        return left + right

    @abstractmethod
    def analyze(self, audio: ArrayLike, sample_rate: int, *, span: Span | None = None) -> PointSet:
        """Return the points of a recording, or of a span of one.

        Parameters
        ----------
        audio
            Real samples, [samples] or [channels, samples].
        sample_rate
            Hertz.
        span
            Which part of a recording this is. Audio must reach ``halo`` samples beyond [start, stop), or to the
            recording's end. Without it the audio is a whole recording.
        """

    def synthesize(self, points: PointSet, gains: Gains | None = None) -> NDArray[Any]:
        """Return audio of the points that ``analyze`` gave, each multiplied by its gain.

        Parameters
        ----------
        points
            Straight from this transform's ``analyze``: points read from a store, or joined, have no phases.
        gains
            None for the round trip; one array per block, broadcast against its magnitudes; or a function that is
            called for each block with its times [T] and frequencies [F] and returns gains [F, T] (for scattered points
            [P] and [P] to [P]). A low-pass on a grid: ``lambda t, f: np.outer(f < 1000, np.ones_like(t))``.

        Returns
        -------
        audio
            Of the shape that ``analyze`` was given. Of a span, only samples whose every point is in it are true.
        """
        raise TransformError("this transform has no inverse", where=self.name)

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in self.config.model_dump(exclude_defaults=True).items())
        return f"{type(self).__name__}({options})"


def _fault(fault: Mapping[str, Any]) -> str:
    """Return one of pydantic's errors as people say it."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    # What options together do wrong says itself what it got.
    return f"{'.'.join(map(str, fault['loc']))}: {message} (got {fault['input']!r})" if fault["loc"] else message


def as_channels(audio: ArrayLike, where: str) -> tuple[NDArray[Any], bool]:
    """Return audio as a float array [channels, samples] and whether it came without a channel axis.

    Raises
    ------
    TransformError
        For other numbers of axes, complex or non-finite values, or no samples.
    """
    array = np.asarray(audio)
    if array.ndim not in (1, 2):
        raise TransformError("audio must be [samples] or [channels, samples]", where=where, got=f"shape {array.shape}")
    if array.size == 0:
        raise TransformError("audio is empty", where=where, got=f"shape {array.shape}")
    if array.ndim == 2 and array.shape[0] > _MOST_CHANNELS:
        raise TransformError(
            "audio has too many channels",
            where=where,
            got=f"shape {array.shape}",
            expected=f"[channels, samples] with at most {_MOST_CHANNELS} channels",
            hint="Audio of shape [samples, channels] must be transposed: audio.T.",
        )
    if np.iscomplexobj(array) or not (
        np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
    ):
        raise TransformError("audio must be real numbers", where=where, got=array.dtype)
    if np.issubdtype(array.dtype, np.integer):
        raise TransformError(
            "audio is of integers",
            where=where,
            got=array.dtype,
            expected="floating point",
            hint="Divide 16-bit samples by 32768 first.",
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise TransformError("audio holds NaN or infinite samples", where=where)
    return (array[None], True) if array.ndim == 1 else (array, False)
