"""Who is there to work: workers that come and go, those with other software, and what each declares to have."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline.versions import Software, differences, remarks, software_at, worker_problem

# A request for a list of addresses; a thousand workers answer it in milliseconds.
LOOK_SECONDS = 1.0
# Workers of a queue or of Kubernetes come back when there is room: as long as this a run waits for the first.
_PATIENCE_SECONDS = 300.0

Amounts = Mapping[str, float]


class Workers:
    """The workers of a cluster, as the driver last saw them.

    Parameters
    ----------
    client
        The Dask client.
    expected
        What has to run on a worker for it to be used; None for a local cluster, whose workers are this program's own.
    tell
        Called with ``"worker_joined"``, ``"worker_lost"`` or ``"worker_refused"`` and what is known of the worker.

    Attributes
    ----------
    refused
        Why workers are not used, by their address.
    notes
        Remarks about their software.

    Raises
    ------
    ClusterError
        When a worker that is there from the start cannot be used.
    """

    def __init__(
        self,
        client: Any,
        expected: Software | None = None,
        tell: Callable[..., None] = lambda event, **known: None,
    ) -> None:
        self.client = client
        self.expected = expected
        self.refused: dict[str, ClusterError] = {}
        self.notes: list[str] = []
        self._tell = tell
        self._present: dict[str, dict[str, float]] = {}
        self._memory: dict[str, int] = {}
        self._looked = 0.0
        self._idle_since: dict[str, float] = {}
        if self.look():
            first, *more = self.refused.values()
            count = f"{len(self.refused)} of {len(self.refused) + len(self._present)} workers cannot be used."
            hint = " ".join(filter(None, (first.hint, count if more else None)))
            raise ClusterError(first.what, where=first.where, got=first.got, expected=first.expected, hint=hint)

    @property
    def present(self) -> Collection[str]:
        """The addresses of those that can be used."""
        return self._present.keys()

    def look(self) -> bool:
        """See who has come and who has gone; return whether somebody who came cannot be used.

        Raises
        ------
        ClusterError
            When the scheduler is gone.
        """
        try:
            there = set(self.client.nthreads())
            for address in self._present.keys() - there:
                del self._present[address]
                self._tell("worker_lost", worker=address)
            for address in self.refused.keys() - there:
                del self.refused[address]
            new = there - self._present.keys() - self.refused.keys()
            before = len(self.refused)
            if new:
                self._welcome(new)
        except (OSError, RuntimeError) as error:
            if isinstance(error, ClusterError):
                raise
            raise scheduler_lost(self.client) from error
        self._looked = time.monotonic()
        return len(self.refused) > before

    def look_now_and_then(self) -> bool:
        """Look if the last time is a while ago; return whether that was done."""
        due = time.monotonic() - self._looked >= LOOK_SECONDS
        if due:
            self.look()
        return due

    def _welcome(self, new: set[str]) -> None:
        known = self.client.scheduler_info(n_workers=-1)["workers"]
        found = software_at(self.client, self.expected.used, sorted(new)) if self.expected is not None else {}
        for address in sorted(new & known.keys()):
            name = str(known[address].get("name", address))
            # One that could not answer is asked again by the next look, if it is still there.
            if self.expected is not None and (
                address not in found or not self._is_right(address, name, found[address], self.expected)
            ):
                continue
            self._present[address] = dict(known[address].get("resources") or {})
            self._memory[address] = int(known[address].get("memory_limit") or 0)
            self._tell("worker_joined", worker=address, name=name)

    def _is_right(self, address: str, name: str, found: Software | str, expected: Software) -> bool:
        problem = worker_problem(expected, address if name == address else f"{address} ({name})", found)
        if problem is not None:
            self.refused[address] = problem
            self._tell("worker_refused", worker=address, name=name, reason=str(problem))
            return False
        assert isinstance(found, Software)
        new = [note for note in remarks(differences(expected, found)) if note not in self.notes]
        self.notes += new
        return True

    def able(self, resources: Amounts) -> list[str]:
        """Return the addresses of those that declare as much of each resource."""
        return [
            address
            for address, has in self._present.items()
            if all(has.get(name, 0) >= amount for name, amount in resources.items())
        ]

    def memory(self, resources: Amounts) -> int:
        """Return the least memory in bytes that one of those has that are able; 0 where none has a limit."""
        return min((self._memory[address] for address in self.able(resources) if self._memory[address]), default=0)

    def check_resources(self, stage: str, resources: Amounts) -> None:
        """Refuse a stage that no worker could ever be given.

        Raises
        ------
        ClusterError
            With what the workers declare.
        """
        if not resources or self.able(resources):
            return
        declared = sorted({_spell(has) for has in self._present.values() if has})
        raise ClusterError(
            f"no worker has what the stage {stage!r} asks for",
            where=f"cluster.resources.{stage}",
            got="; ".join(declared) if declared else f"{len(self._present)} workers that declare nothing",
            expected=_spell(resources),
            hint="Start workers with `dask worker --resources 'GPU=1'`, or a local cluster with cluster.gpus.",
        )

    def wait_patiently(self, resources: Amounts) -> None:
        """Take note of whether somebody can work, and give up when nobody could for minutes.

        Raises
        ------
        ClusterError
            Then.
        """
        asked = _spell(resources)
        if self.able(resources):
            self._idle_since.pop(asked, None)
            return
        now = time.monotonic()
        if now - self._idle_since.setdefault(asked, now) > _PATIENCE_SECONDS:
            refused = next(iter(self.refused.values()), None)
            raise ClusterError(
                f"for {_PATIENCE_SECONDS:.0f} seconds there has been no worker"
                + (f" with {asked}" if resources else ""),
                got=refused,
                hint="What was finished is kept: start workers and run again.",
            )


def _spell(resources: Amounts) -> str:
    return ", ".join(f"{name}={amount:g}" for name, amount in sorted(resources.items()))


def scheduler_lost(client: Any) -> ClusterError:
    """Return the error of a run whose scheduler has died or cannot be reached any more."""
    address = getattr(client.scheduler, "address", None)
    return ClusterError(
        "the connection to the scheduler was lost",
        where=address,
        hint="What was finished is kept: start the cluster again, and run again.",
    )
