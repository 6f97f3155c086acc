"""One dictionary of a whole corpus: passes of tasks over its batches, each ended by the driver with one step.

In ``passes/SOURCE`` of the run's folder ``NNNN.safetensors`` is the dictionary after so many passes, and
``NNNN/BATCH.batch`` what a batch said in a pass, with its items' activations. All are written whole or not at all and
each names what it was made from, so that a run that was killed goes on from them to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import AudioError, InmfError, ModelFileError
from inmf_flow.files import atomic_write, digest_file, remove_tree
from inmf_flow.pipeline.ledger import Entry, content_key
from inmf_flow.pipeline.places import place_of_item
from inmf_flow.pipeline.plan import Work
from inmf_flow.pipeline.shared_tasks import PASS, checkpoint, load_sums, result_file
from inmf_flow.pipeline.task import Receipt, Task

if TYPE_CHECKING:
    from inmf_flow.factorize import SharedDictionary
    from inmf_flow.pipeline.config.models import Fit

FOLDER = "passes"
# Points of a source above which its dictionary is learned in passes where nobody says how: in one piece a fit of them
# would take 1.4 GB. It does not depend on the machine, as results must not.
MOST_JOINT_POINTS = 50_000_000
# Items of a batch where there is no store whose parts would be batches.
_ITEMS = 16
# Items that templates start from, and recordings whose rate is asked for.
_SAMPLE, _MOST_HEADERS = 8, 5000

Run = Callable[[Sequence[Task]], Iterator[list[Receipt]]]
Tell = Callable[..., None]


def learns_in_passes(fit: Fit, points: float) -> bool:
    """Return whether a source of so many points is learned batch by batch instead of in one piece."""
    if fit.learn != "auto":
        return fit.learn != "joint"
    linear = fit.field.name in ("hat", "matrix") and fit.optimizer in (None, "mu") and not fit.context
    return linear and points > MOST_JOINT_POINTS


class SharedFit:
    """The learning of one source's dictionary from all its items, a batch a task.

    Parameters
    ----------
    work
        The source's work of the stage ``fit``.
    run_folder
        The run's folder.
    settings
        Of the stage.
    fit
        The pipeline's section.
    run, tell
        Run tasks on the cluster; write an event.
    """

    def __init__(
        self, work: Work, run_folder: Path, settings: Mapping[str, Any], fit: Fit, run: Run, tell: Tell
    ) -> None:
        self._work = work
        self._run_folder = run_folder
        self._settings = settings
        self._fit = fit
        self._run = run
        self._tell = tell
        self._folder = run_folder / FOLDER / work.item
        self._batches = _batches(work.payload)
        self._left_out: dict[str, str] = {}

    def learn(self) -> Work:
        """Return the work with the finished dictionary in its payload, or with the reason why there is none."""
        payload = dict(self._work.payload)
        try:
            resumed = self._begin()
            try:
                dictionary = self._learn()
            except _BatchFailedError:
                if not resumed:
                    raise
                # What an earlier run left may be damaged: then it is worth nothing.
                remove_tree(self._folder)
                self._begin()
                dictionary = self._learn()
            used = [item for batch in self._batches for _, item in batch if item not in self._left_out]
            if not used:
                reasons = "; ".join(list(self._left_out.values())[:3])
                raise AudioError("none of its training files could be used", where=self._work.item, got=reasons)
            payload |= {"dictionary": str(checkpoint(self._folder, dictionary.passes)), "used": used}
            payload["left_out"] = self._left_out
        except _BatchFailedError as failure:
            payload["failed"] = str(failure)
        except AudioError as error:
            payload |= {"failed": str(error), "left_out": self._left_out, "lasting": True}
        return replace(self._work, payload=payload)

    def _learn(self) -> SharedDictionary:
        return self._online() if self._fit.learn == "online" else self._passes()

    def _begin(self) -> bool:
        """Make the folder empty unless it is of the same work, and let a worker make the start.

        Returns
        -------
        resumed
            Whether an earlier run's passes are gone on from.
        """
        key = content_key(self._work.inputs)
        path = self._folder / "key"
        if not (path.is_file() and path.read_text() == key):
            remove_tree(self._folder, ignore_errors=True)
            atomic_write(path, key)
        start = checkpoint(self._folder, 0)
        if start.is_file() and self._can_go_on():
            return True
        remove_tree(self._folder, ignore_errors=True)
        atomic_write(path, key)
        items = [pair for batch in self._batches for pair in batch]
        self._do([("start", {"sample": self._sample(items), "target": str(start)})])
        if not start.is_file():
            raise AudioError("none of the files it would start from could be used", where=self._work.item)
        return False

    def _can_go_on(self) -> bool:
        """Return whether the activations that the next pass goes on from are there."""
        accepted = self._latest().accepted
        online = self._fit.learn == "online"
        files = (result_file(self._folder, accepted, batch) for batch in range(len(self._batches)))
        return online or not accepted or all(path.is_file() for path in files)

    def _sample(self, items: Sequence[tuple[int, str]]) -> list[list[Any]]:
        """Return the items that templates start from: some of every sample rate, all with headers that can be read."""
        from inmf_flow.audio import audio_info
        from inmf_flow.factorize import choose_sample

        asked = items[:: -(-len(items) // _MOST_HEADERS)]
        names, rates = [], []
        for _, item in asked:
            try:
                rates.append(float(audio_info(self._work.payload["items"][item]).sample_rate))
                names.append(item)
            except (InmfError, OSError):
                continue
        if not names:
            return [self._described(number, item) for number, item in items[:_SAMPLE]]
        seed = int(self._settings["fit"]["random_state"])
        chosen = {names[place] for place in choose_sample(names, _SAMPLE, rates=rates, seed=seed)}
        return [self._described(number, item) for number, item in items if item in chosen]

    def _latest(self) -> SharedDictionary:
        from inmf_flow.factorize import load_dictionary

        for path in sorted(self._folder.glob("*.safetensors"), reverse=True):
            try:
                return load_dictionary(path)
            except ModelFileError:
                path.unlink()
        raise AudioError("its start is lost", where=self._folder)

    def _passes(self) -> SharedDictionary:
        from inmf_flow.factorize import PairwiseSum, reduce_pass, save_dictionary

        dictionary = self._latest()
        while dictionary.passes < self._fit.passes and not dictionary.has_settled():
            number = dictionary.passes + 1
            self._map(dictionary, range(len(self._batches)), number, dictionary.accepted)
            sums = PairwiseSum()
            for batch in range(len(self._batches)):
                sums.merge(self._sums_of(number, batch))
            dictionary = reduce_pass(dictionary, sums.total())
            save_dictionary(dictionary, checkpoint(self._folder, number))
            for folder in self._folder.iterdir():
                if folder.is_dir() and folder.name != f"{dictionary.accepted:04d}":
                    remove_tree(folder, ignore_errors=True)
            self._tell("pass", source=self._work.item, number=number, divergence=dictionary.curve[-1][1])
        return dictionary

    def _online(self) -> SharedDictionary:
        from inmf_flow.factorize import SufficientStatistics, finish_pass, reduce_batch, save_dictionary

        dictionary = self._latest()
        while dictionary.passes < self._fit.passes:
            number = dictionary.passes + 1
            # What a batch says is said of the templates that the batches before have left: one after another.
            for batch in range(dictionary.batches, len(self._batches)):
                self._map(dictionary, [batch], number, 0)
                sums = self._sums_of(number, batch)
                # None of a batch's files may be readable: then it has nothing to say.
                heard = any(statistics is not None for statistics in sums.nodes.values())
                said = sums.total() if heard else SufficientStatistics.zeros(dictionary.coefficients.shape)
                dictionary = reduce_batch(dictionary, said, self._fit.forgetting)
                # Not a pass yet: what is saved is the pass before, gone on from.
                save_dictionary(dictionary, checkpoint(self._folder, dictionary.passes))
            dictionary = finish_pass(dictionary)
            save_dictionary(dictionary, checkpoint(self._folder, number))
            remove_tree(self._folder / f"{number:04d}", ignore_errors=True)
            self._tell("pass", source=self._work.item, number=number, divergence=dictionary.curve[-1][1])
        return dictionary

    def _map(self, dictionary: SharedDictionary, batches: Sequence[int], number: int, before: int) -> None:
        path = checkpoint(self._folder, dictionary.passes)
        digest = digest_file(path)
        payloads = []
        for batch in batches:
            payload = {
                "dictionary": [str(path), digest],
                "items": [self._described(place, item) for place, item in self._batches[batch]],
                "target": str(result_file(self._folder, number, batch)),
                "before": str(result_file(self._folder, before, batch)) if before else None,
                "online": self._fit.learn == "online",
            }
            payloads.append((f"{number:04d}-{batch:06d}", payload))
        self._do(payloads)

    def _described(self, number: int, item: str) -> list[Any]:
        parts = self._work.payload["parts"]
        return [number, item, place_of_item(self._work.payload, item), None if parts is None else parts[item]]

    def _do(self, payloads: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        tasks = []
        for name, payload in payloads:
            items = ((self._work.item, self._work.inputs, payload),)
            tasks.append(Task(PASS, f"{self._work.item}-{name}", self._run_folder, items, (), self._settings))
        for receipts in self._run(tasks):
            for receipt in receipts:
                self._take(receipt.entry)

    def _take(self, entry: Entry) -> None:
        if entry.status == "failed":
            raise _BatchFailedError(entry.reason) if entry.transient else AudioError(entry.reason or "unknown")
        self._left_out |= entry.extra.get("left_out", {})

    def _sums_of(self, number: int, batch: int) -> Any:
        sums, left_out = load_sums(result_file(self._folder, number, batch))
        self._left_out |= left_out
        return sums


class _BatchFailedError(Exception):
    """A batch could not be done, for a reason that may pass."""


def remove_passes(run_folder: Path, source: str) -> None:
    """Remove what learning a source's dictionary left, once its model is there."""
    remove_tree(run_folder / FOLDER / source, ignore_errors=True)
    if (run_folder / FOLDER).is_dir() and not any((run_folder / FOLDER).iterdir()):
        (run_folder / FOLDER).rmdir()


def _batches(payload: Mapping[str, Any]) -> list[list[tuple[int, str]]]:
    """Return the items with their numbers: those of a part of the store together, else so many."""
    parts = payload["parts"]
    items = [item for item in payload["items"] if parts is None or item in parts]
    batches: list[list[tuple[int, str]]] = []
    held: Any = None
    for number, item in enumerate(items):
        label = number // _ITEMS if parts is None else parts[item]
        if not batches or label != held:
            batches.append([])
            held = label
        batches[-1].append((number, item))
    return batches
