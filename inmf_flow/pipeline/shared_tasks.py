"""What a worker does of a dictionary that a whole corpus shares: the start, and one batch of one pass."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inmf_flow.errors import AudioError, AudioUnreachableError, StoreError
from inmf_flow.files import atomic_write, digest_bytes, digest_file
from inmf_flow.pipeline.dictionaries import source_of
from inmf_flow.pipeline.places import Place
from inmf_flow.pipeline.tidy import STORE
from inmf_flow.remote import as_path

if TYPE_CHECKING:
    from inmf_flow.factorize import Activations, PairwiseSum
    from inmf_flow.points import PointSet

PASS = "pass"
_SAMPLE_UPDATES = 100
Analyze = Any


def checkpoint(folder: Path, passes: int) -> Path:
    """Return where the dictionary after so many passes is."""
    return folder / f"{passes:04d}.safetensors"


def result_file(folder: Path, number: int, batch: int) -> Path:
    """Return where a batch's result of a pass is."""
    return folder / f"{number:04d}" / f"{batch:06d}.batch"


class ItemReader:
    """Reads items' points from the store, or from audio where there is none or the stored ones are damaged.

    Attributes
    ----------
    left_out
        Items whose audio cannot be used, with the reason.
    """

    def __init__(self, run_folder: Path, settings: Mapping[str, Any], analyze: Analyze) -> None:
        self._run_folder = run_folder
        self._settings = settings
        self._analyze = analyze
        self.left_out: dict[str, str] = {}

    def read(self, item: str, place: Place, part: str | None) -> PointSet | None:
        """Return an item's points, or None where its audio cannot be used."""
        from inmf_flow.store import PointsStore

        try:
            if part is not None:
                try:
                    return PointsStore.open(self._run_folder / STORE).read_item(part, item)
                except StoreError:
                    # The audio is as it was, or its entry would not hold.
                    pass
            points: PointSet = self._analyze(place, self._settings)
            return points
        except AudioUnreachableError:
            raise
        except AudioError as error:
            self.left_out[item] = str(error)
            return None


def make_start(source: str, payload: Mapping[str, Any], settings: Mapping[str, Any], reader: ItemReader) -> None:
    """Write the dictionary that passes start from."""
    from inmf_flow.factorize import save_dictionary, start_dictionary

    found = [reader.read(item, path, part) for _, item, path, part in payload["sample"]]
    sample = [points for points in found if points is not None]
    if not sample:
        raise AudioError(
            "none of the files it would start from could be used", where=source, got="; ".join(reader.left_out.values())
        )
    unused = ("max_iter", "n_init", "optimizer")
    options = {name: value for name, value in settings["fit"].items() if name not in unused}
    # A fit to the sample alone costs little, and saves passes over all.
    components = settings["components"][source_of(source)]
    dictionary = start_dictionary(sample, components, iterations=_SAMPLE_UPDATES, **options)
    save_dictionary(dictionary, payload["target"])


def map_batch(payload: Mapping[str, Any], reader: ItemReader, device: str) -> dict[str, str]:
    """Write what a batch says of a dictionary, unless that is there; return which items were left out."""
    from inmf_flow.factorize import load_dictionary, map_items

    target = as_path(payload["target"])
    path, digest = payload["dictionary"]
    known = _read(target)
    if known is not None and known["dictionary"] == digest:
        return dict(known["left_out"])
    if digest_file(path) != digest:
        raise StoreError("a checkpoint has changed under a pass", where=path)
    before = _activations(_read(as_path(payload["before"]))) if payload["before"] else {}

    def items() -> Iterator[tuple[int, PointSet, Activations | None]]:
        for number, item, audio, part in payload["items"]:
            points = reader.read(item, audio, part)
            if points is not None:
                yield number, points, before.get(number)

    options: dict[str, Any] = {"updates": 50, "relaxation": 1.0} if payload["online"] else {}
    found, sums = map_items(load_dictionary(path), items(), device=device, **options)
    for number, item, _, _ in payload["items"]:
        if item in reader.left_out:
            sums.add(number, None)
    atomic_write(target, _to_bytes(digest, {} if payload["online"] else found, sums, reader.left_out))
    return reader.left_out


def load_sums(path: Path) -> tuple[PairwiseSum, dict[str, str]]:
    """Return a batch's statistics, and which of its items were left out.

    Raises
    ------
    StoreError
        When the file is gone or damaged.
    """
    from inmf_flow.factorize import PairwiseSum, SufficientStatistics

    result = _read(path)
    if result is None:
        raise StoreError("a batch's statistics are gone or damaged", where=path, hint="Run it again.")
    sums = PairwiseSum()
    for place, (level, number, there) in enumerate(result["nodes"]):
        sums.nodes[level, number] = (
            SufficientStatistics(
                result[f"negative{place}"],
                result[f"positive{place}"],
                float(result[f"loss{place}"]),
                float(result[f"weight{place}"]),
            )
            if there
            else None
        )
    return sums, dict(result["left_out"])


def _to_bytes(digest: str, found: Mapping[int, Activations], sums: PairwiseSum, left_out: Mapping[str, str]) -> bytes:
    nodes = sorted(sums.nodes.items())
    header = {
        "dictionary": digest,
        "left_out": dict(left_out),
        "numbers": sorted(found),
        "nodes": [[level, number, statistics is not None] for (level, number), statistics in nodes],
    }
    arrays: dict[str, Any] = {}
    for place, (_, statistics) in enumerate(nodes):
        if statistics is not None:
            arrays[f"negative{place}"], arrays[f"positive{place}"] = statistics.negative, statistics.positive
            arrays[f"loss{place}"], arrays[f"weight{place}"] = statistics.loss, statistics.weight
    for number, activations in found.items():
        arrays[f"times{number}"], arrays[f"values{number}"] = activations.times, activations.values
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    body = json.dumps(header, sort_keys=True).encode()
    # The checksum tells a file that is not whole, or not ours, from one that is.
    content = len(body).to_bytes(8, "little") + body + stream.getvalue()
    return digest_bytes(content).encode() + content


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    check, content = data[:32], data[32:]
    if check != digest_bytes(content).encode():
        return None
    length = int.from_bytes(content[:8], "little")
    with np.load(io.BytesIO(content[8 + length :]), allow_pickle=False) as arrays:
        return {**json.loads(content[8 : 8 + length]), **arrays}


def _activations(result: Mapping[str, Any] | None) -> dict[int, Activations]:
    from inmf_flow.factorize import Activations

    if result is None:
        raise StoreError("a batch's activations are gone or damaged", hint="Run it again.")
    numbers: Sequence[int] = result["numbers"]
    return {number: Activations(result[f"times{number}"], result[f"values{number}"]) for number in numbers}
