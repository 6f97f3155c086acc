"""The YAML file of a segmentation: what to learn from, and what to segment."""

from __future__ import annotations

from glob import glob
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inmf_flow.errors import ConfigError
from inmf_flow.names import check_name


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Training(_Settings):
    """Recordings to learn from: of one class, or with a file of labels each."""

    audio: str
    label: str | None = None
    labels: str | None = None

    @model_validator(mode="after")
    def _has_labels(self) -> Training:
        if (self.label is None) == (self.labels is None):
            raise ValueError("give label (a class) or labels (a file, such as labels/{item}.csv)")
        return self


class Target(_Settings):
    """Recordings to segment, with their true labels where they are known."""

    audio: str
    labels: str | None = None


class DictionarySettings(_Settings):
    """The dictionary: one of so many components that is learned from the training audio, or a model file."""

    components: Annotated[int, Field(ge=1, le=4096)] = 30
    max_iter: Annotated[int, Field(ge=1)] = 100
    random_state: Annotated[int, Field(ge=0)] = 0
    model: str | None = None


class ProbeSettings(_Settings):
    """Settings of the probe; see `ActivationProbe`."""

    l2: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2
    l1: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    balanced: bool = True
    multilabel: bool = False


class SegmentationSettings(_Settings):
    """All of the file; paths are relative to it."""

    name: str
    sample_rate: Annotated[int, Field(ge=100)] | None = None
    transform: str = "stft:n_fft=1024,hop_length=512"
    dictionary: DictionarySettings = DictionarySettings()
    probe: ProbeSettings = ProbeSettings()
    frame_rate: Annotated[float, Field(gt=0, le=1000)] = 25.0
    context: Annotated[float, Field(ge=0, le=60)] = 0.3
    pooling: tuple[str, ...] = ("mean",)
    min_duration: Annotated[float, Field(ge=0, le=3600)] = 0.4
    classes: tuple[str, ...] = Field(min_length=1)
    train: tuple[Training, ...] = Field(min_length=1)
    segment: tuple[Target, ...] = Field(min_length=1)


def load_settings(path: Path) -> SegmentationSettings:
    """Read and check a file.

    Raises
    ------
    ConfigError
        When it is missing, no YAML, or not what is expected; every fault is named.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("the file cannot be read", where=path, got=error.strerror or str(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file is no YAML: {' '.join(str(error).split())}", where=path) from None
    if not isinstance(data, dict):
        raise ConfigError("the file holds no settings", where=path, expected="name, classes, train and segment")
    try:
        settings = SegmentationSettings(**data)
    except (ValidationError, TypeError) as error:
        raise ConfigError(_faults(error), where=path) from None
    check_name(settings.name, f"{path}: name")
    for name in settings.classes:
        if not name.strip() or not name.isprintable():
            raise ConfigError("a class's name is empty or cannot be printed", where=path, got=repr(name))
    unknown = sorted({each.label for each in settings.train if each.label} - set(settings.classes))
    if unknown:
        raise ConfigError(
            "a label is not among the classes", where=path, got=unknown[0], expected=", ".join(settings.classes)
        )
    return settings


def _faults(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    faults = [f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors()]
    return "bad settings: " + "; ".join(faults)


def found_files(base: Path, pattern: str) -> list[Path]:
    """Return the files that a path or pattern relative to a folder means, sorted; `ConfigError` for none."""
    files = [Path(name) for name in sorted(glob(str(base / pattern), recursive=True))]
    if not files:
        raise ConfigError("no recording matches", where=base, got=repr(pattern))
    return files


def labels_of(base: Path, template: str, audio: Path) -> Path:
    """Return the file of labels of a recording: ``{item}`` stands for the name of its file without the ending."""
    return base / template.replace("{item}", audio.stem)
