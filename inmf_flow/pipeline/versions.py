"""Whether everybody on a cluster has the software that a run counts on.

What a result depends on has to be the same everywhere, or records would name software that did not make it: inmf_flow
and the plugins exactly, Python and the libraries up to their second number, below which they mend faults. Those of Dask
and of Python also decide whether the machines understand each other at all. A scheduler runs nothing and takes no task
apart: it can do without all but Dask, but must not be of another installation of inmf_flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inmf_flow.errors import ClusterError
from inmf_flow.registry import parse_spec

if TYPE_CHECKING:
    from inmf_flow.pipeline.config import Pipeline

Plugins = tuple[tuple[str, str], ...]
"""Kind and name of what plugins bring: ``(("transform", "stft"), ...)``."""

OWN = "inmf-flow"
_PACKAGES = (OWN, "dask", "distributed", "numpy", "torch", "zarr")
_ON_SCHEDULERS = ("python", OWN, "dask", "distributed")
_MISSING = "none"


@dataclass(frozen=True)
class Software:
    """What runs somewhere: the version of each package, and which distribution each plugin is of.

    Attributes
    ----------
    packages
        Name and version, Python's too.
    plugins
        Kind, name and origin (``"inmf-flow 0.1.0"``) of what the pipeline uses.
    """

    packages: tuple[tuple[str, str], ...]
    plugins: tuple[tuple[str, str, str], ...] = ()

    @property
    def used(self) -> Plugins:
        """Kind and name of the plugins that were looked for."""
        return tuple((kind, name) for kind, name, _ in self.plugins)

    def only(self, names: Iterable[str]) -> Software:
        """Return what some packages are, and no plugin."""
        kept = set(names)
        return Software(tuple(pair for pair in self.packages if pair[0] in kept))


@dataclass(frozen=True)
class Difference:
    """Something that is another version elsewhere.

    Attributes
    ----------
    name, got, expected
        The package or plugin, what is there, and what is here.
    install
        What `pip install` would be given to mend it; None for Python itself.
    matters
        Whether a run must not go on with it.
    """

    name: str
    got: str
    expected: str
    install: str | None
    matters: bool


def used_plugins(pipeline: Pipeline) -> Plugins:
    """Return what a pipeline uses that a plugin may bring."""
    names = {*pipeline.analyzed, *pipeline.synthesized}
    fit = pipeline.fit
    used = {("transform", pipeline.transforms[name].name) for name in names} | {("field", fit.field.name)}
    if fit.time_field != "auto":
        used.add(("field", parse_spec(fit.time_field)[0]))
    if isinstance(fit.beta_loss, str):
        used.add(("divergence", fit.beta_loss))
    used |= {("metric", name) for name in (pipeline.evaluate.metrics if pipeline.evaluate else ())}
    return tuple(sorted(used))


def package_versions() -> tuple[tuple[str, str], ...]:
    """Return the versions of Python and of the packages that count, of this process; nothing of them is imported."""
    from distributed.versions import get_versions

    return _packages(get_versions(packages=_PACKAGES))


def _packages(answer: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    host, found = answer["host"], answer["packages"]
    python = ".".join(str(host["python"]).split(".")[:3])
    return (("python", python), *((name, found.get(name) or _MISSING) for name in _PACKAGES))


def plugin_origins(used: Plugins) -> tuple[tuple[str, str, str], ...]:
    """Return which distribution and version each plugin is of, in this process."""
    from inmf_flow.errors import UnknownNameError
    from inmf_flow.plugins import plugin_version

    found = []
    for kind, name in used:
        try:
            found.append((kind, name, plugin_version(kind, name)))
        except UnknownNameError:
            found.append((kind, name, _MISSING))
    return tuple(found)


@lru_cache(maxsize=8)
def software_here(used: Plugins) -> Software:
    """Return what this process runs, looked up once."""
    return Software(package_versions(), plugin_origins(used))


def differences(expected: Software, found: Software) -> list[Difference]:
    """Compare what is somewhere with what is expected; what either does not say is left out."""
    there = dict(found.packages)
    listed = [
        Difference(name, there[name], version, _install(name, version), not _alike(name, version, there[name]))
        for name, version in expected.packages
        if name in there and there[name] != version
    ]
    origins = {(kind, name): origin for kind, name, origin in found.plugins}
    listed += [
        Difference(f"{kind} {name}", origins[kind, name], origin, _install(*_distribution(origin)), True)
        for kind, name, origin in expected.plugins
        if origins.get((kind, name), origin) != origin
    ]
    return [each for each in listed if each.matters or _public(each.got) != _public(each.expected)]


def _alike(name: str, one: str, other: str) -> bool:
    if name == OWN or _MISSING in (one, other):
        return one == other
    return one.split(".")[:2] == other.split(".")[:2]


def _public(version: str) -> str:
    """Return a version without what tells builds apart: 2.6.0+cu124 is 2.6.0 for a GPU."""
    return version.partition("+")[0]


def _distribution(origin: str) -> tuple[str, str]:
    name, _, version = origin.partition(" ")
    return name, version


def _install(name: str, version: str) -> str | None:
    if name == "python" or version == _MISSING or not version[:1].isdigit():
        return None
    exact = name not in _PACKAGES or name == OWN
    return f"{name}=={version}" if exact else f"{name}=={'.'.join(_public(version).split('.')[:2])}.*"


def software_at(client: Any, used: Plugins, workers: list[str] | None = None) -> dict[str, Software | str]:
    """Ask workers what they run.

    Parameters
    ----------
    client
        The Dask client.
    used
        The plugins to ask for.
    workers
        Their addresses; all by default.

    Returns
    -------
    software
        By address, or in one sentence why it is not to be had; without those that could not be reached.
    """
    from distributed.versions import get_versions

    # Both by reference, so that nothing is sent that another Python could not read; inmf_flow is only counted on
    # where the first answer has it.
    answers = client.run(get_versions, packages=_PACKAGES, workers=workers, on_error="return")
    found: dict[str, Software | str] = {
        address: _reason(answer) if isinstance(answer, BaseException) else Software(_packages(answer))
        for address, answer in answers.items()
        if not isinstance(answer, OSError)
    }
    here = dict(package_versions())
    able = [
        address
        for address, each in found.items()
        if isinstance(each, Software) and all(_alike(n, here[n], v) for n, v in each.packages if n in _ON_SCHEDULERS)
    ]
    for address, answer in client.run(plugin_origins, used, workers=able, on_error="return").items() if able else ():
        known = found.pop(address)
        assert isinstance(known, Software)
        if isinstance(answer, OSError):
            continue
        if isinstance(answer, BaseException):
            found[address] = f"inmf_flow cannot be used: {_reason(answer)}"
        else:
            found[address] = Software(known.packages, tuple(map(tuple, answer)))
    return found


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def check_scheduler(client: Any, expected: Software) -> list[str]:
    """Compare the scheduler with this process, and return differences that do not matter.

    Raises
    ------
    ClusterError
        When it has other software, so that it could not take our tasks.
    """
    from distributed.versions import get_versions

    found = Software(_packages(client.run_on_scheduler(get_versions, packages=_PACKAGES)))
    if dict(found.packages)[OWN] == _MISSING:
        expected = expected.only(["python", "dask", "distributed"])
    listed = differences(expected.only(_ON_SCHEDULERS), found)
    wrong = [each for each in listed if each.matters]
    if wrong:
        raise _error("the scheduler has other software than this process", client.scheduler.address, wrong)
    return remarks(listed)


def remarks(listed: Iterable[Difference]) -> list[str]:
    """Return differences that do not matter as notes for the user."""
    return [f"{each.name} is {each.got} on the cluster and {each.expected} here" for each in listed]


def worker_problem(expected: Software, worker: str, found: Software | str) -> ClusterError | None:
    """Return why a worker cannot be used, or None; ``worker`` is what messages call it."""
    if isinstance(found, str):
        install = _command(_needed(expected))
        return ClusterError("a worker cannot do the work", where=worker, got=found, hint=f"Run there: {install}.")
    wrong = [each for each in differences(expected, found) if each.matters]
    return _error("a worker has other software than this process", worker, wrong) if wrong else None


def _needed(expected: Software) -> list[str]:
    origins = {_distribution(origin) for _, _, origin in expected.plugins} | {(OWN, dict(expected.packages)[OWN])}
    return [text for name, version in sorted(origins) if (text := _install(name, version))]


def _error(what: str, where: str, wrong: list[Difference]) -> ClusterError:
    installs = list(dict.fromkeys(each.install for each in wrong if each.install))
    hints = [f"Run there: {_command(installs)}."] if installs else []
    if any(each.name == "python" for each in wrong):
        version = next(each.expected for each in wrong if each.name == "python")
        hints.insert(0, f"Use Python {'.'.join(version.split('.')[:2])} there.")
    return ClusterError(
        what,
        where=where,
        got=", ".join(f"{each.name} {each.got}" for each in wrong),
        expected=", ".join(f"{each.name} {each.expected}" for each in wrong),
        hint=" ".join(hints) or None,
    )


def _command(packages: list[str]) -> str:
    return "pip install " + " ".join(f"'{package}'" for package in packages)


@lru_cache(maxsize=8)
def check_here(expected: Software) -> None:
    """Refuse to work in a process that has other software: a worker that joined after the run had begun.

    Raises
    ------
    ClusterError
        When something that matters differs.
    """
    wrong = [each for each in differences(expected, software_here(expected.used)) if each.matters]
    if wrong:
        raise _error("this worker has other software than the run", "worker", wrong)
