"""The page's pictures and players: one panel for each recording, and one set of pictures for each source's model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from inmf_flow.audio import audio_info
from inmf_flow.errors import InmfError
from inmf_flow.report.collect import Item, Source
from inmf_flow.report.figures import Picture, draw_activations, draw_divergence, draw_spectrogram, draw_templates
from inmf_flow.report.learned import ACTIVATION_RANGE, TEMPLATE_RANGE, learned_parts, load_model
from inmf_flow.report.sound import PLAYABLE_RATES, Excerpt, Player, excerpt_seconds, player, read_excerpt
from inmf_flow.report.spectrum import DYNAMIC_RANGE, Spectrogram, spectrogram
from inmf_flow.report.tables import duration

_NO_PICTURE = "Its picture cannot be drawn"


@dataclass(frozen=True)
class Panel:
    """A recording: its picture and player, or the problem that stands in their place.

    Attributes
    ----------
    kind
        ``Mixture``, ``Estimate`` or ``Reference``.
    source
        The source's name; empty for the mixture.
    label
        What a screen reader says for the player.
    notes
        What the reader should know about this recording.
    """

    kind: str
    source: str
    label: str
    picture: Picture | None = None
    player: Player | None = None
    notes: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class ItemPanels:
    """An item's panels in reading order, and the facts about the recordings that they share."""

    panels: tuple[Panel, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class SourcePictures:
    """What one source has learned: pictures, facts as pairs of label and value, and what cannot be shown and why."""

    templates: Picture | None
    activations: Picture | None
    divergence: Picture | None
    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def reason_of(error: Exception) -> str:
    """Return an error's message; an error that is none of ours, and may have no message, with its type's name."""
    return str(error) if isinstance(error, InmfError) else f"{type(error).__name__}: {error}".rstrip(": ")


def seconds_for(items: Iterable[Item]) -> float:
    """Return how many seconds of each recording the page can hold, all of these items being shown."""
    load = 0.0
    for item in items:
        for _, _, path in _recordings(item):
            try:
                info = audio_info(path) if path else None
            except (InmfError, OSError):
                continue
            if info:
                # Players are resampled to what browsers play.
                load += min(info.sample_rate, PLAYABLE_RATES[1]) * min(info.channels, 2)
    return excerpt_seconds(load)


def item_panels(item: Item, seconds: float) -> ItemPanels:
    """Read, draw and encode an item's recordings; their pictures share one colour scale and one frequency axis."""
    recordings = _recordings(item)
    read: dict[int, Excerpt] = {}
    problems: dict[int, str] = {}
    for index, (kind, _, path) in enumerate(recordings):
        if path is None:
            problems[index] = "The run recorded no such file."
            continue
        try:
            # Estimates of a segment are files of their own.
            limits = (None, None) if kind == "Estimate" else (item.start, item.stop)
            read[index] = read_excerpt(path, seconds, *limits)
        except Exception as error:  # One file that cannot be read must not cost the reader the others.
            problems[index] = reason_of(error)
    # All pictures of an item have the first recording's frequency axis: the mixture's, if it can be read.
    top = next(iter(read.values())).sample_rate / 2 if read else 0.0
    pictures: dict[int, Spectrogram] = {}
    for index, excerpt in read.items():
        try:
            pictures[index] = spectrogram(excerpt.audio, excerpt.sample_rate, top)
        except Exception as error:  # The sound is still worth playing.
            problems[index] = f"{_NO_PICTURE}: {reason_of(error)}"
    loudest = max((picture.loudest for picture in pictures.values()), default=0.0)
    panels = [
        _panel(item, kind, source, read[index], pictures.get(index), loudest, problems.get(index))
        if index in read
        else Panel(kind, source, "", problem=problems[index])
        for index, (kind, source, _) in enumerate(recordings)
    ]
    return ItemPanels(tuple(panels), _facts(item, read))


def _recordings(item: Item) -> list[tuple[str, str, Path | None]]:
    """List an item's recordings; where any reference is given, each estimate is followed by its own or by None."""
    found: list[tuple[str, str, Path | None]] = [("Mixture", "", item.mixture)]
    for source in item.source_names:
        found.append(("Estimate", source, item.outputs.get(source)))
        if item.references:
            found.append(("Reference", source, item.references.get(source)))
    return found


def _panel(
    item: Item,
    kind: str,
    source: str,
    excerpt: Excerpt,
    content: Spectrogram | None,
    loudest: float,
    problem: str | None,
) -> Panel:
    what = f"{kind} of {source} in {item.name}" if source else f"{kind} {item.name}"
    notes = [f"first {excerpt.seconds:.0f} s of {excerpt.total:.1f} s"] if excerpt.cut else []
    if excerpt.silent:
        notes.append("silent")
    problems = [problem] if problem else []
    picture = sound = None
    try:
        picture = _picture(content, loudest, what, excerpt) if content else None
    except Exception as error:  # See `item_panels`.
        problems.append(f"{_NO_PICTURE}: {reason_of(error)}")
    try:
        sound = player(excerpt)
        notes += [sound.note] if sound.note else []
    except Exception as error:  # The picture is still worth showing.
        problems.append(f"It cannot be played here: {reason_of(error)}")
    return Panel(kind, source, what, picture, sound, tuple(notes), ". ".join(problems) or None)


def _picture(content: Spectrogram, loudest: float, what: str, excerpt: Excerpt) -> Picture:
    alt = (
        f"Spectrogram. {what}: {excerpt.seconds:.2f} seconds, 0 to {content.top:g} hertz, "
        f"{DYNAMIC_RANGE:g} decibels from dark to bright."
    )
    return draw_spectrogram(content, loudest, alt)


def _facts(item: Item, read: Mapping[int, Excerpt]) -> tuple[str, ...]:
    if not read:
        # What the run saw when the files were still there.
        seconds = (duration(item.duration),) if item.duration is not None else ()
        return (*seconds, f"{item.sample_rate / 1000:g} kHz") if item.sample_rate else seconds
    first = next(iter(read.values()))
    channels = {1: "mono", 2: "stereo"}.get(len(first.audio), f"{len(first.audio)} channels")
    return duration(first.total), f"{first.sample_rate / 1000:g} kHz", channels


def source_pictures(source: Source, ordered: bool = True) -> SourcePictures:
    """Draw a source's templates and activations, its components from low to high or as they are, and its divergence."""
    problems: list[str] = []
    templates = activations = None
    facts: list[tuple[str, str]] = []
    try:
        templates, activations = _learned_pictures(source, ordered, facts, problems)
    except Exception as error:  # A model file may be damaged in any way; the curve is still worth showing.
        problems.append(f"The model cannot be shown: {reason_of(error)}")
    divergence = None
    # Beyond this no divergence means anything, and an axis could not be drawn.
    curve = [(step, value) for step, value in source.divergence_curve if 1e-30 < value < 1e30 and abs(step) < 1e15]
    if curve:
        alt = (
            f"Divergence of {source.name} against iteration, logarithmic: from {curve[0][1]:.3g} at iteration "
            f"{curve[0][0]:g} to {curve[-1][1]:.3g} at iteration {curve[-1][0]:g}."
        )
        try:
            divergence = draw_divergence(curve, alt)
        except Exception as error:  # The figures are still worth showing.
            problems.append(f"The divergence's picture cannot be drawn: {reason_of(error)}")
        facts += [("Divergence", f"{curve[-1][1]:.3g} a point"), ("Iterations", f"{curve[-1][0]:g}")]
    elif source.status != "failed":
        problems.append("The run recorded no divergence curve.")
    if source.model is not None:
        facts.append(("File", f"{source.model.parent.name}/{source.model.name}"))
    return SourcePictures(templates, activations, divergence, tuple(facts), tuple(problems))


def _learned_pictures(
    source: Source, ordered: bool, facts: list[tuple[str, str]], problems: list[str]
) -> tuple[Picture | None, Picture | None]:
    if source.model is None or not source.model.exists():
        if source.status != "failed":
            problems.append("There is no model file." if source.model is None else f"{source.model.name} is missing.")
        return None, None
    learned = learned_parts(load_model(source.model), ordered)
    count = learned.templates.shape[1]
    facts += [("Components", f"{count}"), ("Frequencies", f"0 to {learned.top / 1000:g} kHz")]
    if learned.seconds > 0:
        facts.append(("Audio", duration(learned.seconds)))
    templates = draw_templates(
        learned.templates,
        learned.top,
        -TEMPLATE_RANGE,
        f"Spectral templates of {source.name}: {count} components, 0 to {learned.top:g} hertz.",
    )
    if learned.activations is None:
        problems.append("The model keeps no activations of its own.")
        return templates, None
    activations = draw_activations(
        learned.activations,
        learned.seconds,
        -ACTIVATION_RANGE,
        f"Activations of {source.name}: {count} components over {learned.seconds:.2f} seconds.",
    )
    return templates, activations
