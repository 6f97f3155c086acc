"""Which dictionary a source has for a mixture: one for all mixtures, or one that was learned for this one alone.

A source whose ``audio`` holds ``{item}``, ``{folder}`` or ``{file}`` has a dictionary for each mixture, named
``ITEM/SOURCE``; the dictionary of any other source has the source's own name. Models are in
``models/NAME.safetensors``.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable

from inmf_flow.corpus import Recording, whole_name
from inmf_flow.pipeline.config import Pipeline, Source

#: What stands for something of the mixture in a path.
MIXTURE_FIELDS = ("{item}", "{folder}", "{file}")
#: How the reason begins why a mixture could not be separated that lacks a model.
NO_MODEL = "there is no model of"


def names_mixture(text: str) -> bool:
    """Return whether a path means another file for each mixture."""
    return any(name in text for name in MIXTURE_FIELDS)


def is_own(source: Source) -> bool:
    """Return whether each mixture has a dictionary of this source of its own."""
    return any(isinstance(entry, str) and names_mixture(entry) for entry in source.audio or ())


def of_mixture(template: str, mixture: Recording, *, pattern: bool = False) -> str:
    """Return the path that a template means for a mixture.

    Parameters
    ----------
    template
        ``{item}`` in it stands for the mixture's name, without the limits of a segment; ``{folder}`` for the folder
        that its file is in, the whole path; ``{file}`` for the file's name.
    mixture
        The mixture, or a segment of it.
    pattern
        Whether the path is read as a glob pattern, to which letters of a name must not mean anything.
    """
    folder, _, file = mixture.file.rpartition("/")
    for field, name in zip(MIXTURE_FIELDS, (whole_name(mixture), folder, file), strict=True):
        template = template.replace(field, glob.escape(name) if pattern else name)
    return template


def dictionary_of(name: str, source: Source, mixture: Recording) -> str:
    """Return the name of the dictionary that a source has for a mixture."""
    return f"{whole_name(mixture)}/{name}" if is_own(source) else name


def source_of(dictionary: str) -> str:
    """Return the source that a dictionary is of."""
    return dictionary.rpartition("/")[2]


def model_file(dictionary: str) -> str:
    """Return where a dictionary's model is, relative to the run's folder."""
    return f"models/{dictionary}.safetensors"


def dictionaries_of(pipeline: Pipeline, mixtures: Iterable[Recording]) -> dict[str, None]:
    """Return the names of all dictionaries of a pipeline, those of a source next to one another.

    Where mixtures arrive one after another, those of a mixture are next to one another, and what all share comes first:
    then none changes its place.
    """
    mixtures = list(mixtures) if any(map(is_own, pipeline.sources.values())) else []
    if pipeline.corpus.watch is not None:
        known = {name: source for name, source in pipeline.sources.items() if source.learn is None}
        shared = [name for name, source in known.items() if not is_own(source)]
        own = (dictionary_of(n, source, m) for m in mixtures for n, source in known.items() if is_own(source))
        return dict.fromkeys([*shared, *own])
    found: dict[str, None] = {}
    for name, source in pipeline.sources.items():
        if source.learn is not None:
            # Learned where the mixture is separated: nothing of it is kept.
            continue
        named = (dictionary_of(name, source, mixture) for mixture in mixtures) if is_own(source) else (name,)
        found.update(dict.fromkeys(named))
    return found
