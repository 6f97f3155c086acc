"""From what a pipeline says of its cluster to a Dask client."""

from __future__ import annotations

import importlib
import importlib.util
import ipaddress
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from inmf_flow.errors import ClusterError

_CONNECT_SECONDS = 20


@contextmanager
def open_client(scheduler: str, workers: int | None) -> Iterator[Any]:
    """Give a `distributed.Client`, and close what was opened for it.

    Parameters
    ----------
    scheduler
        ``local`` (a process a core), an address (``tcp://...`` on loopback, ``tls://...``), or
        ``package.module:factory``, a function without arguments that returns a Dask cluster or client.
    workers
        Number of processes of a local cluster; one a core by default.

    Raises
    ------
    ClusterError
        When there is no scheduler at the address, it is not safe to talk to, or the factory does not work.
    """
    from distributed import Client

    if scheduler == "local":
        with _local_cluster(workers) as cluster, Client(cluster) as client:
            yield client
    elif "://" in scheduler:
        _check_address(scheduler)
        try:
            client = Client(scheduler, timeout=_CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                "no scheduler answers",
                where=scheduler,
                got=str(error) or type(error).__name__,
                hint="Is `dask scheduler` running there?",
            ) from None
        with client:
            yield client
    else:
        with _from_factory(scheduler) as client:
            yield client


@contextmanager
def _local_cluster(workers: int | None) -> Iterator[Any]:
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    cluster = LocalCluster(
        n_workers=workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0" if has_dashboard() else None,
        silence_logs=logging.CRITICAL,
    )
    try:
        yield cluster
    finally:
        cluster.close()


def has_dashboard() -> bool:
    """Return whether bokeh is there to show Dask's dashboard (the extra ``dashboard``)."""
    return importlib.util.find_spec("bokeh") is not None


def dashboard_link(client: Any) -> str | None:
    """Return the address of the dashboard, if there is one."""
    return str(client.dashboard_link) if has_dashboard() and client.dashboard_link else None


def _check_address(address: str) -> None:
    """Dask lets any client run code: other machines are only spoken to under TLS."""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname:
        raise ClusterError("not a scheduler's address", got=address, expected="tcp://127.0.0.1:PORT or tls://HOST:PORT")
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        loopback = False
    if parts.scheme == "tcp" and not loopback:
        raise ClusterError(
            "a scheduler on another machine must use TLS",
            where=address,
            expected=f"tls://{parts.netloc}",
            hint="Anybody who reaches a Dask scheduler can run code on it.",
        )


@contextmanager
def _from_factory(path: str) -> Iterator[Any]:
    from distributed import Client

    module, _, name = path.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)()
    except Exception as error:
        raise ClusterError(
            "the cluster's factory does not work",
            where=path,
            got=f"{type(error).__name__}: {error}",
            expected="package.module:factory, a function that returns a Dask cluster or client",
        ) from error
    try:
        if isinstance(made, Client):
            yield made
        else:
            with Client(made) as client:
                yield client
    finally:
        close = getattr(made, "close", None)
        if close is not None:
            close()
