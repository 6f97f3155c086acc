"""From what a pipeline says of its cluster to a Dask client."""

from __future__ import annotations

import importlib
import ipaddress
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from inmf_flow.errors import ClusterError
from inmf_flow.pipeline.local import has_dashboard, local_cluster, silence_dask

_CONNECT_SECONDS = 20
# Without these distributed makes no TLS context, and fails with a TypeError.
_TLS_SETTINGS = ("distributed.comm.tls.ca-file", "distributed.comm.tls.client.cert")


@dataclass(frozen=True)
class Certificates:
    """What a pipeline says under ``cluster.tls``: PEM files of an authority, a certificate and its private key."""

    ca: Path
    cert: Path
    key: Path | None = None


@contextmanager
def open_client(
    scheduler: str,
    workers: int | None,
    *,
    gpus: int | Literal["all"] | None = None,
    tls: Certificates | None = None,
) -> Iterator[Any]:
    """Give a `distributed.Client`, and close what was opened for it.

    Parameters
    ----------
    scheduler
        ``local`` (a process a core), an address (``tcp://...`` on loopback, ``tls://...``), or
        ``package.module:factory``, a function without arguments that returns a Dask cluster or client.
    workers
        Number of processes of a local cluster; one a core by default.
    gpus
        GPUs that a local cluster has a worker for.
    tls
        Certificates of an address, and what a factory finds in Dask's settings; by default these are as they are.

    Raises
    ------
    ClusterError
        When there is no scheduler at the address, it is not safe to talk to, or the factory does not work.
    """
    from distributed import Client

    if gpus is not None and scheduler != "local":
        raise ClusterError(
            "GPUs are started by a local cluster alone",
            where="cluster.gpus",
            got=f"{gpus}, and the scheduler {scheduler}",
            hint="Start its GPU workers with `dask worker --resources GPU=1`, and run with --set cluster.gpus=null.",
        )
    if scheduler == "local":
        with local_cluster(workers, gpus) as cluster, Client(cluster) as client:
            yield client
        return
    silence_dask()
    with _certificates(tls), _connected(scheduler) if "://" in scheduler else _from_factory(scheduler) as client:
        _await_workers(client, scheduler)
        yield client


@contextmanager
def _certificates(tls: Certificates | None) -> Iterator[None]:
    """Let Dask's settings hold the pipeline's certificates, for factories as well as for addresses."""
    if tls is None:
        yield
        return
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path is not None and not os.access(path, os.R_OK):
            raise ClusterError("a certificate's file cannot be read", where=f"cluster.tls.{name}", got=path)
    from dask import config

    settings: dict[str, str | None] = {"distributed.comm.tls.ca-file": str(tls.ca)}
    for role in ("client", "scheduler", "worker"):
        settings[f"distributed.comm.tls.{role}.cert"] = str(tls.cert)
        settings[f"distributed.comm.tls.{role}.key"] = None if tls.key is None else str(tls.key)
    with config.set(settings):
        yield


@contextmanager
def _versions_are_compared_later() -> Iterator[None]:
    """Keep distributed from printing a table of versions: `versions` says which of the differences matter."""
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        yield


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from distributed import Client

    _check_address(address)
    if address.startswith("tls://"):
        _check_tls(address)
    try:
        with _versions_are_compared_later():
            client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        cause = error.__cause__ or error
        raise ClusterError(
            "no scheduler answers",
            where=address,
            got=str(cause) or type(cause).__name__,
            hint="Is `dask scheduler` running there"
            + (", and are both certificates of the same authority?" if address.startswith("tls://") else "?"),
        ) from None
    with client:
        yield client


def _await_workers(client: Any, scheduler: str) -> None:
    """Without a worker tasks would wait for ever."""
    from distributed import TimeoutError as NoWorkers

    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except NoWorkers:
        raise ClusterError(
            "the cluster has no worker",
            where=scheduler,
            expected="at least one",
            hint="Start some, such as `dask worker ADDRESS`.",
        ) from None


def dashboard_link(client: Any) -> str | None:
    """Return the address of the dashboard, if there is one."""
    return str(client.dashboard_link) if has_dashboard() and client.dashboard_link else None


def _check_address(address: str, where: str | None = None) -> None:
    """Dask lets any client run code: other machines are only spoken to under TLS."""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        expected = "tcp://127.0.0.1:PORT or tls://HOST:PORT"
        raise ClusterError("not a scheduler's address", where=where, got=address, expected=expected)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme == "tcp" and not loopback:
        raise ClusterError(
            "a scheduler on another machine must use TLS",
            where=where or address,
            got=address if where else None,
            expected=f"tls://{parts.netloc}",
            hint="Anybody who reaches a Dask scheduler can run code on it.",
        )


def _check_tls(address: str) -> None:
    from dask import config

    missing = [key for key in _TLS_SETTINGS if not config.get(key, None)]
    if missing:
        raise ClusterError(
            "Dask has no TLS configuration to talk to this scheduler with",
            where=address,
            got="nothing for " + " and ".join(missing),
            expected="paths of PEM files there (and in distributed.comm.tls.client.key, if the key has its own)",
            hint="Give cluster.tls in the pipeline, or set them in a YAML file in ~/.config/dask.",
        )


@contextmanager
def _from_factory(path: str) -> Iterator[Any]:
    from distributed import Client

    module, _, name = path.partition(":")
    if not module or not name:
        raise ClusterError("not a scheduler", got=repr(path), expected="local, an address, or package.module:factory")
    made: Any = None
    try:
        with _versions_are_compared_later():
            made = getattr(importlib.import_module(module), name)()
            client = made if isinstance(made, Client) else Client(made, timeout=_CONNECT_SECONDS)
    except Exception as error:
        _close(made)
        raise ClusterError(
            "the cluster's factory does not work",
            where=path,
            got=f"{type(error).__name__}: {error}",
            expected="package.module:factory, a function that returns a Dask cluster or client",
        ) from error
    try:
        with client:
            address = str(client.scheduler.address)
            if not address.startswith("inproc://"):
                _check_address(address, path)
            yield client
    finally:
        _close(made)


def _close(made: Any) -> None:
    close = getattr(made, "close", None)
    if close is not None:
        close()
